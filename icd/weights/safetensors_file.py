"""Hugging Face's format of weights (`.safetensors`): the length of a header, the header as JSON, and the values.

It is read and written here, not by the package of that name: there is little to it, all of it can be compared with the
size of the file, and the package's NumPy part knows no bfloat16.
"""
from __future__ import annotations

import json
import math

import numpy as np

from icd import files
from icd.data import images
from icd.errors import UserError, printable

_TYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': 'i1',
          'U8': 'u1', 'BOOL': '?', 'U16': '<u2', 'U32': '<u4', 'U64': '<u8'}
_CODES = {np.dtype(code): name for name, code in _TYPES.items() if name != 'BF16'}
_LONGEST_HEADER = 100_000_000       # the format's own limit
_METADATA = '__metadata__'
_DEEPEST = 32


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes is in this format."""
    return len(start) > 9 and start[8:9] == b'{' and 2 <= int.from_bytes(start[:8], 'little') <= _LONGEST_HEADER


def read(path: str) -> dict:
    """Arrays of a `.safetensors` file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        Read-only; bfloat16 as float32.

    Raises
    ------
    UserError
        When the file is damaged: what it announces must fill it exactly, without overlaps.
    """
    data = images.read_bytes(path, 'check the path')
    try:
        return _parse(memoryview(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f'not a whole .safetensors file ({printable(str(error))})', path,
                        'copy or download it again') from None


def _parse(data):
    length = int.from_bytes(data[:8], 'little')
    if length > min(len(data) - 8, _LONGEST_HEADER):
        raise ValueError('its header is longer than the file')
    header = json.loads(bytes(data[8:8 + length]), object_pairs_hook=_once, parse_int=_integer)
    values, arrays, filled = data[8 + length:], {}, 0
    header.pop(_METADATA, None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]['data_offsets']):
        begin, end = entry['data_offsets']
        if begin != filled or not begin <= end <= len(values):
            raise ValueError(f'the values of {name!r} do not begin where those before end, or end beyond the file')
        arrays[name] = _array(values[begin:end], entry['dtype'], entry['shape'])
        filled = end
    if filled != len(values):
        raise ValueError('something follows its end')
    return {name: arrays[name] for name in header}


def _array(values, kind, shape):
    if kind not in _TYPES:
        raise ValueError(f'numbers of the unknown type {kind!r}')
    if len(shape) > _DEEPEST or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError('an array of a negative shape')
    if math.prod(shape) * np.dtype(_TYPES[kind]).itemsize != len(values):
        raise ValueError('an array that does not hold what its shape says')
    array = np.frombuffer(values, _TYPES[kind]) if len(values) else np.empty(0, _TYPES[kind])
    if kind == 'BF16':
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _once(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('a name stands twice in its header')
    return found


def _integer(digits):
    if len(digits) > 20:
        raise ValueError('a number of too many digits')
    return int(digits)


def write(path: str, arrays: dict):
    """Write a `.safetensors` file, whole or not at all.

    Parameters
    ----------
    path : str
    arrays : dict of str to numpy.ndarray
        Written in this order.
    """
    header, position = {}, 0
    for name, array in arrays.items():
        code = _CODES[array.dtype.newbyteorder('<') if array.dtype.byteorder == '>' else array.dtype]
        header[name] = {'dtype': code, 'shape': list(array.shape), 'data_offsets': [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)             # the values are aligned
    with files.write_atomic(path) as partial, open(partial, 'wb') as file:
        file.write(len(text).to_bytes(8, 'little') + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).astype(array.dtype.newbyteorder('<'), copy=False).tobytes())
