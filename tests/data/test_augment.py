"""Views: the recorded pipeline, and what must hold for every scale, mirror and crop."""
import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.data import augment, geometry, superpixel_map
from tests.data import cut
from tests.helpers import load_recording, parity_files

sides = st.integers(1, 90)
sizes = st.integers(4, 12).map(lambda k: 8 * k + 1)
scales = st.sampled_from(augment.SCALES)


def scene(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
            rng.integers(0, 400, (height, width)).astype(np.int32))


def centre_view(height, width, size, scale=1., mirror=False):
    """The view of the middle, without chance."""
    height, width = (max(int(side * scale + .5), 1) for side in (height, width))
    return augment.View(height, width, mirror, max(height - size, 0) // 2, max(width - size, 0) // 2, size)


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist()))
    return len(pairs) == len({p for p, _ in pairs}) == len({q for _, q in pairs})


@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('loader_*.npz'), ids=os.path.basename)
def test_centred_crops_are_the_recorded_ones(path):
    recording = load_recording(path)
    image, size = cv2.imdecode(recording['image_jpeg'], cv2.IMREAD_COLOR), int(recording['target_size'])
    views = [key[len('image_s'):] for key in recording if key.startswith('image_s')]
    assert len(views) == 2 * len(augment.SCALES)
    for key in views:
        scale, mirror = key.split('_m')
        view = centre_view(*image.shape[:2], size, float(scale), mirror == '1')
        crop, superpixel = cut(image, recording['superpixel'], view)
        assert (crop == recording['image_s' + key]).all(), key
        assert same_partition(superpixel, recording['superpixel_s' + key]), key


def slow_view(image, superpixel, view):
    """The same by whole images, one step after another."""
    image = cv2.resize(image, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    # Nearest scaling of OpenCV knows 32-bit integers as the floating-point numbers of the same bits.
    superpixel = cv2.resize(superpixel.astype(np.float32), (view.width, view.height),
                            interpolation=cv2.INTER_NEAREST).astype(np.int32)
    if view.mirror:
        image, superpixel = cv2.flip(image, 1), cv2.flip(superpixel, 1)
    below, right = max(view.size - view.height, 0), max(view.size - view.width, 0)
    image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(127,) * 3)
    superpixel = cv2.copyMakeBorder(superpixel, 0, below, 0, right, cv2.BORDER_CONSTANT,
                                    value=int(superpixel.max()) + 1)
    inside = slice(view.top, view.top + view.size), slice(view.left, view.left + view.size)
    return image[inside], superpixel[inside]


@given(sides, sides, sizes, st.integers(0, 10 ** 6))
@settings(max_examples=200, deadline=None)
def test_train_view_equals_the_view_of_the_whole_scaled_image(height, width, size, seed):
    image, superpixel = scene(height, width)
    view = augment.random_view(height, width, size, np.random.default_rng(seed))
    expected, labels = slow_view(image, superpixel, view)
    crop, dense = cut(image, superpixel, view)
    assert crop.shape == (size, size, 3) and (crop == expected).all()
    assert dense.dtype == np.int32 and (dense == superpixel_map.renumber(labels)).all()


@given(sides, sides, sizes, st.integers(0, 10 ** 6))
@settings(max_examples=200, deadline=None)
def test_looking_up_samples_equals_sampling_the_whole_map(height, width, size, seed):
    _, superpixel = scene(height, width)
    view = augment.random_view(height, width, size, np.random.default_rng(seed))
    whole = augment.pad_labels(augment.cut_labels(superpixel, view), size)
    few = augment.pad_labels(augment.cut_labels(superpixel, view, 8), size // 8 + 1)
    assert (few == superpixel_map.sample(whole)).all()


@given(sides, sides, sizes, scales)
@settings(max_examples=100, deadline=None)
def test_padding_is_grey_and_a_separate_superpixel(height, width, size, scale):
    image, superpixel = scene(height, width)
    image[image == 127] = 126
    crop, labels = cut(image, superpixel, centre_view(height, width, size, scale))
    inside = np.zeros((size, size), bool)
    inside[:int(height * scale + .5) or 1, :int(width * scale + .5) or 1] = True
    assert (crop[~inside] == 127).all()
    if not inside.all():
        assert set(labels[~inside]) == {labels.max()} and labels.max() not in labels[inside]


@given(st.integers(20, 90), st.integers(20, 90), scales)
@settings(max_examples=50, deadline=None)
def test_mirror_twice_is_no_mirror(height, width, scale):
    image, superpixel = scene(height, width)
    size = 8 * 20 + 1
    plain = cut(image, superpixel, centre_view(height, width, size, scale))
    shown = int(width * scale + .5)
    mirrored = cut(image, superpixel, centre_view(height, width, size, scale, mirror=True))
    for a, b in zip(plain, mirrored):
        assert (a[:, :shown] == b[:, :shown][:, ::-1]).all()


def test_scales_mirrors_and_offsets_are_uniformly_distributed():
    rng = np.random.default_rng(0)
    views = [augment.random_view(100, 200, 97, rng) for _ in range(2000)]
    heights = [v.height for v in views]
    assert sorted(set(heights)) == [50, 75, 100, 125, 150]
    assert all(330 < heights.count(h) < 470 for h in set(heights))
    assert 900 < sum(v.mirror for v in views) < 1100
    tops = [v.top for v in views if v.height == 100]
    assert set(tops) == {0, 1, 2, 3} and {v.top for v in views if v.height < 97} == {0}
    assert {v.left for v in views if v.width == 100} == {0, 1, 2, 3}
    assert 190 < max(v.left for v in views if v.width == 300) <= 203


def test_augmentations_can_be_switched_off():
    rng = np.random.default_rng(0)
    views = [augment.random_view(100, 200, 97, rng, scale=False, mirror=False) for _ in range(50)]
    assert {(v.height, v.width, v.mirror) for v in views} == {(100, 200, False)}
    assert {v.mirror for v in (augment.random_view(9, 9, 97, rng, scale=False) for _ in range(50))} == {True, False}


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_a_letterbox_holds_the_whole_image(height, width):
    image, _ = scene(height, width)
    square, (h, w) = augment.letterbox(image, 129)
    assert square.shape == (129, 129, 3)
    assert (square[h:] == 127).all() and (square[:, w:] == 127).all()
    if max(height, width) <= 129:
        assert (h, w) == (height, width) and (square[:h, :w] == image).all()
    else:
        assert max(h, w) == 129 and abs(h * width - w * height) <= max(height, width)
        assert (h, w) == geometry.fitted_size(height, width, 129)


def test_a_letterbox_is_padded_in_the_colour_it_is_given():
    square, (height, width) = augment.letterbox(np.zeros((20, 30, 3), np.uint8), 33, (1, 2, 3))
    assert not square[:height, :width].any()
    assert (square[height:] == [1, 2, 3]).all() and (square[:, width:] == [1, 2, 3]).all()
