"""Which classes every image holds, as a bit each: a million images of 80 classes take 10 MB, as numbers 320."""
from __future__ import annotations

import zlib
from typing import Any, Iterator, Sequence

import numpy as np

_PART = 65536           # images that are numbers at a time


class ImageLabels:
    """Image labels that look like an array (images, classes) float32 of 0 and 1.

    What is asked for is made an array: `labels[i]`, `labels[:10]`, `labels[:, c]`, `np.asarray(labels)`.

    Parameters
    ----------
    labels : ndarray (images, classes)
        Of 0 and what is not 0; `of` makes them from the classes of each image.
    """

    def __init__(self, labels: np.ndarray):
        self.shape, self._bits = labels.shape, np.packbits(np.asarray(labels) != 0, axis=1)

    @classmethod
    def of(cls, classes: Sequence[tuple], count: int) -> ImageLabels:
        """From the indices of the classes of every image, `count` classes in all."""
        labels = cls(np.zeros((0, count), bool))
        labels.shape, labels._bits = (len(classes), count), np.zeros((len(classes), (count + 7) // 8), np.uint8)
        for row, own in zip(labels._bits, classes):
            for c in own:
                row[c >> 3] |= 128 >> (c & 7)
        return labels

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *columns = index if isinstance(index, tuple) else (index,)
        if columns and isinstance(columns[0], (int, np.integer)):
            c = range(self.shape[1])[columns[0]]
            return (self._bits[rows, c >> 3] >> (7 - (c & 7)) & 1).astype(np.float32)
        found = np.unpackbits(self._bits[rows], axis=-1)[..., :self.shape[1]].astype(np.float32)
        return found[(..., *columns)] if columns else found

    def __iter__(self) -> Iterator[np.ndarray]:
        for part in self._parts():
            yield from part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _parts(self):
        for first in range(0, len(self), _PART):
            yield self[first:first + _PART]

    def sum(self, axis: int) -> np.ndarray:
        """Images of every class (axis 0), or classes of every image (axis 1): float32."""
        if axis == 0:
            return sum((part.sum(0) for part in self._parts()), np.zeros(self.shape[1], np.float32))
        return np.concatenate([np.zeros(0, np.float32), *(part.sum(axis) for part in self._parts())])

    def alone(self) -> np.ndarray:
        """Images of every class that hold no other: float32 (classes,)."""
        return sum((part[part.sum(1) == 1].sum(0) for part in self._parts()), np.zeros(self.shape[1], np.float32))

    def checksum(self) -> int:
        """CRC-32 of the numbers as an array has them."""
        value = 0
        for part in self._parts():
            value = zlib.crc32(part.tobytes(), value)
        return value
