"""Score maps of an image's own classes: reading them safely, and where their positions lie in the photograph.

Position (i, j) of a map is pixel (8i, 8j) of the network input. A photograph lies in the top left corner of that
input, scaled down first where it is larger (`icd.data.geometry.fitted_size`). Positions that it does not reach
(`cells`) are 0.
"""
import os
import tokenize

import cv2
import numpy as np

from icd.data import geometry
from icd.data.geometry import STRIDE, feature_size
from icd.errors import UserError

_AGAIN = 'remove it and run inference again (--only-infer)'
# What NumPy raises on files that are no arrays.
_DAMAGE = (ValueError, EOFError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError,
           RecursionError, tokenize.TokenError)


def path(snapshot, kind, name):
    """The file with the scores of kind `'icd'` or `'cam'` of an image."""
    return os.path.join(snapshot, 'results', 'scores_' + kind, name + '.npy')


def cells(scaled, infer_size):
    """The positions of a map that `at_image_size` looks at.

    Parameters
    ----------
    scaled : (int, int)
        Height and width of the photograph in the network input, pixels.
    infer_size : int

    Returns
    -------
    (int, int)
        So many rows and columns.
    """
    whole = feature_size(infer_size)
    # Bilinear scaling by whole / infer_size, centres aligned: the last pixel lies between this position and the next.
    return tuple(min(((2 * length - 1) * whole - infer_size) // (2 * infer_size) + 2, whole) for length in scaled)


def _header(file):
    """Shape and type of an open `.npy` file, which is left at the data; None when it is none."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except _DAMAGE:
        return None
    return shape, dtype


def problem(path, num_classes, infer_size):
    """Look at the header of a score file.

    Parameters
    ----------
    path : str
    num_classes : int
        Classes of the image, one map each.
    infer_size : int
        Side of the network input, pixels.

    Returns
    -------
    (str, str) or None
        What is wrong and what to do, when the file is missing, may not be read, is no array of floating-point
        numbers, cut short, or of another shape than (num_classes, k, k).
    """
    try:
        with open(path, 'rb') as file:
            header, start, end = _header(file), file.tell(), os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 'no such score file', 'run inference first (--only-infer)'
    except PermissionError:
        return 'may not be read', 'change its permissions'
    if header is None:
        return 'not a NumPy array file', _AGAIN
    shape, dtype = header
    if dtype.kind != 'f':
        return 'holds no floating-point numbers', _AGAIN
    if shape[1:] != (feature_size(infer_size),) * 2:
        return ('scores of shape %s, which do not come from --infer-size %d' % ('x'.join(map(str, shape)), infer_size),
                'give the size they were made with, or run inference again (--only-infer)')
    if shape[0] != num_classes:
        return ('maps of %d classes, the annotation has %d' % (shape[0], num_classes),
                'run inference again with this annotation folder (--only-infer)')
    if end - start != num_classes * feature_size(infer_size) ** 2 * dtype.itemsize:
        return 'the file is cut short', _AGAIN
    return None


def check(problems, path, num_classes, infer_size):
    """Record what is wrong with the header of a score file; an image without classes needs none."""
    found = problem(path, num_classes, infer_size)
    if found and (num_classes or os.path.exists(path)):
        problems.add(found[0], path, found[1])


def read(path, num_classes, infer_size):
    """Read the score maps of an image.

    Parameters
    ----------
    path, num_classes, infer_size
        As in `problem`.

    Returns
    -------
    ndarray (num_classes, k, k) float32

    Raises
    ------
    UserError
        When there is a `problem`, or a score is NaN or infinite.
    """
    found = problem(path, num_classes, infer_size)
    if found:
        raise UserError(found[0], path, found[1])
    try:
        scores = np.load(path, allow_pickle=False).astype(np.float32)
    except _DAMAGE:
        raise UserError('changed while it was read', path, 'run the same command again') from None
    if not np.isfinite(scores).all():
        raise UserError('holds NaN or infinite scores: training diverged', path,
                        'train again with a smaller --learning-rate')
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
    rows, columns = geometry.fitted_size(height, width, infer_size)
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
    rows, columns = geometry.fitted_size(image_shape[0], image_shape[1], infer_size)
    return scores[:, :(rows - 1) // STRIDE + 1, :(columns - 1) // STRIDE + 1]
