"""A ResNet-101 keeps the variant of the weights it began with, which nothing says but the names in its files."""
import os

import numpy as np
import pytest

from icd import files
from icd.data import images, masks
from icd.errors import UserError
from icd.model import deeplab
from icd.model.initial import initialize_missing
from icd.mxnet_setup import mx
from icd.steps import segment
from icd.weights import load, mxnet_params, onnx_export, trained
from tests.weights.test_resnet101 import caffe

CLASSES, WIDTH, SIDE = ('cat', 'dog'), 1 / 32, 33


def create(variant):
    return deeplab.create('resnet101_largefov', 1 + len(CLASSES), WIDTH, resnet_variant=variant)


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """A folder where such a network was trained from a file of Caffe's layout, and how to train it."""
    folder, before = tmp_path_factory.mktemp('variant'), os.getcwd()
    os.chdir(str(folder))
    values = initialize_missing(create('v1b'), {}, 0, he=True)
    mxnet_params.write('caffe.params', {caffe(name): value for name, value in values.items()
                                        if not name.startswith('fc1')})
    for name in 'ab':
        files.save_image(f'images/{name}.jpg', np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
        masks.save_mask(f'seeds/{name}.png', np.arange(3, dtype=np.uint8).repeat(11)[:, None].repeat(SIDE, 1))
    files.save_bytes('list.txt', b'a\nb\n')
    files.save_bytes('classes.txt', '\n'.join(CLASSES).encode())
    arguments = ['train', *'--image-root images --data-list list.txt --gpus cpu --num-workers 0 --seed-root seeds '
                 '--class-names classes.txt --network resnet101_largefov --pretrained caffe.params --width 0.03125 '
                 '--image-size 33 --batch-size 2 --snapshot snap --num-process 1 --num-epoch 2'.split()]
    segment.main(arguments)
    yield arguments
    os.chdir(before)


def test_a_training_goes_on_with_it(training):
    with open('snap/log.txt') as file:
        assert 'strides in the 1x1 convolutions (v1), in the names of Caffe' in file.read()
    with open('snap/deeplab-0001.params', 'rb') as file:
        expected = file.read()
    for ending in 'params', 'states':
        os.remove(f'snap/deeplab-0001.{ending}')
    segment.main(training)
    with open('snap/deeplab-0001.params', 'rb') as file:
        assert file.read() == expected


def test_predictions_are_those_of_the_variant_by_mxnet_and_onnxruntime(training):
    path = 'snap/deeplab-0000.params'
    found, net = trained.read(path), create('v1')
    load.load_trained(path, net, mx.cpu())
    image = images.read_image('images/a.jpg')          # as large as the letterbox
    expected = net(mx.nd.array(image[..., ::-1].transpose(2, 0, 1)[None], dtype='uint8')).asnumpy()[0]
    onnx_export.write('net.onnx', found.arrays, found.class_names)
    for model in path, 'net.onnx':
        out = os.path.basename(model) + '-out'
        segment.main(['predict', *'--image-root images --data-list list.txt --gpus cpu --num-workers 0 --infer-size 33 '
                      '--scales 1 --no-flip --crf none --save-logits eighth'.split(), '--model', model, '--out', out])
        scores = np.load(f'{out}/logits/a.npy')
        np.testing.assert_allclose(scores, expected[:, :scores.shape[1]], atol=1e-4 * abs(expected).max())


def test_weights_of_one_variant_do_not_fit_the_other(training):
    with pytest.raises(UserError, match='lacks 20 of .*layer2_0_conv0_weight'):
        load.load_trained('snap/deeplab-0000.params', create('v1b'), mx.cpu())
