"""Interval of a difference of two mean IoUs: the paired bootstrap over images. Arrays in, numbers out."""
from __future__ import annotations

from typing import Callable

import numpy as np

from icd.method import metrics
from icd.method.image_counts import ImageCounts

_DRAWS = 50             # of the images at a time


def paired_bootstrap(counts: ImageCounts | np.ndarray, counts_other: ImageCounts | np.ndarray, resamples: int = 1000,
                     seed: int = 0, advance: Callable = lambda count: None) -> np.ndarray:
    """Mean IoU of two predictions on the same random draws of the images.

    Parameters
    ----------
    counts, counts_other : ImageCounts or ndarray (n, 3, C)
        `icd.method.metrics.class_counts` of each image, for the one and the other prediction against the same truth.
    resamples : int
        Draws of n images with replacement.
    seed : int
    advance : callable
        Called with a number of draws that are done, now and then.

    Returns
    -------
    ndarray (2, resamples) float64
        Mean IoU in percent of the one and of the other.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13.

    Examples
    --------
    >>> good, poor = np.array([[[9], [10], [10]], [[8], [10], [10]]]), np.array([[[5], [10], [10]], [[6], [10], [10]]])
    >>> low, high = interval(np.subtract(*paired_bootstrap(good, poor)))
    >>> 0 < low < high
    True
    """
    one, other = (counts if isinstance(counts, ImageCounts) else ImageCounts.of(counts)
                  for counts in (counts, counts_other))
    n, rng, drawn = len(one), np.random.default_rng(seed), []
    weights = np.empty((min(_DRAWS, resamples), n), np.float32)              # whole numbers, so sums are exact
    for first in range(0, resamples, _DRAWS):
        sums, begin = np.zeros((min(_DRAWS, resamples - first), 2 * 3 * one.num_cls)), 0
        for row, _ in zip(weights, sums):
            row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
        for blocks in zip(one.blocks(), other.blocks()):
            both = np.stack(blocks, 1).astype(np.float64)                    # (images, 2, 3, C)
            sums += weights[:len(sums), begin:begin + len(both)].astype(np.float64) @ both.reshape(len(both), -1)
            begin += len(both)
        drawn.append(metrics.mean_iou(sums.reshape(-1, 2, 3, one.num_cls)))
        advance(len(sums))
    return np.concatenate(drawn).T


def interval(values: np.ndarray, level: float = 95) -> list[float]:
    """The middle `level` percent of `values`, NaN left out: [low, high].

    Examples
    --------
    >>> interval(np.arange(101.), 90)
    [5.0, 95.0]
    """
    values = values[~np.isnan(values)]
    return [float(v) for v in np.percentile(values, [50 - level / 2, 50 + level / 2])]
