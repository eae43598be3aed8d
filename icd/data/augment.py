"""One view of a photograph and its superpixels: scale, mirror, pad, crop, in this order.

A `View` is drawn first and applied afterwards, to the photograph and to the superpixels alike, so that both see the
same pixels; all randomness comes from one generator per sample.
"""
import collections

import cv2
import numpy as np

from icd.data import geometry, superpixel_map

SCALES = (.5, .75, 1., 1.25, 1.5)
PADDING_LABEL = superpixel_map.LARGEST_LABEL + 1    # a superpixel of its own, after every other

View = collections.namedtuple('View', 'height width mirror top left size')
View.__doc__ = """A square cut out of a scaled, perhaps mirrored and padded image.

Parameters
----------
height, width : int
    Size the image is scaled to.
mirror : bool
    Whether it is mirrored left to right afterwards.
top, left : int
    Where the square begins.
size : int
    Side of the square. What lies below or right of the image is padding.
"""


def _scaled(side, scale):
    return int(side * scale + .5)


def random_view(height, width, size, rng, scale=True, mirror=True):
    """Draw a view for training.

    Parameters
    ----------
    height, width : int
        Of the photograph.
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
    height, width = max(_scaled(height, factor), 1), max(_scaled(width, factor), 1)
    top = int(rng.integers(max(height - size, 0) + 1))
    left = int(rng.integers(max(width - size, 0) + 1))
    return View(height, width, flip, top, left, size)


def centre_view(height, width, size, scale=1., mirror=False):
    """The view from the middle, without chance: what inference sees (`scale` 1, not mirrored)."""
    height, width = max(_scaled(height, scale), 1), max(_scaled(width, scale), 1)
    return View(height, width, mirror, max(height - size, 0) // 2, max(width - size, 0) // 2, size)


def cut_image(image, view):
    """Apply a view to a photograph, with bilinear scaling and padding of 127.

    Parameters
    ----------
    image : ndarray (H, W, C) uint8
    view : View

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
    square = np.full((view.size, view.size) + image.shape[2:], geometry.GREY, np.uint8)
    square[:inside.shape[0], :inside.shape[1]] = inside
    return square


def _source(side, scaled, start, steps):
    """Where positions `start + steps` of an axis that was scaled from `side` to `scaled` (nearest) come from."""
    # OpenCV itself scales the ruler: its rounding is not ours to repeat.
    ruler = cv2.resize(np.arange(side, dtype=np.float32)[None], (scaled, 1), interpolation=cv2.INTER_NEAREST)[0]
    positions = start + steps
    return ruler[positions[positions < scaled]].astype(np.intp)


def cut_superpixel(superpixel, view, stride=1):
    """Apply a view to superpixels, with nearest scaling, and keep every `stride`-th pixel.

    Only the pixels that are kept are looked up; the result is that of warping the whole map.

    Parameters
    ----------
    superpixel : ndarray (H, W) or (H, W, C)
        Labels, or their PNG pixels.
    view : View
    stride : int

    Returns
    -------
    labels : ndarray (n, m) or (n, m, C), dtype of `superpixel`
        The part that shows the image; the rest of the square, below and right of it, is padding.
    """
    steps = np.arange(0, view.size, stride)
    rows = _source(superpixel.shape[0], view.height, view.top, steps)
    if view.mirror:
        columns = _source(superpixel.shape[1], view.width, 0, np.arange(view.width))[::-1]
        columns = columns[view.left:view.left + view.size:stride]
    else:
        columns = _source(superpixel.shape[1], view.width, view.left, steps)
    return superpixel[rows[:, None], columns]


def pad_superpixel(labels, side):
    """Labels (n, m) of a view brought to (side, side) int32: the padding is one more superpixel."""
    square = np.full((side, side), PADDING_LABEL, np.int32)
    square[:labels.shape[0], :labels.shape[1]] = labels
    return square


def _both(image, superpixel, view):
    if superpixel is None:
        return cut_image(image, view)
    return cut_image(image, view), superpixel_map.renumber(pad_superpixel(cut_superpixel(superpixel, view), view.size))


def train_view(image, superpixel, size, rng, scale=True, mirror=True):
    """Scale, mirror, pad and crop a photograph and its superpixels at random.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
    superpixel : ndarray (H, W) int32, or None
    size : int
        Side of the crop.
    rng : numpy.random.Generator
        One per sample; the only source of chance.
    scale, mirror : bool

    Returns
    -------
    image : ndarray (size, size, 3) uint8
        Padding is 127.
    superpixel : ndarray (size, size) int32
        Labels 0, 1, 2, …; the padding has the largest. Left out when none was given.
    """
    return _both(image, superpixel, random_view(image.shape[0], image.shape[1], size, rng, scale, mirror))


def centred_view(image, size, superpixel=None, scale=1., mirror=False):
    """Pad at the right and bottom to at least `size` and crop the middle; results as `train_view`."""
    return _both(image, superpixel, centre_view(image.shape[0], image.shape[1], size, scale, mirror))


def whole_view(image, size):
    """Pad a photograph at the right and bottom to a square; a larger one is scaled down first.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
    size : int
        Side of the square.

    Returns
    -------
    square : ndarray (size, size, 3) uint8
        Padding is 127.
    scaled : (int, int)
        Height and width of its upper left part that shows the photograph (`fitted_size`).
    """
    height, width = geometry.fitted_size(*image.shape[:2], size=size)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)    # bilinear would skip pixels
    return cut_image(image, View(height, width, False, 0, 0, size)), (height, width)
