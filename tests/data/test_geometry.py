"""Sizes and positions that several rooms rely on."""
import numpy as np
import pytest

from icd.data import geometry


@pytest.mark.parametrize('side, count', [(1, 1), (8, 1), (9, 2), (321, 41), (513, 65)])
def test_a_feature_map_has_a_position_at_every_eighth_pixel(side, count):
    assert geometry.feature_size(side) == count == len(range(0, side, 8))


@pytest.mark.parametrize('image, size, fitted', [
    ((375, 500), 513, (375, 500)), ((375, 500), 321, (241, 321)), ((1, 1000), 65, (1, 65)), ((130, 65), 65, (65, 33))])
def test_images_fit_into_the_letterbox(image, size, fitted):
    assert geometry.fitted_size(*image, size) == fitted


@pytest.mark.parametrize('side, count', [(1, 2), (2, 2), (9, 2), (10, 3), (17, 3), (513, 65)])
def test_enclosing_positions_reach_just_beyond_the_last_pixel(side, count):
    assert geometry.enclosing_positions((side, side)) == (count, count)


def test_normalised_scores_reach_one_in_each_map():
    scores = np.float32([[[-1, 2], [4, 0]], [[-3, -1], [0, -2]], [[1e-7, 0], [0, 0]]])
    assert geometry.normalised(scores)[0].tolist() == [[0, .5], [1, 0]]
    assert not geometry.normalised(scores)[1].any() and geometry.normalised(scores)[2].max() == pytest.approx(.01)
    assert (geometry.normalised(scores[0]) == geometry.normalised(scores)[0]).all()
