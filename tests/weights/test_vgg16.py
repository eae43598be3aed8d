"""VGG16 weights from elsewhere: the layers are recognised, and compute the same on this project's input."""
import mxnet as mx
import numpy as np
import pytest

from icd.model.icd_net import ICDNet
from icd.model.initial import set_values
from icd.model.vgg import VGG16
from icd.weights import vgg16
from icd.weights.source_input import TORCHVISION, SourceInput
from tests.weights import zoo_network

MEAN, STD = np.array(TORCHVISION.mean), np.array(TORCHVISION.std)


@pytest.fixture(scope='module')
def zoo():
    return zoo_network()


def test_the_zoos_input_is_folded_into_the_first_convolution(zoo):
    """conv1_1 of both networks agrees wherever it sees no padding; the backbone where no layer does."""
    convolutions, complete = zoo
    backbone = VGG16()
    set_values(backbone, vgg16.convert(complete(0)).values, mx.cpu())
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 40, 40)).astype(np.float32)
    theirs = (pixels / 255 - MEAN[:, None, None]) / STD[:, None, None]
    first = [layers(mx.nd.array(x)).asnumpy() for layers, x in (
        (backbone.layers[:1], pixels - 127), (convolutions[:2], theirs))]
    inner = np.s_[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(first[0][inner], first[1][inner], rtol=0, atol=1e-5 * first[1].max())
    # In the outermost ring each sees its own padding: the mean colour there, grey here.
    grey = np.full_like(pixels, 127)
    assert np.abs(first[0] - first[1]).max() > 1e-4
    theirs_grey = (grey / 255 - MEAN[:, None, None]) / STD[:, None, None]
    framed = np.pad(theirs - theirs_grey, ((0, 0), (0, 0), (1, 1), (1, 1))) + theirs_grey[:, :, :1, :1]
    np.testing.assert_allclose(convolutions[:2](mx.nd.array(framed)).asnumpy()[inner], first[0], rtol=0,
                               atol=1e-5 * first[1].max())


@pytest.mark.parametrize('channel_order, mean, std, largest', [
    ('RGB', MEAN, STD, 1.), ('BGR', (103.94, 116.78, 123.68), (1, 1, 1), 255.), ('BGR', MEAN[::-1], STD[::-1], 1.),
    ('RGB', (0, 0, 0), (1, 1, 1), 255.), ('RGB', (.5, .5, .5), (.5, .5, .5), 1.)])
def test_folding_the_input_keeps_the_first_layers_outputs(channel_order, mean, std, largest):
    rng = np.random.default_rng(1)
    weight, bias, rgb = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4), rng.integers(0, 256, (3, 3, 3))
    theirs = rgb if channel_order == 'RGB' else rgb[::-1]
    theirs = (theirs * largest / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    ours, offset = vgg16.fold_input(weight, bias, SourceInput(channel_order, mean, std, largest))
    np.testing.assert_allclose((ours * (rgb - 127)).sum((1, 2, 3)) + offset,
                               (weight * theirs).sum((1, 2, 3)) + bias, rtol=1e-10)


def test_convolutions_are_taken_in_order(zoo):
    convolutions, complete = zoo
    values = vgg16.convert(complete(0)).values
    weights = [p.data().asnumpy() for name, p in convolutions.collect_params().items() if name.endswith('weight')]
    names = [name for name in values if name.startswith('conv') and name.endswith('weight')]
    assert len(names) == len(weights) == 13
    for name, weight in zip(names[1:], weights[1:]):
        assert (values[name] == weight).all()


def test_converted_weights_fit_the_network(zoo):
    values, parameters = vgg16.convert(zoo[1](0)).values, ICDNet().collect_params()
    wanted = {name for name in parameters if name.startswith(('conv', 'fc6', 'fc7')) and '_ft_' not in name}
    assert tuple(values) == vgg16.NAMES and set(values) == wanted
    assert all(value.shape == parameters[name].shape and value.dtype == np.float32 for name, value in values.items())


def test_dense_layers_keep_every_fourth_unit(zoo):
    rows, columns = (vgg16.convert(zoo[1](axis)).values for axis in (0, 1))
    every_fourth = np.arange(0, 4096, 4)
    for name in ('fc6_weight', 'fc7_weight'):
        assert (rows[name] == every_fourth[:, None, None, None]).all()
    assert (rows['fc6_bias'] == every_fourth).all() and (rows['fc7_bias'] == every_fourth).all()
    grid = np.arange(25088).reshape(512, 7, 7)
    assert (columns['fc6_weight'] == grid[:, [0, 3, 6]][:, :, [0, 3, 6]]).all()
    assert (columns['fc7_weight'][..., 0, 0] == every_fourth).all()
