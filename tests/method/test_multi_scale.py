"""Fusing the scores of several scales: known values, and what cropping, padding and size must not change."""
import tracemalloc

import numpy as np
import pytest

from icd.method.multi_scale import FUSIONS, best_class, fuse, interpolation, resize_letterbox, scaled_side


def random(*shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


@pytest.mark.parametrize('scale', [.5, .75, 1, 1.25, 1.5, 1.75])
def test_sides_are_those_of_the_recipes(scale):
    assert scaled_side(513, scale) == int(512 * scale) + 1


def test_sides_have_the_form_8k_plus_1():
    assert {scaled_side(side, scale) % 8 for side in (33, 49, 321) for scale in (.1, .33, .75, 1.3)} == {1}


def by_definition(image, side):
    """Bilinear, corners aligned, rounded, pixel by pixel in double precision."""
    made, step = np.empty((side, side), np.uint8), (len(image) - 1) / (side - 1)
    for y in range(side):
        for x in range(side):
            row, column = min(int(y * step), len(image) - 2), min(int(x * step), len(image) - 2)
            square = image[row:row + 2, column:column + 2].astype(float)
            down, right = np.array([1 - (y * step - row), y * step - row]), np.array([1 - (x * step - column),
                                                                                      x * step - column])
            made[y, x] = int(down @ square @ right + .5)
    return made


@pytest.mark.parametrize('side', [25, 33, 41])
def test_letterboxes_are_resized_with_aligned_corners(side):
    letterbox = np.random.RandomState(0).randint(0, 256, (2, 33, 33)).astype(np.uint8)
    assert (resize_letterbox(letterbox, side) == [by_definition(one, side) for one in letterbox]).all()


def test_a_position_lies_on_every_eighth_pixel():
    scores = random(3, 9, 9)
    full = fuse([scores], (65, 65), 65, 'mean')
    np.testing.assert_allclose(full[:, ::8, ::8], scores, atol=1e-6)
    np.testing.assert_allclose(full[:, 4, ::8], (scores[:, 0] + scores[:, 1]) / 2, atol=1e-6)
    assert interpolation(9, 65, 30).shape == (30, 9)


def test_fusions_of_known_values():
    maps = [np.full((1, count, count), value, np.float32) for count, value in ((4, 1), (5, 5), (6, 3))]
    found = {fusion: fuse(maps, (33, 20), 33, fusion) for fusion in FUSIONS}
    assert {fusion: full.shape for fusion, full in found.items()} == dict.fromkeys(FUSIONS, (1, 33, 20))
    assert {fusion: np.unique(full.round(5)).tolist() for fusion, full in found.items()} == {
        'mean': [3], 'max': [5], 'mean+max': [(1 + 5 + 3 + 5) / 4]}
    with pytest.raises(ValueError, match='mean'):
        fuse(maps, (33, 20), 33, 'median')


@pytest.mark.parametrize('fusion', FUSIONS)
def test_of_one_scale_every_fusion_is_that_scale_and_cropping_changes_nothing(fusion):
    one, other = random(2, 5, 5), random(2, 9, 9)
    assert (fuse([one], (33, 33), 33, fusion) == fuse([one], (33, 33), 33, 'mean')).all()
    whole = fuse([one, other], (33, 33), 33, fusion)
    np.testing.assert_allclose(fuse([one, other], (20, 31), 33, fusion), whole[:, :20, :31], atol=1e-6)
    assert one.tolist() == random(2, 5, 5).tolist()             # what is given stays as it is


def test_the_best_class_is_the_first_largest():
    scores = np.float32([[[1, 2]], [[1, 3]], [[0, 3]]])
    assert best_class(scores, (1, 2)).tolist() == [[0, 1]]
    assert best_class(scores, (2, 4)).tolist() == [[0, 1, 1, 1]] * 2


def test_scores_of_a_large_image_take_a_few_bytes_a_pixel():
    scores, size = random(21, 60, 50), (1200, 1000)
    tracemalloc.start()
    label = best_class(scores, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert label.shape == size and label.max() == 20 and peak < 16 * label.size
