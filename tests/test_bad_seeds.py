"""What users feed the training of a segmentation network, and what they get; as `test_bad_inputs`."""
import importlib
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from icd import console, files
from icd.data import masks
from tests.helpers.small_data import NAMES, assert_refused, list_files
from tests.test_bad_inputs import cut, drop, folder, nothing, picture, put, remove, spoil, weights

TRAIN = ('train --image-root images --seed-root truth --data-list list.txt --pretrained pretrained.params --snapshot '
         'fresh --num-epoch 1 --batch-size 2 --image-size 33 --width 0.03125 --gpus cpu --num-workers 0 '
         '--num-process 1').split()


def run(extra):
    """Exit code of the command, run in this process."""
    return console.run_command(importlib.import_module('icd.steps.segment').main, TRAIN + list(extra))


def all_masks(change):
    """Every seed changed: `change(mask)`."""
    def make():
        for name in NAMES:
            path = f'truth/{name}.png'
            files.save_image(path, change(masks.read_mask(path)).astype(np.uint8))
    return make


def coloured(path, mode):
    """A seed in VOC's colours as a program may save it: RGB, or a palette in an order of its own."""
    def make():
        masks.save_colour(path, masks.read_mask(path))
        image = Image.open(path).convert('RGB')
        (image.convert('P', palette=Image.ADAPTIVE, colors=4) if mode == 'P' else image).save(path)
    return make


def sixteen_bits(path):
    return lambda: Image.fromarray(masks.read_mask(path).astype(np.uint16) * 100).save(path)


def resnet(change):
    """A file of ResNet-101 weights in the names of GluonCV, changed."""
    def make():
        from icd.model import deeplab
        from icd.model.initial import starting_values
        from icd.weights import mxnet_params
        from tests.weights.test_resnet101 import structural
        net = deeplab.create('resnet101_largefov', 21, 1 / 32)
        arrays = {structural(name): value for name, value in starting_values(net, 0).items()
                  if not name.startswith('fc1')}
        change(arrays)
        mxnet_params.write('resnet.params', arrays)
    return make


def deep_stem(arrays):
    del arrays['conv1.weight']
    arrays.update({f'conv1.{i}.weight': np.zeros((2, 3, 3, 3), np.float32) for i in (0, 3, 6)})


def several(*changes):
    return lambda: [change() for change in changes]


RESNET = ['--network', 'resnet101_largefov', '--pretrained', 'resnet.params']
VALIDATED = ['--val-list', 'list.txt', '--val-root', 'pred']
# id: (how to break the data set, further arguments, what the message must match)
TABLE = {
    # seeds
    'no seeds': (remove('truth'), [], r'--seed-root truth: no such folder: check'),
    'seed missing': (remove('truth/a.png'), [], r'truth/a\.png: no such mask: check --seed-root'),
    'seed of another size': (picture('truth/a.png', (36, 45)), [],
                             r'truth/a\.png \(45x36, not 44x36\): of another size than its image: make it again'),
    'seed turned': (picture('truth/a.png', (44, 36)), [], r'truth/a\.png \(36x44, not 44x36\): of another size'),
    'seed in colours': (coloured('truth/a.png', 'RGB'), [], r'truth/a\.png: a colour picture \(mode RGB\)'),
    'seed with another palette': (coloured('truth/a.png', 'P'), [],
                                  r'truth/a\.png \(index \d+ has the colour of \d+\): its palette has the colours'),
    'seed of 16 bits': (sixteen_bits('truth/a.png'), [], r'truth/a\.png: has the index 25500'),
    'seed of an unknown class': (picture('truth/a.png', (36, 44), value=21), [],
                                 r'truth/a\.png \(index 21\): has an index beyond the 21 classes, background'),
    'seeds of more classes than names': (put('names.txt', 'cat\ndog'), ['--class-names', 'names.txt'],
                                         r'truth/a\.png \(index 12\).*\(4 files\): .*--class-names'),
    'seed cut short': (cut('truth/a.png', 60), [], r'truth/a\.png: not a whole PNG'),
    'seed is text': (put('truth/a.png', 'x'), [], r'truth/a\.png: not a whole PNG'),
    'seed is a folder': (several(remove('truth/a.png'), folder('truth/a.png')), [], r'truth/a\.png: this is a folder'),
    'all seeds are background': (all_masks(lambda mask: 0 * mask), [], r'--seed-root truth: .*nothing but background:'),
    'foreground is 255': (all_masks(lambda mask: np.where(mask > 0, 255, 0)), [],
                          r'--seed-root truth: the masks hold nothing but background and 255: check'),
    'all seeds are ignored': (all_masks(lambda mask: 0 * mask + 255), [],
                              r'--seed-root truth: every pixel of every mask is ignored \(255\): check'),
    # images, lists
    'image missing': (remove('images/a.jpg'), [], r'images/a\.jpg: no such image: check --image-root'),
    'no images': (remove('images'), [], r'--image-root images: no such folder'),
    'list missing': (remove('list.txt'), [], r'list\.txt: no such file'),
    'fewer images than a batch': (nothing, ['--batch-size', '5'], r'--batch-size 5: an epoch has only 4 images'),
    # weights
    'weights missing': (nothing, ['--pretrained', 'none.params'], r'none\.params: no such file: see data/README'),
    'weights of ResNet for VGG': (resnet(lambda arrays: None), ['--pretrained', 'resnet.params'],
                                  r'resnet\.params: not .*VGG16'),
    'weights of VGG for ResNet': (nothing, ['--network', 'resnet101_aspp'],
                                  r'pretrained\.params: not the weights of a ResNet-101'),
    'weights of a ResNet with a deep stem': (resnet(deep_stem), RESNET, r'resnet\.params: a ResNet with a deep stem'),
    'weights of a smaller ResNet': (resnet(lambda arrays: [arrays.pop(name) for name in list(arrays) if re.match(
        r'layer3\.(6|7|8|9|\d\d)\.', name)]), RESNET, r'resnet\.params: ResNet-50'),
    'weights of half a ResNet': (resnet(drop('layer4.2.bn3.running_var')), RESNET,
                                 r'resnet\.params: lacks 1 of the 520 .*layer4_2_batchnorm2_running_var'),
    'weights of another width': (nothing, ['--width', '0.0625'], r'pretrained\.params: does not fit this network'),
    'weights that are not finite': (weights('pretrained.params', spoil('arg:conv2_1_weight')), [],
                                    r'pretrained\.params: holds values that are not finite \(conv2_1_weight\)'),
    'no ICD to start from': (nothing, ['--init-from-icd', 'none.params'], r'none\.params: no such file'),
    'ICD for a ResNet': (nothing, ['--network', 'resnet101_aspp', '--pretrained', 'none', '--init-from-icd',
                                   'snap/vgg16_icd-0000.params'], r'--init-from-icd snap/.*: ICD has the convolutions'),
    # truth to watch
    'truth without names': (nothing, ['--val-root', 'pred'], r'--val-list and --val-root: .*give both or neither'),
    'truth missing': (remove('pred/b.png'), VALIDATED, r'pred/b\.png: no such mask: check --val-root'),
    'truth of another size': (picture('pred/b.png', (3, 3)), VALIDATED, r'pred/b\.png \(3x3, not 44x36\): of another'),
    'list of truth missing': (nothing, ['--val-list', 'none.txt', '--val-root', 'pred'], r'none\.txt: no such file'),
    # options
    'network': (nothing, ['--network', 'vgg19'], r'--network: invalid choice'),
    'crop for three scales': (nothing, ['--loss', 'multi-scale', '--image-size', '41'],
                              r'--image-size 41: not 32k\+1, .*: use 33 or 65'),
    'devices': (nothing, ['--gpus', 'cpu:3'], r'--batch-size 2: not divisible by 3 devices'),
    'snapshot is a file': (put('fresh', 'x'), [], r'fresh: .*choose another folder'),
}


@pytest.fixture(scope='module')
def seeded(valid, tmp_path_factory):
    """The valid data set without what training does not read."""
    root = str(tmp_path_factory.mktemp('seeded') / 'data')
    shutil.copytree(valid, root, ignore=shutil.ignore_patterns('results', 'superpixels', 'raw', 'saliency'))
    return root


@pytest.fixture
def here(seeded, tmp_path, monkeypatch):
    """A copy of the data set to break, the working directory."""
    shutil.copytree(seeded, str(tmp_path / 'data'))
    monkeypatch.chdir(str(tmp_path / 'data'))


@pytest.mark.parametrize('row', TABLE)
def test_bad_input_is_one_line_with_exit_code_2(row, here, capfd):
    break_it, extra, message = TABLE[row]
    break_it()
    assert_refused(lambda: run(extra), message, capfd)


def test_a_training_that_diverges_is_one_line(here, capfd):
    assert run(['--learning-rate', '1e12', '--num-epoch', '9']) == 2
    printed = capfd.readouterr().err
    assert re.search(r'training diverged \(.*\): give a smaller --learning-rate', printed)
    assert 'Traceback' not in printed
    assert not [path for path in list_files('.') if path.endswith('.part')]


def test_an_image_that_turns_out_to_be_damaged_is_named(here, capfd):
    os.truncate('images/a.jpg', os.path.getsize('images/a.jpg') - 40)
    assert run([]) == 2
    printed = capfd.readouterr().err
    assert 'images/a.jpg: the file is cut short' in printed and 'Traceback' not in printed


def test_the_valid_data_set_is_valid(here):
    assert run(VALIDATED) == 0


def test_images_without_a_known_pixel_are_no_mistake(here):
    """A batch of such images moves nothing but what decays; the loss is 0, not NaN."""
    for name in NAMES[1:]:
        picture(f'truth/{name}.png', (36, 44), value=255)()
    assert run(['--batch-size', '1', '--log-frequency', '1']) == 0
    with open('fresh/log.txt', encoding='utf-8') as file:
        assert file.read().count('loss 0.0000') == 3
