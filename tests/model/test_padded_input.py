"""Computing only what a photograph covers gives what computing everything gives."""
import mxnet as mx
import numpy as np
import pytest

from icd.data import geometry, score_map

from icd.model import padded_input
from icd.model.icd_net import ICDNet, ScoreMaps, grey_canvases, initialize_missing, set_values
from icd.data.geometry import GREY
from icd.model.vgg import VGG16

SIDE = 321
SIZES = [(1, 1), (20, 200), (120, 90), (129, 321), (321, 140), (235, 250), (270, 300), (321, 321)]


def network(kind, *words):
    """Biases and padding matter everywhere."""
    net, rng = kind(*words), np.random.default_rng(2)
    values = initialize_missing(net, {}, 0, he=True)
    for name in values:
        if name.endswith(('_bias', '_beta', '_moving_mean')):
            values[name] = rng.standard_normal(values[name].shape).astype(np.float32)
    set_values(net, values, mx.cpu())
    return net


def photographs(size, count=2):
    square = np.full((count, 3, SIDE, SIDE), GREY, np.uint8)
    square[:, :, :size[0], :size[1]] = np.random.default_rng(1).integers(0, 256, (count, 3) + size)
    return mx.nd.array(square, dtype='uint8')


def extents(size):
    return padded_input.extents(score_map.cells(size, SIDE), SIDE)


def assert_covered(ours, whole, lengths):
    whole = whole.asnumpy()
    part = whole[:, :, :lengths[0], :lengths[1]]
    np.testing.assert_allclose(ours.asnumpy()[:, :, :lengths[0], :lengths[1]], part, rtol=0,
                               atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('size', SIZES)
def test_score_maps_are_those_of_the_whole_network(size, hybrid):
    net = network(ICDNet, 3, 1 / 32)
    maps = ScoreMaps(net, SIDE, extents(size))
    if hybrid:
        maps.hybridize(static_alloc=True, static_shape=True)
    canvases = grey_canvases(net, SIDE, mx.cpu())
    for count in (2, 1):
        x = photographs(size, count)
        cam, _, top_down, _ = net(x)
        for ours, whole in zip(maps(x, *maps.backbone.needed(canvases)), (cam, top_down)):
            assert ours.shape == (count, 3) + extents(size)
            assert_covered(ours, whole, extents(size))


@pytest.mark.parametrize('shift', [0., GREY])
@pytest.mark.parametrize('margin', [0, 1, 6])
@pytest.mark.parametrize('size', SIZES[:5])
def test_features_are_those_of_the_whole_backbone(size, margin, shift):
    vgg = network(VGG16, 1 / 32)
    covered = padded_input.CoveredVGG16(vgg, SIDE, extents(size), margin, shift)
    canvases = covered.needed(padded_input.canvases(vgg, SIDE, mx.cpu(), shift))
    features = covered(photographs(size), *canvases)
    assert features.shape[2:] == covered.lengths
    wanted = [min(length + margin, geometry.feature_size(SIDE)) for length in extents(size)]
    assert all(length >= least for length, least in zip(covered.lengths, wanted))
    assert_covered(features, vgg(photographs(size).astype('float32') - shift), wanted)


def test_plans_leave_out_nothing_and_fill_in_nothing_that_sees_the_photograph():
    """Against flags sent through the windows of all layers, position by position."""
    layers = padded_input._layers(SIDE)
    for covered in range(1, SIDE + 1, 3):
        for wanted in range((covered - 1) // 8 + 1, 42, 5):
            pixels, plan = padded_input._plan(SIDE, covered, wanted)
            right, sees = np.arange(SIDE) < pixels, np.arange(SIDE) < covered
            for layer, (length, computed) in zip(layers, plan):
                windows = layer.stride * np.arange(layer.size)[:, None] + layer.reach * np.array([-1, 0, 1])
                beside, windows = (windows < 0) | (windows >= len(right)), windows.clip(0, len(right) - 1)
                right = (right[windows] | beside).all(axis=1)
                sees = (sees[windows] & ~beside).any(axis=1)
                assert right[:computed].all()
                if computed < length:
                    assert not sees[computed:length].any()
                    right = np.arange(layer.size) < length
            assert plan[-1] == (wanted, wanted)


def test_less_is_computed_where_less_is_covered():
    vgg = network(VGG16, 1 / 32)
    areas = [np.prod(padded_input.CoveredVGG16(vgg, SIDE, extents(size)).lengths)
             for size in ((321, 321), (180, 321), (90, 90))]
    assert areas[0] == 41 ** 2 and areas[0] > 1.2 * areas[1] > 2.4 * areas[2]


@pytest.mark.parametrize('side', [49, 321, 513])
def test_extents_hold_the_cells_and_are_few(side):
    whole = geometry.feature_size(side)
    found = {cells: padded_input.extents((cells, 1), side)[0] for cells in range(1, whole + 1)}
    assert all(cells <= found[cells] <= whole for cells in found)
    assert found[whole] == whole and len(set(found.values())) <= max(whole // 8, 1)
