"""ResNet-101 weights from elsewhere: recognised by name, of both variants; others are refused."""
import re

import mxnet as mx
import numpy as np
import pytest

from icd.model import deeplab
from icd.model.initial import set_values, starting_values
from icd.weights import load, mxnet_params, resnet101, resnet101_names
from icd.weights.source_input import CAFFE, DEEPLAB, TORCHVISION, SourceInput

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


def parts(name):
    """Stage, unit, shortcut or not, kind, number and part of a name; the stem is stage 0."""
    layer, kind, number, part = re.fullmatch(r'(stem|layer\d_\d+(?:_down)?)_(conv|batchnorm)(\d)_(\w+)', name).groups()
    stage, unit, *down = ['0', '0'] if layer == 'stem' else layer[len('layer'):].split('_')
    return int(stage), int(unit), bool(down), kind, int(number), part


def gluon(name):
    """A name of a file of Gluon's zoo."""
    stage, unit, down, kind, number, part = parts(name)
    if not stage:
        return f"features.{int(kind != 'conv')}.{part}"
    if down:
        return f"features.{stage + 3}.{unit}.downsample.{int(kind != 'conv')}.{part}"
    return f"features.{stage + 3}.{unit}.body.{3 * number + (kind != 'conv')}.{part}"


def gluon_network(name):
    """A name of a network of Gluon's zoo, which counts the shortcut of the first unit behind its convolutions."""
    stage, unit, down, kind, number, part = parts(name)
    if not stage:
        return f'resnetv10_{kind}0_{part}'
    return f'resnetv10_stage{stage}_{kind}{3 if down else number if not unit else 3 * unit + 1 + number}_{part}'


def caffe(name):
    """A name as Caffe's, with the parameters as MXNet and PyTorch call them."""
    stage, unit, down, kind, number, part = parts(name)
    part = part.replace('running', 'moving')
    if not stage:
        return f"{'conv1' if kind == 'conv' else 'bn_conv1'}_{part}"
    letter = 'abc'[unit] if stage in (1, 4) else f'b{unit}' if unit else 'a'
    kind = 'res' if kind == 'conv' else 'scale' if part in ('gamma', 'beta') else 'bn'
    return f"{kind}{stage + 1}{letter}_branch{1 if down else f'2{chr(97 + number)}'}_{part}"


def deeplab_pytorch(name):
    stage, unit, down, kind, number, part = parts(name)
    part = {'gamma': 'weight', 'beta': 'bias'}.get(part, part)
    kind = 'conv' if kind == 'conv' else 'bn'
    if not stage:
        return f'scale.layer1.conv1.{kind}.{part}'
    what = 'proj' if down else ('reduce', 'conv3x3', 'increase')[number]
    return f'scale.layer{stage + 1}.block{unit + 1}.{what}.{kind}.{part}'


def keras(name):
    stage, unit, down, kind, number, part = parts(name)
    layer = 'conv1' if not stage else f'conv{stage + 1}_block{unit + 1}_{0 if down else number + 1}'
    layer += '_conv' if kind == 'conv' else '_bn'
    part = {'weight': 'kernel', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}.get(part, part)
    return f'{layer}/{layer}/{part}:0'


def keras3(name):
    stem, _, part = keras(name).partition('/')
    order = 'gamma', 'beta', 'moving_mean', 'moving_variance'
    part = part.split('/')[1][:-2]
    return f"layers/{stem}/vars/{order.index(part) if part in order else 0}"


NAMES = {'own': lambda name: ('aux:' if 'running' in name else 'arg:') + name, 'gluoncv': structural,
         'gluoncv network': prefixed, 'torchvision': torchvision, 'in a module': lambda n: 'module.' + torchvision(n)}
NAMES_V1 = {'own': lambda name: name.replace('layer2_0_', 'layer2_0v1_'), 'gluon': gluon,
            'gluon network': gluon_network, 'caffe': caffe, 'deeplab-pytorch': deeplab_pytorch, 'keras': keras,
            'keras 3': keras3, 'torchvision, of caffe': torchvision}


@pytest.mark.parametrize('names', NAMES)
def test_layers_are_recognised_by_name(ours, names):
    arrays = {NAMES[names](name): value for name, value in ours.items()}
    arrays.update({'fc.weight': np.zeros((4, 64)), 'bn1.num_batches_tracked': np.array(3)})
    converted = resnet101.convert(arrays)
    assert set(converted.values) == set(ours)
    assert all((converted.values[name] == ours[name]).all() for name in ours)
    assert converted.description.endswith('left out: fc.weight') and 'num_batches' not in converted.description
    assert resnet101_names.variant_of(converted.values) == 'v1b' and '3x3 convolutions (v1b)' in converted.description


@pytest.mark.parametrize('names', NAMES_V1)
def test_layouts_with_strides_in_the_1x1_convolutions(ours, names):
    """Recognised by their names; what is in front of the stem's normalisation is another test's."""
    arrays = {NAMES_V1[names](name): value.transpose(2, 3, 1, 0) if 'keras' in names and value.ndim == 4 else value
              for name, value in ours.items()}
    assert len(arrays) == len(ours)
    converted = resnet101.convert(arrays, CAFFE if 'of caffe' in names else None)
    found = {name.replace('layer2_0v1_', 'layer2_0_'): value for name, value in converted.values.items()}
    assert set(found) == set(ours) and resnet101_names.variant_of(converted.values) == 'v1'
    kept = [name for name in ours if not name.startswith('stem_')]
    assert all((found[name] == ours[name]).all() for name in kept)
    assert '1x1 convolutions (v1)' in converted.description


def test_classifiers_of_deeplab_pytorch_are_those_of_aspp(ours):
    arrays = {deeplab_pytorch(name): value for name, value in ours.items()}
    heads = {f'scale.aspp.stages.c{i}.weight': np.full((3, 64, 3, 3), i, np.float32) for i in range(4)}
    found = resnet101.convert({**arrays, **heads, 'scale.aspp.stages.c3.bias': np.ones(3)}).values
    assert [found[f'fc1_aspp{rate}_weight'][0, 0, 0, 0] for rate in (6, 12, 18, 24)] == [0, 1, 2, 3]
    assert found['fc1_aspp24_bias'].tolist() == [1, 1, 1]


@pytest.fixture(scope='module')
def zoo():
    """Gluon's ResNet-101 (v1), narrow, with random values and biases where it has them."""
    from mxnet.gluon.model_zoo.vision import resnet
    made = resnet.ResNetV1(resnet.BottleneckV1, [3, 4, 23, 3], [2, 8, 16, 32, 64], classes=3)
    made.initialize()
    made(mx.nd.zeros((1, 3, 33, 33)))
    rng = np.random.default_rng(2)
    for name, parameter in made.collect_params().items():
        low, high = (.5, 1.5) if name.endswith(('gamma', 'var')) else (-.1, .1)
        if name.endswith('weight'):         # as He et al. (2015): what comes in goes through
            high = np.sqrt(6 / np.prod(parameter.shape[1:]))
            low = -high
        parameter.set_data(mx.nd.array(rng.uniform(low, high, parameter.shape)))
    return made


@pytest.mark.parametrize('structured', [True, False])
def test_scores_of_gluons_resnet_v1_are_the_same(zoo, structured):
    """Up to stage 2 as it is; of all stages where its later strides are dilations instead."""
    arrays = zoo._collect_params_with_prefix() if structured else zoo.collect_params()
    values = resnet101.convert({name: parameter.data().asnumpy() for name, parameter in arrays.items()}).values
    assert not [name for name in values if re.search('conv._bias', name)]
    net = deeplab.create('resnet101_largefov', 3, WIDTH, resnet_variant='v1')
    set_values(net, {**starting_values(net, 0), **values})
    backbone = net.layers.backbone
    image = mx.nd.array(np.random.default_rng(3).integers(0, 256, (2, 3, 65, 97)))
    x = (image / 255 - mx.nd.array(TORCHVISION.mean).reshape((1, 3, 1, 1))) / mx.nd.array(
        TORCHVISION.std).reshape((1, 3, 1, 1))
    for dilation, stage in enumerate(list(zoo.features)[6:8], 1):
        for unit in stage:
            for layer in [*unit.body, *(unit.downsample or [])]:
                if isinstance(layer, mx.gluon.nn.Conv2D):
                    kernel = layer._kwargs['kernel'][0]
                    layer._kwargs.update(stride=(1, 1), dilate=(2 * dilation,) * 2,
                                         pad=(kernel // 2 * 2 * dilation,) * 2)
    expected = x
    for layer in list(zoo.features)[:8]:
        expected = layer(expected)
    found = backbone(image).asnumpy()
    np.testing.assert_allclose(found, expected.asnumpy(), rtol=0, atol=2e-5 * abs(found).max())
    other = deeplab.create('resnet101_largefov', 3, WIDTH)
    set_values(other, {**starting_values(other, 0),
                       **{name.replace('layer2_0v1_', 'layer2_0_'): value for name, value in values.items()}})
    assert abs(other.layers.backbone(image).asnumpy() - found).max() > .01 * abs(found).max()


def test_names_of_gluoncv_are_those_of_its_networks():
    """Every layer is recognised, in both kinds of names, and has the shape it has here."""
    from gluoncv.model_zoo import get_model
    zoo, ours = get_model('resnet101_v1b', pretrained=False), deeplab.create('resnet101_largefov', 3)
    shapes = {name: p.shape for name, p in ours.collect_params().items() if not name.startswith('fc1')}
    for theirs in zoo.collect_params(), zoo._collect_params_with_prefix():
        layout = resnet101_names.layout_of(list(theirs))
        found = {resnet101_names.own_name(layout, name): p.shape for name, p in theirs.items()}
        found.pop(None)                                     # the classifier
        assert set(found) == set(shapes)
        for name, shape in found.items():                   # 0 is not known yet
            assert all(a in (0, b) for a, b in zip(shape, shapes[name])), name


@pytest.mark.parametrize('source', [CAFFE, DEEPLAB, SourceInput('BGR', (.1, .2, .3), (.5, .6, .7), 1.),
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
    (renamed('layer', 'resnetv20_stage1_conv0_weight'), r'normalisation before its convolutions \(v2\)'),
    (renamed('layer', 'features.5.0.bn1.gamma'), r'normalisation before its convolutions \(v2\)'),
    (renamed('layer', 'conv2_block1_preact_bn/gamma:0'), r'normalisation before its convolutions \(v2\)'),
    (lambda ours: without(ours, r'layer3_(6|7|8|9|\d\d)_'), 'ResNet-50'),
    (lambda ours: without(ours, r'layer3_22_'), r'another ResNet, with \(3, 4, 22, 3\) units'),
    (lambda ours: {**without(ours, 'nothing'), 'conv1.weight': np.zeros((2, 3, 3, 3))}, 'first kernel is 3x3, not 7x7'),
    (lambda ours: {**without(ours, r'layer1_0_batchnorm0_running_mean'), 'layer1.0.conv1.bias': np.zeros(2)},
     r'a bias that no normalisation follows \(layer1_0_conv0_bias\)'),
    (lambda ours: {'conv1_1_weight': np.zeros((2, 3, 3, 3))}, 'not the weights of a ResNet-101'),
    (lambda ours: without(ours, 'layer4'), 'not the weights of a ResNet-101')])
def test_other_networks_are_refused_and_named(ours, broken, said):
    with pytest.raises(ValueError, match=said):
        resnet101.convert(broken(ours))
