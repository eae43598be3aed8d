"""Which seeds to mistrust, found without truth: how far what they were made from disagrees. Arrays in, numbers out.

Four parts, each larger where a seed is more likely to be wrong:

- *cam*: 1 - IoU of a class in the seed and in its class activation map, at the threshold where they agree best.
- *icd*: 1 - probability that a pixel of the class has a higher ICD score than one of another or none.
- *superpixels*: fraction of the image by which the seed before the CRF cuts through superpixels.
- *share*: by which factor the class covers more or less of the image than it usually does.

Of several classes in an image the worst one counts. A part says little by its value, so `mistrust` is made of ranks,
each part counting the same: nothing is fitted. It is their root mean square, since one part that is very bad says more
than several that are a little bad.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from icd.data.geometry import IGNORE, normalised
from icd.method.seed_map import seed_map

PARTS = 'cam', 'icd', 'superpixels', 'share'
_LEVELS = 20                # thresholds on class activation maps: multiples of a twentieth of the maximum
_BINS = 256                 # of ICD scores, for their order
_LEAST_SHARE = .002         # of an image: a class with fewer pixels counts as having so many


@dataclass(frozen=True)
class Measures:
    """What is measured of the seed of one image with n classes.

    agreement : ndarray (n,) float64
        Of each class: IoU of the seed with the class activation map, 0 to 1.
    separation : ndarray (n,) float64
        Of each class: probability that its pixels have the higher ICD score, 0.5 where it has none or all.
    shares : ndarray (n,) float64
        Of each class: fraction of the image.
    cut : float
        Part *superpixels*; NaN without superpixels.
    undecided : float
        Fraction of the image that is undefined before the CRF.
    """

    agreement: np.ndarray
    separation: np.ndarray
    shares: np.ndarray
    cut: float
    undecided: float


def best_agreement(cam: np.ndarray, region: np.ndarray) -> float:
    """IoU of a region with a class activation map at the threshold where it is largest.

    A threshold that suits one class is wrong for the next, so that none is chosen here: what is left is the
    disagreement on where the class is.

    Parameters
    ----------
    cam : ndarray (H, W) float
        0 to 1; 0 where another class has more.
    region : ndarray (H, W) bool

    Returns
    -------
    float
        0 to 1; 0 for an empty region.

    Examples
    --------
    >>> best_agreement(np.array([[1, .5, .2, 0]]), np.array([[True, True, False, False]]))
    1.0
    """
    level = (cam * _LEVELS + 1e-6).astype(np.intp)          # float32 has 0.15 · 20 below 3
    inside, outside = (np.bincount(level[part], minlength=_LEVELS + 1)[::-1].cumsum()[-2::-1]
                       for part in (region, ~region))       # pixels that reach 1, 2, ... twentieths
    return float((inside / np.maximum(region.sum() + outside, 1)).max())


def separation(score: np.ndarray, region: np.ndarray) -> float:
    """Probability that a pixel of a region has a higher score than one outside (the area under the ROC curve).

    Parameters
    ----------
    score : ndarray (H, W) float
    region : ndarray (H, W) bool

    Returns
    -------
    float
        Equal scores count half, and scores are equal where they differ by less than 1/256 of their range; 0.5 for a
        region that is empty or everything.

    Examples
    --------
    >>> separation(np.array([[3., 2., 1., 0.]]), np.array([[True, False, True, False]]))
    0.75
    """
    low, high = float(score.min()), float(score.max())
    if low == high or region.all() or not region.any():
        return .5
    level = ((score - low) * ((_BINS - 1) / (high - low))).astype(np.intp)
    inside, outside = (np.bincount(level[part], minlength=_BINS) for part in (region, ~region))
    below = outside.cumsum() - outside / 2
    return float(inside @ below / (inside.sum() * outside.sum()))


def cut_superpixels(seed: np.ndarray, superpixels: np.ndarray) -> float:
    """Fraction of the pixels that are not of the most frequent class of their superpixel.

    Parameters
    ----------
    seed : ndarray (H, W) uint8
        255 counts as a class.
    superpixels : ndarray (H, W) int
        Labels from 0 (`icd.data.superpixel_map.renumber`).

    Returns
    -------
    float

    Examples
    --------
    >>> cut_superpixels(np.uint8([[1, 1, 0, 0]]), np.array([[0, 0, 0, 1]]))
    0.25
    """
    present, index = np.unique(seed, return_inverse=True)
    cells = superpixels.ravel() * len(present) + index.ravel()
    counts = np.bincount(cells, minlength=(int(superpixels.max()) + 1) * len(present))
    return float(1 - counts.reshape(-1, len(present)).max(1).sum() / seed.size)


def measure(seed: np.ndarray, scores_icd: np.ndarray, scores_cam: np.ndarray, classes: Sequence[int],
            superpixels: np.ndarray | None = None) -> Measures:
    """Measure how far the seed of one image and what it was made from agree.

    Parameters
    ----------
    seed : ndarray (H, W) uint8
        Of any kind.
    scores_icd, scores_cam, classes
        As in `icd.method.seed_map.seed_map`.
    superpixels : ndarray (H, W) int, optional
        Labels from 0.

    Returns
    -------
    Measures
    """
    raw = seed_map(scores_icd, scores_cam, classes)
    cam = normalised(scores_cam)
    cam = np.where(cam == cam.max(0), cam, 0) if len(classes) else cam
    regions = [seed == c + 1 for c in classes]
    return Measures(
        np.array([best_agreement(one, region) for one, region in zip(cam, regions)]),
        np.array([separation(one, region) for one, region in zip(scores_icd, regions)]),
        np.array([region.mean() for region in regions]),
        float('nan') if superpixels is None else cut_superpixels(raw, superpixels), float((raw == IGNORE).mean()))


def usual_shares(measured: Sequence[Measures], labels: np.ndarray) -> np.ndarray:
    """Median share of each class over the images that hold it: (images, classes) labels → (classes,); NaN for none."""
    found = np.full(labels.shape, np.nan)
    for row, one, own in zip(found, measured, labels):
        row[own > 0] = one.shares
    return np.array([np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else np.nan
                     for column in found.T])


def factors(shares: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """By which factor shares differ from the usual ones, more or less: (n,), (n,) → (n,), 1 at least.

    Examples
    --------
    >>> factors(np.array([.1, .4, 0]), np.array([.4, .1, .002])).round(6).tolist()
    [4.0, 4.0, 1.0]
    """
    ratio = np.maximum(shares, _LEAST_SHARE) / np.maximum(usual, _LEAST_SHARE)
    return np.maximum(ratio, 1 / ratio)


def parts(measured: Sequence[Measures], labels: np.ndarray) -> np.ndarray:
    """The `PARTS` of every image.

    Parameters
    ----------
    measured : sequence of Measures
    labels : ndarray (images, classes)
        Above 0 where an image holds the class.

    Returns
    -------
    ndarray (images, 4) float64
        The least there is for an image without classes; NaN for *superpixels* where there are none.
    """
    usual, found = usual_shares(measured, labels), np.zeros((len(measured), len(PARTS)))
    for row, one, own in zip(found, measured, labels):
        row[:] = (1 - one.agreement.min(initial=1), 1 - one.separation.min(initial=1), one.cut,
                  factors(one.shares, usual[own > 0]).max(initial=1))
    return found


def never_alone(labels: np.ndarray) -> dict:
    """Classes that image labels cannot tell from another: in every image of the one is the other, too.

    Parameters
    ----------
    labels : ndarray (images, classes)

    Returns
    -------
    dict of int to int
        The other class by class, the first there is.

    Examples
    --------
    >>> never_alone(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]))
    {0: 1}
    """
    together = (labels > 0).T.astype(np.intp) @ (labels > 0)
    found = {}
    for index, row in enumerate(together):
        others = [other for other in np.flatnonzero(row == row[index]) if other != index and row[index]]
        if others:
            found[index] = int(others[0])
    return found


def ranks(values: np.ndarray) -> np.ndarray:
    """Fraction of the other values that are smaller, equal ones counted half: (n,) → (n,), 0 to 1.

    Examples
    --------
    >>> ranks(np.array([3., 1., 7., 1., 9.])).tolist()
    [0.5, 0.125, 0.75, 0.125, 1.0]
    """
    ordered = np.sort(values)
    smaller, up_to = (np.searchsorted(ordered, values, side) for side in ('left', 'right'))
    return (smaller + up_to - 1) / (2 * max(len(values) - 1, 1))


def mistrust(parts: np.ndarray) -> np.ndarray:
    """Root mean square of the ranks that the parts give, in percent: 100 for an image that is the worst by each of
    them.

    Parameters
    ----------
    parts : ndarray (images, 4)
        A part that is NaN everywhere is left out.

    Returns
    -------
    ndarray (images,) float64
    """
    there = ~np.isnan(parts).any(0)
    return 100 * np.sqrt(np.mean([ranks(column) ** 2 for column in parts[:, there].T], axis=0))
