"""How well signs are decided: known values, and what must not change them."""
import numpy as np
import pytest

from icd.method.calibration import UNDECIDED, Agreement, margins


def test_margins_of_known_states():
    found = margins(np.float32([[6, 6], [3, 0], [0, 3], [1, 2], [0, 0]]))
    assert found[:4].tolist() == [0, 1, 1, pytest.approx(1 / 3)] and np.isnan(found[4])
    assert margins(np.float32([[7.4, 11.]])) < UNDECIDED < margins(np.float32([[15.7, 2.9]]))


def test_margins_have_no_scale_and_no_side():
    state = np.random.default_rng(0).uniform(.1, 9, (6, 2)).astype(np.float32)
    np.testing.assert_allclose(margins(state), margins(100 * state), rtol=1e-6)
    np.testing.assert_array_equal(margins(state), margins(state[:, ::-1]))


def maps(rng, count, reached):
    """CAM and ICD scores of `count` classes; the right columns are not of the image."""
    cam, icd = rng.normal(1, 2, (2, count, 5, 7)).astype(np.float32)
    icd += cam
    cam[..., reached:] = icd[..., reached:] = 0
    return cam, icd


def test_agreement_is_the_correlation_over_all_positions_of_all_images():
    rng, found, seen = np.random.default_rng(1), Agreement(4), {c: ([], []) for c in range(4)}
    for classes, reached in ((0, 2), 7), ((2,), 4), ((0,), 6), ((), 7):
        cam, icd = maps(rng, len(classes), reached)
        found.add(classes, cam, icd)
        for c, x, y in zip(classes, cam[..., :reached], icd[..., :reached]):
            seen[c][0].append(np.maximum(x, 0).ravel())
            seen[c][1].append(y.ravel())
    ours = found.correlations()
    for c in 0, 2:
        assert ours[c] == pytest.approx(np.corrcoef(*map(np.concatenate, seen[c]))[0, 1], abs=1e-6)
    assert np.isnan(ours[[1, 3]]).all()


def test_a_turned_score_agrees_as_much_the_other_way():
    cam, icd = maps(np.random.default_rng(2), 1, 7)
    one, other, constant = Agreement(1), Agreement(1), Agreement(1)
    one.add((0,), cam, icd)
    other.add((0,), cam, -icd)
    constant.add((0,), cam, np.ones_like(icd))
    assert one.correlations() == -other.correlations() > .3
    assert np.isnan(constant.correlations()).all()
