"""PyTorch's tensors in pickles, as arrays: in the files of `torch.save`, and in dictionaries that NumPy saved.

PyTorch is not needed, and its unpickler is not used: what is not a tensor or a plain container is refused by its name.
A tensor in a pickled dictionary holds its storage as the bytes that `torch.save` of older versions writes.
"""
from __future__ import annotations

import io
import math
from typing import Any, BinaryIO, Callable

import numpy as np

from icd.data import restricted_pickle

_MAGIC = 0x1950a86a20f9469cfc6c
LEGACY_START = b'\x80\x02\x8a\x0a' + _MAGIC.to_bytes(10, 'little')
_TYPES = {'Double': 'f8', 'Float': 'f4', 'Half': 'f2', 'Long': 'i8', 'Int': 'i4', 'Short': 'i2', 'Char': 'i1',
          'Byte': 'u1', 'Bool': '?', 'BFloat16': 'u2'}
_DEEPEST = 32


class _Type:
    """`torch.FloatStorage` and others."""

    def __init__(self, name):
        self.name = name


class _Storage:
    """What a pickle says of a storage: key, type, length, and of a part of one (old files) where it begins."""

    def __init__(self, identity):
        what, kind, self.key, _, self.length, *rest = identity
        self.kind = getattr(getattr(kind, 'function', None), 'name', None)
        self.start = 0
        if rest and rest[0] is not None:
            _, self.start, self.length = rest[0]
        if what != 'storage' or self.kind is None or not isinstance(self.key, str) or not all(
                type(number) is int and number >= 0 for number in (self.start, self.length)):
            raise ValueError('it refers to what is no storage')

    def array(self, storages):
        """Its values, of those of all storages by key."""
        kind, values = storages(self.key, self.kind)
        if kind != self.kind or len(values) < self.start + self.length:
            raise ValueError(f'storage {self.key} is cut short')
        return values[self.start:self.start + self.length]


class Tensor:
    """A tensor whose storage may not have been read yet."""

    def __init__(self, storage, offset, size, stride, *_):
        if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(
                stride, tuple) or len(size) != len(stride) or len(size) > _DEEPEST:
            raise ValueError('a tensor without storage or shape')
        if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
            raise ValueError('a tensor of negative shape or stride')
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self, storages: Callable) -> np.ndarray:
        """A view of its storage, never beyond its end; `storages(key, kind)` gives (kind, values) of one."""
        values, count = self.storage.array(storages), math.prod(self.size)
        last = self.offset + sum((side - 1) * step for side, step in zip(self.size, self.stride))
        if count > len(values) or count and last >= len(values):
            raise ValueError('a tensor that is larger than its storage')
        if not count:
            return np.empty(self.size, values.dtype)
        steps = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset:], self.size, steps, writeable=False)


_ALLOWED = {**restricted_pickle.NUMPY, ('torch._utils', '_rebuild_tensor_v2'): Tensor,
            ('torch._utils', '_rebuild_tensor'): Tensor,
            ('torch._utils', '_rebuild_parameter'): lambda tensor, *_: tensor,
            **{('torch', f'{name}Storage'): _Type(name) for name in _TYPES},
            ('torch', 'Size'): lambda sides=(): tuple(sides)}


def load(file: BinaryIO | bytes) -> Any:
    """`restricted_pickle.load` of a pickle in a file of `torch.save`: its tensors are `Tensor`, its storages apart."""
    return restricted_pickle.load(file, _ALLOWED, _Storage)


def values(data: bytes, kind: str, order: str) -> np.ndarray:
    """A storage's bytes as an array; bfloat16, which NumPy lacks, becomes float32. `order` is '<' or '>'."""
    if kind == 'BFloat16':
        return (np.frombuffer(data, order + 'u2').astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder(order))


def read_legacy(data: bytes) -> tuple:
    """What `torch.save` of older versions wrote: magic number, version, machine, object, keys of the storages; then
    these, each after its length.

    Returns
    -------
    object
        With `Tensor` for its tensors.
    callable
        What `Tensor.array` takes.

    Raises
    ------
    ValueError, TypeError, KeyError
        When it is damaged.
    """
    stream = io.BytesIO(data)
    magic, _, machine, value, keys = (load(stream) for _ in range(5))
    if magic != _MAGIC or not isinstance(machine, dict) or not isinstance(keys, list):
        raise ValueError('its beginning is damaged')
    order = 'little' if machine.get('little_endian', True) else 'big'
    rest, contents = memoryview(data)[stream.tell():], {}
    types = _storage_types(value)
    for key in keys:
        length = int.from_bytes(rest[:8], order)
        size = length * np.dtype(_TYPES[types[key]]).itemsize
        if size > len(rest) - 8:
            raise ValueError('it ends in the middle of a storage')
        contents[key], rest = rest[8:8 + size], rest[8 + size:]
    known = {}

    def storages(key, kind):
        if key not in known:
            known[key] = types[key], values(contents[key], types[key], '<' if order == 'little' else '>')
        return known[key]
    return value, storages


def _storage_types(value):
    """Types of all storages that a value refers to, by key: the length of a storage in the file depends on it."""
    types, waiting, seen = {}, [value], set()
    while waiting:
        value = waiting.pop()
        storage = value.storage if isinstance(value, Tensor) else value
        if isinstance(storage, _Storage):
            types[storage.key] = storage.kind
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return types


# ----------------------------------------------------------------------------------------- tensors in other pickles
def _inner(data, known):
    """The values of a storage that `torch.save` wrote into a pickle; each is read once, however often it is named."""
    if not isinstance(data, bytes):
        raise ValueError('a tensor without storage')
    if id(data) not in known:
        storage, storages = read_legacy(data)
        if not isinstance(storage, _Storage):
            raise ValueError('a tensor without storage')
        known[id(data)] = data, _Read(storage.array(storages))
    return known[id(data)][1]


class _Read(_Storage):
    """A storage whose values are there."""

    def __init__(self, array):
        self._array = array

    def array(self, storages):
        return self._array


def tensors() -> dict:
    """What `restricted_pickle.load` may call besides, to make arrays of the tensors in one pickle."""
    known = {}
    return {('torch._utils', '_rebuild_tensor_v2'): lambda *parts: Tensor(*parts).array(None),
            ('torch.storage', '_load_from_bytes'): lambda data: _inner(data, known),
            ('torch', 'device'): lambda *_: None}
