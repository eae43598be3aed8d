"""From real images to seeds through the commands a user has, with a narrow network."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from icd import files
from icd.data import geometry, masks, superpixel_map, voc
from tests.helpers import PROJECT

NETWORK = ['--width', '0.0625', '--pretrained', 'none', '--gpus', 'cpu']


def call(*arguments):
    """Run a command; its output on failure."""
    done = subprocess.run(list(map(str, arguments)), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


def mean_iou(seeds, truth, names):
    """mIoU in percent of two folders, by sets of pixels; classes that neither has are left out."""
    def pixels(folder):
        return np.concatenate([masks.read_mask(os.path.join(folder, name + '.png')).ravel() for name in names])
    truth, seeds = pixels(truth), pixels(seeds)
    truth, seeds = truth[truth != geometry.IGNORE], seeds[truth != geometry.IGNORE]
    both = [(truth == c, seeds == c) for c in range(len(voc.CATEGORIES) + 1)]
    return 100 * np.mean([(t & s).sum() / (t | s).sum() for t, s in both if t.any() or s.any()])


@pytest.mark.slow
def test_the_four_stages_make_a_seed_of_every_image(real_images, tmp_path):
    data = os.path.join(real_images, 'voc_mini')
    names_file, images = str(tmp_path / 'list.txt'), os.path.join(data, 'JPEGImages')
    files.save_bytes(names_file, '\n'.join(voc.read_list(os.path.join(data, 'list.txt'))[:6]).encode())
    common = ['--image-root', images, '--data-list', names_file] + NETWORK
    call(os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel'), names_file, images, tmp_path / 'raw', 75)
    call(sys.executable, 'generate_superpixel.py', *common, '--superpixel-root', tmp_path / 'raw',
         '--save-superpixel-root', tmp_path / 'merged', '--image-size', 129, '--num-process', 1)
    run = [sys.executable, 'run_icd.py', *common, '--annotation-root', os.path.join(data, 'Annotations'),
           '--superpixel-root', tmp_path / 'merged', '--snapshot', tmp_path / 'snap', '--image-size', 65,
           '--infer-size', 129, '--num-epoch', 2, '--batch-size', 4]
    call(*run)
    seeds, names = tmp_path / 'snap' / 'results' / 'seeds' / 'crf', voc.read_list(names_file)
    for name in names:
        seed = masks.read_mask(str(seeds / (name + '.png')))
        with Image.open(os.path.join(images, name + '.jpg')) as image:
            assert seed.shape == image.size[::-1]
        own = voc.read_annotation(os.path.join(data, 'Annotations', name + '.xml'), voc.CATEGORIES)
        assert set(np.unique(seed)) <= {0, geometry.IGNORE} | {c + 1 for c in own}
        merged = superpixel_map.read(superpixel_map.path(str(tmp_path / 'merged'), name))
        assert merged.shape == seed.shape and merged.max() < 64
    call(sys.executable, '-m', 'icd.commands', 'evaluate', '--pred', seeds, '--truth',
         os.path.join(data, 'SegmentationClassAug'), '--list', names_file, '--num-process', 1, '--json',
         tmp_path / 'figures.json')
    with open(str(tmp_path / 'figures.json')) as file:
        assert json.load(file)['mIoU'] == pytest.approx(mean_iou(str(seeds), os.path.join(data, 'SegmentationClassAug'),
                                                                 names))

    before = {path: os.stat(path).st_mtime_ns for path in (str(seeds / (name + '.png')) for name in names)}
    call(*(run + ['--only-gen-seeds']))
    assert before == {path: os.stat(path).st_mtime_ns for path in before}
