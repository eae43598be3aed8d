import numpy as np
import pytest

from icd.viz import previews


@pytest.mark.parametrize('shape, expected', [((375, 500), (120, 160)), ((500, 375), (120, 90)), ((1, 3000), (1, 600)),
                                             ((3000, 1), (120, 1)), ((1, 1), (120, 120)), ((40, 1000), (24, 600))])
def test_preview_rows_have_five_pictures_of_the_same_height(shape, expected):
    row = previews.row(np.zeros(shape + (3,), np.uint8), [np.ones((3, 3), np.float32)] * 2)
    height, width = expected
    assert row.shape == (height, 5 * width + 4 * 4, 3)
    preview = previews.vstack([row, row])
    assert preview.shape[:2] == (2 * height + 4, row.shape[1])


def test_a_row_is_the_image_and_both_signs_of_each_score():
    image, rng = np.full((120, 100, 3), 60, np.uint8), np.random.default_rng(0)
    scores = [rng.normal(size=(5, 5)).astype(np.float32) for _ in range(2)]
    row = previews.row(image, scores)
    expected = [image] + [previews.heat(image, sign * score) for score in scores for sign in (1, -1)]
    for i, picture in enumerate(expected):
        assert (row[:, 104 * i:104 * i + 100] == picture).all()
        assert (row[:, 104 * i + 100:104 * i + 104] == 255).all()


def test_rows_are_stacked_from_the_left_with_white_around():
    wide, narrow = np.full((10, 30, 3), 5, np.uint8), np.full((6, 20, 3), 9, np.uint8)
    preview = previews.vstack([wide, narrow])
    assert preview.shape == (20, 30, 3)
    assert (preview[:10] == 5).all() and (preview[14:, :20] == 9).all()
    assert (preview[10:14] == 255).all() and (preview[14:, 20:] == 255).all()


def test_positive_scores_are_red_and_others_blue():
    score = np.zeros((5, 5), np.float32)
    score[:, 3:] = 7
    hot = previews.heat(np.zeros((50, 50, 3), np.uint8), score)
    assert (hot[:, 45:, 2] > 90).all() and (hot[:, 45:, 0] == 0).all()          # dark red
    assert (hot[:, :10, 0] > 90).all() and (hot[:, :10, 2] == 0).all()          # dark blue
    assert (previews.heat(hot, -score) == previews.heat(hot, 0 * score)).all()


def test_a_row_of_seeds_is_image_scores_and_seeds_of_one_width():
    image, seed = np.full((30, 60, 3), 60, np.uint8), np.zeros((30, 60), np.uint8)
    seed[:, 40:] = 3
    scores = np.zeros((2, 30, 60), np.float32)
    scores[0, :, 40:], scores[1, :, :20] = 7, .1        # each class is divided by its own largest
    row = previews.seed_row(image, [scores], [seed], 60)
    assert row.shape == (30, 3 * 60 + 2 * 4, 3) and (row[:, :60] == image).all()
    assert (row[:, 64:124] == previews.heat(image, scores.max(0) > 0)).all()
    assert (row[:, 128:168] == image[:, :40]).all() and (row[:, 168:] != image[:, 40:]).any(axis=2).all()


def test_headings_stand_over_their_columns():
    row = previews.headings(300, ('a', 'b', 'c'))
    dark = np.flatnonzero((row < 128).any(axis=(0, 2)))
    assert row.shape[1] == 300 and all(abs(dark[dark // 100 == i].mean() - 100 * i - 50) < 3 for i in range(3))
