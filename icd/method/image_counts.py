"""Class counts of many images. Arrays in, arrays out."""
from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

_BLOCK = 4096           # images whose counts are whole arrays at a time


class ImageCounts:
    """`icd.method.metrics.class_counts` of many images, without the zeros: few classes occur in an image.

    Parameters
    ----------
    lengths : ndarray (n,) int
        How many classes occur in each image, in its truth or its prediction.
    classes : ndarray (k,) int
        Which, image by image.
    pixels : ndarray (k, 3) int
        Their pixels: of the class in both, in the truth, in the prediction.
    num_cls : int
        Classes in all.
    """

    def __init__(self, lengths: np.ndarray, classes: np.ndarray, pixels: np.ndarray, num_cls: int):
        self.lengths, self.classes, self.pixels, self.num_cls = lengths, classes, pixels, num_cls

    @classmethod
    def of(cls, counts: np.ndarray) -> ImageCounts:
        """From an array (n, 3, C) of images of at most 2³¹ pixels."""
        images, classes = np.nonzero(counts.any(axis=1))
        lengths = np.bincount(images, minlength=len(counts)).astype(np.int16)
        return cls(lengths, classes.astype(np.int16), counts[images, :, classes].astype(np.int32), counts.shape[2])

    @classmethod
    def joined(cls, parts: Sequence[ImageCounts]) -> ImageCounts:
        """The images of several, one at least, one after another."""
        return cls(np.concatenate([part.lengths for part in parts]), np.concatenate([part.classes for part in parts]),
                   np.concatenate([part.pixels for part in parts]), parts[0].num_cls)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, order: np.ndarray) -> ImageCounts:
        """Images by index, in this order."""
        lengths = self.lengths[order]
        first = (np.cumsum(self.lengths, dtype=np.int64) - self.lengths)[order]
        before = np.cumsum(lengths, dtype=np.int64) - lengths
        rows = np.repeat(first - before, lengths) + np.arange(lengths.sum(dtype=np.int64))
        return ImageCounts(lengths, self.classes[rows], self.pixels[rows], self.num_cls)

    def blocks(self) -> Iterator[np.ndarray]:
        """The counts as arrays (some images, 3, C) int64, one after another."""
        ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        for first in range(0, len(self), _BLOCK):
            lengths = self.lengths[first:first + _BLOCK]
            rows, own = np.repeat(np.arange(len(lengths)), lengths), slice(ends[first], ends[first + len(lengths)])
            found = np.zeros((len(lengths), 3, self.num_cls), np.int64)
            found[rows, :, self.classes[own]] = self.pixels[own]
            yield found

    def sum(self) -> np.ndarray:
        """The counts of all images together: (3, C) int64."""
        return sum((block.sum(axis=0) for block in self.blocks()), np.zeros((3, self.num_cls), np.int64))
