import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd import files
from icd.data import geometry, score_map
from icd.errors import UserError


def scores(num_classes=2, side=9):
    return np.random.default_rng(0).standard_normal((num_classes, side, side)).astype(np.float32)


@pytest.mark.parametrize('dtype', [np.float32, np.float16, np.float64])
@pytest.mark.parametrize('order', 'CF')
def test_arrays_of_any_float_type_and_order_are_read(tmp_path, dtype, order):
    path = str(tmp_path / 'a.npy')
    files.save_npy(path, np.asarray(scores().astype(dtype), order=order))
    read = score_map.read(path, 2, 65)
    assert read.dtype == np.float32 and np.array_equal(read, scores().astype(dtype).astype(np.float32))


def encoded(array, **kwargs):
    data = io.BytesIO()
    np.save(data, array, **kwargs)
    return data.getvalue()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_files_are_errors_of_one_line(tmp_path_factory, data):
    good = bytearray(encoded(scores()))
    for _ in range(data.draw(st.integers(0, 4))):
        good[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    path = tmp_path_factory.getbasetemp() / 'damaged.npy'
    path.write_bytes(bytes(good[:cut]) + data.draw(st.binary(max_size=3)))
    try:
        assert score_map.read(str(path), 2, 65).shape == (2, 9, 9)
    except UserError as error:
        assert 'damaged.npy: ' in str(error) and '\n' not in str(error)


@pytest.mark.parametrize('header', [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 9, 9)", "{'descr': '<f4', 'shape': (2, 9, 9)}", '(' * 5000,
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 9, 9.)}", '[1, 2]', '-' * 5000 + '1',
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 9, 9)}", '\x00', "__import__('os')"])
def test_malformed_headers_are_reported(tmp_path, header):
    path = tmp_path / 'a.npy'
    path.write_bytes(b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header.encode() + bytes(648))
    assert score_map.problem(str(path), 2, 65)


def test_a_header_of_a_huge_array_costs_nothing(tmp_path):
    path = tmp_path / 'a.npy'
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000001, 1000001)}"
    path.write_bytes(b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header)
    assert 'cut short' in score_map.problem(str(path), 2, 8000001)[0]


def test_a_missing_score_file_is_reported(tmp_path):
    assert score_map.problem(str(tmp_path / 'a.npy'), 2, 65)[0] == 'no such score file'
    with pytest.raises(UserError, match='a.npy: no such score file: run inference first'):
        score_map.read(str(tmp_path / 'a.npy'), 2, 65)


def test_a_score_file_without_permission_is_reported(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError
    monkeypatch.setattr('builtins.open', refuse)                    # permissions do not keep root out
    assert score_map.problem(str(tmp_path / 'a.npy'), 2, 65) == ('permission denied', 'change its permissions')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_reported(tmp_path, value):
    array = scores()
    array[1, 3, 4] = value
    files.save_npy(str(tmp_path / 'a.npy'), array)
    with pytest.raises(UserError, match='training diverged'):
        score_map.read(str(tmp_path / 'a.npy'), 2, 65)


@pytest.mark.parametrize('shape', [(65, 65), (1, 1), (40, 65), (65, 17)])
def test_scores_of_images_that_fit_are_the_original_crop(shape):
    full = score_map.at_image_size(scores(), shape, 65)
    expected = [cv2.resize(s, (65, 65))[:shape[0], :shape[1]] for s in scores()]
    assert full.shape == (2,) + shape and full.dtype == np.float32 and np.array_equal(full, expected)


def test_scores_follow_images_that_were_scaled_down():
    # A ramp over the columns: 0 at the left edge of the network input, 1 at its right one.
    ramp = np.tile((np.arange(65, dtype=np.float32) + .5) / 65, (65, 1))
    for height, width in ((600, 1026), (300, 2052), (1, 1026)):
        full = score_map.at_image_size(ramp[None], (height, width), 513)[0]
        assert full.shape == (height, width)
        inner = slice(width // 50, -(width // 50))                   # borders repeat the outermost position
        assert np.abs(full[0] - (np.arange(width) + .5) / width)[inner].max() < 1e-3
    # The image fills the width; half of the height is padding.
    down = score_map.at_image_size(ramp.T[None].copy(), (513, 1026), 513)[0]
    assert abs(down[-1, 0] - 257 / 513) < 5e-3


@pytest.mark.parametrize('shape, expected', [
    ((65, 65), (9, 9)), ((1, 1), (1, 1)), ((8, 9), (1, 2)), ((64, 57), (8, 8)), ((130, 65), (9, 5)),
    ((1, 1000), (1, 9))])
def test_positions_inside_are_every_eighth_pixel(shape, expected):
    inside = score_map.inside(scores(), shape, 65)
    assert inside.shape == (2,) + expected
    assert np.array_equal(inside, scores()[:, :expected[0], :expected[1]])


@pytest.mark.parametrize('infer_size', [49, 65, 513])
def test_resizing_reads_only_resized_positions(infer_size):
    side, rng = geometry.feature_size(infer_size), np.random.default_rng(0)
    for shape in [(1, 1), (infer_size, infer_size)] + [tuple(rng.integers(1, infer_size + 1, 2)) for _ in range(60)]:
        rows, columns = geometry.resized_positions(shape, infer_size)
        whole = scores(1, side)
        zeros = np.zeros_like(whole)
        zeros[:, :rows, :columns] = whole[:, :rows, :columns]
        expected = score_map.at_image_size(whole, shape, infer_size)
        assert np.array_equal(score_map.at_image_size(zeros, shape, infer_size), expected)
        zeros[:, max(rows - 2, 0), max(columns - 2, 0)] += 1
        assert not np.array_equal(score_map.at_image_size(zeros, shape, infer_size), expected)
        inside = score_map.inside(whole, shape, infer_size)
        assert inside.shape[1] <= rows and inside.shape[2] <= columns
