"""Score maps of an image's own classes: reading them safely, and where their positions lie in the image.

Position (i, j) of a map is pixel (8i, 8j) of the network input. An image lies in the top left corner of that input,
scaled down first where it is larger (`icd.data.geometry.fitted_size`). Positions that it does not reach
(`icd.data.geometry.resized_positions`) are 0.
"""
from __future__ import annotations

import os
import tokenize

import cv2
import numpy as np

from icd import files
from icd.data import geometry
from icd.errors import Problems, UserError

KINDS = 'cam', 'icd'         # class activation maps, and logits of the top-down branch
_AGAIN = 'remove it and run inference again (--only-infer)'
# What NumPy raises on files that are no arrays.
_DAMAGE = (ValueError, EOFError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError,
           RecursionError, tokenize.TokenError)


def folder(snapshot: str, kind: str) -> str:
    """The folder with the scores of one of the `KINDS`."""
    return os.path.join(snapshot, 'results', f'scores_{kind}')


def path(snapshot: str, kind: str, name: str) -> str:
    """The file with the scores of one of the `KINDS` of an image."""
    return os.path.join(folder(snapshot, kind), f'{name}.npy')


def _header(file):
    """Shape and type of an open `.npy` file, which is left at the data; None when it is none."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except _DAMAGE:
        return None
    return shape, dtype


def side(path: str) -> int | None:
    """Side k of the maps (n, k, k) in a score file, from its header; None when there is none.

    Raises
    ------
    UserError
        When the header is that of something else.
    """
    try:
        with open(path, 'rb') as file:
            header = _header(file)
    except OSError:
        return None
    if header is None:
        return None
    shape, _ = header
    if len(shape) != 3 or shape[1] != shape[2] or not shape[1]:
        raise UserError(f"scores of shape {'x'.join(map(str, shape)) or '()'}: square maps are needed", path, _AGAIN)
    return shape[1]


def problem(path: str, num_classes: int, infer_size: int) -> tuple | None:
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
        What is wrong and what to do, when the file is missing, cannot be read, is no array of floating-point numbers,
        cut short, or of another shape than (num_classes, k, k).
    """
    side = geometry.feature_size(infer_size)
    try:
        with files.named(path), open(path, 'rb') as file:
            header, start, end = _header(file), file.tell(), os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 'no such score file', 'run inference first (--only-infer)'
    except PermissionError:
        return 'permission denied', 'change its permissions'
    if header is None:
        return 'not a NumPy array file', _AGAIN
    shape, dtype = header
    if dtype.kind != 'f':
        return 'holds no floating-point numbers', _AGAIN
    if shape[1:] != (side, side):
        return (f"scores of shape {'x'.join(map(str, shape))}, which do not come from --infer-size {infer_size}",
                'give the size they were made with, or run inference again (--only-infer)')
    if shape[0] != num_classes:
        return (f'maps of {shape[0]} classes, the annotation has {num_classes}',
                'run inference again with this annotation folder (--only-infer)')
    if end - start != num_classes * side ** 2 * dtype.itemsize:
        return 'the file is cut short', _AGAIN
    return None


def check(problems: Problems, path: str, num_classes: int, infer_size: int) -> None:
    """Record what is wrong with the header of a score file; an image without classes needs none."""
    found = problem(path, num_classes, infer_size)
    if found and (num_classes or os.path.exists(path)):
        problems.add(found[0], path, found[1])


def read(path: str, num_classes: int, infer_size: int) -> np.ndarray:
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
        with files.named(path):
            scores = np.load(path, allow_pickle=False).astype(np.float32)
    except _DAMAGE:
        raise UserError('changed while it was read', path, 'run the same command again') from None
    if not np.isfinite(scores).all():
        raise UserError('holds NaN or infinite scores: training diverged', path,
                        'train again with a smaller --learning-rate')
    return scores


def at_image_size(scores: np.ndarray, image_shape: tuple, infer_size: int) -> np.ndarray:
    """Scores at every pixel of the image, as the original samples them.

    Parameters
    ----------
    scores : ndarray (n, k, k) float32
    image_shape : (int, int)
        Height and width of the image.
    infer_size : int
        Side of the network input, pixels.

    Returns
    -------
    ndarray (n, H, W) float32
        Scaled to the network input (bilinear, pixel centres aligned), cropped to what the image covers of it, and
        scaled to the image's size where that is larger than the input.
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


def inside(scores: np.ndarray, image_shape: tuple, infer_size: int) -> np.ndarray:
    """The positions of score maps (n, k, k) whose pixel lies in the image: (n, h, w).

    h = (fitted height - 1) // 8 + 1, likewise w: every eighth pixel of the image as the network saw it.
    """
    rows, columns = geometry.fitted_size(image_shape[0], image_shape[1], infer_size)
    return scores[:, :geometry.feature_size(rows), :geometry.feature_size(columns)]
