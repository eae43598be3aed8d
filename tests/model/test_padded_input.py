"""Computing only what an image covers gives what computing everything gives."""
import mxnet as mx
import numpy as np
import pytest

from icd.data import geometry
from icd.data.geometry import GREY
from icd.model.all_score_maps import AllScoreMaps
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.padded_input import Features, PaddedInference, ScoreMaps
from icd.model.vgg import VGG16

SIDE = 321
SIZES = [(1, 1), (20, 200), (120, 90), (129, 321), (321, 140), (235, 250), (270, 300), (321, 321)]


def network(kind, *arguments):
    """Biases and padding matter everywhere."""
    net, rng = kind(*arguments), np.random.default_rng(2)
    values = initialize_missing(net, {}, 0, he=True)
    for name in values:
        if name.endswith(('_bias', '_beta', '_moving_mean')):
            values[name] = rng.standard_normal(values[name].shape).astype(np.float32)
    set_values(net, values, mx.cpu())
    return net


def images(size, count=2, side=SIDE):
    square = np.full((count, 3, side, side), GREY, np.uint8)
    square[:, :, :size[0], :size[1]] = np.random.default_rng(1).integers(0, 256, (count, 3) + size)
    return mx.nd.array(square, dtype='uint8')


def assert_top_left(ours, whole, wanted):
    """The wanted positions of `ours` are those of the whole map, and there are at least as many."""
    whole = whole.asnumpy()
    ours = ours.asnumpy()[:, :, :wanted[0], :wanted[1]]
    assert ours.shape[2:] == tuple(wanted)
    np.testing.assert_allclose(ours, whole[:, :, :wanted[0], :wanted[1]], rtol=0, atol=1e-5 * np.abs(whole).max())


def largest_sizes(padded, side):
    """Of every other group, the largest image along one axis; the other axis takes them in another order."""
    last = {padded.group((size, 1))[0]: size for size in range(1, side + 1)}
    sizes = list(last.values())[::-2]
    return list(zip(sizes, sizes[1:] + sizes[:1])) + [(size, size) for size in sizes]


@pytest.mark.parametrize('side', [49, 129, 321])
def test_score_maps_are_those_of_the_whole_network(side):
    net = network(ICDNet, 3, 1 / 32)
    padded = PaddedInference(ScoreMaps, net, side)
    for size in largest_sizes(padded, side) + [(1, 1), (side, 1), (20, 45)]:
        for count in (2, 1):
            x = images(size, count, side)
            cam, _, top_down, _ = net(x)
            maps = padded(x, [size] * count)
            assert len(maps) == 2
            for ours, whole in zip(maps, (cam, top_down)):
                assert ours.shape[:2] == (count, 3)
                assert_top_left(ours, whole, geometry.resized_positions(size, side))


@pytest.mark.parametrize('mean', [0, GREY])
@pytest.mark.parametrize('side', [49, 129, 321])
def test_features_are_those_of_the_whole_backbone(side, mean):
    vgg = network(VGG16, 1 / 32, mean)
    padded = PaddedInference(Features, vgg, side)
    for size in largest_sizes(padded, side) + [(1, 1), (side, 1), (20, 45)]:
        x = images(size, 2, side)
        features, = padded(x, [size] * 2)
        assert_top_left(features, vgg(x), geometry.enclosing_positions(size))


def test_images_of_several_sizes_share_a_batch():
    net = network(ICDNet, 3, 1 / 32)
    x = mx.nd.concat(images((20, 200), 1), images((300, 90), 1), dim=0)
    maps = PaddedInference(ScoreMaps, net, SIDE)(x, [(20, 200), (300, 90)])
    cam, _, top_down, _ = net(x)
    for ours, whole in zip(maps, (cam, top_down)):
        for i, size in enumerate([(20, 200), (300, 90)]):
            assert_top_left(ours[i:i + 1], whole[i:i + 1], geometry.resized_positions(size, SIDE))


def test_devices_give_the_same():
    net = ICDNet(3, 1 / 32)
    set_values(net, initialize_missing(net, {}, 0, he=True), [mx.cpu(0), mx.cpu(1)])
    padded = PaddedInference(ScoreMaps, net, SIDE)
    first, second = [[m.asnumpy() for m in padded(images((120, 90)).as_in_context(device), [(120, 90)] * 2)]
                     for device in (mx.cpu(0), mx.cpu(1))]
    assert all((one == other).all() for one, other in zip(first, second))


@pytest.mark.parametrize('kind', [ScoreMaps, Features])
@pytest.mark.parametrize('side', [49, 321, 513])
def test_groups_cover_their_images_and_hardly_more(side, kind):
    whole, padded = geometry.feature_size(side), PaddedInference(kind, None, side)
    groups = {length: padded.group((length, 1))[0] for length in range(1, side + 1)}
    assert all(kind.positions((length, 1), side)[0] <= group <= whole for length, group in groups.items())
    assert groups[side] == whole and len(set(groups.values())) <= whole // 4 + 1
    assert all(group <= kind.positions((length, 1), side)[0] + 3 for length, group in groups.items())


def test_the_bottom_up_score_is_that_of_the_whole_network():
    net = network(ICDNet, 3, 1 / 32)
    padded, x = PaddedInference(AllScoreMaps, net, 129), images((70, 100), 2, 129)
    rows, columns = geometry.resized_positions((70, 100), 129)
    for ours, whole in zip(padded(x, [(70, 100)] * 2), (net(x)[0], net(x)[2], net(x)[1])):
        assert_top_left(ours, whole, (rows, columns))


def test_less_is_computed_where_less_is_covered():
    padded = PaddedInference(ScoreMaps, network(ICDNet, 3, 1 / 32), SIDE)
    areas = [padded(images(size), [size] * 2)[0].size for size in ((321, 321), (180, 321), (90, 90))]
    assert areas[0] == 2 * 3 * 41 ** 2 and areas[0] > 1.2 * areas[1] > 2.4 * areas[2]
