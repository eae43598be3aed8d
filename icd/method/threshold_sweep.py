"""Which threshold on class maps is best, and which one can be chosen without truth. Arrays in, numbers out.

Seeds at every threshold are compared with masks. With the truth that gives the curves of a method and its best
threshold, which nobody knows who has no truth. With the seeds of another method, ICD's say, it gives the threshold at
which both agree most, and that needs none.
"""
from __future__ import annotations

from typing import Sequence

import numpy as np

from icd.method import metrics


def seed_counts(matrix: np.ndarray) -> np.ndarray:
    """The counts of seeds that the figures of a sweep follow from.

    Parameters
    ----------
    matrix : ndarray (C + 1, C + 1)
        Of `icd.method.metrics.confusion_matrix`.

    Returns
    -------
    ndarray (4, C) int64
        `icd.method.metrics.class_counts`, and for each class of the truth its pixels that the seed gives any class but
        the background.

    Examples
    --------
    >>> seed_counts(np.array([[5, 1, 0], [2, 7, 1], [9, 9, 9]]))
    array([[ 5,  7],
           [ 6, 10],
           [ 7,  8],
           [ 1,  7]])
    """
    return np.concatenate([metrics.class_counts(matrix), matrix[:-1, 1:-1].sum(1)[None]])


def figures(counts: np.ndarray) -> dict:
    """The figures of seeds, threshold by threshold.

    Parameters
    ----------
    counts : ndarray (..., 4, C)
        Sums of `seed_counts` over the images.

    Returns
    -------
    dict of ndarray (...)
        In percent, NaN where there is nothing to count. `mIoU`: what the seeds leave undefined is missed. `precision`:
        of the pixels that seeds give a class but the background, those that are of this class. `coverage`: of the
        pixels that the truth gives such a class, those that the seeds give any.

    Examples
    --------
    >>> {name: float(value) for name, value in figures(np.array([[5, 7], [6, 10], [7, 8], [1, 7]])).items()}
    {'mIoU': 63.06818181818181, 'precision': 87.5, 'coverage': 70.0}
    """
    both, truth, pred, covered = np.moveaxis(counts[..., 1:], -2, 0).sum(-1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return {'mIoU': metrics.mean_iou(counts[..., :3, :]), 'precision': 100 * both / pred,
                'coverage': 100 * covered / truth}


def best_threshold(thresholds: Sequence[float], counts: np.ndarray) -> tuple:
    """The threshold at which seeds come nearest to what they were compared with, and the mIoU there.

    Parameters
    ----------
    thresholds : sequence of T float
    counts : ndarray (T, 4, C)
        Sums of `seed_counts`, against the truth: the best threshold, which truth alone tells. Against the seeds of
        another method: the threshold of most agreement, which is *chosen without truth*.

    Returns
    -------
    (float, float)
        The first of equals; the mIoU, or agreement, in percent, NaN when nothing could be compared.

    Examples
    --------
    >>> counts = np.array([[[5, 7], [6, 10], [7, 8], [1, 7]], [[6, 8], [6, 10], [7, 8], [1, 7]]])
    >>> threshold, percent = best_threshold([.1, .2], counts)
    >>> threshold, round(percent, 2)
    (0.2, 82.86)
    """
    percent = metrics.mean_iou(counts[..., :3, :])
    index = int(np.argmax(np.nan_to_num(percent, nan=-1)))
    return thresholds[index], float(percent[index])
