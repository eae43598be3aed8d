"""icd-seeds makes the seeds of any method's maps: the same as those of icd-run from the same maps, and resumes."""
import os
import shutil

import numpy as np
import pytest

from icd import console, files
from icd.data import masks, score_map
from icd.steps import seeds_command
from tests.helpers import small_data
from tests.helpers.map_files import save, tensor
from tests.helpers.small_data import NAMES

ARGUMENTS = '--image-root images --annotation-root annotations --data-list list.txt --num-process 1'.split()
DOG = 11


def run(*arguments):
    return console.run_command(seeds_command.main, [*ARGUMENTS, *arguments])


def scores(kind, name):
    return score_map.at_image_size(np.load(f'snap/results/scores_{kind}/{name}.npy'), (36, 44), 49)


def irn(folder='irn', names=NAMES):
    """Maps of IRN's kind from the class activation maps of the data set."""
    for name in names:
        maps = scores('cam', name)
        save(f'{folder}/{name}.npy', {'keys': tensor(np.array([DOG])), 'cam': maps[:, ::4, ::4], 'high_res': maps})


def contents(folder):
    found = {}
    for name in NAMES:
        with open(f'{folder}/{name}.png', 'rb') as file:
            found[name] = file.read()
    return found


def stamps(folder):
    return {name: os.stat(f'{folder}/{name}.png').st_mtime_ns for name in NAMES}


@pytest.fixture
def mapped(in_valid):
    irn()


def test_seeds_at_a_threshold_are_those_of_cam_to_the_byte(mapped):
    assert small_data.run('seeds', ['--seeds', 'cam', '--cam-threshold', '0.2,0.45']) == 0
    assert run('--from-maps', 'irn', '--threshold', '0.2,0.45', '--out', 'out') == 0
    assert run('--from-maps', 'snap/results/scores_cam', '--threshold', '0.2', '--out', 'own') == 0
    assert sorted(os.listdir('out')) == ['crf_0.20', 'crf_0.45']
    expected = contents('snap/results/seeds/cam_0.20')
    assert contents('out/crf_0.20') == contents('own/crf_0.20') == expected != contents('out/crf_0.45')
    assert contents('out/crf_0.45') == contents('snap/results/seeds/cam_0.45')


def test_seeds_by_sign_are_those_of_icd_to_the_byte(in_valid):
    rng = np.random.default_rng(0)
    for name in NAMES:                                  # two classes: class activation maps decide between them
        files.save_bytes(f'annotations/{name}.xml', (small_data.ANNOTATION % 'dog').replace(
            '</annotation>', '<object><name>cat</name></object></annotation>').encode())
        for kind in 'icd', 'cam':
            files.save_npy(f'snap/results/scores_{kind}/{name}.npy', rng.normal(size=(2, 7, 7)).astype(np.float32))
    assert small_data.run('seeds', ['--seeds', 'raw,crf']) == 0
    assert run('--from-maps', 'snap/results/scores_icd', '--by-sign', '--seeds', 'raw,crf', '--out', 'out') == 0
    for kind in 'raw', 'crf':
        assert contents(f'out/{kind}') == contents(f'snap/results/seeds/{kind}')


def test_maps_of_others_decide_by_themselves(mapped):
    image = np.zeros((36, 44), np.float32)
    dog, cat = image - 1, image - 1
    dog[:20], cat[10:30] = 4, 2                         # both where 10 <= row < 20, where the cat is as sure
    cat[10:20, :22] = .2
    save('irn/a.npy', {DOG: dog, 7: cat})
    files.save_bytes('annotations/a.xml', (small_data.ANNOTATION % 'dog').replace(
        '</annotation>', '<object><name>cat</name></object></annotation>').encode())
    assert run('--from-maps', 'irn', '--by-sign', '--seeds', 'raw', '--out', 'out') == 0
    found = masks.read_mask('out/raw/a.png')
    assert (found[:20] == DOG + 1).all() and (found[20:30] == 8).all() and not found[30:].any()


def test_only_what_changed_is_made_again(mapped, capfd):
    arguments = '--from-maps', 'irn', '--seeds', 'raw', '--out', 'out', '--threshold', '0.2'
    assert run(*arguments) == 0
    before = stamps('out/raw_0.20')
    assert run(*arguments) == 0 and stamps('out/raw_0.20') == before
    assert 'all 4 are up to date' in capfd.readouterr().err
    save('irn/b.npy', {DOG: -scores('cam', 'b')[0]})
    os.remove('out/raw_0.20/c.png')
    assert run(*arguments) == 0
    after = stamps('out/raw_0.20')
    assert {name for name in NAMES if before[name] != after[name]} == {'b', 'c'}
    assert run(*arguments, '--force') == 0
    assert all(after[name] != stamp for name, stamp in stamps('out/raw_0.20').items())


def test_a_damaged_map_is_named_and_the_others_are_made(mapped, capfd):
    for name in 'b', 'c':
        save(f'irn/{name}.npy', {DOG: np.full((36, 44), np.nan, np.float32)})
    assert run('--from-maps', 'irn', '--seeds', 'raw', '--out', 'out') == 2
    assert 'irn/b.npy, irn/c.npy: holds values that are not finite (2 files)' in capfd.readouterr().err
    made = [path for path in small_data.list_files('out') if not path.endswith(('.json', '.tsv'))]
    assert made == ['out/raw_0.30/a.png', 'out/raw_0.30/sub/d.png']
    irn(names=('b', 'c'))
    before = os.stat('out/raw_0.30/a.png').st_mtime_ns
    assert run('--from-maps', 'irn', '--seeds', 'raw', '--out', 'out') == 0
    assert os.stat('out/raw_0.30/a.png').st_mtime_ns == before and os.path.exists('out/raw_0.30/c.png')


def test_classes_without_labels_are_said_and_left_out(mapped, capfd):
    maps = np.ones((2, 36, 44), np.float32)
    save('irn/a.npy', {'keys': np.array([3, DOG]), 'high_res': maps})
    assert run('--from-maps', 'irn', '--seeds', 'raw', '--out', 'out') == 0
    assert 'labels do not give the image are left out: boat in 1' in capfd.readouterr().err
    assert set(masks.read_mask('out/raw_0.30/a.png').ravel()) == {DOG + 1}


def test_maps_without_signs_and_empty_seeds_are_said(mapped, capfd):
    for name in NAMES:
        save(f'irn/{name}.npy', {DOG: np.zeros((36, 44), np.float32)})
    assert run('--from-maps', 'irn', '--by-sign', '--seeds', 'raw', '--out', 'out') == 0
    printed = capfd.readouterr().err
    assert 'no map is negative anywhere' in printed and '4 of 4 in out/raw hold nothing but background' in printed


def test_colour_copies_on_request(mapped):
    shutil.rmtree('irn/sub')
    files.save_bytes('list.txt', b'a')
    assert run('--from-maps', 'irn', '--seeds', 'raw', '--out', 'out', '--colour') == 0
    assert os.path.isfile('out/raw_0.30_overlay/a.jpg') and os.path.isfile('out/raw_0.30_colour/a.png')
