"""Previews: images beside their score maps, a row each, for people to look at."""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from icd.data import geometry
from icd.viz import overlay

HEIGHT = 120        # pixels of a row
_WIDEST = 600       # pixels of a picture in it; a panorama's row is lower
_GAP, _HEADING_HEIGHT = 4, 30


def heat(image: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The positive part of a score map, scaled to its maximum, over the image.

    Parameters
    ----------
    image : (H, W, 3) uint8, BGR
    score : (h, w) float32

    Returns
    -------
    (H, W, 3) uint8
        Colour map jet at 0.8 over the image at 0.2.
    """
    fraction = cv2.resize(geometry.normalised(score), image.shape[1::-1])
    colours = cv2.applyColorMap(np.uint8(255 * np.clip(fraction, 0, 1)), cv2.COLORMAP_JET)
    return cv2.addWeighted(colours, .8, image, .2, 0)


def row(image: np.ndarray, scores: list) -> np.ndarray:
    """A row of a preview: the image, then positive and negative part of every score map.

    Parameters
    ----------
    image : (H, W, 3) uint8, BGR
    scores : list of (h, w) float32

    Returns
    -------
    (height, width, 3) uint8
        120 rows, fewer for a picture wider than five times its height.
    """
    small = _small(image)
    return hstack([small] + [heat(small, sign * score) for score in scores for sign in (1, -1)])


def mask_row(image: np.ndarray, masks: list) -> np.ndarray:
    """A row of a preview: the image, then every mask in VOC's colours over it.

    Parameters
    ----------
    image : (H, W, 3) uint8, BGR
    masks : list of (h, w) uint8
        Class indices at any resolution.

    Returns
    -------
    (height, width, 3) uint8
        See `row`.
    """
    small = _small(image)
    return hstack([small] + [overlay.blend(small, cv2.resize(mask, small.shape[1::-1],
                                                             interpolation=cv2.INTER_NEAREST)) for mask in masks])


def _small(image):
    scale = min(HEIGHT / image.shape[0], _WIDEST / image.shape[1])
    return cv2.resize(image, tuple(max(1, round(side * scale)) for side in image.shape[1::-1]),
                      interpolation=cv2.INTER_AREA)


def hstack(pictures: list) -> np.ndarray:
    """Pictures (BGR uint8) of one height, left to right with white gaps."""
    gap = np.full((len(pictures[0]), _GAP, 3), 255, np.uint8)
    return np.hstack([part for picture in pictures for part in (picture, gap)][:-1])


def vstack(rows: list) -> np.ndarray:
    """Rows (BGR uint8) of any width, top to bottom with white gaps."""
    width = max(r.shape[1] for r in rows)
    parts = [cv2.copyMakeBorder(r, 0, _GAP, 0, width - r.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
             for r in rows]
    return np.vstack(parts)[:-_GAP]


def seed_row(image: np.ndarray, scores: Sequence[np.ndarray], seeds: Sequence[np.ndarray], width: int) -> np.ndarray:
    """A row of pictures of one width: the image, its scores and its seeds.

    Parameters
    ----------
    image : (H, W, 3) uint8, BGR
    scores : ndarrays (classes, H, W) float32
        The positive scores of all classes, each divided by its maximum, are shown as one map over the image.
    seeds : ndarrays (H, W) uint8
        Or other masks, in VOC's colours over the image.
    width : int
        Of a picture, pixels.
    """
    pictures = [image, *(heat(image, geometry.normalised(maps).max(0)) for maps in scores),
                *(overlay.blend(image, seed) for seed in seeds)]
    size = width, max(1, round(width * image.shape[0] / image.shape[1]))
    return hstack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])


def headings(width: int, texts: Sequence[str]) -> np.ndarray:
    """A row (BGR uint8) of texts, each over the middle of a column of `width` / their number."""
    row = np.full((_HEADING_HEIGHT, width, 3), 255, np.uint8)
    column, font = width / len(texts), (cv2.FONT_HERSHEY_DUPLEX, .55)
    for i, text in enumerate(texts):
        (length, _), _ = cv2.getTextSize(text, *font, 1)
        cv2.putText(row, text, (round(column * (i + .5) - length / 2), _HEADING_HEIGHT - 9), *font, (40, 40, 40), 1,
                    cv2.LINE_AA)
    return row
