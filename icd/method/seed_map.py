"""Score maps to seeds: a class for every pixel, before the CRF (`seed_map` of the original, and that of CAM)."""
from __future__ import annotations

from typing import Iterable, Iterator, Sequence

import numpy as np

from icd.data.geometry import IGNORE, TINY, normalised

SALIENT = .01               # saliency 0..1 from which a pixel is salient
_FEW_SALIENT = .01          # fraction of salient pixels below which saliency alone does not make background


def _finite(scores):
    return np.where(np.isfinite(scores), scores, np.float32(0))


def _comparison(scores_cam, normalised_icd):
    """What classes that are foreground at the same pixel are compared by: CAM, in 0..1 over all classes, times the
    normalised ICD score."""
    cam = np.maximum(scores_cam, 0)
    cam = (cam - cam.min()) / max(cam.max() - cam.min(), TINY)
    return cam * normalised_icd


def _is_background(scores_icd, saliency):
    against_all = (normalised(-scores_icd) > TINY).all(0)
    if saliency is None:
        return against_all
    not_salient = saliency / 255 < SALIENT
    return not_salient & against_all if 1 - not_salient.mean() < _FEW_SALIENT else not_salient


def seed_map(scores_icd: np.ndarray, scores_cam: np.ndarray | None, classes: Sequence[int],
             saliency: np.ndarray | None = None) -> np.ndarray:
    """The seed of one image before the CRF. No threshold is involved: foreground is where a logit is positive.

    Parameters
    ----------
    scores_icd : ndarray (n, H, W) float32
        Logits of the top-down branch at image size, one map for each of the image's n classes. Where a score is not
        finite it counts as 0, which is for no class and against none.
    scores_cam : ndarray (n, H, W) float32, or None
        Class activation maps of the same classes; they decide between several classes and are not needed for fewer.
    classes : sequence of n int
        Those classes, from 0, background not counted, ascending.
    saliency : ndarray (H, W) uint8, optional
        0 to 255; background is then what is not salient.

    Returns
    -------
    ndarray (H, W) uint8
        0 is the background, class c is c + 1, 255 is undefined. Without classes all is background.

    Examples
    --------
    >>> scores = np.array([[[2, 1, -1, -2]]], np.float32)
    >>> seed_map(scores, None, [4]).tolist()
    [[5, 5, 0, 0]]
    """
    seed = np.zeros(scores_icd.shape[1:], np.uint8)
    if not len(classes):
        return seed
    scores_icd = _finite(scores_icd)
    normalised_icd = normalised(scores_icd)
    is_foreground = normalised_icd > TINY
    foreground = is_foreground.any(0)
    winner = is_foreground.argmax(0)
    undefined = foreground == _is_background(scores_icd, saliency)
    if len(classes) > 1:
        comparison = _comparison(_finite(scores_cam), normalised_icd)
        winner = np.where(is_foreground.sum(0) > 1, comparison.argmax(0), winner)
        undefined |= foreground & (comparison.max(0) - comparison.min(0) <= TINY)
    seed[foreground] = np.asarray(classes, np.uint8)[winner[foreground]] + 1
    seed[undefined] = IGNORE
    return seed


def cam_seed_map(scores_cam: np.ndarray, classes: Sequence[int], threshold: float) -> np.ndarray:
    """The seed that class activation maps give at one threshold, to compare with.

    Parameters
    ----------
    scores_cam, classes
        As in `seed_map`.
    threshold : float
        Above 0, at most 1. A pixel is background where no class reaches this fraction of its maximum, else it is of
        the class with the largest fraction.

    Returns
    -------
    ndarray (H, W) uint8
        As `seed_map`, without undefined pixels.

    Examples
    --------
    >>> cam_seed_map(np.array([[[4, 2, 1]]], np.float32), [0], .5).tolist()
    [[1, 1, 0]]
    """
    return next(cam_seed_maps(scores_cam, classes, [threshold]))


def cam_seed_maps(scores_cam: np.ndarray, classes: Sequence[int], thresholds: Iterable[float]) -> Iterator[np.ndarray]:
    """`cam_seed_map` at several thresholds, for the time of little more than one.

    Examples
    --------
    >>> [seed.tolist() for seed in cam_seed_maps(np.array([[[4, 2, 1]]], np.float32), [0], [.25, .5])]
    [[[1, 1, 1]], [[1, 1, 0]]]
    """
    if not len(classes):
        yield from (np.zeros(scores_cam.shape[1:], np.uint8) for _ in thresholds)
        return
    normalised_cam = normalised(_finite(scores_cam))
    winner = np.asarray(classes, np.uint8)[normalised_cam.argmax(0)] + 1
    fraction = normalised_cam.max(0)
    for threshold in thresholds:
        yield np.where(fraction >= threshold, winner, 0).astype(np.uint8)
