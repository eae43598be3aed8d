"""Lines that a page shows one below the other work one after the other, as they are printed but for their size."""
import importlib
import os
import re
import shutil

import numpy as np
import pytest

from icd import console
from icd.data import masks, seed_check, voc
from icd.errors import Problems
from icd.train import checkpoint
from tests.helpers.segment_data import SIZES
from tests.test_docs import PAGES, commands

_SMALL = '--num-epoch 1 --batch-size 2 --image-size 33 --width 0.03125'
_ONE_PROCESS = '--gpus cpu --num-workers 0 --num-process 1'
COMMANDS = {            # module of each, and what makes it small
    'run_icd.py': ('icd.steps.run', f'{_SMALL} --infer-size 49 {_ONE_PROCESS}'),
    'icd-segment train': ('icd.steps.train_segmentation', f'{_SMALL} {_ONE_PROCESS}'),
    'icd-segment predict': ('icd.steps.predict_segmentation', f'--infer-size 49 --scales 1 --no-flip {_ONE_PROCESS}'),
}
FILES = {               # what the pages call the files of the small data set
    'Your/VOC2012/JPEGImages': 'images', 'Your/VOC2012/Annotations': 'annotations',
    'data/superpixels/voc_superpixels': 'superpixels', 'data/VOC2012/train_aug.txt': 'list.txt', 'val.txt': 'list.txt',
    'data/pretrained/vgg16_20M.params': 'pretrained.params'}


def put_where_documented():
    """Put the small data set of the current folder where the pages say that VOC's is."""
    for path, there in FILES.items():
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        os.symlink(os.path.realpath(there), path)


@pytest.fixture
def documented(segmented):
    """The current folder holds a small data set where the pages say that VOC's is, and a trained network."""
    put_where_documented()
    shutil.copytree('segment', 'snapshot/deeplab')


def run_lines(page, heading, line_numbers):
    """Run commands that a page shows below a heading."""
    section = re.search(rf'^## {heading}\n.*?(?=^## |\Z)', PAGES[page], re.S | re.M).group(0)
    shown = [line for line in commands(section) if line[0] in COMMANDS]
    for name, arguments in (shown[number] for number in line_numbers):
        module, small = COMMANDS[name]
        assert console.run_command(importlib.import_module(module).main, [*arguments, *small.split()]) == 0


def test_two_lines_lead_from_image_labels_to_a_network(valid, tmp_path, monkeypatch):
    shutil.copytree(valid, tmp_path / 'work')
    monkeypatch.chdir(tmp_path / 'work')
    put_where_documented()
    run_lines('docs/segmentation.md', 'From image labels in one command', (0, 1))
    learned = checkpoint.read('snapshot/deeplab/deeplab-0000.params').settings['seed_root']
    assert learned == checksum('snapshot/icd/results/seeds/crf')


@pytest.mark.parametrize('page, lines', [('docs/segmentation.md', (0, 1, 2)), ('docs/prediction.md', (0, 1))])
def test_a_second_round_learns_from_what_the_first_predicts_of_the_known_classes(documented, page, lines):
    run_lines(page, 'A second round', lines)
    found = [masks.read_mask(f'snapshot/second/crf/{name}.png') for name in SIZES]
    assert set(np.unique(np.concatenate([mask.ravel() for mask in found]))) == {0, 12}
    learned = checkpoint.read('snapshot/deeplab2/deeplab-0000.params').settings['seed_root']
    assert learned == checksum('snapshot/second/crf')
    for kind in ('raw', 'crf') if len(lines) > 2 else ():
        assert [masks.read_mask(f'predictions2/{kind}/{name}.png').shape for name in SIZES] == list(SIZES.values())


def test_a_second_training_goes_on_from_the_weights_of_the_first(documented):
    module, small = COMMANDS['icd-segment train']
    arguments = '--image-root images --seed-root masks --snapshot second --pretrained snapshot/deeplab/net-0001.params'
    assert console.run_command(importlib.import_module(module).main, f'{arguments} {small}'.split()) == 0
    with open('second/log.txt') as file:
        assert 'taken: conv1_1 to fc8 (16 layers)' in file.read()


def checksum(folder):
    """Of the masks of a folder, as a training records what it learned from."""
    names, problems = voc.read_list('list.txt'), Problems()
    sizes = seed_check.read_sizes('images', names, problems)
    return seed_check.check_masks('', folder, names, sizes, ('background', *voc.CATEGORIES), 1, problems).checksum
