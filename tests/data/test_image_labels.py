"""Labels as bits are the array they stand for."""
import tracemalloc
import zlib

import numpy as np
import pytest

from icd.data.image_labels import ImageLabels


@pytest.mark.parametrize('count, classes', [(0, 3), (1, 1), (5, 8), (300, 21), (40, 254)])
def test_bits_are_the_array(count, classes):
    rng = np.random.default_rng(classes)
    array = (rng.random((count, classes)) < .2).astype(np.float32)
    for labels in (ImageLabels(array), ImageLabels.of([tuple(np.flatnonzero(row)) for row in array], classes)):
        assert labels.shape == array.shape and len(labels) == count
        np.testing.assert_array_equal(np.asarray(labels), array)
        np.testing.assert_array_equal(np.asarray(labels, np.int64), array)
        for index in (slice(None), slice(1, None, 3), np.arange(count)[::-1], array.sum(1) == 1, (slice(None), -1),
                      (slice(None), slice(1, 3))):
            assert labels[index].dtype == np.float32
            np.testing.assert_array_equal(labels[index], array[index])
        for i, row in enumerate(labels):
            np.testing.assert_array_equal(row, array[i])
            np.testing.assert_array_equal(labels[i], array[i])
            assert labels[i, classes - 1] == array[i, classes - 1] and (labels[i, :2] == array[i, :2]).all()
        for axis in (0, 1):
            np.testing.assert_array_equal(labels.sum(axis), array.sum(axis))
        np.testing.assert_array_equal(labels.alone(), array[array.sum(1) == 1].sum(0))
        assert labels.checksum() == zlib.crc32(array.tobytes())


def test_parts_are_the_whole(monkeypatch):
    array = (np.random.default_rng(0).random((50, 5)) < .3).astype(np.float32)
    monkeypatch.setattr('icd.data.image_labels._PART', 7)
    labels = ImageLabels(array)
    np.testing.assert_array_equal(np.stack(list(labels)), array)
    np.testing.assert_array_equal(labels.alone(), array[array.sum(1) == 1].sum(0))
    assert labels.checksum() == zlib.crc32(array.tobytes()) and (labels.sum(1) == array.sum(1)).all()


def test_an_image_takes_a_bit_a_class():
    classes = [(1, 79)] * 2000
    tracemalloc.start()
    labels = ImageLabels.of(classes, 80)
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels[7, 79] == 1 and used < 12 * 2000 and peak < 14 * 2000
