"""Scores, merged superpixels and seeds are made again when, and only when, what they depend on changed.

A row is a way to replace a file, give another option or another checkpoint, and what must be made again then.
"""
import os
import shutil

import numpy as np
import pytest

from icd import files
from icd.data import images, superpixel_map
from icd.weights import mxnet_params
from tests.helpers.small_data import run

FOLDERS = {'merged': ('merged', '.png'), 'cam': ('snap/results/scores_cam', '.npy'),
           'icd': ('snap/results/scores_icd', '.npy'), 'crf': ('snap/results/seeds/crf', '.png'),
           'sal': ('snap/results/seeds/sal', '.png'), 'colour': ('snap/results/seeds/crf_colour', '.png')}
NAMES = 'a', 'b', 'c', 'sub/d'
PAST, FUTURE = 946684800, 4102444800            # 2000 and 2100
WEIGHTS = 'snap/vgg16_icd-0000.params'


def stages(merge=(), infer=(), seeds=()):
    assert run('merge', merge) == 0
    assert run('infer', infer) == 0
    assert run('seeds', ('--seeds', 'crf,sal', '--colour', *seeds)) == 0


def stamps():
    found = {}
    for kind, (folder, ending) in FOLDERS.items():
        for name in NAMES:
            found[kind, name] = os.stat(os.path.join(folder, name + ending)).st_mtime_ns
    return found


@pytest.fixture(scope='module')
def made(valid, tmp_path_factory):
    """A data set with all outputs, of dates in the past."""
    root = str(tmp_path_factory.mktemp('made') / 'data')
    shutil.copytree(valid, root)
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (PAST, PAST))
    before = os.getcwd()
    os.chdir(root)
    try:
        stages()
    finally:
        os.chdir(before)
    return root


def dated(path, date):
    os.utime(path, (date, date))


def image(name, date=None):
    path = f'images/{name}.jpg'
    files.save_image(path, np.ascontiguousarray(images.read_image(path)[:, ::-1]))
    if date:
        dated(path, date)


def image_of_same_size_and_date(name):
    """What a tool that keeps sizes and dates, or a broken clock, may leave."""
    path = f'images/{name}.jpg'
    before = os.stat(path)
    with open(path, 'r+b') as file:
        data = bytearray(file.read())
        data[-12] ^= 4
        file.seek(0)
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def copied(folder):
    """The same files with the date of today, as `cp -r` leaves them."""
    shutil.copytree(folder, folder + '2', copy_function=shutil.copy)
    shutil.rmtree(folder)
    os.rename(folder + '2', folder)


def linked_into_a_store(path, change):
    files.save_bytes(path + '.store', change(open(path, 'rb').read()))
    dated(path + '.store', PAST - 9)
    os.remove(path)
    os.symlink(os.path.basename(path) + '.store', path)


def annotation(name, text, date=None):
    path = f'annotations/{name}.xml'
    with open(path) as file:
        data = file.read()
    files.save_bytes(path, data.replace(*text).encode())
    if date:
        dated(path, date)


def raw_superpixels(name, date=None):
    path = superpixel_map.path('raw', name)
    superpixel_map.write(path, np.ascontiguousarray(superpixel_map.read(path).T[::-1][:36, :36].repeat(2, 1)[:, :44]))
    if date:
        dated(path, date)


def saliency(name):
    files.save_image(f'saliency/{name}.png', np.full((36, 44), 200, np.uint8))
    dated(f'saliency/{name}.png', PAST - 9)


def checkpoint(scale, date):
    arrays = mxnet_params.read(WEIGHTS)
    arrays['arg:fc8_weight'] = scale * arrays['arg:fc8_weight']
    mxnet_params.write(WEIGHTS, arrays)
    dated(WEIGHTS, date)


def scores(name):
    path = f'snap/results/scores_icd/{name}.npy'
    files.save_npy(path, -np.load(path))
    dated(path, PAST - 9)


def all_of(*kinds):
    return {(kind, name) for kind in kinds for name in NAMES}


def of(name, *kinds):
    return {(kind, name) for kind in kinds}


EVERY = 'merged', 'cam', 'icd', 'crf', 'sal'
WITH_SCORES = EVERY[1:]
ROWS = {
    'nothing': (lambda: None, {}, set()),
    'images copied': (lambda: copied('images'), {}, set()),
    'images touched, of the future': (lambda: [dated(f'images/{n}.jpg', FUTURE) for n in NAMES], {}, set()),
    'image replaced': (lambda: image('a'), {}, of('a', *EVERY)),
    'image replaced, older': (lambda: image('a', PAST - 9), {}, of('a', *EVERY)),
    'image replaced, of the future': (lambda: image('sub/d', FUTURE), {}, of('sub/d', *EVERY)),
    'image of the same size and date': (lambda: image_of_same_size_and_date('b'), {}, of('b', *EVERY)),
    'image moved into a store': (lambda: linked_into_a_store('images/a.jpg', bytes), {}, set()),
    'other image in a store': (lambda: linked_into_a_store('images/a.jpg',
                                                           lambda data: data[:-12] + b'\0' + data[-11:]),
                               {}, of('a', *EVERY)),
    'other folder of the same images': (lambda: shutil.copytree('images', 'others'),
                                        dict.fromkeys(('merge', 'infer', 'seeds'), ('--image-root', 'others')), set()),
    'annotation corrected, older': (lambda: annotation('a', ('dog', 'cat'), PAST - 9), {}, of('a', *WITH_SCORES)),
    'annotation corrected, of the future': (lambda: annotation('a', ('dog', 'cat'), FUTURE), {},
                                            of('a', *WITH_SCORES)),
    'annotation with the same class': (lambda: annotation('a', ('</object>', '<pose>left</pose></object>')), {}, set()),
    'annotations touched': (lambda: [dated(f'annotations/{n}.xml', FUTURE) for n in NAMES], {}, set()),
    'raw superpixels replaced': (lambda: raw_superpixels('a'), {}, of('a', 'merged')),
    'raw superpixels replaced, older': (lambda: raw_superpixels('a', PAST - 9), {}, of('a', 'merged')),
    'raw superpixels copied': (lambda: copied('raw'), {}, set()),
    'saliency map replaced, older': (lambda: saliency('c'), {}, of('c', 'sal')),
    'saliency maps copied': (lambda: copied('saliency'), {}, set()),
    'checkpoint touched': (lambda: dated(WEIGHTS, FUTURE), {}, set()),
    'checkpoint of older date': (lambda: checkpoint(2, PAST - 9), {}, all_of(*WITH_SCORES)),
    'scores replaced, older': (lambda: scores('b'), {'infer': None}, of('b', 'icd', 'crf', 'sal')),
    'CRF iterations': (lambda: None, {'seeds': ('--crf-iterations', '1')}, all_of('crf')),
    'fewer superpixels': (lambda: None, {'merge': ('--max-superpixel-num', '3')}, all_of('merged')),
    'other scales': (lambda: None, {'infer': ('--infer-scales', '0.75,1')}, all_of(*WITH_SCORES)),
    'merged map lost': (lambda: os.remove('merged/a.png'), {}, of('a', 'merged')),
    'seed lost': (lambda: os.remove('snap/results/seeds/crf/b.png'), {}, of('b', 'crf')),
    'one of two score maps lost': (lambda: os.remove('snap/results/scores_cam/b.npy'), {}, of('b', 'cam', 'icd')),
    'force': (lambda: None, {'seeds': ('--force',)}, all_of('crf', 'sal')),
}


@pytest.mark.parametrize('row', ROWS)
def test_a_change_makes_exactly_its_dependents_again(made, tmp_path, monkeypatch, row):
    change, options, expected = ROWS[row]
    shutil.copytree(made, str(tmp_path / 'data'), symlinks=True)      # with the dates, as `cp -a` leaves them
    monkeypatch.chdir(tmp_path / 'data')
    before, drawn_from = stamps(), contents('images', 'snap/results/seeds/crf')
    change()
    if options.get('infer', ()) is None:                # only the seeds
        assert run('seeds', ('--seeds', 'crf,sal', '--colour')) == 0
    else:
        stages(**options)
    after = stamps()
    again = {key for key in after if after[key] != before[key]}
    assert {key for key in again if key[0] != 'colour'} == expected
    changed = {name for name, data in contents('images', 'snap/results/seeds/crf').items() if drawn_from[name] != data}
    assert {name for kind, name in again if kind == 'colour'} == changed
    if not options:
        stages()
        assert stamps() == after


def contents(*folders):
    """Bytes of the files of each name in some folders."""
    found = {}
    for name in NAMES:
        paths = [os.path.join(folder, name + ending) for folder, ending in zip(folders, ('.jpg', '.png'))]
        found[name] = [open(path, 'rb').read() for path in paths]
    return found
