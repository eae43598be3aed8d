"""Superpixel maps: label = B + 256 G + 65536 R of an 8-bit 3-channel PNG."""
from __future__ import annotations

import os

import cv2
import numpy as np

from icd import files
from icd.data import geometry, images
from icd.errors import UserError

LARGEST_LABEL = (1 << 24) - 1
_REMEDY = 'make the superpixels again'


def path(superpixel_root: str, name: str) -> str:
    """Where the map of the image `name` of a list is."""
    return os.path.join(superpixel_root, f'{name}.png')


def decode_pixels(data: bytes, path: str) -> np.ndarray:
    """Pixels of an encoded map; `labels_of` turns them, or some of them, into labels.

    Parameters
    ----------
    data : bytes
    path : str
        Its file, for the message.

    Returns
    -------
    ndarray (H, W, 3) uint8
        BGR.

    Raises
    ------
    UserError
        When it is damaged or not an 8-bit 3-channel PNG.
    """
    pixels = images.decode(data, cv2.IMREAD_UNCHANGED) if data[:8] == images.PNG_SIGNATURE else None
    if pixels is None:
        raise UserError('the file is cut short or not a PNG', path, _REMEDY)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UserError('not a superpixel map (8-bit PNG of 3 channels)', path, _REMEDY)
    return pixels


def labels_of(pixels: np.ndarray) -> np.ndarray:
    """Labels (...) int32 of BGR pixels (..., 3) uint8."""
    pixels = pixels.astype(np.int32)
    return pixels[..., 0] | pixels[..., 1] << 8 | pixels[..., 2] << 16


def read(path: str) -> np.ndarray:
    """Read a map: (H, W) int32. Raises `UserError` when it is missing, damaged or not a superpixel map."""
    return labels_of(decode_pixels(images.read_bytes(path, _REMEDY), path))


def write(path: str, labels: np.ndarray) -> None:
    """Write labels (H, W), 0 to 2^24 - 1, as PNG, whole or not at all."""
    if labels.min() < 0 or labels.max() > LARGEST_LABEL:
        raise ValueError(f'labels from {labels.min()} to {labels.max()} do not fit into 24 bits')
    files.save_image(path, np.stack([labels & 255, labels >> 8 & 255, labels >> 16], axis=-1).astype(np.uint8))


def renumber(labels: np.ndarray) -> np.ndarray:
    """The same partition with labels 0, 1, 2, … in ascending order of the old ones.

    Parameters
    ----------
    labels : ndarray of int, any shape

    Returns
    -------
    ndarray int32 of the same shape
    """
    if labels.size and labels.min() >= 0 and labels.max() < 4 * labels.size:    # a table is faster than sorting
        present = np.zeros(labels.max() + 1, bool)
        present[labels] = True
        return (np.cumsum(present, dtype=np.int32) - 1)[labels]
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def sample(labels: np.ndarray, stride: int = geometry.STRIDE) -> np.ndarray:
    """Labels at every `stride`-th pixel of the last two axes: all the network needs (its input is 8k + 1 wide)."""
    return labels[..., ::stride, ::stride]
