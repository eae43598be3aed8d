"""How well the sign of each class's ICD score is decided: by the state of the calibration, and by the scores.

The sign of a class is that of the side of its bottom-up score where its class activation map (CAM) responds more. Where
it responds about as much on both sides, the sign is a matter of chance.
"""
from __future__ import annotations

import numpy as np

# CAM responds less than twice as much on one side as on the other. On 300 images of MSRC v2 it was 0.20 for the class
# that no image held alone, and 0.68 to 0.97 for the others.
UNDECIDED = 1 / 3


def margins(state: np.ndarray) -> np.ndarray:
    """How far apart the two sides of every class are, free of the scale of its CAM.

    Parameters
    ----------
    state : ndarray (C, 2) float
        Running means of CAM's positive part where the bottom-up score is positive, and where it is negative
        (`icd.model.icd_blocks.calibration_update`).

    Returns
    -------
    ndarray (C,) float64
        |m1 - m2| / (m1 + m2): 0 where both sides are alike, 1 where CAM responds on one of them only; NaN for a class
        that no image held so far. That running means start at 0 does not matter: both are short of the same fraction.
    """
    first, second = np.asarray(state, np.float64).T
    total = first + second
    return np.divide(abs(first - second), total, out=np.full(len(total), np.nan), where=total > 0)


class Agreement:
    """Correlation of each class's ICD score with its CAM, over all positions of the images that hold the class.

    Parameters
    ----------
    num_classes : int
        C, background not counted.
    """

    def __init__(self, num_classes: int):
        self._sums = np.zeros((num_classes, 6))

    def add(self, classes: tuple, cam: np.ndarray, icd: np.ndarray):
        """Add the score maps of an image.

        Parameters
        ----------
        classes : sequence of n int
            Of the image, from 0.
        cam, icd : ndarray (n, h, w) float32
            Positions where all of them are 0 are not of the image (`icd.data.score_map`).
        """
        reached = ((cam != 0) | (icd != 0)).any(0)
        for index, x, y in zip(classes, np.maximum(cam[:, reached], 0), icd[:, reached]):
            x, y = x.astype(np.float64), y.astype(np.float64)
            self._sums[index] += len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y

    def correlations(self) -> np.ndarray:
        """The correlations, (C,) float64 from -1 to 1; NaN where a class has no positions or a score does not vary."""
        count, x, y, xx, yy, xy = self._sums.T
        count = np.maximum(count, 1)
        spread = np.sqrt(np.maximum(xx - x * x / count, 0) * np.maximum(yy - y * y / count, 0))
        return np.divide(xy - x * y / count, spread, out=np.full(len(count), np.nan), where=spread > 0)
