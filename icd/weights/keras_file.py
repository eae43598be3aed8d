"""Keras' weights (`.h5`, `.weights.h5`), which are HDF5 files: the package h5py reads them (the extra `keras`)."""
from __future__ import annotations

import os

import numpy as np

from icd.data import images
from icd.errors import UserError, printable

_SIGNATURE = b'\x89HDF\r\n\x1a\n'
_PACKED, _SMALL = 16, 16 << 20      # times its own size that a file may unpack to, and bytes besides
_DEEPEST, _MOST = 16, 20000         # folders in folders, and entries
_OPTIMISER = 'optimizer', 'optimizer_weights'
# What h5py raises on damaged files.
_DAMAGE = OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError, AttributeError


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes is in this format."""
    return start.startswith(_SIGNATURE)


def read(path: str) -> dict:
    """Arrays of a Keras file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        By their paths in the file; what the optimiser keeps is left out. Convolutions are as Keras has them, (rows,
        columns, inputs, outputs).

    Raises
    ------
    UserError
        When the file is damaged, unpacks to far more than it holds, or refers to other files; when h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise UserError('an HDF5 file, and h5py is not installed', path, 'pip install -e .[keras]') from None
    images.read_bytes(path, 'check the path', 1)
    size = os.path.getsize(path)
    try:
        with h5py.File(path, 'r') as file:
            arrays, left = {}, [_PACKED * size + _SMALL]
            for name, dataset in _datasets(h5py, file):
                array = _array(dataset, left)
                if array is not None:
                    arrays[name] = array
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:      # of the system, not of the file
            raise
        raise UserError(f'not a whole HDF5 file of weights ({printable(str(error))})', path,
                        'copy or download it again') from None
    return arrays


def _datasets(h5py, file):
    """Paths and data sets of a file, without following a link that leads elsewhere or in a circle."""
    waiting, count = [('', file, 0)], 0
    while waiting:
        path, group, depth = waiting.pop()
        for name in sorted(group, reverse=True):
            count += 1
            if count > _MOST or depth > _DEEPEST:
                raise ValueError('too many folders in it')
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f'{name!r} is a link')
            if depth == 0 and name in _OPTIMISER:
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((f'{path}{name}/', item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                yield path + name, item


def _array(dataset, left):
    """Values of a data set, where they are numbers that lie in this file; `left` counts what may still be unpacked."""
    if dataset.is_virtual or dataset.external:
        raise ValueError('its values are in another file')
    if dataset.dtype.kind not in 'biuf' or dataset.shape is None:
        return None
    left[0] -= dataset.size * dataset.dtype.itemsize
    if left[0] < 0:
        raise ValueError('it would unpack to far more than it holds')
    return np.asarray(dataset[()])
