"""One view of an image and its superpixels: scale, mirror, pad, crop, in this order.

A `View` is drawn first and applied afterwards, to the image and to the superpixels alike, so that both see the same
pixels; all randomness comes from one generator per sample.
"""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from icd.data import geometry, superpixel_map

SCALES = (.5, .75, 1., 1.25, 1.5)
PADDING_LABEL = superpixel_map.LARGEST_LABEL + 1    # a superpixel of its own, after every other


class View(NamedTuple):
    """A square cut out of a scaled, perhaps mirrored and padded image."""

    height: int             # the image is scaled to this size
    width: int
    mirror: bool            # whether it is mirrored left to right afterwards
    top: int                # where the square begins
    left: int
    size: int               # side of the square; what lies below or right of the image is padding


def _scaled(side, scale):
    return max(int(side * scale + .5), 1)


def random_view(height: int, width: int, size: int, rng: np.random.Generator, scale: bool = True,
                mirror: bool = True) -> View:
    """Draw a view for training.

    Parameters
    ----------
    height, width : int
        Of the image.
    size : int
        Side of the crop.
    rng : numpy.random.Generator
    scale, mirror : bool
        False leaves this kind of change out.

    Returns
    -------
    View
    """
    factor = SCALES[rng.integers(len(SCALES))] if scale else 1.
    flip = bool(mirror and rng.random() < .5)
    height, width = _scaled(height, factor), _scaled(width, factor)
    top = int(rng.integers(max(height - size, 0) + 1))
    left = int(rng.integers(max(width - size, 0) + 1))
    return View(height, width, flip, top, left, size)


def cut_image(image: np.ndarray, view: View, padding=geometry.GREY) -> np.ndarray:
    """Apply a view to an image, with bilinear scaling and padding.

    Parameters
    ----------
    image : ndarray (H, W, C) uint8
    view : View
    padding : int or sequence of C int
        Value of what is beside the image.

    Returns
    -------
    ndarray (size, size, C) uint8
    """
    if image.shape[:2] != (view.height, view.width):
        image = cv2.resize(image, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    if view.mirror:
        image = image[:, ::-1]
    inside = image[view.top:view.top + view.size, view.left:view.left + view.size]
    if inside.shape[:2] == (view.size, view.size):
        return inside
    square = np.full((view.size, view.size) + image.shape[2:], padding, np.uint8)
    square[:inside.shape[0], :inside.shape[1]] = inside
    return square


def _source(side, scaled, start, steps):
    """Where positions `start + steps` of an axis that was scaled from `side` to `scaled` (nearest) come from."""
    # OpenCV itself scales the ruler: its rounding is not ours to repeat.
    ruler = cv2.resize(np.arange(side, dtype=np.float32)[None], (scaled, 1), interpolation=cv2.INTER_NEAREST)[0]
    positions = start + steps
    return ruler[positions[positions < scaled]].astype(np.intp)


def cut_labels(labels: np.ndarray, view: View, stride: int = 1) -> np.ndarray:
    """Apply a view to superpixels, or to a mask, with nearest scaling, and keep every `stride`-th pixel.

    Only the pixels that are kept are looked up; the result is that of warping the whole map.

    Parameters
    ----------
    labels : ndarray (H, W) or (H, W, C)
        Labels, or their PNG pixels.
    view : View
    stride : int

    Returns
    -------
    ndarray (n, m) or (n, m, C), dtype of `labels`
        The part that shows the image; the rest of the square, below and right of it, is padding.
    """
    steps = np.arange(0, view.size, stride)
    rows = _source(labels.shape[0], view.height, view.top, steps)
    if view.mirror:
        columns = _source(labels.shape[1], view.width, 0, np.arange(view.width))[::-1]
        columns = columns[view.left:view.left + view.size:stride]
    else:
        columns = _source(labels.shape[1], view.width, view.left, steps)
    return labels[rows[:, None], columns]


def pad_labels(labels: np.ndarray, side: int, fill: int = PADDING_LABEL) -> np.ndarray:
    """Labels (n, m) of a view brought to (side, side) int32; by default the padding is one more superpixel."""
    square = np.full((side, side), fill, np.int32)
    square[:labels.shape[0], :labels.shape[1]] = labels
    return square


def letterbox(image: np.ndarray, size: int, padding=geometry.GREY) -> tuple:
    """Pad an image at the right and bottom to a square; a larger one is scaled down first.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
    size : int
        Side of the square.
    padding : int or sequence of 3 int
        As in `cut_image`.

    Returns
    -------
    square : ndarray (size, size, 3) uint8
    fitted : (int, int)
        Height and width of its upper left part that shows the image (`icd.data.geometry.fitted_size`).
    """
    height, width = geometry.fitted_size(*image.shape[:2], size=size)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)    # bilinear would skip pixels
    return cut_image(image, View(height, width, False, 0, 0, size), padding), (height, width)
