"""The command `icd-audit`: what it finds, writes and refuses."""
import csv
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from icd import cli, console, files, parallel
from icd.audit_options import AUDIT
from icd.data import masks, superpixel_map
from icd.method import audit as method
from icd.steps import audit
from tests.helpers.small_data import list_files

NAMES = [f'n{i}' for i in range(7)] + ['sub/n7']
CLASSES = ('cat', 'a dog; or =2', 'hat')
OF_IMAGE = [(i % 2,) for i in range(7)] + [(0, 2)]
SHAPE, INFER_SIZE = (40, 56), 57
ARGUMENTS = ('--snapshot snap --image-root images --labels labels.json --superpixel-root superpixels --data-list '
             f'list.txt --class-names names.txt --infer-size {INFER_SIZE} --html out/audit.html --csv out/audit.csv '
             '--num-process 1').split()


def disc(x, y, radius, scale=1., start=0., shape=SHAPE):
    """A score that is positive inside a disc, at every pixel, or at the positions of a map."""
    rows, columns = start + scale * np.mgrid[:shape[0], :shape[1]]
    return radius - np.hypot(rows - y, columns - x)


def save(root, index, classes, seeds, maps):
    """The files of one image: the discs of its seed, and those of its score maps."""
    name, seed = NAMES[index], np.zeros(SHAPE, np.uint8)
    for c, one in zip(classes, seeds):
        seed[disc(*one) > 0] = c + 1
    image = np.random.default_rng(index).integers(256, size=(5, 7, 3)).astype(np.uint8)
    files.save_image(f'{root}/images/{name}.png', cv2.resize(image, SHAPE[::-1]))
    masks.save_mask(f'{root}/snap/results/seeds/crf/{name}.png', seed)
    for kind in ('icd', 'cam'):
        found = np.stack([disc(*one, INFER_SIZE / 8, INFER_SIZE / 16 - .5, (8, 8)) for one in maps[:len(classes)]])
        files.save_npy(f'{root}/snap/results/scores_{kind}/{name}.npy', found.astype(np.float32))
    superpixel_map.write(f'{root}/superpixels/{name}.png', np.arange(40)[:, None] // 4 * 14 + np.arange(56) // 4)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A run of eight images; the seed of n4 is not where its maps are, and sub/n7 lacks its hat."""
    root = str(tmp_path_factory.mktemp('made') / 'run')
    for i, classes in enumerate(OF_IMAGE):
        right = 24 + i, 20, 12
        save(root, i, classes, [(48, 4, 5) if i == 4 else right, (0, 0, -1)], [right, (48, 8, 6)])
    files.save_json(f'{root}/labels.json', {name: [CLASSES[c] for c in one] for name, one in zip(NAMES, OF_IMAGE)})
    files.save_bytes(f'{root}/names.txt', '\n'.join(CLASSES).encode())
    files.save_bytes(f'{root}/list.txt', '\n'.join(NAMES).encode())
    return root


@pytest.fixture
def run_folder(made, tmp_path, monkeypatch):
    """The current folder is a copy of `made`."""
    shutil.copytree(made, tmp_path / 'run')
    monkeypatch.chdir(tmp_path / 'run')


def run(*extra):
    return console.run_command(audit.main, [*ARGUMENTS, *extra])


def rows(path='out/audit.csv'):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_the_table_lists_all_images_and_why(run_folder, capfd):
    assert run() == 0
    found = rows()
    assert sorted(row['name'] for row in found) == sorted(NAMES)
    assert {found[0]['name'], found[1]['name']} == {'n4', 'sub/n7'}
    mistrust = [float(row['mistrust']) for row in found]
    assert mistrust == sorted(mistrust, reverse=True) and mistrust[1] > mistrust[2] + 5
    of_name = {row['name']: row for row in found}
    assert re.fullmatch("CAM of cat agrees to 0.0% at most; in 8.% of comparisons ICD's score of cat is higher outside "
                        'of the seed; cat covers 3.1%, usually 20%', of_name['n4']['reason'])
    assert of_name['sub/n7']['reason'] == 'no pixel of hat; hat never comes without cat'
    assert of_name['sub/n7']['classes'] == 'cat; hat' and of_name['n1']['classes'] == 'a dog; or =2'
    assert of_name['n1']['reason'] == '' and float(of_name['n1']['cam']) < .4
    printed = capfd.readouterr().out
    assert re.search(r'hat +1 +0\.0 +0\.0 +1  never without cat', printed)
    assert 'class missing 1, CAM disagrees 1, ICD scores disagree 1' in printed and 'written: out/audit.html' in printed


def test_figures_of_classes_and_parts_are_those_of_the_method(run_folder):
    values = dict(zip(ARGUMENTS[::2], ARGUMENTS[1::2]))
    options = cli.defaults(AUDIT, **{flag[2:].replace('-', '_'): value for flag, value in values.items()})
    options.infer_size, options.num_process, options.html, options.csv = INFER_SIZE, 1, None, None
    found = audit.run(options)
    assert not os.path.exists('out')
    cat = found['classes'][0]
    assert (cat['images'], cat['missing'], cat['never without']) == (5, 0, None)
    assert .15 < cat['share'] < .25 and .5 < cat['agreement'] < .9
    for row in found['images']:
        assert row['mistrust'] == pytest.approx(np.mean(np.square(list(row['ranks'].values()))) ** .5)
        assert tuple(row['parts']) == tuple(row['ranks']) == method.PARTS
        seed = masks.read_mask(f"snap/results/seeds/crf/{row['name']}.png")
        present = [c for c in row['classes'] if (seed == c + 1).any()]
        assert ('missing' in row['reasons']) == (len(present) < len(row['classes']))


def test_without_superpixels_that_part_is_empty(run_folder):
    assert run() == 0
    assert all(row['superpixels'] for row in rows())
    assert run('--no-superpixel', '--superpixel-root', 'nowhere') == 0
    assert [row['superpixels'] for row in rows()] == [''] * 8
    assert {row['name'] for row in rows()[:2]} == {'n4', 'sub/n7'}


def test_the_order_in_which_images_are_finished_changes_nothing(run_folder, monkeypatch):
    assert run() == 0
    before = [files.checksum(path) for path in ('out/audit.csv', 'out/audit.html')]
    monkeypatch.setattr(parallel, 'process_map', lambda function, items, *_, **__: map(function, items[::-1]))
    assert run() == 0
    assert before == [files.checksum(path) for path in ('out/audit.csv', 'out/audit.html')]


def test_what_is_undecided_or_cuts_superpixels_is_said():
    usual, nothing = np.array([.2]), np.array([1.])
    found = audit.reasons(method.Measures(nothing, nothing, np.array([.2]), .25, .125), (0,), ('cat',), usual, {})
    assert found == {'undecided': '12% undecided before the CRF',
                     'superpixels': 'before the CRF it cuts through superpixels (25% of the image)'}
    everywhere = method.Measures(nothing, np.array([.5]), np.array([1.]), np.nan, 0.)
    whole = audit.reasons(everywhere, (0,), ('cat',), usual, {})
    assert whole == {'share': 'cat covers 100%, usually 20%'}           # nothing lies outside, to compare with


def test_the_page_shows_the_worst_and_some_of_each_class_and_reason():
    images = [{'index': i, 'classes': (i // 6,), 'reasons': {'cam': ''} if i in (4, 11) else {}} for i in range(12)]
    assert [row['index'] for row in audit.shown(images, 5)] == [0, 1, 2, 3, 4, 6, 7, 8, 11]
    assert len(audit.shown(images, 100)) == 12


def test_seeds_of_another_folder(run_folder):
    os.rename('snap/results/seeds/crf', 'other')
    assert run() == 2 and run('--seed-root', 'other') == 0


def test_images_without_classes_take_part(run_folder):
    files.save_json('labels.json', {name: [CLASSES[c] for c in one] * (i > 0)
                                    for i, (name, one) in enumerate(zip(NAMES, OF_IMAGE))})
    assert run() == 2
    os.remove('snap/results/scores_cam/n0.npy')
    os.remove('snap/results/scores_icd/n0.npy')
    masks.save_mask('snap/results/seeds/crf/n0.png', np.zeros(SHAPE, np.uint8))
    assert run('--unlabelled', 'keep') == 0
    assert rows()[-1]['name'] == 'n0' and rows()[-1]['classes'] == rows()[-1]['reason'] == ''



WRONG = {
    'no seeds': (lambda: os.rename('snap/results/seeds/crf', 'x'), [], r'--seed-root snap/results/seeds/crf: no such '
                                                                        r'folder: make seeds first'),
    'a seed is missing': (lambda: os.remove('snap/results/seeds/crf/n3.png'), [], r'crf/n3\.png: no such seed: make'),
    'a seed of another size': (lambda: masks.save_mask('snap/results/seeds/crf/n3.png', np.zeros((5, 6), np.uint8)), [],
                               r'n3\.png \(6x5, not 56x40\): seed and image differ'),
    'a seed of other classes': (lambda: masks.save_mask('snap/results/seeds/crf/n3.png', np.full(SHAPE, 4, np.uint8)),
                                [], r'n3\.png \(index 4\): has an index beyond the 4 classes: name all'),
    'no scores': (lambda: os.rename('snap/results/scores_cam', 'x'), [], r'--snapshot snap/results/scores_cam: no such '
                                                                         r'folder: run inference first'),
    'scores of another size': (lambda: None, ['--infer-size', '65'],
                               r'scores of shape 1x8x8, which do not come from --infer-size 65 \(14 files\): give'),
    'scores cut short': (lambda: os.truncate('snap/results/scores_icd/n2.npy', 200), [],
                         r'icd/n2\.npy: the file is cut'),
    'no superpixels': (lambda: None, ['--superpixel-root', 'nowhere'], r'--superpixel-root nowhere: no such folder: '
                                                                       r'check the path, or give --no-superpixel'),
    'a superpixel map is damaged': (lambda: os.truncate('superpixels/n1.png', 90), [], r'superpixels/n1\.png: .*PNG'),
    'the table would be the labels': (lambda: None, ['--csv', 'labels.json'], r'--csv labels\.json: would overwrite'),
    'the page would be a seed': (lambda: None, ['--html', 'snap/results/seeds/crf/n1.png'],
                                 r'--html .*: would overwrite'),
    'both are one file': (lambda: None, ['--csv', 'out/audit.html'], r'--html and --csv out/audit\.html: both name the '
                                                                     r'same file: give'),
    'the table is a folder': (lambda: None, ['--csv', 'images'], r'--csv images: this is a folder: name'),
}


@pytest.mark.parametrize('row', WRONG)
def test_what_is_wrong_ends_the_command_before_it_writes(row, run_folder, capfd):
    break_it, extra, message = WRONG[row]
    break_it()
    before = list_files('.')
    assert run(*extra) == 2
    printed = capfd.readouterr().err
    assert re.search(message, printed) and 'Traceback' not in printed, printed
    assert list_files('.') == before
