"""Scores of an image at several scales: the sizes a network sees, and one score for every pixel from all of them.

The *letterbox* is a square with the image in its top left corner (`icd.data.augment.letterbox`). A network sees it at
every scale, mirrored, too, and gives scores at every eighth pixel. All resizing here aligns the centres of the corner
pixels, so that position i of a side of k + 1 lies on pixel 8i of 8k + 1. What runs the network does not matter.

References
----------
Chen et al., "DeepLab", TPAMI 2018, section 4.1 (element-wise maximum over the scales of a network).
"""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from icd.data.geometry import STRIDE

FUSIONS = 'mean', 'max', 'mean+max'


def scaled_side(side: int, scale: float) -> int:
    """Side of the letterbox at a scale: of the form 8k + 1, so that positions of the scores fall on its pixels.

    Parameters
    ----------
    side : int
        Of the letterbox, 8k + 1.
    scale : float

    Returns
    -------
    int
        int(512 scale) + 1 for 513 and all scales in use, multiples of 1/64.

    Examples
    --------
    >>> [scaled_side(513, scale) for scale in (.75, 1, 1.25)]
    [385, 513, 641]
    """
    return STRIDE * max(1, int((side - 1) * scale / STRIDE + .5)) + 1


def interpolation(count: int, length: int, wanted: int) -> np.ndarray:
    """Bilinear resizing along one axis as a matrix: (wanted, count) float32.

    Parameters
    ----------
    count : int
        Values there are.
    length : int
        Values they are resized to, the first and the last on the first and the last.
    wanted : int
        Of these, how many are computed.
    """
    where = np.arange(wanted) * ((count - 1) / max(length - 1, 1))
    first = np.minimum(where.astype(int), max(count - 2, 0))
    matrix, rows = np.zeros((wanted, count), np.float32), np.arange(wanted)
    matrix[rows, first] = 1 - (where - first)
    matrix[rows, np.minimum(first + 1, count - 1)] += where - first
    return matrix


def resize_letterbox(letterbox: np.ndarray, side: int) -> np.ndarray:
    """Letterboxes at another size, rounded to whole levels: images at every scale.

    Parameters
    ----------
    letterbox : ndarray (..., S, S) uint8
    side : int

    Returns
    -------
    ndarray (..., side, side) uint8
    """
    if letterbox.shape[-1] == side:
        return letterbox
    resized = letterbox
    for axis in (-2, -1):
        count = letterbox.shape[axis]
        where = (np.arange(side) * ((count - 1) / (side - 1))).astype(np.float32)
        first = np.minimum(where.astype(int), count - 2)
        part = (where - first)[:, None] if axis == -2 else where - first
        low = resized.take(first, axis)
        resized = low + part * (resized.take(first + 1, axis) - low.astype(np.float32))
    return (resized + np.float32(.5)).astype(np.uint8)


def fuse(maps: Sequence[np.ndarray], fitted: tuple, side: int, fusion: str) -> np.ndarray:
    """One score for every pixel of an image from the scores of several scales.

    Parameters
    ----------
    maps : sequence of ndarray (C, h, w) float32
        Of the whole letterbox, one a scale.
    fitted : (int, int)
        Height and width of the image in the letterbox, pixels.
    side : int
        Of the letterbox.
    fusion : {'mean', 'max', 'mean+max'}
        Over the scales: their mean, their largest, or the mean of all of them and their largest.

    Returns
    -------
    ndarray (C, *fitted) float32
        Only the pixels of the image are computed. With one scale every fusion is that scale.

    Raises
    ------
    ValueError
        When there is no such fusion.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"no fusion {fusion!r}: choose from {', '.join(FUSIONS)}")
    total = largest = None
    for scores in maps:
        rows, columns = (interpolation(count, side, wanted) for count, wanted in zip(scores.shape[1:], fitted))
        # Rows first: the maps are small before, and BLAS gets one large product after.
        full = (rows @ scores) @ columns.T
        if total is None:
            total, largest = full, full.copy() if len(maps) > 1 and fusion != 'mean' else full
            continue
        if fusion != 'max':
            total += full
        if fusion != 'mean':
            np.maximum(largest, full, out=largest)
    if len(maps) == 1:
        return total
    if fusion == 'max':
        return largest
    if fusion == 'mean+max':
        total += largest
    total /= len(maps) + (fusion == 'mean+max')
    return total


def best_class(scores: np.ndarray, size: tuple) -> np.ndarray:
    """The class with the largest score at every pixel of an image.

    Parameters
    ----------
    scores : ndarray (C, h, w) float32
        Of the image, perhaps scaled down to fit the letterbox. Minus infinity where a class is excluded.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    ndarray (H, W) uint8
        The first of equal ones. Scores are resized class by class, so a large image takes a few bytes a pixel.
    """
    if scores.shape[1:] == tuple(size):
        return scores.argmax(0).astype(np.uint8)
    best, label = None, np.zeros(size, np.uint8)
    for number, one in enumerate(scores):
        if np.isneginf(one).all():
            continue
        # The image was scaled down with the centres of pixels aligned to areas, so its scores are scaled up likewise.
        one = cv2.resize(one, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR)
        larger = np.ones(size, bool) if best is None else one > best
        label[larger] = number
        best = one if best is None else np.maximum(best, one, out=best)
    return label
