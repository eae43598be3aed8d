"""Interval of a difference of two mean IoUs: the paired bootstrap over images. Arrays in, numbers out."""
from __future__ import annotations

from typing import Callable

import numpy as np

from icd.method import metrics


def paired_bootstrap(counts: np.ndarray, counts_other: np.ndarray, resamples: int = 1000,
                     seed: int = 0, advance: Callable = lambda count: None) -> np.ndarray:
    """Mean IoU of two predictions on the same random draws of the images.

    Parameters
    ----------
    counts, counts_other : ndarray (n, 3, C)
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
    both = np.stack([counts, counts_other], 1).astype(np.float64)           # (n, 2, 3, C)
    n, rng, drawn = len(both), np.random.default_rng(seed), []
    for first in range(0, resamples, 50):                                    # weights of 50 draws at a time
        draws = min(50, resamples - first)
        chosen = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
        weights = np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n)
        sums = weights.astype(np.float64) @ both.reshape(n, -1)
        drawn.append(metrics.mean_iou(sums.reshape((draws,) + both.shape[1:])))
        advance(draws)
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
