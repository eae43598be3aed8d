"""Superpixels to fewer superpixels: features pooled over them, and greedy merging of the most alike.

A superpixel's feature is the mean over its pixels of the bilinearly upsampled feature map. That mean is linear in
the map: one row of weights, zero but for the positions its pixels lie between. Merging needs the products of features
only, and a merge changes one row and column of them.
"""
from __future__ import annotations

import numpy as np

from icd.data.geometry import STRIDE, enclosing_positions

try:
    from icd.method import _merging
except ImportError:
    _merging = None

LARGEST_COUNT = 8192        # superpixels an image; their products take 8 bytes a pair
_BAND = 32                  # superpixels that are multiplied at a time
_ROWS = 256                 # rows of similarities that are looked at together when merging begins
_TINY = 1e-30


# -------------------------------------------------------------------------------------------------------- pooling
def _taps(side, fitted, count):
    """The position before each pixel of an axis of `side` pixels, and how far beyond it the pixel is, 0 to 1.

    Pixel p of the network input is at p / 8 of the map (align-corners). An image that was scaled down to the input is
    sampled where the centres of its own pixels came to lie.
    """
    at = np.clip((np.arange(side) + .5) * (fitted / side) - .5, 0, fitted - 1) / STRIDE
    before = np.minimum(at.astype(np.intp), count - 2)
    return before, at - before


def pooling_weights(labels: np.ndarray, fitted: tuple | None = None) -> tuple:
    """Weights of the feature map's positions in the mean over each superpixel, without the zeros.

    Parameters
    ----------
    labels : ndarray (H, W) of int
        0 to n - 1, each of them at least once.
    fitted : (int, int), optional
        Height and width the image has in the network input; by default its own.

    Returns
    -------
    superpixel, position : ndarray (m,) of int
        Superpixels in ascending order, and indices into the flattened (rows, columns) of
        `icd.data.geometry.enclosing_positions(fitted)`. A pair may occur up to four times: its weights add up.
    weight : ndarray (m,) float32
        Those of a superpixel sum to 1.
    """
    height, width = labels.shape
    fitted = labels.shape if fitted is None else fitted
    rows, columns = enclosing_positions(fitted)
    row, down = _taps(height, fitted[0], rows)
    column, right = _taps(width, fitted[1], columns)
    # A block is what lies between four positions. Within it weights are products, so per superpixel and block only the
    # sums of 1, down, right and down * right over its pixels matter, and those of a run of pixels in a row are
    # known from where it starts and ends.
    starts = np.ones((height, width), bool)
    starts[:, 1:] = (labels[:, 1:] != labels[:, :-1]) | (column[1:] != column[:-1])
    y, x = np.nonzero(starts)
    length = np.diff(y * width + x, append=height * width)
    right_until = np.concatenate([[0], np.cumsum(right)])
    right = right_until[x + length] - right_until[x]
    key, run = np.unique((labels[y, x].astype(np.int64) * rows + row[y]) * columns + column[x], return_inverse=True)
    down = down[y]
    area, down_, right_, both = [np.bincount(run, v) for v in (length, down * length, right, down * right)]
    superpixel, block = key // (rows * columns), key % (rows * columns)
    weight = np.stack([area - down_ - right_ + both, right_ - both, down_ - both, both], axis=1)
    weight /= np.bincount(superpixel, area)[superpixel, None]
    position = block[:, None] + [0, 1, columns, columns + 1]
    return np.repeat(superpixel, 4), position.ravel(), weight.ravel().astype(np.float32)


def pool(labels: np.ndarray, feature: np.ndarray, fitted: tuple | None = None) -> np.ndarray:
    """Mean feature of every superpixel.

    Parameters
    ----------
    labels : ndarray (H, W) of int
        0 to n - 1, each of them at least once.
    feature : ndarray (d, h, w) float32
        Feature map of the network input, or its upper left part: at least
        `icd.data.geometry.enclosing_positions(fitted)`.
    fitted : (int, int), optional
        Height and width the image has in the network input; by default its own.

    Returns
    -------
    ndarray (n, d) float32
        Means over the superpixel's pixels of the map scaled up by 8 (bilinear, align-corners).
    """
    rows, columns = enclosing_positions(labels.shape if fitted is None else fitted)
    feature = feature[:, :rows, :columns].reshape(len(feature), -1)
    superpixel, position, weight = pooling_weights(labels, fitted)
    count = int(superpixel[-1]) + 1
    pooled = np.empty((count, len(feature)), np.float32)
    # Superpixels with neighbouring labels are near each other in most maps: a band of them needs few positions.
    firsts = np.arange(0, count, _BAND)
    bounds = np.append(np.searchsorted(superpixel, firsts), len(superpixel))
    for first, start, stop in zip(firsts, bounds, bounds[1:]):
        low, high = position[start:stop].min(), position[start:stop].max() + 1
        shape = (min(_BAND, count - first), high - low)
        entry = (superpixel[start:stop] - first) * shape[1] + position[start:stop] - low
        matrix = np.bincount(entry, weight[start:stop], shape[0] * shape[1]).astype(np.float32).reshape(shape)
        pooled[first:first + shape[0]] = matrix @ feature[:, low:high].T
    return pooled


# -------------------------------------------------------------------------------------------------------- merging
class _Similarity:
    """What `icd.method._merging` does, in eight times the time, where that is not compiled.

    cos(f_i, f_j) + 1 - (size_i + size_j) / area of all pairs, kept up to date while superpixels merge.

    For every row i, `best[i]` is the largest value at columns j > i, and `partner[i]` the first j that has it.
    """

    def __init__(self, products, sizes):
        self._products, self._sizes = products, sizes       # sizes: infinite where a superpixel is part of another
        self._area = sizes.sum()
        self._inverse = 1 / np.sqrt(np.maximum(products.diagonal(), _TINY))
        count = len(products)
        self._column = np.arange(count)
        self.best, self.partner = np.empty(count), np.empty(count, np.intp)
        for first in range(0, count, _ROWS):
            self._look(self._column[first:first + _ROWS])

    def _values(self, rows):
        """Values of all columns in one row or several; -inf at merged columns."""
        cosine = self._products[rows] * (self._inverse[rows, None] * self._inverse)
        return cosine + 1 - (self._sizes[rows, None] + self._sizes) / self._area

    def _look(self, rows):
        """Find best and partner of some rows anew."""
        values = self._values(rows)
        values[self._column <= rows[:, None]] = -np.inf
        partner = values.argmax(axis=1)
        self.partner[rows] = partner
        self.best[rows] = values[self._column[:len(rows)], partner]

    def merge(self, i, j):
        """Make superpixel j part of i < j."""
        products, sizes = self._products, self._sizes
        total = sizes[i] + sizes[j]
        # The merged feature is the mean weighted by size, and its products are the same mean of products.
        row = (sizes[i] * products[i] + sizes[j] * products[j]) / total
        row[i] = (sizes[i] * row[i] + sizes[j] * row[j]) / total
        products[i] = products[:, i] = row
        self._inverse[i] = 1 / np.sqrt(max(row[i], _TINY))
        sizes[i], sizes[j] = total, np.inf
        self.best[j], self.partner[j] = -np.inf, -1
        self._update_best(i, j)

    def _update_best(self, i, j):
        """Correct best and partner where columns i and j have a part."""
        best, partner = self.best[:i], self.partner[:i]
        new = self._values(self._column[i:i + 1])[0, :i]
        np.putmask(partner, (new > best) | ((new == best) & (partner > i)), i)
        grown = partner == i
        lost = self.partner[:j] == j                        # row i is one of them
        lost[:i] |= grown & (new < best)
        np.putmask(best, grown, new)
        self._look(np.flatnonzero(lost))


def _merge_by_numpy(products, sizes, largest, first):
    """As `icd.method._merging.merge`."""
    similarity = _Similarity(products, sizes)
    for _ in range(len(sizes) - largest):
        i = int(similarity.best.argmax())
        j = int(similarity.partner[i])
        similarity.merge(i, j)
        first[j] = i


def is_compiled() -> bool:
    """Whether `icd.method._merging` is there; without it NumPy does the same in about four times the time."""
    return _merging is not None


def merge(features: np.ndarray, sizes: np.ndarray, largest: int) -> np.ndarray:
    """Merge the two most alike superpixels, adjacent or not, until at most `largest` are left.

    Parameters
    ----------
    features : ndarray (n, d) of float
    sizes : ndarray (n,) of int
        Pixels of each, all of the image together.
    largest : int
        At least 1.

    Returns
    -------
    ndarray (n,) int32
        New label of each superpixel: 0 to min(n, largest) - 1 in ascending order of each group's first member.

    Notes
    -----
    In each round the pair i < j with the largest cos(f_i, f_j) + 1 - (size_i + size_j) / area merges into i, the
    first such pair in the order of i, then j, when several are equal; f_i becomes the mean weighted by size
    (`generate_superpixel.py` of the original). A feature of zeros is like no other: its cosine is 0.
    """
    count = len(features)
    first = np.arange(count)
    if count > largest:
        features = np.asarray(features, np.float64)
        greedy = _merging.merge if _merging else _merge_by_numpy
        greedy(features @ features.T, np.array(sizes, np.float64), largest, first)
    for k in range(count):
        first[k] = first[first[k]]                          # a superpixel is merged into one before it
    return np.unique(first, return_inverse=True)[1].astype(np.int32)


def merge_map(labels: np.ndarray, feature: np.ndarray, largest: int, fitted: tuple | None = None) -> np.ndarray:
    """Merge the superpixels of an image by their features in a network's map.

    Parameters
    ----------
    labels : ndarray (H, W) of int
        0 to n - 1, each of them at least once.
    feature, fitted : see `pool`
    largest : int
        Superpixels to keep.

    Returns
    -------
    ndarray (H, W) int32
        0 to at most `largest` - 1.
    """
    return merge(pool(labels, feature, fitted), np.bincount(labels.ravel()), largest)[labels]
