"""Score maps of an image's own classes: reading them safely, and where their positions lie in the photograph.

Position (i, j) of a map is pixel (8i, 8j) of the network input. A photograph lies in the top left corner of that
input, scaled down first where it is larger (`icd.data.augment.fitted_size`).
"""
import os

import cv2
import numpy as np

from icd.data import augment
from icd.errors import UserError

STRIDE = 8
# What NumPy raises on files that are no arrays.
_DAMAGE = (ValueError, EOFError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError,
           RecursionError)


def path(snapshot, kind, name):
    """The file with the scores of kind `'icd'` or `'cam'` of an image."""
    return os.path.join(snapshot, 'results', 'scores_' + kind, name + '.npy')


def side(infer_size):
    """Height and width of the maps of a network input of `infer_size` = 8k + 1 pixels: k + 1."""
    return (infer_size - 1) // STRIDE + 1


def _open(file, name):
    """Shape and type of an open `.npy` file; leaves it at the data."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except _DAMAGE:
        raise UserError('%s: not a NumPy array file: remove it and run inference again (--only-infer)' % name) from None
    if dtype.kind != 'f':
        raise UserError('%s: holds %s, not floating-point numbers: remove it and run inference again (--only-infer)' % (
            name, 'Python objects' if dtype.hasobject else dtype))
    return shape, dtype


def check(path, num_classes, infer_size):
    """Look at the header of a score file.

    Parameters
    ----------
    path : str
    num_classes : int
        Classes of the image, one map each.
    infer_size : int
        Side of the network input, pixels.

    Raises
    ------
    UserError
        When the file is missing, no array of floating-point numbers, cut short, or of another shape.
    """
    try:
        with open(path, 'rb') as file:
            shape, dtype = _open(file, path)
            size = os.fstat(file.fileno()).st_size - file.tell()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError('%s: no such score file: run inference first (--only-infer)' % path) from None
    if len(shape) != 3 or shape[1:] != (side(infer_size),) * 2:
        raise UserError('%s: scores of shape %s do not come from --infer-size %d: give the size they were made with, '
                        'or run inference again' % (path, 'x'.join(map(str, shape)), infer_size))
    if shape[0] != num_classes:
        raise UserError('%s: has %d maps, the annotation has %d classes: run inference again with this annotation '
                        'folder (--only-infer)' % (path, shape[0], num_classes))
    if size != num_classes * side(infer_size) ** 2 * dtype.itemsize:
        raise UserError('%s: the file is cut short: remove it and run inference again (--only-infer)' % path)


def read(path, num_classes, infer_size):
    """Read the score maps of an image.

    Parameters
    ----------
    path, num_classes, infer_size
        As in `check`.

    Returns
    -------
    ndarray (num_classes, k, k) float32

    Raises
    ------
    UserError
        As `check`, or when a score is NaN or infinite.
    """
    check(path, num_classes, infer_size)
    try:
        scores = np.load(path, allow_pickle=False).astype(np.float32)
    except _DAMAGE:
        raise UserError('%s: changed while it was read: run the same command again' % path) from None
    if not np.isfinite(scores).all():
        raise UserError('%s: holds NaN or infinite scores: training diverged; train again with a smaller '
                        '--learning-rate' % path)
    return scores


def at_image_size(scores, image_shape, infer_size):
    """Scores at every pixel of the photograph, as the original samples them.

    Parameters
    ----------
    scores : ndarray (n, k, k) float32
    image_shape : (int, int)
        Height and width of the photograph.
    infer_size : int
        Side of the network input, pixels.

    Returns
    -------
    ndarray (n, H, W) float32
        Scaled to the network input (bilinear, pixel centres aligned), cropped to what the photograph covers of it,
        and scaled to the photograph's size where that is larger than the input.
    """
    height, width = image_shape
    rows, columns = augment.fitted_size(height, width, infer_size)
    full = np.empty((len(scores), height, width), np.float32)
    for one, score in zip(full, scores):
        score = cv2.resize(score, (infer_size, infer_size), interpolation=cv2.INTER_LINEAR)[:rows, :columns]
        if (rows, columns) != (height, width):
            score = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        one[:] = score
    return full


def inside(scores, image_shape, infer_size):
    """The positions of score maps (n, k, k) whose pixel lies in the photograph: (n, h, w).

    h = (fitted height - 1) // 8 + 1, likewise w: every eighth pixel of the photograph as the network saw it.
    """
    rows, columns = augment.fitted_size(image_shape[0], image_shape[1], infer_size)
    return scores[:, :(rows - 1) // STRIDE + 1, :(columns - 1) // STRIDE + 1]
