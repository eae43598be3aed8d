"""Pooling is the mean of the upsampled map; merging is greedy, whatever keeps it fast."""
import os

import numpy as np
import pytest

from icd.data import geometry
from icd.method import _merging, merging
from tests.helpers import load_recording, parity_files


def cells_image(height, width, count, seed):
    """A map of `count` superpixels in random numbering: pixels belong to the nearest of random points."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2)) * [height, width]
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)
    return np.unique(nearest, return_inverse=True)[1].reshape(height, width).astype(np.int32)


# ------------------------------------------------------------------------------------------------ recordings
@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('merge_*.npz'), ids=os.path.basename)
def test_superpixel_features_equal_the_recorded_ones(path):
    recorded = load_recording(path)
    assert recorded['infer_size'] == 513
    pooled = merging.pool(recorded['superpixel'], recorded['dense_feature'])
    np.testing.assert_allclose(pooled, recorded['superpixel_feature'], rtol=0, atol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('merge_*.npz'), ids=os.path.basename)
def test_merged_maps_equal_the_recorded_ones(path):
    recorded = load_recording(path)
    merged = merging.merge_map(recorded['superpixel'], recorded['dense_feature'], int(recorded['max_superpixels']))
    assert (merged == recorded['merged']).all()


# --------------------------------------------------------------------------------------------------- pooling
def upsampled(feature, shape, fitted):
    """The feature map at every pixel of an image of `shape` that has the size `fitted` in the network's input."""
    matrices = []
    for side, small, count in zip(shape, fitted, feature.shape[1:]):
        at = [min(max((p + .5) * small / side - .5, 0), small - 1) / 8 for p in range(side)]
        matrices.append(np.stack([np.interp(at, np.arange(count), one) for one in np.eye(count)], axis=1))
    return np.einsum('yi,dij,xj->dyx', matrices[0], feature.astype(np.float64), matrices[1])


@pytest.mark.parametrize('shape, fitted, count', [
    ((40, 61), None, 12), ((61, 33), None, 40), ((65, 65), None, 9), ((1, 1), None, 1), ((1, 50), None, 7),
    ((9, 2), None, 3), ((57, 64), None, 3648), ((130, 90), (65, 45), 30), ((200, 70), (65, 23), 25),
    ((3, 300), (1, 65), 20)])
def test_pooling_is_the_mean_of_the_upsampled_map(shape, fitted, count):
    if count == shape[0] * shape[1]:
        labels = np.random.default_rng(1).permutation(count).reshape(shape)
    else:
        labels = cells_image(shape[0], shape[1], count, seed=count)
    feature = np.random.default_rng(2).standard_normal((5, 9, 9)).astype(np.float32)
    full = upsampled(feature, shape, fitted or shape)
    expected = np.stack([full[:, labels == k].mean(axis=1) for k in range(labels.max() + 1)])
    np.testing.assert_allclose(merging.pool(labels, feature, fitted), expected, rtol=0, atol=2e-6)


def test_a_map_of_coordinates_gives_the_centres_of_superpixels():
    labels = cells_image(375, 500, 80, seed=3)
    coordinates = 8 * np.stack(np.mgrid[:65, :65]).astype(np.float32)
    y, x = np.mgrid[:375, :500]
    size = np.bincount(labels.ravel())
    centres = np.stack([np.bincount(labels.ravel(), c.ravel()) / size for c in (y, x)], axis=1)
    np.testing.assert_allclose(merging.pool(labels, coordinates), centres, atol=1e-3)


def test_only_the_enclosing_positions_are_needed():
    labels = cells_image(33, 50, 15, seed=4)
    feature = np.random.default_rng(5).standard_normal((4, 9, 9)).astype(np.float32)
    rows, columns = geometry.enclosing_positions(labels.shape)
    assert (rows, columns) == (5, 8)
    whole = merging.pool(labels, feature)
    feature[:, rows:], feature[:, :, columns:] = np.nan, np.nan
    assert (merging.pool(labels, feature) == whole).all()
    assert (merging.pool(labels, feature[:, :rows, :columns]) == whole).all()


# --------------------------------------------------------------------------------------------------- merging
@pytest.fixture(params=['compiled', 'NumPy'])
def backend(request, monkeypatch):
    """Tests that take it run with each way to merge; the compiled one has to be installed here."""
    assert merging.is_compiled()
    if request.param == 'NumPy':
        monkeypatch.setattr('icd.method.merging._merging', None)


def greedy(features, sizes, largest):
    """Merging as it is defined, everything computed anew in every round."""
    features, sizes = [np.array(f, float) for f in features], [float(s) for s in sizes]
    area, groups = sum(sizes), [[k] for k in range(len(sizes))]
    while len(groups) > largest:
        products = np.array(features) @ np.array(features).T
        inverse = 1 / np.sqrt(np.maximum(products.diagonal(), 1e-30))
        value = products * (inverse[:, None] * inverse) + 1 - np.add.outer(sizes, sizes) / area
        value[np.tril_indices(len(groups))] = -np.inf
        i, j = np.unravel_index(value.argmax(), value.shape)
        features[i] = (sizes[i] * features[i] + sizes[j] * features[j]) / (sizes[i] + sizes[j])
        sizes[i] += sizes[j]
        groups[i] += groups[j]
        del features[j], sizes[j], groups[j]
    label = np.empty(sum(map(len, groups)), int)
    for number, group in enumerate(groups):
        label[group] = number
    return label


@pytest.mark.parametrize('seed', range(40))
def test_merging_equals_the_plain_greedy_algorithm(backend, seed):
    rng = np.random.default_rng(seed)
    count, largest = rng.integers(2, 60), rng.integers(1, 20)
    features = np.maximum(rng.standard_normal((count, 6)) + rng.choice([-.5, .5, 5]), 0)    # some are all zeros
    sizes = rng.integers(1, 400, count)
    assert (merging.merge(features, sizes, largest) == greedy(features, sizes, largest)).all()


@pytest.mark.parametrize('seed', range(20))
def test_of_equal_pairs_the_first_is_merged(backend, seed):
    rng = np.random.default_rng(seed)
    groups = 4
    features = np.eye(groups)[rng.integers(0, groups, 40)]          # similarities are exactly 0 and 1
    sizes = rng.choice([4, 8], 40)
    assert (merging.merge(features, sizes, groups + 2) == greedy(features, sizes, groups + 2)).all()


def test_in_a_tie_a_merged_superpixel_goes_before_a_later_one(backend):
    # 1 and 2 merge into (1, 1, 0, 0, 2), which is as much like 0 as 3 is, and of the same size.
    features = np.array([(1, 1, 1, 1, 0), (2, 0, 0, 0, 2), (0, 2, 0, 0, 2), (0, 0, 1, 1, -2)])
    assert merging.merge(features, [36, 1, 1, 2], 3).tolist() == [0, 1, 1, 2]
    assert merging.merge(features, [36, 1, 1, 2], 2).tolist() == [0, 0, 0, 1]


def test_in_a_tie_an_earlier_superpixel_goes_before_a_merged_one(backend):
    # As above, with the one that 0 is as much like in front.
    features = np.array([(1, 1, 1, 1, 0), (0, 0, 1, 1, -2), (2, 0, 0, 0, 2), (0, 2, 0, 0, 2)])
    assert merging.merge(features, [36, 2, 1, 1], 3).tolist() == [0, 1, 2, 2]
    assert merging.merge(features, [36, 2, 1, 1], 2).tolist() == [0, 0, 1, 1]


def test_equal_features_merge_smallest_and_first_superpixels(backend):
    labels = merging.merge(np.ones((6, 3)), np.ones(6), 3)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_compiled_and_numpy_merge_alike(monkeypatch):
    """Group by group, where features are alike and many values are close: the arithmetic is the same."""
    rng = np.random.default_rng(10)
    features = 1 + .01 * rng.random((150, 64), np.float32)
    features[40:60], features[77] = features[39], 0
    sizes = rng.integers(1, 900, 150)
    compiled = [merging.merge(features, sizes, largest) for largest in (1, 9, 64)]
    monkeypatch.setattr('icd.method.merging._merging', None)
    assert not merging.is_compiled()
    assert all((merging.merge(features, sizes, n) == one).all() for n, one in zip((1, 9, 64), compiled))


def test_compiled_part_refuses_arguments_that_do_not_fit():
    def arguments(**changed):
        given = dict(products=np.eye(3), sizes=np.ones(3), largest=1, first=np.arange(3))
        return {**given, **changed}.values()
    _merging.merge(*arguments())
    for changed in (dict(products=np.eye(2)), dict(sizes=np.ones(2)), dict(largest=0), dict(first=np.arange(2))):
        with pytest.raises(ValueError):
            _merging.merge(*arguments(**changed))
    with pytest.raises((BufferError, ValueError, TypeError)):
        _merging.merge(*arguments(products=np.ones((3, 6))[:, ::2]))


@pytest.mark.parametrize('largest', [5, 6, 100])
def test_maps_of_few_superpixels_are_unchanged(largest):
    features = np.random.default_rng(0).random((5, 3))
    assert merging.merge(features, np.arange(1, 6), largest).tolist() == [0, 1, 2, 3, 4]


def test_the_partition_does_not_depend_on_the_numbering():
    rng = np.random.default_rng(8)
    features, sizes, order = rng.random((300, 16)), rng.integers(1, 500, 300), rng.permutation(300)
    straight, shuffled = merging.merge(features, sizes, 64), merging.merge(features[order], sizes[order], 64)
    assert len(set(zip(straight[order], shuffled))) == 64 == straight.max() + 1


def test_labels_are_numbered_by_the_first_member():
    labels = merging.merge(np.random.default_rng(9).random((120, 4)), np.ones(120), 10)
    firsts = [int(np.flatnonzero(labels == k)[0]) for k in range(10)]
    assert firsts == sorted(firsts) and labels.dtype == np.int32
