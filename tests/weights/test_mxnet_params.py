"""MXNet's format of weights files: what MXNet writes and reads, old and new; damaged files."""
import struct

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import UserError
from icd.weights import mxnet_params


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64'])
def test_files_written_by_mxnet_are_read(tmp_path, dtype):
    path = str(tmp_path / 'x.params')
    arrays = {'x': mx.nd.array([[1, 2, 3], [4, 5, 6]], dtype=dtype), 'ä y': mx.nd.zeros((1, 2, 1, 4), dtype=dtype)}
    mx.nd.save(path, arrays)
    read = mxnet_params.read(path)
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and (read[name] == array.asnumpy()).all()
    for same in (arrays, read):
        mxnet_params.write(path + '2', same)
        assert open(path, 'rb').read() == open(path + '2', 'rb').read()


def test_reads_the_older_formats(tmp_path):
    """MXNet before 1.0 wrote no storage type, and before 0.12 the shape as 32-bit numbers behind its rank."""
    values = struct.pack('<iii6f', 1, 0, 0, *range(6))
    names = struct.pack('<QQ', 1, 5) + b'arg:x'
    for head in (struct.pack('<IIqq', 0xF993FAC8, 2, 2, 3), struct.pack('<III', 2, 2, 3)):
        (tmp_path / 'old').write_bytes(struct.pack('<QQQ', 0x112, 0, 1) + head + values + names)
        path = str(tmp_path / 'old')
        for array in (mxnet_params.read(path)['arg:x'], mx.nd.load(path)['arg:x'].asnumpy()):
            assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def small_file(path):
    mxnet_params.write(path, {'arg:a': np.arange(12, dtype=np.float32).reshape(3, 4), 'aux:b': np.ones(5, np.float32)})
    return open(path, 'rb').read()


def test_every_truncation_and_trailing_byte_is_detected(tmp_path):
    path = str(tmp_path / 'net.params')
    whole = small_file(path)
    for content in [whole[:cut] for cut in range(len(whole))] + [whole + b'x']:
        with open(path, 'wb') as file:
            file.write(content)
        with pytest.raises(UserError):
            mxnet_params.read(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_never_crash(tmp_path_factory, changes):
    path = str(tmp_path_factory.getbasetemp() / 'damaged.params')
    data = bytearray(small_file(path))
    for position, value in changes:
        data[position % len(data)] = value
    with open(path, 'wb') as file:
        file.write(data)
    try:
        assert all(array.size <= len(data) for array in mxnet_params.read(path).values())
    except UserError as error:
        assert str(error).startswith(path)
