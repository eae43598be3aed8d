"""Counts of many images without their zeros are the arrays they stand for."""
import tracemalloc

import numpy as np
import pytest

from icd.method import image_counts
from icd.method.image_counts import ImageCounts


def drawn(count, classes, seed=0, occurring=.2):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 2 ** 31, (count, 3, classes)) * (rng.random((count, 1, classes)) < occurring)
    counts[::5, 0] = 0                                  # classes of which nothing is right
    return counts


@pytest.mark.parametrize('count, classes', [(0, 2), (1, 1), (30, 5), (100, 255)])
@pytest.mark.parametrize('block', [1, 7, 4096])
def test_counts_are_the_array(count, classes, block, monkeypatch):
    monkeypatch.setattr(image_counts, '_BLOCK', block)
    array = drawn(count, classes)
    counts, order = ImageCounts.of(array), np.random.default_rng(1).permutation(count)[:max(count - 2, 0)]
    parts = [ImageCounts.of(array[i:i + 9]) for i in range(0, max(count, 1), 9)]
    for found, known in ((counts, array), (ImageCounts.joined(parts), array), (counts.take(order), array[order])):
        assert len(found) == len(known)
        np.testing.assert_array_equal(np.concatenate([known[:0], *found.blocks()]), known)
        np.testing.assert_array_equal(found.sum(), known.sum(axis=0))


def test_an_image_takes_what_its_classes_take():
    array = drawn(2000, 200, occurring=.01)
    tracemalloc.start()
    counts = ImageCounts.of(array)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (counts.sum() == array.sum(axis=0)).all() and used < 60 * 2000
