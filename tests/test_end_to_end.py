"""From photographs to seeds through the doors a user has, on real photographs and a narrow network."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from icd.data import geometry, masks, superpixel_map, voc
from tests.helpers import PROJECT

NETWORK = ['--width', '0.125', '--pretrained', 'none', '--gpus', 'cpu']


def call(*words):
    """Run a command; its output on failure."""
    done = subprocess.run([str(word) for word in words], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


@pytest.mark.slow
def test_the_four_stages_make_a_seed_of_every_photograph(photographs, tmp_path):
    data = os.path.join(photographs, 'voc_mini')
    names_file, images = os.path.join(data, 'list.txt'), os.path.join(data, 'JPEGImages')
    common = ['--image-root', images, '--data-list', names_file] + NETWORK
    call(os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel'), names_file, images, tmp_path / 'raw', 75)
    call(sys.executable, 'generate_superpixel.py', *common, '--superpixel-root', tmp_path / 'raw',
         '--save-superpixel-root', tmp_path / 'merged', '--image-size', 161)
    run = [sys.executable, 'run_icd.py', *common, '--annotation-root', os.path.join(data, 'Annotations'),
           '--superpixel-root', tmp_path / 'merged', '--snapshot', tmp_path / 'snap', '--image-size', 97,
           '--infer-size', 161, '--num-epoch', 2, '--batch-size', 8]
    call(*run)
    seeds, names = tmp_path / 'snap' / 'results' / 'seeds' / 'crf', voc.read_list(names_file)
    for name in names:
        seed = masks.read_mask(str(seeds / (name + '.png')))
        with Image.open(os.path.join(images, name + '.jpg')) as photograph:
            assert seed.shape == photograph.size[::-1]
        own = voc.read_annotation(os.path.join(data, 'Annotations', name + '.xml'), voc.CATEGORIES)
        assert set(np.unique(seed)) <= {0, geometry.IGNORE} | {c + 1 for c in own}
        merged = superpixel_map.read(superpixel_map.path(str(tmp_path / 'merged'), name))
        assert merged.shape == seed.shape and merged.max() < 64
    call(sys.executable, '-m', 'icd.steps.evaluate', '--pred', seeds, '--truth',
         os.path.join(data, 'SegmentationClassAug'), '--list', names_file, '--json', tmp_path / 'figures.json')
    with open(str(tmp_path / 'figures.json')) as file:
        assert 0 < json.load(file)['mIoU'] < 100

    before = {path: os.stat(path).st_mtime_ns for path in (str(seeds / (name + '.png')) for name in names)}
    call(*(run + ['--only-gen-seeds']))
    assert before == {path: os.stat(path).st_mtime_ns for path in before}
