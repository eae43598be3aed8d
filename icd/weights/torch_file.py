"""PyTorch's files (`.pth`, `.pt`), as `torch.save` writes them: a ZIP archive, or pickles one after the other.

PyTorch is not needed, and its unpickler is not used: what is not a tensor or a plain container is refused by its name.
"""
from __future__ import annotations

import contextlib
import io
import math

import numpy as np

from icd.data import images, restricted_pickle
from icd.errors import UserError, printable
from icd.weights import zip_archive

_MAGIC = 0x1950a86a20f9469cfc6c
_LEGACY_START = b'\x80\x02\x8a\x0a' + _MAGIC.to_bytes(10, 'little')
_TYPES = {'Double': 'f8', 'Float': 'f4', 'Half': 'f2', 'Long': 'i8', 'Int': 'i4', 'Short': 'i2', 'Char': 'i1',
          'Byte': 'u1', 'Bool': '?', 'BFloat16': 'u2'}
_KEYS = 'state_dict', 'model_state_dict', 'model', 'net', 'params'      # what checkpoints call the weights
_PREFIX = 'module.'                     # of nn.DataParallel
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


class _Tensor:
    """A tensor whose storage may not have been read yet."""

    def __init__(self, storage, offset, size, stride, *_):
        if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(
                stride, tuple) or len(size) != len(stride) or len(size) > _DEEPEST:
            raise ValueError('a tensor without storage or shape')
        if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
            raise ValueError('a tensor of negative shape or stride')
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self, storages):
        """A view of its storage, never beyond its end."""
        values, count = self.storage.array(storages), math.prod(self.size)
        last = self.offset + sum((side - 1) * step for side, step in zip(self.size, self.stride))
        if count > len(values) or count and last >= len(values):
            raise ValueError('a tensor that is larger than its storage')
        if not count:
            return np.empty(self.size, values.dtype)
        steps = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset:], self.size, steps, writeable=False)


_ALLOWED = {**restricted_pickle.NUMPY, ('torch._utils', '_rebuild_tensor_v2'): _Tensor,
            ('torch._utils', '_rebuild_tensor'): _Tensor,
            ('torch._utils', '_rebuild_parameter'): lambda tensor, *_: tensor,
            **{('torch', f'{name}Storage'): _Type(name) for name in _TYPES},
            ('torch', 'Size'): lambda sides=(): tuple(sides)}


def _unpickle(file):
    return restricted_pickle.load(file, _ALLOWED, _Storage)


def _values(data, kind, order):
    """A storage's bytes as an array; bfloat16, which NumPy lacks, becomes float32."""
    if kind == 'BFloat16':
        return (np.frombuffer(data, order + 'u2').astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder(order))


# ------------------------------------------------------------------------------------------------ the two containers
def _read_zip(archive):
    names = {name.split('/', 1)[1]: name for name in archive.namelist() if '/' in name}
    if 'data.pkl' not in names:
        raise ValueError('an archive without data.pkl')
    order = '>' if 'byteorder' in names and archive.read(names['byteorder']).strip() == b'big' else '<'
    known = {}

    def storages(key, kind):
        if key not in known:
            known[key] = kind, _values(archive.read(names[f'data/{key}']), kind, order)
        return known[key]
    return _arrays(_unpickle(archive.read(names['data.pkl'])), storages)


def _read_legacy(data):
    """Magic number, version, machine, object, keys of the storages; then these, each after its length."""
    stream = io.BytesIO(data)
    magic, _, machine, value, keys = (_unpickle(stream) for _ in range(5))
    if magic != _MAGIC or not isinstance(machine, dict) or not isinstance(keys, list):
        raise ValueError('its beginning is damaged')
    order = 'little' if machine.get('little_endian', True) else 'big'
    rest, places = memoryview(data)[stream.tell():], {}
    types = _storage_types(value)
    for key in keys:
        length = int.from_bytes(rest[:8], order)
        size = length * np.dtype(_TYPES[types[key]]).itemsize
        if size > len(rest) - 8:
            raise ValueError('it ends in the middle of a storage')
        places[key], rest = rest[8:8 + size], rest[8 + size:]
    known = {}

    def storages(key, kind):
        if key not in known:
            known[key] = types[key], _values(places[key], types[key], '<' if order == 'little' else '>')
        return known[key]
    return _arrays(value, storages)


def _storage_types(value):
    """Types of all storages that a value refers to, by key: the length of a storage in the file depends on it."""
    types, waiting, seen = {}, [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Tensor):
            types[value.storage.key] = value.storage.kind
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return types


# ------------------------------------------------------------------------------------------------------- the weights
def _arrays(value, storages):
    """The tensors of a state dictionary, or of the one in a checkpoint, without `module.`."""
    for _ in range(_DEEPEST):
        inner = [value[key] for key in _KEYS if isinstance(value, dict) and isinstance(value.get(key), dict)]
        if not inner:
            break
        value = inner[0]
    found = {name: tensor.array(storages) for name, tensor in value.items() if isinstance(name, str) and
             isinstance(tensor, _Tensor)} if isinstance(value, dict) else {}
    if not found:
        raise ValueError('it holds no tensors by name')
    if all(name.startswith(_PREFIX) for name in found):
        found = {name[len(_PREFIX):]: array for name, array in found.items()}
    return found


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes is in this format."""
    first = zip_archive.first_name(start)
    return start.startswith(_LEGACY_START) or first is not None and not first.endswith('.npy')


def read(path: str) -> dict:
    """Arrays of a `.pth` file: a state dictionary, or a checkpoint that holds one.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        By the names in the file, in its order, without the `module.` of `nn.DataParallel`. Read-only; bfloat16 as
        float32.

    Raises
    ------
    UserError
        When the file is damaged, or holds anything but tensors, numbers, texts and containers.
    """
    packed = zip_archive.first_name(images.read_bytes(path, 'check the path', 64)) is not None
    with zip_archive.opened(path, 'PyTorch file') if packed else contextlib.nullcontext() as archive:
        try:
            return _read_zip(archive) if packed else _read_legacy(images.read_bytes(path, 'check the path'))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise UserError(f'not a whole PyTorch file of weights ({printable(str(error))})', path,
                            'save its state_dict() alone, or download it again') from None
