"""How well masks agree: counting, and the figures that follow from the counts. Arrays in, numbers out.

A confusion matrix here has a row for every class of the truth and a column for every class of the prediction, the
background being class 0, and one more of each for ignored pixels (255). Counts are of pixels, figures in percent.

What is ignored counts like this:

- Pixels the truth ignores are left out.
- Pixels the prediction ignores are *missed*: they belong to the union of their true class and to nobody's
  intersection. They never are a false alarm of another class. Figures named `..._defined` leave them out instead.
- A class that neither side has anywhere has no IoU, and is left out of the mean.
"""
import functools

import cv2
import numpy as np

from icd.data.geometry import IGNORE

_STEPS = 100                                # between thresholds of 0 and 1 on the `certainty`
_TINY = 1e-5


# ---------------------------------------------------------------------------------------------------- counting
@functools.lru_cache(maxsize=None)
def _cells(num_cls):
    """Cell of the flattened confusion matrix by truth + 256·prediction; one beyond the last for unknown indices."""
    size = num_cls + 1
    place = np.full(256, -1)
    place[:num_cls] = np.arange(num_cls)
    place[IGNORE] = num_cls
    cells = place[None, :] * size + place[:, None]
    cells[(place[None, :] < 0) | (place[:, None] < 0)] = size * size
    return cells.ravel()


def confusion(truth, pred, num_cls):
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
    >>> confusion(np.uint8([[0, 1, 255]]), np.uint8([[0, 255, 1]]), 2)
    array([[1, 0, 0],
           [0, 0, 1],
           [0, 1, 0]])
    """
    if truth.shape != pred.shape or truth.dtype != np.uint8 or pred.dtype != np.uint8:
        raise ValueError('two uint8 masks of one size are needed, not %s %s and %s %s' % (
            truth.dtype, truth.shape, pred.dtype, pred.shape))
    size = num_cls + 1
    pairs = cv2.merge((truth.reshape(1, -1), pred.reshape(1, -1))).view('<u2').ravel()
    ends = np.append(np.flatnonzero(pairs[1:] != pairs[:-1]), pairs.size - 1)
    counts = np.bincount(_cells(num_cls)[pairs[ends]], np.diff(ends, prepend=-1), size * size + 1)
    if counts[-1]:
        raise ValueError('an index is neither below %d nor 255' % num_cls)
    return counts[:-1].astype(np.int64).reshape(size, size)


def unknown_index(mask, num_cls):
    """The smallest index in a mask that is neither a class nor 255, or None."""
    wrong = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[num_cls:IGNORE])
    return num_cls + int(wrong[0]) if wrong.size else None


def class_counts(matrix):
    """What the IoU of each class follows from.

    Parameters
    ----------
    matrix : ndarray (num_cls + 1, num_cls + 1)
        Of `confusion`.

    Returns
    -------
    ndarray (3, num_cls)
        Pixels, of those the truth defines, that are of the class in both, in the truth, in the prediction.
    """
    known = matrix[:-1]
    return np.stack([np.diagonal(known), known.sum(1), known[:, :-1].sum(0)])


# ----------------------------------------------------------------------------------------------------- figures
def _percent(part, whole):
    """100·part/whole; NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return 100 * np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def _mean(values):
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return _percent(np.where(there, values, 0).sum(-1), there.sum(-1)) / 100


def iou(counts):
    """Intersection over union in percent, NaN for absent classes: `class_counts` (..., 3, C) → (..., C)."""
    both, truth, pred = np.moveaxis(counts, -2, 0)
    return _percent(both, truth + pred - both)


def mean_iou(counts):
    """Mean IoU over the classes that occur, in percent: `class_counts` (..., 3, C) → (...)."""
    return _mean(iou(counts))


def _plain(value):
    """A float for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)


def figures(matrix, class_names):
    """The figures of one prediction.

    Parameters
    ----------
    matrix : ndarray (num_cls + 1, num_cls + 1)
        Sum of `confusion` over the images.
    class_names : sequence of num_cls str

    Returns
    -------
    dict
        In percent; None where nothing was there to be counted.
        `mIoU`, `pixel_accuracy`: what the prediction ignores is missed. `mIoU_defined`: it is left out.
        `mIoU_absent_as_zero`: absent classes count as 0 in the mean, as in
        `gluoncv.utils.metrics.SegmentationMetric`. `ignored`, `ignored_truth`: shares of all pixels. `agreement`:
        pixels with the same index, 255 included, of all pixels. `agreement_defined`: of those both define.
        `IoU`, `IoU_defined`, `precision`, `recall`: dict by class.
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


# --------------------------------------------------------------------------------------------------- bootstrap
def paired_bootstrap(counts, counts_other, resamples=1000, seed=0):
    """Mean IoU of two predictions on the same random draws of the images.

    Parameters
    ----------
    counts, counts_other : ndarray (n, 3, C)
        `class_counts` of each image, for the one and the other prediction against the same truth.
    resamples : int
        Draws of n images with replacement.
    seed : int

    Returns
    -------
    ndarray (2, resamples) float64
        Mean IoU in percent of the one and of the other.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13.
    """
    both = np.stack([counts, counts_other], 1).astype(np.float64)           # (n, 2, 3, C)
    n, rng, drawn = len(both), np.random.default_rng(seed), []
    for first in range(0, resamples, 50):                                    # weights of 50 draws at a time
        draws = min(50, resamples - first)
        chosen = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
        weights = np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n)
        sums = weights.astype(np.float64) @ both.reshape(n, -1)
        drawn.append(mean_iou(sums.reshape((draws,) + both.shape[1:])))
    return np.concatenate(drawn).T


def interval(values, level=95):
    """The middle `level` percent of `values`: [low, high]."""
    values = values[~np.isnan(values)]
    return [float(v) for v in np.percentile(values, [50 - level / 2, 50 + level / 2])]


# --------------------------------------------------------------------------------------------- score thresholds
def certainty(mask, scores, classes):
    """How sure the scores are of each pixel's index.

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
        0 to 1. For a pixel of class c + 1: the score of c as a share of its maximum in the image, 0 where it speaks
        against c. For background: the smallest, over the image's classes, of the negative score as a share of its
        minimum. An image without classes is certain of its background. Ignored pixels have 0.
    """
    sure = np.zeros(mask.shape, np.float32)
    background = np.ones(mask.shape, np.float32)
    for c, score in zip(classes, scores):
        here = mask == c + 1
        sure[here] = np.maximum(score[here], 0) / max(score.max(), _TINY)
        np.minimum(background, np.minimum(score, 0) / min(score.min(), -_TINY), out=background)
    here = mask == 0
    sure[here] = background[here]
    return sure


def certainty_counts(truth, pred, sure):
    """Pixels the truth defines, by the certainty of the prediction.

    Parameters
    ----------
    truth, pred : ndarray (H, W) uint8
    sure : ndarray (H, W) float32
        Of `certainty`.

    Returns
    -------
    ndarray (2, 102) int64
        Wrong and right pixels, by the hundredths of certainty they reach; the last column: ignored by `pred`.
    """
    reached = (_STEPS * sure).astype(np.intp)
    reached[pred == IGNORE] = _STEPS + 1
    known = truth != IGNORE
    cells = reached[known] + (_STEPS + 2) * (truth == pred)[known]
    return np.bincount(cells, minlength=2 * (_STEPS + 2)).reshape(2, -1)


def threshold_curve(counts):
    """What is left, and how good it is, when pixels below a threshold of certainty are ignored.

    Parameters
    ----------
    counts : ndarray (2, 102)
        Sum of `certainty_counts` over the images.

    Returns
    -------
    dict of lists
        `threshold`; `ignored`, percent of the pixels the truth defines; `precision`, percent of right ones among the
        others, None where there are none.
    """
    kept = counts[:, -2::-1].cumsum(1)[:, ::-1]
    return {'threshold': [i / _STEPS for i in range(_STEPS + 1)],
            'ignored': [float(v) for v in 100 - _percent(kept.sum(0), counts.sum())],
            'precision': [_plain(v) for v in _percent(kept[1], kept.sum(0))]}
