"""The paired bootstrap: which draws it can make, and what its interval knows."""
import itertools

import numpy as np
import pytest

from icd.method import bootstrap, image_counts, metrics
from tests.method.test_metrics import C, random_masks


def counts_of(truth, pred):
    return np.stack([metrics.class_counts(metrics.confusion_matrix(t, p, C)) for t, p in zip(truth, pred)])


def test_draws_are_paired_and_with_replacement():
    truth, one = random_masks(2)
    one, other = counts_of(truth, one), counts_of(truth, random_masks(3)[1])
    possible = {tuple(np.round([metrics.mean_iou(sum(c[i] for i in draw)) for c in (one, other)], 9))
                for draw in itertools.product(range(3), repeat=3)}
    drawn = bootstrap.paired_bootstrap(one, other, 400, seed=1)
    assert drawn.shape == (2, 400)
    assert {tuple(pair) for pair in np.round(drawn.T, 9)} == possible


def test_interval_excludes_zero_only_for_a_real_difference():
    truth, good = random_masks(4, (60, 20, 25))
    noise = np.random.default_rng(0).random(truth.shape) < .1
    worse = np.where(noise, 0, good).astype(np.uint8)
    drawn = bootstrap.paired_bootstrap(counts_of(truth, good), counts_of(truth, worse), 500)
    low, high = bootstrap.interval(drawn[0] - drawn[1])
    difference = metrics.mean_iou(counts_of(truth, good).sum(0)) - metrics.mean_iou(counts_of(truth, worse).sum(0))
    assert 0 < low < difference < high
    unpaired = bootstrap.interval(drawn[0] - drawn[1][::-1])
    assert high - low < .7 * (unpaired[1] - unpaired[0])
    same = bootstrap.paired_bootstrap(counts_of(truth, good), counts_of(truth, good), 100)
    assert (same[0] == same[1]).all() and np.ptp(same[0]) > 0


def test_the_seed_alone_decides_the_draws():
    counts = counts_of(*random_masks(5))
    first, again, other = (bootstrap.paired_bootstrap(counts, counts, 60, seed) for seed in (0, 0, 1))
    assert first.shape == (2, 60) and (first == again).all() and (first != other).any()


@pytest.mark.parametrize('count, draws', [(1, 20), (9, 120), (70, 101)])
def test_draws_are_those_of_whole_arrays_to_the_bit(count, draws, monkeypatch):
    monkeypatch.setattr(image_counts, '_BLOCK', 16)
    rng = np.random.default_rng(count)
    both = rng.integers(0, 1 << 20, (count, 2, 3, 5)) * (rng.random((count, 1, 1, 5)) < .5)
    again, done = np.random.default_rng(3), []
    chosen = np.concatenate([again.integers(count, size=(min(50, draws - first), count))
                             for first in range(0, draws, 50)])
    expected = np.stack([metrics.mean_iou(both[own].sum(axis=0)) for own in chosen], axis=1)
    drawn = bootstrap.paired_bootstrap(both[:, 0], both[:, 1], draws, 3, done.append)
    assert drawn.tobytes() == expected.tobytes() and sum(done) == draws


def test_interval_covers_its_level():
    values = np.random.default_rng(0).permutation(10001) / 100.
    assert bootstrap.interval(values) == pytest.approx([2.5, 97.5])
    assert bootstrap.interval(values, 50) == pytest.approx([25, 75])
