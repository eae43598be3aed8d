"""The segmentation networks: sizes, names, what they learn, and that their graphs agree."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.model import deeplab
from icd.model.initial import set_values, starting_values

STATIC = dict(static_alloc=True, static_shape=True)
WIDTH = 1 / 32


def network(name, num_classes=4, **changes):
    net = deeplab.create(name, num_classes, WIDTH, **changes)
    set_values(net, starting_values(net, 0, he=True))
    return net


def images(count=1, height=33, width=33, seed=0):
    return mx.nd.array(np.random.default_rng(seed).integers(0, 256, (count, 3, height, width)), dtype='uint8')


def size(net, start=''):
    return sum(int(np.prod(p.shape)) for name, p in net.collect_params().items()
               if name.startswith(start) and not name.endswith(('running_mean', 'running_var')))


@pytest.mark.parametrize('name, parameters, head', [
    ('vgg16_largefov', 20505429, 5790741), ('vgg16_aspp', 37877652, 23162964),
    ('resnet101_largefov', 42887253, 387093), ('resnet101_aspp', 44048532, 1548372)])
def test_networks_have_as_many_parameters_as_those_of_the_papers(name, parameters, head):
    net = deeplab.create(name, 21)
    assert size(net) == parameters and size(net, 'fc') == head


@pytest.fixture(scope='module')
def resnet():
    """A network on ResNet-101, as it is used."""
    net = network('resnet101_largefov')
    net.hybridize(**STATIC)
    return net


@pytest.mark.parametrize('name', ['vgg16_largefov', 'vgg16_aspp', 'resnet101_largefov'])
def test_scores_have_a_position_every_eight_pixels(name, resnet):
    net = resnet if name == 'resnet101_largefov' else network(name)
    for height, width in (33, 65), (33, 17):
        assert net(images(1, height, width)).shape == (1, 4, height // 8 + 1, width // 8 + 1)


def test_hybridized_network_is_the_same_in_training_and_inference():
    """ResNet-101: see `test_batch_normalisation_is_frozen`, and `test_deeplab_recordings` for all networks."""
    plain, hybrid = network('vgg16_aspp', dropout=0), network('vgg16_aspp', dropout=0)
    hybrid.hybridize(**STATIC)
    for mode in autograd.train_mode, autograd.predict_mode:
        for seed in (0, 1):
            with mode():
                one, other = (net(images(seed=seed)).asnumpy() for net in (plain, hybrid))
            assert np.abs(one).max() > 0
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize('name, last', [('vgg16_aspp', {f'fc8_aspp{d}_{part}' for d in (6, 12, 18, 24)
                                                        for part in ('weight', 'bias')}),
                                        ('resnet101_largefov', {'fc1_weight', 'fc1_bias'})])
def test_the_last_layer_learns_ten_times_as_fast_and_only_weights_decay(name, last):
    parameters = deeplab.create(name, 4, WIDTH).collect_params()
    assert {n for n, p in parameters.items() if p.lr_mult == 10} == last
    assert {n for n, p in parameters.items() if p.wd_mult} == {n for n in parameters if n.endswith('_weight')}


def test_batch_normalisation_is_frozen(resnet):
    """Its running statistics count in training, too, and neither they nor gamma and beta are learned."""
    net = resnet
    parameters = {n: p for n, p in net.collect_params().items() if 'batchnorm' in n}
    assert {n for n, p in net.collect_params().items() if p.grad_req == 'null'} == set(parameters)
    before = {n: p.data().asnumpy() for n, p in parameters.items()}
    outputs = []
    for mode in autograd.train_mode, autograd.predict_mode:
        with mode():
            outputs.append(net(images()).asnumpy())
    with autograd.record():
        loss = net(images()).sum()
    loss.backward()
    # The two graphs may take other convolutions, which round differently; statistics of the batch would show clearly.
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-6 * abs(outputs[0]).max())
    assert all((parameters[n].data().asnumpy() == value).all() for n, value in before.items())


def test_every_unit_of_a_stage_has_its_dilation():
    """GluonCV's dilated network gives the first unit of the last two stages half of it."""
    layers = deeplab.create('resnet101_aspp', 4, WIDTH).layers.backbone.layers
    units = [block for block in layers if hasattr(block, 'conv2')]
    dilations = [unit.conv2._kwargs['dilate'][0] for unit in units]
    assert dilations == [1] * 7 + [2] * 23 + [4] * 3
    assert all(unit.conv2._kwargs['pad'] == unit.conv2._kwargs['dilate'] for unit in units)
    assert [unit.conv2._kwargs['stride'][0] for unit in units] == [1] * 3 + [2] + [1] * 29


@pytest.mark.parametrize('name', ['vgg16_largefov', 'resnet101_largefov'])
def test_padding_is_nothing_to_the_network(name):
    """Its first convolution, which has no bias here, gives (almost) nothing for the colour of the padding."""
    net = network(name)
    first = net.layers.backbone.layers[0]
    if first.bias:
        first.bias.set_data(mx.nd.zeros(first.bias.shape))
    seen = []
    first.register_forward_hook(lambda _, inputs, output: seen.append(output))
    for colour in net.padding, (255, 255, 255):
        net(mx.nd.array(colour).reshape((1, 3, 1, 1)) * mx.nd.ones((1, 3, 33, 33)))
    padding, white = (np.abs(output.asnumpy()).max() for output in seen)
    assert padding < .01 * white


def test_names_do_not_depend_on_what_was_made_before():
    one, other = (list(deeplab.create('resnet101_aspp', 4, WIDTH).collect_params()) for _ in range(2))
    assert one == other and 'stem_conv0_weight' in one and 'layer3_22_batchnorm1_gamma' in one


def test_a_network_that_does_not_exist_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match='vgg16_large'):
        deeplab.create('vgg16', 21)


def test_a_random_resnet_lets_a_signal_through(resnet):
    feature = resnet.layers.backbone(images()).asnumpy()
    assert .1 < feature.std() < 100
