"""Image labels as `cls_labels.npy` of the PyTorch codebases: a pickled dictionary of 0 and 1 for each class."""
from __future__ import annotations

import numbers
import os

import numpy as np

from icd.data import restricted_pickle
from icd.data.labels.table import Table
from icd.errors import UserError

_LARGEST = 256 << 20                # bytes; 82,783 images of 80 float32 take 30 MB
_MOST_CLASSES = 4096


def read(path: str) -> Table:
    """The labels of a `.npy` file; nothing in it is executed (`icd.data.restricted_pickle`).

    Keys are names, or numbers as IRN has them (2007000032). Raises `UserError` when it is no such file.
    """
    if os.path.getsize(path) > _LARGEST:
        raise UserError(f'more than {_LARGEST >> 20} MB', path, 'give a dictionary of classes, not of maps')
    found, lengths = {}, set()
    for name, value in restricted_pickle.read_npy_dictionary(path).items():
        if not isinstance(name, (str, numbers.Integral)) or not _is_vector(value):
            raise UserError(f'what {name!r:.80} has is no array of 0 and 1 for each class', path,
                            'save {name: array of the length of the classes}')
        found[name if isinstance(name, str) else int(name)] = tuple(np.flatnonzero(value).tolist())
        lengths.add(len(value))
    if len(lengths) > 1:
        raise UserError(f"arrays of different lengths ({', '.join(map(str, sorted(lengths)[:5]))})", path,
                        'give one value for each class')
    return Table('dictionary of arrays', path, found, number_of_classes=next(iter(lengths), None))


def _is_vector(value):
    if isinstance(value, (list, tuple)):
        return len(value) <= _MOST_CLASSES and all(type(one) in (int, float, bool) and one in (0, 1) for one in value)
    return isinstance(value, np.ndarray) and value.ndim == 1 and len(value) <= _MOST_CLASSES and \
        value.dtype.kind in 'biuf' and bool(np.isin(value, (0, 1)).all())
