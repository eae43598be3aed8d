"""Figures of a sweep: equal to what counting pixel by pixel gives, and the choice of a threshold."""
import doctest

import numpy as np
import pytest

from icd.method import metrics, seed_map, threshold_sweep

C = 4


def masks(rng, shape=(9, 13)):
    return rng.choice([0, 1, 2, 3, 255], shape).astype(np.uint8)


def test_figures_are_those_of_the_pixels():
    rng = np.random.default_rng(0)
    truth, seed = masks(rng), masks(rng)
    found = threshold_sweep.figures(threshold_sweep.seed_counts(metrics.confusion_matrix(truth, seed, C)))
    known = truth != 255
    given, wanted = known & (seed > 0) & (seed != 255), known & (truth > 0)
    assert found['precision'] == pytest.approx(100 * (truth == seed)[given].mean())
    assert found['coverage'] == pytest.approx(100 * given[wanted].mean())
    assert found['mIoU'] == pytest.approx(metrics.figures(metrics.confusion_matrix(truth, seed, C), 'abcd')['mIoU'])


def test_nothing_to_count_is_nan_and_never_best():
    counts = np.zeros((2, 4, C), int)
    assert all(np.isnan(value).all() for value in threshold_sweep.figures(counts).values())
    counts[1] = threshold_sweep.seed_counts(metrics.confusion_matrix(*[np.uint8([[0, 1]])] * 2, C))
    assert threshold_sweep.best_threshold([.1, .2], counts) == (.2, 100)


def test_the_threshold_of_most_agreement_is_that_the_seeds_were_made_with():
    rng = np.random.default_rng(0)
    maps, thresholds = rng.random((2, 20, 30), np.float32), [.1, .4, .7]
    other = seed_map.cam_seed_map(maps, (0, 2), .4)
    counts = np.stack([threshold_sweep.seed_counts(metrics.confusion_matrix(other, seed, C))
                       for seed in seed_map.cam_seed_maps(maps, (0, 2), thresholds)])
    assert threshold_sweep.best_threshold(thresholds, counts) == (.4, 100)


def test_seeds_at_several_thresholds_are_those_at_each():
    maps = np.random.default_rng(0).normal(size=(2, 7, 8)).astype(np.float32)
    for classes in (1, 4), ():
        made = list(seed_map.cam_seed_maps(maps[:len(classes)], classes, (.2, .9)))
        for seed, threshold in zip(made, (.2, .9)):
            assert np.array_equal(seed, seed_map.cam_seed_map(maps[:len(classes)], classes, threshold))
        assert len(made) == 2


def test_the_examples_hold():
    for module in threshold_sweep, seed_map:
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
