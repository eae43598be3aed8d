"""Pickles that build arrays and plain containers, and can do nothing else.

Python's own unpickler calls what a file names and reserves what a file announces, so it must not see files of others.
Here a machine that has no other functions than those it is given reads a pickle opcode by opcode
(`icd.data.pickle_machine`): memory and time are bounded by the size of the file.
"""
from __future__ import annotations

import collections
import io
import math
import re
import warnings
from typing import Any, BinaryIO, Callable

import numpy as np

from icd.data import images
from icd.data.pickle_machine import Machine, Unfinished, dictionary
from icd.errors import UserError, printable

# What parsing and the functions given raise on damaged pickles.
_DAMAGE = ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, EOFError, UnicodeError


def load(file: BinaryIO | bytes, allowed: dict, persistent: Callable | None = None) -> Any:
    """The object of a pickle, made of plain values, lists, tuples, dictionaries and what `allowed` makes.

    Parameters
    ----------
    file : bytes or io.BytesIO
        A `BytesIO` is left behind the pickle.
    allowed : dict of callable by (str, str)
        What is called for the names (module, name) that the pickle may hold. The functions get what the pickle gives
        them, whatever that is. One that returns an `Unfinished` is given its state, too.
    persistent : callable, optional
        `persistent(identity)` for what the pickle refers to; without, it may refer to nothing.

    Returns
    -------
    object
        It may hold itself: a caller that descends into it counts how deep it is.

    Raises
    ------
    ValueError
        When it is no whole pickle or names anything that is not allowed (the message says what).
    """
    stream = io.BytesIO(file) if isinstance(file, (bytes, bytearray, memoryview)) else file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')         # of escape sequences that Python does not know
            return Machine(allowed, persistent).run(stream)
    except _DAMAGE as error:
        if type(error) is ValueError:
            raise ValueError(printable(str(error))) from None
        raise ValueError(f'no whole pickle of arrays ({type(error).__name__} {printable(str(error))})') from None


# -------------------------------------------------------------------------------------------------------- NumPy
_TYPE = re.compile('[<>|=]?(?:[biu][1248]|f[248]|[US][0-9]{1,6}|O8?|[?])')
_DEEPEST = 32               # dimensions of an array


class _Dtype(Unfinished):
    def __init__(self, code, *_):
        code = _text(code)
        if not _TYPE.fullmatch(code):
            raise ValueError(f'arrays of type {printable(code)}')
        self.dtype = np.dtype('O' if code == 'O8' else code)

    def finish(self, state):
        if any(part is not None for part in state[2:5]) or state[1] not in ('<', '>', '|', '='):
            raise ValueError('arrays of a type with parts')
        return self.dtype.newbyteorder(state[1])


class _Array(Unfinished):
    """An array whose shape, type and values follow."""

    def __init__(self, *_):
        pass

    def finish(self, state):
        *_, shape, dtype, fortran, values = state
        return _array(values, dtype, shape, 'F' if fortran else 'C')


def _array(values, dtype, shape, order='C'):
    """An array of the bytes (objects: the list) `values`."""
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or len(shape) > _DEEPEST or not all(
            type(side) is int and side >= 0 for side in shape):
        raise ValueError('an array without type or shape')
    if dtype.hasobject:
        if not isinstance(values, list) or len(values) != math.prod(shape):
            raise ValueError('an array that does not hold what its shape says')
        array = np.empty(len(values), object)
        for index, value in enumerate(values):
            array[index] = value
    else:
        values = _bytes(values)
        if len(values) != math.prod(shape) * dtype.itemsize:
            raise ValueError('an array that does not hold what its shape says')
        array = np.frombuffer(values, dtype) if len(values) else np.empty(0, dtype)
    return array.reshape(shape, order='F' if order == 'F' else 'C')


def _scalar(dtype, value=None):
    return _array(value, dtype, ())[()]


def _text(value):
    return value if isinstance(value, str) else _bytes(value).decode('latin1')


def _bytes(value):
    """Bytes; pickles of Python 2 hold them as text."""
    if isinstance(value, str):
        return value.encode('latin1')
    if not isinstance(value, (bytes, bytearray)):
        raise ValueError(f'a {type(value).__name__} in place of bytes')
    return bytes(value)


def _no_bytes():
    return b''


def _encode(text, encoding='latin1'):
    """`_codecs.encode`, by which protocols below 3 hold bytes."""
    if encoding != 'latin1':
        raise ValueError(f'text in {printable(str(encoding))}')
    return text.encode('latin1')


def ordered(items: list = ()) -> collections.OrderedDict:
    """`collections.OrderedDict` as a pickle may call it."""
    pairs = [tuple(pair) for pair in items]
    return collections.OrderedDict(dictionary([key for key, _ in pairs], [value for _, value in pairs]))


def _numpy():
    """The names of NumPy 1 and 2 by which arrays are pickled."""
    allowed = {('numpy', 'dtype'): _Dtype, ('numpy', 'ndarray'): _Array, ('_codecs', 'encode'): _encode,
               ('collections', 'OrderedDict'): ordered,
               ('builtins', 'bytes'): _no_bytes, ('__builtin__', 'bytes'): _no_bytes}       # protocols below 3: b''
    for core in 'numpy.core', 'numpy._core':
        allowed[core + '.multiarray', '_reconstruct'] = _Array
        allowed[core + '.multiarray', 'scalar'] = _scalar
        allowed[core + '.numeric', '_frombuffer'] = _array
    return allowed


NUMPY = _numpy()
# A tensor among the arrays of a dictionary is not built and not looked into.
_TENSORS = {(module, name): lambda *_: _TENSOR for module, name in (
    ('torch._utils', '_rebuild_tensor_v2'), ('torch.storage', '_load_from_bytes'), ('torch', 'device'))}
_TENSOR = object()


def read_npy_dictionary(path: str) -> dict:
    """The dictionary in a `.npy` file, as `numpy.save(path, {...})` of the PyTorch codebases writes them.

    Parameters
    ----------
    path : str
        `cls_labels.npy` (name: array of the classes), or the class activation maps of IRN. Of any protocol, written by
        NumPy 1 or 2.

    Returns
    -------
    dict
        Of arrays (read-only), numbers, texts and containers of these. Entries that are PyTorch tensors are left out.

    Raises
    ------
    UserError
        When the file is missing, damaged, holds no dictionary, or names anything but arrays. Nothing is executed.
    """
    value = read_npy(path, _TENSORS, 'a dictionary', 'save it with numpy.save(path, {name: array})')
    if not isinstance(value, dict):
        what = f"an array of shape {'x'.join(map(str, value.shape)) or '()'} of {printable(str(value.dtype))}"
        raise UserError(f'not a NumPy file of a dictionary (it is {what})', path,
                        'save it with numpy.save(path, {name: array})')
    return {name: entry for name, entry in value.items() if entry is not _TENSOR}


def read_npy(path: str, allowed: dict, what: str, remedy: str) -> dict | np.ndarray:
    """What a `.npy` file holds: an array of numbers, or a pickled dictionary.

    Parameters
    ----------
    path : str
    allowed : dict
        What a pickle may call besides `NUMPY`; see `load`.
    what, remedy : str
        What it should hold, and what the user can do where it does not, for the message.

    Returns
    -------
    dict or ndarray
        Arrays are read-only.

    Raises
    ------
    UserError
        When the file is missing, damaged, holds something else, or names what is not allowed. Nothing is executed.
    """
    data = images.read_bytes(path, 'check the path')
    try:
        return _npy(data, {**NUMPY, **allowed})
    except (ValueError, EOFError, SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f'not a NumPy file of {what} ({printable(str(error))})', path, remedy) from None


def _npy(data, allowed):
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')         # of headers that Python 2 wrote
            shape, fortran, dtype = header(stream)
    except Exception:           # NumPy's parser of headers raises whatever Python's tokenizer does
        raise ValueError('its header is damaged') from None
    if not dtype.hasobject:
        return _array(data[stream.tell():], dtype, shape, 'F' if fortran else 'C')
    if shape != ():
        raise ValueError(f"it is an array of shape {'x'.join(map(str, shape))} of {printable(str(dtype))}")
    array = load(stream, allowed)
    value = array[()] if isinstance(array, np.ndarray) and array.shape == () else array
    if not isinstance(value, dict):
        raise ValueError(f'it holds a {type(value).__name__}')
    return value
