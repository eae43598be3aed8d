"""What grows with the number of names: a few hundred bytes each, and the same however folders are laid out."""
import os
import shutil
import subprocess
import tracemalloc

import cv2
import numpy as np
import pytest

from icd import cli, console, files
from icd.data import inputs, labels, listing
from icd.errors import Problems
from icd.evaluate_options import EVALUATE
from icd.outputs import Input, Outputs, Value
from icd.shards import Shard
from icd.steps import evaluate, seeds
from tests.helpers import PROJECT, small_data
from tests.helpers.small_data import NAMES

COUNT = 1000


def traced(function, *args):
    """What a function returns, and the bytes a name that Python takes for it and at most meanwhile."""
    tracemalloc.start()
    try:
        found = function(*args)
        return (found, *(bytes / COUNT for bytes in tracemalloc.get_traced_memory()))
    finally:
        tracemalloc.stop()


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Names of links to one image, in two levels, in the current folder."""
    monkeypatch.chdir(tmp_path)
    names = [f'{i % 50:02d}/{i:06d}' for i in range(COUNT)]
    files.save_bytes('image', cv2.imencode('.jpg', np.full((9, 12, 3), 90, np.uint8))[1].tobytes())
    for name in names[:50]:
        os.makedirs(os.path.dirname(f'images/{name}'))
    for name in names:
        os.link('image', f'images/{name}.jpg')
    files.save_bytes('list.txt', '\n'.join(names).encode())
    files.save_bytes('labels.csv', ''.join(f'{name},dog;cat\n' for name in names).encode())
    files.save_json('labels.json', {name: ['dog', 'cat'] for name in names})
    return names


# --------------------------------------------------------------------------------------------------------- memory
@pytest.mark.parametrize('source', ['labels.csv', 'labels.json'])
def test_inputs_take_a_few_hundred_bytes_a_name(many, source):
    problems = Problems()
    found, used, peak = traced(inputs.read_inputs, 'list.txt', 'images', None, None, None, problems, source)
    assert not problems and found.names == many and set(found.sizes) == {(9, 12)}
    assert (found.labels.sum(0) > 0).nonzero()[0].tolist() == [7, 11] and found.labels.sum(1).tolist() == [2] * COUNT
    assert used < 400 and peak < 600


def test_a_record_takes_little_more_than_its_file(many):
    def begin():
        return Outputs('out', 'copies', {})
    one = [Value('7,11').identity(), *[Input('image').identity()] * 3]
    with begin().writing(many):
        pass
    with open('out/inputs.tsv', 'wb') as file:
        file.writelines('\t'.join([name, *one]).encode() + b'\n' for name in many)
    length = os.path.getsize('out/inputs.tsv') / COUNT
    os.rename('images', 'out/sub')                      # outputs are there

    def current():
        outputs = begin()
        made_from = [Value('7,11'), *[Input('image') for _ in range(3)]]
        return outputs, sum(outputs.is_current(name, [f'out/sub/{name}.jpg'], made_from) for name in many)
    (_, count), used, peak = traced(current)
    assert count == COUNT and used < length + 60 and peak < length + 100


def test_a_plan_of_all_seeds_takes_a_few_bytes_a_name(many):
    options = cli.defaults(cli.RUN, image_root='images', snapshot='snap', seeds=('crf', 'raw', 'cam'),
                           cam_threshold=(.1, .2, .3))
    problems = Problems()
    given = inputs.read_inputs('list.txt', 'images', None, None, None, problems, 'labels.csv')
    _, _, peak = traced(seeds.check, options, given, problems, ('train', 'infer'))
    assert not problems and peak < 250


def test_a_folder_is_listed_once_for_all_names(many, monkeypatch):
    for folder in os.listdir('images'):
        os.utime(f'images/{folder}', (946684800, 946684800))        # young ones are listed again
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, 'listdir', lambda path: listed.append(path) or listdir(path))
    assert [listing.find('images', name, ('.jpg',)) for name in many] == [[f'images/{name}.jpg'] for name in many]
    assert len(listed) == 50


# ------------------------------------------------------------------------------------------------------- progress
@pytest.mark.parametrize('stage, bars', [
    ('run', ['image labels', 'image sizes', 'superpixel sizes']),
    ('merge', ['superpixels that are there', 'sizes']), ('infer', ['scores that are there']),
    ('seeds', ['seeds that are there']), ('evaluate', ['draws'])])
def test_what_may_take_long_has_a_bar(stage, bars, in_valid, monkeypatch, capfd):
    more = {'run': ['--dry-run'], 'evaluate': ['--versus', 'pred', '--resamples', '20']}.get(stage, [])
    assert small_data.run(stage, more) == 0
    quiet = capfd.readouterr().err
    monkeypatch.setattr(console, 'PATIENCE', 0)
    assert small_data.run(stage, [*more, *(['--force'] if not more else [])]) == 0
    shown = capfd.readouterr().err
    for bar in bars:
        assert f'{bar}:' in shown and f'{bar}:' not in quiet


def test_long_labels_are_announced(in_valid, monkeypatch, capfd):
    files.save_bytes('labels.csv', b'a,dog\n' + b'b,dog\n' * 2)
    for limit, said in ((18, ''), (17, 'labels.csv: 0 MB of image labels are read\n')):
        monkeypatch.setattr(labels, '_LONG', limit)
        labels.read_source('labels.csv')
        assert capfd.readouterr().err == said


# ------------------------------------------------------------------------------------------------------ two levels
def rename(old, new):
    os.makedirs(os.path.dirname(new), exist_ok=True)
    os.rename(old, new)


def lay_out(names):
    """Give the files of `small_data` other names, and its outputs away."""
    shutil.rmtree('snap/results')
    shutil.rmtree('superpixels')
    for before, name in zip(NAMES, names):
        for folder, ending in (('images', '.jpg'), ('annotations', '.xml'), ('saliency', '.png'), ('truth', '.png')):
            rename(f'{folder}/{before}{ending}', f'{folder}/{name}{ending}')
    shutil.rmtree('raw')
    files.save_bytes('list.txt', '\n'.join(names).encode())
    files.save_bytes('labels.csv', ''.join(f'{name},dog\n' for name in names).encode())


def outputs(names):
    """Contents of everything the stages have made, by the index of the name where it is a file of a name."""
    found, index = {}, {name: str(i) for i, name in enumerate(names)}
    for path in small_data.list_files('.'):
        if path.startswith(('./snap/', './raw/', './merged/')) and path.endswith(('.png', '.npy', '.params', '.jpg')) \
                and not path.endswith('curves.png'):
            with open(path, 'rb') as file:
                content = file.read()
            stem, ending = os.path.splitext(path)
            name = next((name for name in index if stem.endswith('/' + name)), None)
            found[stem[:-len(name)] + index[name] + ending if name else path] = content
    return found


def all_stages(program):
    """Every stage on what the one before has made."""
    subprocess.run([program, 'list.txt', 'images', 'raw', '9'], check=True, stderr=subprocess.DEVNULL)
    for stage, more in (('merge', []), ('run', ['--superpixel-root', 'merged', '--labels', 'labels.csv', '--seeds',
                                                'crf,sal,cam'])):
        assert small_data.run(stage, more) == 0
    result = evaluate.run(cli.defaults(EVALUATE, pred='snap/results/seeds/crf', truth='truth', list='list.txt',
                                       num_process=1, json='figures.json', resamples=20, versus='truth', worst=2))
    evaluate.run_shard(cli.defaults(EVALUATE, pred='snap/results/seeds/crf', truth='truth', list='list.txt',
                                    num_process=1, json='figures.json', shard=Shard(1, 2)))
    return {key: result[key] for key in ('mIoU', 'confusion', 'images', 'extra', 'versus')}


@pytest.mark.skipif(not os.path.exists(os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel')),
                    reason='makeSuperpixel is not built')
def test_every_stage_makes_the_same_in_two_levels(valid, tmp_path, monkeypatch):
    program, made = os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel'), {}
    for names in (('w', 'x', 'y', 'z'), ('0a/w', '0a/x', '0b/y', '0b/c/z')):
        monkeypatch.chdir(shutil.copytree(valid, str(tmp_path / names[0].replace('/', '-'))))
        lay_out(names)
        made[names] = all_stages(program), outputs(names)
    (flat, files_flat), (levels, files_levels) = made.values()
    assert flat == levels and files_flat == files_levels
    assert {'./raw/3.png', './merged/3.png', './snap/results/scores_icd/3.npy', './snap/results/seeds/sal/3.png',
            './snap/results/seeds/cam_0.30/3.png', './snap/vgg16_icd-0000.params'} <= set(files_levels)
