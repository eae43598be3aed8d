"""Superpixels of an image: arrays in, labels out; the compiled core of `external/superpixel`.

Needs NumPy only. Labels equal those of the program `makeSuperpixel`, whatever the processor. Other Python threads run
meanwhile, so a pool of threads cuts several images at a time.
"""
from __future__ import annotations

import math
import operator

import numpy as np

try:
    from icd import _superpixel
except ImportError as error:
    raise ImportError("icd._superpixel is not compiled: install g++, then `pip install -e .` again") from error

__all__ = ['slic', 'felzenszwalb', 'make_superpixels']

_MOST_PIXELS = 1 << 30
_LARGEST = 2 ** 31 - 1


def slic(image: np.ndarray, min_size: int = 75, compactness: float = 6., iterations: int = 10) -> np.ndarray:
    """Cut an image into compact superpixels of even size by SLIC.

    K-means over colour (CIELAB, chroma stretched by 1.5, slightly smoothed) and position, started from a grid; what
    is smaller than `min_size` afterwards is absorbed by its most similar neighbour. Every superpixel is connected
    over its pixels' 4 neighbours.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        RGB. Any strides: what OpenCV read can be given as ``bgr[..., ::-1]`` and is not copied.
    min_size : int
        Smallest superpixel in pixels, at least 1. It sets how many there are: a cell of the grid has 4 times that
        area, so an image gets about ``H * W / (4 * min_size)`` of them, give or take a third. Choose it so that the
        smallest object has a few.
    compactness : float
        What closeness counts against likeness of colour, above 0, at most 1e6. Higher makes rounder superpixels that
        follow edges less. It acts on a log scale: try 2, 6, 20; lower for smooth images, higher for noise and
        texture.
    iterations : int
        At most so many rounds of assigning pixels and moving centres, at least 1. It stops when the centres have
        converged; fewer than 5 show.

    Returns
    -------
    ndarray (H, W) int32
        Labels from 0 without gaps, in raster order of each superpixel's first pixel.

    Raises
    ------
    ValueError
        When an argument is not as described.
    MemoryError

    See Also
    --------
    felzenszwalb : superpixels of even colour and any size.

    References
    ----------
    .. [1] R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Süsstrunk: "SLIC Superpixels Compared to
       State-of-the-Art Superpixel Methods", TPAMI 34 (11), 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from icd.superpixels import slic
    >>> image = np.zeros((60, 80, 3), np.uint8)
    >>> image[:, 40:] = 200, 120, 40
    >>> labels = slic(image, min_size=100)
    >>> labels.shape, labels.max() + 1
    ((60, 80), 12)
    >>> np.intersect1d(labels[:, :40], labels[:, 40:]).size         # none lies on both sides of the edge
    0
    """
    min_size, iterations = _whole_number('min_size', min_size), _whole_number('iterations', iterations)
    try:
        compactness = float(compactness)
    except (TypeError, ValueError):
        compactness = math.nan
    if not 0 < compactness <= 1e6:
        raise ValueError('compactness: not a number above 0 and at most 1e6')
    image = _checked(image)
    labels = np.empty(image.shape[:2], np.int32)
    _superpixel.slic(image, min_size, compactness, iterations, labels)
    return labels


def felzenszwalb(image: np.ndarray, min_size: int = 75) -> np.ndarray:
    """Cut an image into superpixels of even colour by graph-based segmentation.

    The image is smoothed by a Gaussian of sigma 0.8; pixels are joined along edges of ascending difference in colour
    as long as an edge is no heavier than what holds either side together plus ``min_size / size``; what is smaller
    than `min_size` afterwards is joined along the next edges. Every superpixel is connected over its pixels' 8
    neighbours.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        RGB. Any strides: what OpenCV read can be given as ``bgr[..., ::-1]`` and is not copied.
    min_size : int
        Smallest superpixel in pixels, at least 1, and the constant k of the paper's threshold: larger joins more. How
        many superpixels there are depends on the image, too: 40 to 620 on PASCAL VOC with 75. Double it until the
        background is whole and halve it while objects join it.

    Returns
    -------
    ndarray (H, W) int32
        Labels from 0 without gaps, in raster order of each superpixel's first pixel.

    Raises
    ------
    ValueError
        When an argument is not as described.
    MemoryError

    See Also
    --------
    slic : compact superpixels of even size.

    References
    ----------
    .. [1] P. F. Felzenszwalb, D. P. Huttenlocher: "Efficient Graph-Based Image Segmentation", IJCV 59 (2), 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from icd.superpixels import felzenszwalb
    >>> image = np.zeros((60, 80, 3), np.uint8)
    >>> image[:, 40:] = 200, 120, 40
    >>> felzenszwalb(image, min_size=100).max() + 1
    2
    """
    min_size, image = _whole_number('min_size', min_size), _checked(image)
    labels = np.empty(image.shape[:2], np.int32)
    _superpixel.graph_segment(image, min_size, labels)
    return labels


def make_superpixels(image: np.ndarray, min_size: int, method: str = 'slic', **settings) -> np.ndarray:
    """Raw superpixels as ``makeSuperpixel LIST IMAGE_DIR TARGET_DIR MIN_SIZE --method METHOD`` writes them.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        RGB, upright: `icd.data.images.read_image` gives the program's pixels, as BGR.
    min_size : int
        The program's K.
    method : str
        'slic' (`slic`) or 'graph' (`felzenszwalb`).
    **settings
        `compactness` and `iterations` of 'slic'.

    Returns
    -------
    ndarray (H, W) int32
        Labels; `icd.data.superpixel_map.write` makes the program's file of them.

    Raises
    ------
    ValueError
        When there is no such method, or an argument is not as it describes.
    MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> from icd.superpixels import felzenszwalb, make_superpixels
    >>> image = np.random.RandomState(0).randint(0, 256, (60, 80, 3), np.uint8)
    >>> bool((make_superpixels(image, 75, 'graph') == felzenszwalb(image, 75)).all())
    True
    """
    if method not in ('slic', 'graph'):
        raise ValueError(f"method: not 'slic' or 'graph', but {method!r}")
    return (slic if method == 'slic' else felzenszwalb)(image, min_size, **settings)


def _checked(image) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'image: not (H, W, 3) uint8, but {image.shape} {image.dtype}')
    if image.shape[0] * image.shape[1] > _MOST_PIXELS:
        raise ValueError('image: more than 2^30 pixels')
    return image


def _whole_number(name: str, value) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= _LARGEST:
        raise ValueError(f'{name}: not a whole number from 1 to {_LARGEST}')
    return number
