"""Overlays of masks: seeds in VOC's colours, alone and over their images."""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from icd import files
from icd.data import images, masks
from icd.errors import UserError

_OPACITY = .6               # of a class colour over the image
_JPEG_QUALITY = 92


def blend(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Class colours over an image; the background shows the image alone.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        BGR.
    mask : ndarray (H, W) uint8
        Class indices; 255, ignored, has a colour like any other.

    Returns
    -------
    ndarray (H, W, 3) uint8
        BGR.
    """
    colours = np.ascontiguousarray(masks.palette()[:, ::-1])[mask]
    mixed = cv2.addWeighted(image, 1 - _OPACITY, colours, _OPACITY, 0)
    return np.where(mask[..., None] == 0, image, mixed)


def draw_seed(paths: Sequence[str]):
    """Draw one seed in colours, alone and over its image.

    Parameters
    ----------
    paths : (str, str, str, str)
        The seed and its image; where the colour copy, a palette PNG in VOC's colours, and the overlay, a JPEG, go.

    Raises
    ------
    UserError
        When the seed or the image is missing or damaged, or they differ in size.
    """
    seed, image_path, colour, over = paths
    mask, image = masks.read_mask(seed), images.read_image(image_path)
    if mask.shape != image.shape[:2]:
        raise UserError(f'has another size than {image_path}', seed, 'remove it and make seeds again')
    masks.save_colour(colour, mask)
    files.save_image(over, blend(image, mask), cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)


def drawn_folders(folder: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Where the drawings of a folder of seeds go: (folder, ending) of the colour copies and of the overlays."""
    return (folder + '_colour', '.png'), (folder + '_overlay', '.jpg')
