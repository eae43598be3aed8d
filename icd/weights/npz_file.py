"""NumPy's archives of arrays (`.npz`), as `numpy.savez` and `numpy.savez_compressed` write them."""
from __future__ import annotations

import math
import tokenize

import numpy as np

from icd import files
from icd.data import images
from icd.weights import zip_archive

# What NumPy raises on damaged arrays, besides what `zip_archive.opened` sees to.
_DAMAGE = SyntaxError, TypeError, tokenize.TokenError, MemoryError, RecursionError, AttributeError


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes is in this format."""
    return (zip_archive.first_name(start) or '').endswith('.npy')


def read(path: str) -> dict:
    """Arrays of a `.npz` file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    UserError
        When the file is damaged, unpacks to far more than it holds, or holds pickled objects, which are not read.
    """
    images.read_bytes(path, 'check the path', 1)
    with zip_archive.opened(path, '.npz file') as archive:
        try:
            return {name[:-len('.npy')]: _array(archive, name) for name in archive.namelist() if name.endswith('.npy')}
        except _DAMAGE as error:
            raise ValueError(f'{type(error).__name__} in an array') from None


def _array(archive, name):
    """One array; what its header announces is compared with the file before it is made."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, columns_first, dtype = header(file)
        if dtype.hasobject:
            raise ValueError('it holds pickled objects')
        data = file.read()
    if dtype.kind == 'V' or min(shape, default=0) < 0 or dtype.itemsize * math.prod(
            shape) != len(data):
        raise ValueError('an array does not hold what its header says')
    array = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    return array.reshape(shape, order='F' if columns_first else 'C')


def write(path: str, arrays: dict):
    """Write a `.npz` file (not compressed: weights hardly are), whole or not at all.

    Parameters
    ----------
    path : str
    arrays : dict of str to numpy.ndarray
    """
    with files.write_atomic(path) as partial, open(partial, 'wb') as file:
        np.savez(file, **arrays)
