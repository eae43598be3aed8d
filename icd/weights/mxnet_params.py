"""MXNet's format of weights files (`.params`): what `mx.nd.save` writes and `mx.nd.load` reads.

It is read and written here byte by byte, without MXNet, which aborts or allocates without bounds on a damaged file and
does not notice a full disk.
"""
from __future__ import annotations

import struct

import numpy as np

from icd import files
from icd.data import images
from icd.errors import UserError

_LIST_MAGIC, _V1_MAGIC, _V2_MAGIC, _V3_MAGIC = 0x112, 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = dict(enumerate(('float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64', 'bool')))
_FLAGS = {np.dtype(name): flag for flag, name in _DTYPES.items()}
_CPU = (1, 0)
_LARGEST_RANK = 32


class _Reader:
    """Little-endian fields of `data`, never beyond its end."""

    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, count):
        if count > len(self.data) - self.position:
            raise ValueError('it ends in the middle of an array or a name')
        self.position += count
        return self.data[self.position - count:self.position]

    def fields(self, layout):
        return struct.unpack('<' + layout, self.take(struct.calcsize('<' + layout)))

    def count(self, least):
        """A number of things that take `least` bytes each."""
        number, = self.fields('Q')
        if number * least > len(self.data) - self.position:
            raise ValueError('it announces more than it holds')
        return number

    def shape(self):
        magic, = self.fields('I')
        wide = magic in (_V1_MAGIC, _V2_MAGIC, _V3_MAGIC)
        if magic in (_V2_MAGIC, _V3_MAGIC) and self.fields('i') != (0,):
            raise ValueError('it holds a sparse array')
        rank = self.fields('I')[0] if wide else magic           # the oldest format starts with the rank
        if not 0 < rank <= _LARGEST_RANK:
            raise ValueError(f'it holds an array of {rank} dimensions')
        shape = self.fields(f"{rank}{'q' if wide else 'I'}")
        if min(shape) < 1:
            raise ValueError('it holds an array without values')
        return shape

    def array(self):
        shape = self.shape()
        _, _, flag = self.fields('iii')                         # device type and number matter no more
        if flag not in _DTYPES:
            raise ValueError(f'it holds numbers of the unknown type {flag}')
        dtype = np.dtype(_DTYPES[flag])
        size = dtype.itemsize
        for side in shape:
            size *= side
        return np.frombuffer(self.take(size), dtype.newbyteorder('<')).reshape(shape)


def _parse(data):
    reader = _Reader(data)
    if reader.fields('QQ') != (_LIST_MAGIC, 0):
        raise ValueError('it does not start as one')
    arrays = [reader.array() for _ in range(reader.count(16))]
    names = [bytes(reader.take(reader.count(1))).decode() for _ in range(reader.count(8))]
    if reader.position != len(data):
        raise ValueError('something follows its end')
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise ValueError('its names and arrays do not match')
    return dict(zip(names, arrays))


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes (eight, or all it has) is in this format."""
    return start[:8] == struct.pack('<Q', _LIST_MAGIC)


def read(path: str) -> dict:
    """Arrays of a `.params` file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        By the names in the file, in its order. Read-only, all in one buffer of the file's size.

    Raises
    ------
    UserError
        When the file does not exist or is not a whole `.params` file.
    """
    data = images.read_bytes(path, 'check the path')
    try:
        return _parse(memoryview(data))
    except (ValueError, struct.error) as error:
        raise UserError(f'not a whole MXNet .params file ({error})', path, 'copy or download it again') from None


def write(path: str, arrays: dict):
    """Write a `.params` file, whole or not at all.

    Parameters
    ----------
    path : str
    arrays : dict of str to numpy.ndarray or NDArray
        At least one-dimensional. Written in this order; an NDArray is copied to the CPU when its turn comes.
    """
    with files.write_atomic(path) as partial, open(partial, 'wb') as file:
        file.write(struct.pack('<QQQ', _LIST_MAGIC, 0, len(arrays)))
        for array in arrays.values():
            array = np.ascontiguousarray(array.asnumpy() if hasattr(array, 'asnumpy') else array)
            file.write(struct.pack(f'<IiI{array.ndim}qiii', _V2_MAGIC, 0, array.ndim, *array.shape, *_CPU,
                                   _FLAGS[array.dtype]))
            file.write(array.astype(array.dtype.newbyteorder('<'), copy=False).data)
        file.write(struct.pack('<Q', len(arrays)))
        for name in arrays:
            file.write(struct.pack('<Q', len(name.encode())) + name.encode())
