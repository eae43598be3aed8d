"""Scales of drawn layers: what comes out of them, on which images it depends, and what is left alone."""
import numpy as np
import pytest

from icd.mxnet_setup import mx  # isort: skip
from icd.model import data_dependent, deeplab
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values

WIDTH = 1 / 16


def images(count=6, seed=0, brightness=1.):
    drawn = np.random.RandomState(seed).randint(0, 256, (count, 3, 33, 33))
    return (drawn * brightness).astype(np.uint8)


def network(make, scale=1.):
    """A network whose convolutions come from a file and are `scale` times as large as others; what the file gives."""
    net = make()
    values = initialize_missing(net, {}, 0, he=True)
    given = {name: value for name, value in values.items() if name.startswith('conv') and name != 'conv_ft_weight'}
    given['conv5_3_weight'] = given['conv5_3_weight'] * scale
    set_values(net, initialize_missing(net, given, 0), [mx.cpu(0), mx.cpu(1)])
    return net, given


def icd():
    return ICDNet(3, WIDTH)


def aspp():
    return deeplab.create('vgg16_aspp', 4, WIDTH)


def activations(net, x):
    """Of every chain, what comes out of each of its layers, before ReLU."""
    for read, chain in net.chains(mx.nd.array(x, dtype='uint8')):
        for layer in chain:
            weight, bias = (net.collect_params()[f'{layer.name}_{part}'].data(mx.cpu(0)) for part in ('weight', 'bias'))
            kernel = weight.shape[2]
            out = mx.nd.Convolution(read, weight, bias, kernel=(kernel,) * 2, num_filter=weight.shape[0],
                                    dilate=(layer.dilation,) * 2, pad=(layer.dilation * (kernel // 2),) * 2)
            yield layer.name, out.asnumpy()
            read = mx.nd.relu(out)


def wanted(name):
    """What the activations of a layer are scaled to: a squared norm of a position, or a mean square before ReLU."""
    return data_dependent.SQUARED_NORM if name.startswith('fc7') else data_dependent.HIDDEN


@pytest.mark.parametrize('make', [icd, aspp])
@pytest.mark.parametrize('scale', [1e-3, 1., 1e3])
def test_activations_have_the_wanted_size_whatever_the_convolutions_give(make, scale):
    net, given = network(make, scale)
    x = images(4)
    factors = data_dependent.fit_scales(net, given, x)
    found = dict(activations(net, x))
    assert set(factors) == {f'{name}_weight' for name in found} and len(found) >= 4
    for name, out in found.items():
        size = np.square(np.maximum(out, 0)).sum(axis=1).mean() if name.startswith('fc7') else np.square(out).mean()
        assert size == pytest.approx(wanted(name), rel=1e-3), name


def test_only_scales_change_and_only_of_what_no_file_gave():
    net, given = network(icd)
    before = {name: p.data(mx.cpu(0)).asnumpy() for name, p in net.collect_params().items()}
    factors = data_dependent.fit_scales(net, dict(given, fc6_weight=None), images())
    assert 'fc6_weight' not in factors and {'fc7_weight', 'fc6_ft_weight', 'fc7_ft_weight'} == set(factors)
    for name, parameter in net.collect_params().items():
        for device in (mx.cpu(0), mx.cpu(1)):
            np.testing.assert_allclose(parameter.data(device).asnumpy(), before[name] * factors.get(name, 1), rtol=1e-6)


def test_the_same_images_give_the_same_bits_and_others_do_not():
    first, second, other = (data_dependent.fit_scales(*network(icd), x)
                            for x in (images(), images(), images(brightness=.1)))
    assert first == second and first != other


def test_a_dead_layer_is_left_alone():
    net, given = network(icd, scale=0.)
    net.collect_params()['conv5_3_bias'].set_data(mx.nd.zeros(net.collect_params()['conv5_3_bias'].shape))
    assert data_dependent.fit_scales(net, given, images()) == {}


def test_the_log_names_every_scaled_layer():
    assert data_dependent.described({}) == []
    line, = data_dependent.described({'fc6_weight': .0848333, 'fc7_weight': 2.})
    assert line.endswith('fc6 x 0.08483, fc7 x 2')


def test_biases_that_know_frequencies_alone_predict_them():
    labels = np.zeros((9, 3), np.float32)
    labels[:3, 1], labels[:, 2] = 1, 1
    biases = data_dependent.log_odds(labels)
    np.testing.assert_allclose(1 / (1 + np.exp(-biases)), [.05, .35, .95], rtol=1e-6)
    assert biases.dtype == np.float32
