"""Superpixel maps: what is written is read back, by every reader of PNG; only the partition counts afterwards."""
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from icd.data import superpixel_map
from icd.errors import UserError


def labels_up_to(largest, shape=(23, 37), seed=0):
    return np.random.default_rng(seed).integers(0, largest + 1, shape).astype(np.int32)


@pytest.mark.parametrize('largest', [0, 63, 255, 256, 70000, (1 << 24) - 1])
def test_written_maps_read_back(tmp_path, largest):
    labels, path = labels_up_to(largest), superpixel_map.path(str(tmp_path), 'a')
    labels.flat[0] = largest
    superpixel_map.write(path, labels)
    again = superpixel_map.read(path)
    assert again.dtype == np.int32 and (again == labels).all()
    rgb = np.array(Image.open(path)).astype(int)
    assert (rgb[..., 2] + 256 * rgb[..., 1] + 65536 * rgb[..., 0] == labels).all()


@pytest.mark.parametrize('label', [-1, 1 << 24])
def test_labels_outside_24_bits_are_refused(tmp_path, label):
    with pytest.raises(ValueError):
        superpixel_map.write(str(tmp_path / 'a.png'), np.array([[0, label]]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('pixels', [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8),
                                    np.zeros((4, 5, 3), np.uint16)], ids=['grey', 'alpha', 'sixteen bits'])
def test_other_pngs_are_refused(tmp_path, pixels):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, pixels)
    with pytest.raises(UserError, match=f'{path}: not a superpixel map.*make the superpixels again'):
        superpixel_map.read(path)


@pytest.mark.parametrize('kept', [0, 4, 60, -13, -5])
def test_damaged_maps_are_refused(tmp_path, kept):
    path = str(tmp_path / 'a.png')
    superpixel_map.write(path, labels_up_to(70000))
    with open(path, 'rb+') as file:
        file.truncate(kept if kept >= 0 else len(file.read()) + kept)
    with pytest.raises(UserError, match=f'{path}: .*make the superpixels again'):
        superpixel_map.read(path)
    with pytest.raises(UserError, match='no such file: make the superpixels again'):
        superpixel_map.read(str(tmp_path / 'none.png'))


def test_jpeg_is_refused_as_a_superpixel_map(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(cv2.imencode('.jpg', np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    with pytest.raises(UserError, match='not a PNG: make the superpixels again'):
        superpixel_map.read(str(path))


@given(arrays(np.int32, array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.integers(0, 12)))
@settings(max_examples=100, deadline=None)
def test_renumber_keeps_the_partition_and_its_order(labels):
    dense = superpixel_map.renumber(labels)
    assert dense.dtype == np.int32 and dense.shape == labels.shape
    assert sorted(set(dense.ravel())) == list(range(len(set(labels.ravel()))))
    a, b = labels.ravel(), dense.ravel()
    assert ((a[:, None] < a) == (b[:, None] < b)).all()
    assert (superpixel_map.renumber(dense) == dense).all()


def test_sample_takes_every_eighth_pixel_of_the_last_axes():
    labels = labels_up_to(1000, (2, 33, 41))
    sampled = superpixel_map.sample(labels)
    assert sampled.shape == (2, 5, 6)
    assert all(sampled[n, i, j] == labels[n, 8 * i, 8 * j] for n in range(2) for i in range(5) for j in range(6))
