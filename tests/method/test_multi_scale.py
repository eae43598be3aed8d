"""Fusing the scores of several scales: known values, and what cropping, padding and size must not change."""
import tracemalloc

import numpy as np
import pytest

from icd.data.geometry import GREY, resized_positions
from icd.method.multi_scale import FUSIONS, Views, best_class, fuse, interpolation, resize_letterbox, scaled_side


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


# --------------------------------------------------------------------------------------------- views of a letterbox
def ramp(side):
    """A score that grows by 1 a row and by 100 a column of a letterbox of 65 pixels, at the positions of a scale."""
    where = np.arange(side // 8 + 1, dtype=np.float32) * (64 / (side - 1))
    return (8 * where[:, None] + 800 * where)[None]


def test_every_scale_counts_at_the_positions_of_the_letterbox():
    views = Views(65, (.5, 1., 2.))
    maps = [ramp(side) for side in views.sides]
    assert [one.shape[1] for one in maps] == [5, 9, 17]
    rows, columns = views.positions((40, 50))
    np.testing.assert_allclose(views.mean(maps, (40, 50)), ramp(65)[:, :rows, :columns], rtol=1e-6)
    np.testing.assert_allclose(views.mean([maps[0], maps[1] + 6, maps[2]], (40, 50)), ramp(65)[:, :rows, :columns] + 2,
                               rtol=1e-6)


def test_a_plain_view_is_the_score_itself():
    assert Views(65).plain and not Views(65, (1.,), True).plain and not Views(65, (.5,)).plain
    scores = random(2, 9, 9)
    assert (Views(65).mean([scores], (65, 65)) == scores).all()


@pytest.mark.parametrize('flip', [False, True])
def test_content_holds_the_image_and_what_its_scores_are_made_of(flip):
    views = Views(65, (.25, .5, 1., 1.25, 2.), flip)
    for length in range(1, 66):
        fitted, letterbox = (66 - length, length), np.full((65, 65), GREY, np.uint8)
        letterbox[:fitted[0], :fitted[1]] = 0
        for number, seen in enumerate(views.of(letterbox, fitted)):
            side = views.sides[number // (1 + flip)]
            height, width = content = views.content(fitted, side)
            assert (seen[height:] == GREY).all() and (seen[:, width:] == GREY).all()
            last = (np.array(views.positions(fitted)) - 1) * ((side - 1) / 64)
            assert (last <= np.array(resized_positions(content, side)) - 1).all()
            assert max(content) <= side


@pytest.mark.parametrize('width', [41, 44, 48, 49, 65])
def test_mirrored_scores_are_turned_back(width):
    """A network that returns every eighth pixel gives mirrored pixels, and every position gets back its own."""
    views, letterbox = Views(65, (1.,), True), np.random.RandomState(0).randint(0, 256, (65, 65)).astype(np.uint8)
    plain, mirrored = [one[::8, ::8].astype(np.float32)[None] for one in views.of(letterbox, (30, width))]
    assert (plain != mirrored).any()
    wide = views.mirrored_width((30, width)) // 8 + 1
    assert width <= 8 * (wide - 1) + 1 < width + 8
    np.testing.assert_array_equal(views.mean([0 * plain, mirrored], (30, width))[..., :wide],
                                  plain[:, :views.positions((30, width))[0], :wide] / 2)


def test_scores_of_a_large_image_take_a_few_bytes_a_pixel():
    scores, size = random(21, 60, 50), (1200, 1000)
    tracemalloc.start()
    label = best_class(scores, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert label.shape == size and label.max() == 20 and peak < 16 * label.size
