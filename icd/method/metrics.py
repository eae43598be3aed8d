"""How well masks agree: counts of pixels, and the figures that follow from them. Arrays in, numbers out.

A confusion matrix here has a row for every class of the truth and a column for every class of the prediction, the
background being class 0, and one more of each for ignored pixels (255). Counts are of pixels, figures in percent.

What is ignored counts like this:

- Pixels the truth ignores are left out.
- Pixels the prediction ignores are *missed*: they are in the union of their true class and in no intersection. They
  are never a false alarm of another class. Figures named `..._defined` leave them out instead.
- A class that occurs in neither mask has no IoU, and is left out of the mean.
"""
from __future__ import annotations

import functools
from typing import Sequence

import cv2
import numpy as np

from icd.data.geometry import IGNORE, normalised

_STEPS = 100                                # between thresholds of 0 and 1 on the confidence


@functools.lru_cache(maxsize=None)
def _cells(num_cls):
    """Cell of the flattened confusion matrix by truth + 256·prediction; one beyond the last for unknown indices."""
    size = num_cls + 1
    row = np.full(256, -1)
    row[:num_cls] = np.arange(num_cls)
    row[IGNORE] = num_cls
    cells = row[None, :] * size + row[:, None]
    cells[(row[None, :] < 0) | (row[:, None] < 0)] = size * size
    return cells.ravel()


def confusion_matrix(truth: np.ndarray, pred: np.ndarray, num_cls: int) -> np.ndarray:
    """Count the pixels of two masks by their pair of indices.

    Masks are made of long runs, so only the ends of runs are looked up.

    Parameters
    ----------
    truth, pred : ndarray (H, W) uint8
        Class indices below `num_cls`, or 255 for ignored.
    num_cls : int
        Classes, background counted; at most 255.

    Returns
    -------
    ndarray (num_cls + 1, num_cls + 1) int64
        Row: truth, column: prediction, the last of each: ignored.

    Raises
    ------
    ValueError
        When the masks differ in size or hold another index.

    Examples
    --------
    >>> confusion_matrix(np.uint8([[0, 1, 255]]), np.uint8([[0, 255, 1]]), 2)
    array([[1, 0, 0],
           [0, 0, 1],
           [0, 1, 0]])
    """
    if truth.shape != pred.shape or truth.dtype != np.uint8 or pred.dtype != np.uint8:
        raise ValueError(f'two uint8 masks of one size are needed, not {truth.dtype} {truth.shape} and '
                         f'{pred.dtype} {pred.shape}')
    size = num_cls + 1
    pairs = cv2.merge((truth.reshape(1, -1), pred.reshape(1, -1))).view('<u2').ravel()
    ends = np.append(np.flatnonzero(pairs[1:] != pairs[:-1]), pairs.size - 1)
    counts = np.bincount(_cells(num_cls)[pairs[ends]], np.diff(ends, prepend=-1), size * size + 1)
    if counts[-1]:
        raise ValueError(f'an index is neither below {num_cls} nor {IGNORE}')
    return counts[:-1].astype(np.int64).reshape(size, size)


def unknown_index(mask: np.ndarray, num_cls: int) -> int | None:
    """The smallest index in a mask that is neither a class nor 255, or None.

    Examples
    --------
    >>> unknown_index(np.uint8([[0, 20, 255]]), 21), unknown_index(np.uint8([[0, 20, 255]]), 20)
    (None, 20)
    """
    wrong = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[num_cls:IGNORE])
    return num_cls + int(wrong[0]) if wrong.size else None


def class_counts(matrix: np.ndarray) -> np.ndarray:
    """The counts that the IoU of each class follows from.

    Parameters
    ----------
    matrix : ndarray (num_cls + 1, num_cls + 1)
        Of `confusion_matrix`.

    Returns
    -------
    ndarray (3, num_cls)
        Pixels, of those the truth defines, that are of the class in both, in the truth, in the prediction.

    Examples
    --------
    >>> class_counts(np.array([[5, 1, 0], [2, 7, 1], [9, 9, 9]]))
    array([[ 5,  7],
           [ 6, 10],
           [ 7,  8]])
    """
    known = matrix[:-1]
    return np.stack([np.diagonal(known), known.sum(1), known[:, :-1].sum(0)])


def _percent(part, whole):
    """100·part/whole; NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return 100 * np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def _mean(values):
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return _percent(np.where(there, values, 0).sum(-1), there.sum(-1)) / 100


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union in percent, NaN for absent classes: `class_counts` (..., 3, C) → (..., C).

    Examples
    --------
    >>> iou(np.array([[5, 7, 0], [6, 10, 0], [7, 8, 0]])).round(1)
    array([62.5, 63.6,  nan])
    """
    both, truth, pred = np.moveaxis(counts, -2, 0)
    return _percent(both, truth + pred - both)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that occur, in percent: `class_counts` (..., 3, C) → (...).

    Examples
    --------
    >>> float(mean_iou(np.array([[5, 7, 0], [6, 10, 0], [7, 8, 0]])).round(2))
    63.07
    """
    return _mean(iou(counts))


def differing(counts: np.ndarray) -> np.ndarray:
    """Pixels whose prediction differs from the truth, in percent of those the truth defines; 0 where there are none.

    Parameters
    ----------
    counts : ndarray (..., 3, C)
        Of `class_counts`.

    Returns
    -------
    ndarray (...) float64

    Examples
    --------
    >>> differing(np.array([[[5, 7], [6, 10], [7, 8]], [[0, 0], [0, 0], [0, 0]]]))
    array([25.,  0.])
    """
    known = counts[..., 1, :].sum(-1)
    return 100 * (1 - counts[..., 0, :].sum(-1) / np.maximum(known, 1)) * (known > 0)


def _plain(value):
    """A float for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)


def figures(matrix: np.ndarray, class_names: Sequence[str]) -> dict:
    """The figures of one prediction.

    Parameters
    ----------
    matrix : ndarray (num_cls + 1, num_cls + 1)
        Sum of `confusion_matrix` over the images.
    class_names : sequence of num_cls str

    Returns
    -------
    dict
        In percent; None where there was nothing to count.
        `mIoU`, `pixel_accuracy`: what the prediction ignores is missed. `mIoU_defined`: it is left out.
        `mIoU_absent_as_zero`: absent classes count as 0 in the mean, as in
        `gluoncv.utils.metrics.SegmentationMetric`. `ignored`, `ignored_truth`: of all pixels. `agreement`: pixels
        with the same index, 255 included, of all pixels. `agreement_defined`: of those both define. `absent`: list
        of the classes that occur in neither. `IoU`, `IoU_defined`, `precision`, `recall`: dict by class.

    Examples
    --------
    >>> truth, pred = np.uint8([[0, 0, 1, 1]]), np.uint8([[0, 0, 1, 255]])
    >>> result = figures(confusion_matrix(truth, pred, 2), ('background', 'cat'))
    >>> result['IoU'], result['mIoU'], result['mIoU_defined']
    ({'background': 100.0, 'cat': 50.0}, 75.0, 100.0)
    """
    matrix = np.asarray(matrix)
    defined = matrix.copy()
    defined[:, -1] = 0
    counts, counts_defined = class_counts(matrix), class_counts(defined)
    by_class = iou(counts)

    def named(values):
        return {name: _plain(value) for name, value in zip(class_names, values)}
    values = {
        'mIoU': _mean(by_class),
        'mIoU_defined': mean_iou(counts_defined),
        'mIoU_absent_as_zero': np.nan_to_num(by_class).mean(),
        'pixel_accuracy': _percent(counts[0].sum(), counts[1].sum()),
        'ignored': _percent(matrix[:, -1].sum(), matrix.sum()),
        'ignored_truth': _percent(matrix[-1].sum(), matrix.sum()),
        'agreement': _percent(np.trace(matrix), matrix.sum()),
        'agreement_defined': _percent(counts[0].sum(), counts[2].sum()),
    }
    values = {key: _plain(value) for key, value in values.items()}
    values['absent'] = [name for name, value in zip(class_names, by_class) if np.isnan(value)]
    values.update(IoU=named(by_class), IoU_defined=named(iou(counts_defined)),
                  precision=named(_percent(counts[0], counts[2])), recall=named(_percent(counts[0], counts[1])))
    return values


def confidence(mask: np.ndarray, scores: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Confidence of the scores in each pixel's index.

    Parameters
    ----------
    mask : ndarray (H, W) uint8
    scores : ndarray (n, H, W) float32
        Logits of the image's n classes at image size.
    classes : sequence of n int
        Those classes, from 0, background not counted.

    Returns
    -------
    ndarray (H, W) float32
        0 to 1. For a pixel of class c + 1: the score of c divided by its maximum in the image, 0 where it is
        negative. For background: the smallest, over the image's classes, of the negative score divided by its
        minimum; 1 in an image without classes. Ignored pixels have 0.

    Examples
    --------
    >>> confidence(np.uint8([[1, 1, 0, 255]]), np.float32([[[4, 2, -1, -4]]]), [0])
    array([[1.  , 0.5 , 0.25, 0.  ]], dtype=float32)
    """
    found = np.zeros(mask.shape, np.float32)
    background = np.ones(mask.shape, np.float32)
    for c, score in zip(classes, scores):
        here = mask == c + 1
        found[here] = normalised(score)[here]
        np.minimum(background, normalised(-score), out=background)
    here = mask == 0
    found[here] = background[here]
    return found


def confidence_counts(truth: np.ndarray, pred: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels the truth defines, by the confidence of the prediction.

    Parameters
    ----------
    truth, pred : ndarray (H, W) uint8
    found : ndarray (H, W) float32
        Of `confidence`.

    Returns
    -------
    ndarray (2, 102) int64
        Wrong and right pixels, by the hundredths of confidence they reach; the last column: ignored by `pred`.

    Examples
    --------
    >>> counts = confidence_counts(np.uint8([[1, 0, 1]]), np.uint8([[1, 1, 255]]), np.float32([[.5, .25, 0]]))
    >>> [(int(right), int(column)) for right, column in zip(*counts.nonzero())]
    [(0, 25), (0, 101), (1, 50)]
    """
    reached = (_STEPS * found).astype(np.intp)
    reached[pred == IGNORE] = _STEPS + 1
    known = truth != IGNORE
    cells = reached[known] + (_STEPS + 2) * (truth == pred)[known]
    return np.bincount(cells, minlength=2 * (_STEPS + 2)).reshape(2, -1)


def precision_coverage_curve(counts: np.ndarray) -> dict:
    """Precision and coverage when pixels below a threshold of confidence are ignored, threshold by threshold.

    Parameters
    ----------
    counts : ndarray (2, 102)
        Sum of `confidence_counts` over the images.

    Returns
    -------
    dict of lists
        `threshold`, 0 to 1 in hundredths; `ignored`, percent of the pixels the truth defines (the coverage is the
        rest of 100); `precision`, percent of right ones among the others, None where there are none.

    Examples
    --------
    >>> truth, pred = np.uint8([[1, 0, 1, 1]]), np.uint8([[1, 1, 1, 255]])
    >>> counts = confidence_counts(truth, pred, np.float32([[.9, .25, .5, 0]]))
    >>> curve = precision_coverage_curve(counts)
    >>> [(curve['threshold'][i], curve['ignored'][i], curve['precision'][i]) for i in (40, 80, 100)]
    [(0.4, 50.0, 100.0), (0.8, 75.0, 100.0), (1.0, 100.0, None)]
    """
    kept = counts[:, -2::-1].cumsum(1)[:, ::-1]
    return {'threshold': [i / _STEPS for i in range(_STEPS + 1)],
            'ignored': [float(v) for v in 100 - _percent(kept.sum(0), counts.sum())],
            'precision': [_plain(v) for v in _percent(kept[1], kept.sum(0))]}
