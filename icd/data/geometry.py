"""Numbers and sizes that images, feature maps and masks share.

A *letterbox* is the square input of the network with an image in its top left corner and grey right of it and below.
"""
from __future__ import annotations

import numpy as np

STRIDE = 8              # of the backbone: pixels between two positions of its feature map
GREY = 127              # value of padding, and what the network subtracts from every input: padding becomes 0
IGNORE = 255            # index of a mask that is no class
TINY = 1e-5             # normalised scores up to this are none, and the least that scores are divided by


def feature_size(side: int) -> int:
    """Positions of a feature map along `side` pixels of the input, at every eighth of them; k + 1 of 8k + 1."""
    return (side - 1) // STRIDE + 1


def fitted_size(height: int, width: int, size: int) -> tuple:
    """Height and width that an image has in a letterbox of side `size`: its own where it fits.

    A larger one keeps its aspect; its longer side becomes `size`.
    """
    longer = max(height, width, size)
    return tuple(max(int(side * size / longer + .5), 1) for side in (height, width))


def resized_positions(fitted: tuple, size: int) -> tuple:
    """Rows and columns of a map that count when it is resized to the letterbox and cropped to the image.

    Parameters
    ----------
    fitted : (int, int)
        Height and width of the image in the letterbox, pixels.
    size : int
        Side of the letterbox.

    Returns
    -------
    (int, int)
        With bilinear resizing, pixel centres aligned (`icd.data.score_map.at_image_size`).
    """
    whole = feature_size(size)
    # The last pixel of the image lies between the last position that counts and the one before.
    return tuple(min(((2 * length - 1) * whole - size) // (2 * size) + 2, whole) for length in fitted)


def enclosing_positions(fitted: tuple) -> tuple:
    """Rows and columns of a map, position i at pixel 8i, that the pixels of an image lie between.

    Parameters
    ----------
    fitted : (int, int)
        Height and width of the image in the letterbox, pixels.

    Returns
    -------
    (int, int)
        At least 2 by 2.
    """
    return tuple(max(feature_size(length + STRIDE - 1), 2) for length in fitted)


def normalised(scores: np.ndarray) -> np.ndarray:
    """The positive part of score maps, each as a fraction of its largest value.

    Parameters
    ----------
    scores : ndarray (..., h, w) of float

    Returns
    -------
    ndarray (..., h, w)
        0 to 1; a map without positive scores is 0.
    """
    positive = np.maximum(scores, 0)
    return positive / np.maximum(positive.max((-2, -1), keepdims=True), TINY)
