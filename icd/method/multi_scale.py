"""Scores of an image at several scales: the sizes a network sees, and one score for every pixel from all of them.

The *letterbox* is a square with the image in its top left corner (`icd.data.augment.letterbox`). A network sees it at
every scale, mirrored, too, and gives scores at every eighth pixel. All resizing here aligns the centres of the corner
pixels, so that position i of a side of k + 1 lies on pixel 8i of 8k + 1. What runs the network does not matter.

References
----------
Chen et al., "DeepLab", TPAMI 2018, section 4.1 (element-wise maximum over the scales of a network).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Sequence

import cv2
import numpy as np

from icd.data.geometry import STRIDE, enclosing_positions, feature_size, resized_positions

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


@dataclass(frozen=True)
class Views:
    """How a network sees a letterbox, and the mean of its scores at the positions of the letterbox itself.

    A mirrored view mirrors the part of the letterbox that holds the image, up to a width of 8k + 1, and leaves the
    image in the top left corner. Mirrored positions fall on positions, so that turning scores back is exact; those
    of the few positions right of that part are taken from its border. What is seen of a letterbox has the order of
    `Views.of`: scale by scale, each as it is and then mirrored.

    side : int
        Of the letterbox, 8k + 1.
    scales : tuple of float
    flip : bool
    """

    side: int
    scales: tuple = (1.,)
    flip: bool = False

    @property
    def plain(self) -> bool:
        """Whether a letterbox is seen once, as it is."""
        return tuple(self.scales) == (1.,) and not self.flip

    @property
    def sides(self) -> tuple:
        """Side of the letterbox at each scale."""
        return tuple(scaled_side(self.side, scale) for scale in self.scales)

    @property
    def count(self) -> int:
        """How often a letterbox is seen."""
        return len(self.scales) * (1 + self.flip)

    def mirrored_width(self, fitted: tuple) -> int:
        """Pixels of the letterbox, 8k + 1 from the left, that are mirrored for an image of this height and width."""
        return STRIDE * (enclosing_positions(fitted)[1] - 1) + 1

    def positions(self, fitted: tuple) -> tuple:
        """Rows and columns of the letterbox's positions that get a score.

        Parameters
        ----------
        fitted : (int, int)
            Height and width of the image in the letterbox, pixels.
        """
        wanted = resized_positions(fitted, self.side)
        return tuple(map(max, wanted, enclosing_positions(fitted))) if self.flip else wanted

    def content(self, fitted: tuple, side: int) -> tuple:
        """Height and width of what the image is at a scale, or what the positions that get a score need, if more.

        Parameters
        ----------
        fitted : (int, int)
            Height and width of the image in the letterbox, pixels.
        side : int
            Of the letterbox at that scale.
        """
        here, there, found = (self.side - 1) // STRIDE, (side - 1) // STRIDE, []
        width = max(fitted[1], self.mirrored_width(fitted)) if self.flip else fitted[1]
        for length, count in zip((fitted[0], width), self.positions(fitted)):
            pixels = min(-(-length * there // here), side)      # resizing mixes the last one with the grey beside it
            needed = -(-(count - 1) * there // here) + 1
            if resized_positions((pixels,), side)[0] < needed:
                pixels = max(pixels, STRIDE * (needed - 1) + 1)
            found.append(pixels)
        return tuple(found)

    def of(self, letterbox: np.ndarray, fitted: tuple) -> Iterator[np.ndarray]:
        """Everything a network sees of letterboxes (..., side, side) uint8 of images of one size, one after another."""
        seen, width = [letterbox], self.mirrored_width(fitted)
        if self.flip:
            seen.append(np.concatenate((letterbox[..., :width][..., ::-1], letterbox[..., width:]), -1))
        for side in self.sides:
            for one in seen:
                yield resize_letterbox(one, side)

    def mean(self, maps: Sequence[np.ndarray], fitted: tuple) -> np.ndarray:
        """The mean score at the `positions` of the letterbox.

        Parameters
        ----------
        maps : sequence of ndarray (C, h, w) float32
            Scores of everything that is seen, in the order of `of`. They reach as far as `content` says, at least.
        fitted : (int, int)
            Height and width of the image in the letterbox, pixels.

        Returns
        -------
        ndarray (C, rows, columns) float32
        """
        (rows, columns), total = self.positions(fitted), None
        turned = np.maximum(enclosing_positions(fitted)[1] - 1 - np.arange(columns), 0)
        for number, scores in enumerate(maps):
            scores = self._at_positions(scores, self.sides[number // (1 + self.flip)], rows, columns)
            if self.flip and number % 2:
                scores = scores[..., turned]
            total = scores if total is None else total + scores
        return total if len(maps) == 1 else total / np.float32(len(maps))

    def _at_positions(self, scores, side, rows, columns):
        """Scores at a scale, where the positions of the letterbox lie."""
        if side == self.side:
            return scores[:, :rows, :columns]
        down, right = (interpolation(feature_size(side), feature_size(self.side), wanted)[:, :count]
                       for wanted, count in zip((rows, columns), scores.shape[1:]))
        return (down @ scores) @ right.T


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
