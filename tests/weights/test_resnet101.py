"""ResNet-101 weights from elsewhere: recognised by name, refused where they compute something else."""
import re

import mxnet as mx
import numpy as np
import pytest

from icd.model import deeplab
from icd.model.initial import set_values, starting_values
from icd.weights import load, mxnet_params, resnet101
from icd.weights.source_input import CAFFE, TORCHVISION, SourceInput

WIDTH = 1 / 32


@pytest.fixture(scope='module')
def net():
    return deeplab.create('resnet101_largefov', 3, WIDTH)


@pytest.fixture(scope='module')
def ours(net):
    """Different values for all parameters of a backbone, by the project's names."""
    rng = np.random.default_rng(0)
    return {name: rng.random(value.shape, np.float32) + .5 for name, value in starting_values(net, 0).items()
            if not name.startswith('fc1')}


def structural(name):
    """A name of GluonCV's files."""
    layer, kind, number, part = re.fullmatch(r'(stem|layer\d_\d+(?:_down)?)_(conv|batchnorm)(\d)_(\w+)', name).groups()
    if layer == 'stem':
        return f"{'conv' if kind == 'conv' else 'bn'}1.{part}"
    stage, unit, *down = layer.split('_')
    if down:
        return f"{stage}.{unit}.downsample.{0 if kind == 'conv' else 1}.{part}"
    return f"{stage}.{unit}.{'conv' if kind == 'conv' else 'bn'}{int(number) + 1}.{part}"


def torchvision(name):
    return re.sub(r'beta$', 'bias', re.sub(r'gamma$', 'weight', structural(name)))


def prefixed(name):
    """A name of GluonCV's network."""
    layer, kind, number, part = re.fullmatch(r'(stem|layer\d_\d+(?:_down)?)_(conv|batchnorm)(\d)_(\w+)', name).groups()
    if layer == 'stem':
        return f'resnetv1b_{kind}0_{part}'
    stage, unit, *down = layer[len('layer'):].split('_')
    if down:
        return f'resnetv1b_down{stage}_{kind}0_{part}'
    return f'resnetv1b_layers{stage}_{kind}{3 * int(unit) + int(number)}_{part}'


NAMES = {'own': lambda name: ('aux:' if 'running' in name else 'arg:') + name, 'gluoncv': structural,
         'gluoncv network': prefixed, 'torchvision': torchvision, 'in a module': lambda n: 'module.' + torchvision(n)}


@pytest.mark.parametrize('names', NAMES)
def test_layers_are_recognised_by_name(ours, names):
    arrays = {NAMES[names](name): value for name, value in ours.items()}
    arrays.update({'fc.weight': np.zeros((4, 64)), 'bn1.num_batches_tracked': np.array(3)})
    converted = resnet101.convert(arrays)
    assert set(converted.values) == set(ours)
    assert all((converted.values[name] == ours[name]).all() for name in ours)
    assert converted.description.endswith('left out: fc.weight') and 'num_batches' not in converted.description


def test_names_of_gluoncv_are_those_of_its_networks():
    """Every layer is recognised, in both kinds of names, and has the shape it has here."""
    from gluoncv.model_zoo import get_model
    zoo, ours = get_model('resnet101_v1b', pretrained=False), deeplab.create('resnet101_largefov', 3)
    shapes = {name: p.shape for name, p in ours.collect_params().items() if not name.startswith('fc1')}
    for theirs in zoo.collect_params(), zoo._collect_params_with_prefix():
        found = {resnet101._own_name(name): p.shape for name, p in theirs.items()}
        found.pop(None)                                     # the classifier
        assert set(found) == set(shapes)
        for name, shape in found.items():                   # 0 is not known yet
            assert all(a in (0, b) for a, b in zip(shape, shapes[name])), name


@pytest.mark.parametrize('source', [CAFFE, SourceInput('BGR', (.1, .2, .3), (.5, .6, .7), 1.),
                                    SourceInput('RGB', (0., 0., 0.), (1., 1., 1.), 255.)], ids=str)
def test_another_input_is_folded_into_the_stem(ours, source):
    """The stem, normalised, gives what the source's does wherever it sees only the image."""
    arrays = {torchvision(name): value for name, value in ours.items()}
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 17, 17)).astype(np.float32)

    def stem(values, x):
        x = mx.nd.Convolution(mx.nd.array(x), mx.nd.array(values['stem_conv0_weight']), kernel=(7, 7), num_filter=2,
                              no_bias=True)
        return x.asnumpy() - values['stem_batchnorm0_running_mean'].reshape(1, -1, 1, 1)

    def read(spec):
        order = {'RGB': 1, 'BGR': -1}[spec.channel_order]
        mean, std = (np.reshape(value, (3, 1, 1)) for value in (spec.mean, spec.std))
        return (pixels[:, ::order] * spec.largest / 255 - mean) / std
    expected = stem(ours, read(source))
    found = stem(resnet101.convert(arrays, source).values, read(TORCHVISION))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert resnet101.convert(arrays, TORCHVISION).values['stem_conv0_weight'].tobytes() == \
        ours['stem_conv0_weight'].tobytes()


def test_a_file_starts_a_network(net, ours, tmp_path):
    path = str(tmp_path / 'resnet.params')
    mxnet_params.write(path, {structural(name): value for name, value in ours.items()})
    found = load.pretrained_for(path, net)
    assert set(found.values) == set(ours) and 'ResNet-101 with strides in the 3x3' in found.description
    set_values(net, {**starting_values(net, 0), **found.values})


# --------------------------------------------------------------------------------------------------- what is refused
def without(ours, pattern):
    return {torchvision(name): value for name, value in ours.items() if not re.match(pattern, name)}


def deep_stem(ours):
    return {**without(ours, 'stem_conv0'), **{f'conv1.{i}.weight': np.zeros((2, 3, 3, 3)) for i in (0, 3, 6)}}


def renamed(pattern, name):
    return lambda ours: {**without(ours, pattern), name: np.zeros((2, 2, 1, 1), np.float32)}


@pytest.mark.parametrize('broken, said', [
    (deep_stem, 'deep stem, of three 3x3 convolutions'),
    (renamed('stem_conv0', 'resnetv1s_conv1_weight'), 'deep stem'),
    (renamed('layer', 'res4b22_branch2a'), 'layout of Caffe, with its strides in the 1x1'),
    (renamed('layer', 'resnetv10_stage1_conv0_weight'), r"Gluon's own zoo .resnet101_v1 or v2.*1x1"),
    (renamed('layer', 'features.4.0.body.0.weight'), "Gluon's own zoo"),
    (lambda ours: without(ours, r'layer3_(6|7|8|9|\d\d)_'), 'ResNet-50'),
    (lambda ours: without(ours, r'layer3_22_'), r'another ResNet, with \(3, 4, 22, 3\) units'),
    (lambda ours: {**without(ours, 'nothing'), 'conv1.weight': np.zeros((2, 3, 3, 3))}, 'first kernel is 3x3, not 7x7'),
    (lambda ours: {**without(ours, 'nothing'), 'layer1.0.conv1.bias': np.zeros(2)}, 'have biases'),
    (lambda ours: {'conv1_1_weight': np.zeros((2, 3, 3, 3))}, 'not the weights of a ResNet-101'),
    (lambda ours: without(ours, 'layer4'), 'not the weights of a ResNet-101')])
def test_other_networks_are_refused_and_named(ours, broken, said):
    with pytest.raises(ValueError, match=said):
        resnet101.convert(broken(ours))
