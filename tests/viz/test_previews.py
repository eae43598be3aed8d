import numpy as np
import pytest

from icd.viz import previews


@pytest.mark.parametrize('shape, expected', [((375, 500), (120, 160)), ((500, 375), (120, 90)), ((1, 3000), (1, 600)),
                                             ((3000, 1), (120, 1)), ((1, 1), (120, 120)), ((40, 1000), (24, 600))])
def test_a_row_of_a_picture_of_any_shape(shape, expected):
    row = previews.row(np.zeros(shape + (3,), np.uint8), [np.ones((3, 3), np.float32)] * 2)
    height, width = expected
    assert row.shape == (height, 5 * width + 4 * 4, 3)
    preview = previews.vstack([row, row])
    assert preview.shape[:2] == (2 * height + 4, row.shape[1])


def test_the_positive_part_of_a_score_is_hot_on_its_side():
    score = np.zeros((5, 5), np.float32)
    score[:, 3:] = 7
    hot = previews.heat(np.zeros((50, 50, 3), np.uint8), score)
    assert (hot[:, 45:, 2] > 90).all() and (hot[:, 45:, 0] == 0).all()          # dark red
    assert (hot[:, :10, 0] > 90).all() and (hot[:, :10, 2] == 0).all()          # dark blue
    assert (previews.heat(hot, -score) == previews.heat(hot, 0 * score)).all()
