"""Weights files of any format as arrays by name.

A format is a module with `recognises(start)`, which is given the first bytes of a file, and `read(path)`, which
returns `{name: numpy.ndarray}`; its line in `_FORMATS` makes every command read it. One with `write(path, arrays)` is
written, too.
"""
from __future__ import annotations

import os

from icd.data import images
from icd.errors import UserError
from icd.weights import keras_file, mxnet_params, npz_file, onnx_file, safetensors_file, torch_file

_FORMATS = {'MXNet .params': mxnet_params, '.safetensors': safetensors_file, '.npz': npz_file,
            'PyTorch .pth': torch_file, 'Keras .h5': keras_file, 'ONNX': onnx_file}
_WRITTEN = {'.params': mxnet_params, '.npz': npz_file, '.safetensors': safetensors_file}
_START = 512            # bytes by which a format is recognised


def name_of(path: str, remedy: str = 'check the path') -> str:
    """What format a file is in; see `read` for the rest."""
    start = images.read_bytes(path, remedy, _START)
    for name, reader in _FORMATS.items():
        if reader.recognises(start):
            return name
    raise UserError(f"not a weights file of a known format ({', '.join(_FORMATS)})", path, 'copy or download it again')


def read(path: str, remedy: str = 'check the path') -> dict:
    """Arrays of a weights file; its content, not its name, decides the format.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.

    Returns
    -------
    dict of str to numpy.ndarray
        By the names in the file. Read-only.

    Raises
    ------
    UserError
        When the file is missing, damaged or of another format.
    """
    return _FORMATS[name_of(path, remedy)].read(path)


def check_writable(path: str):
    """Raise a `UserError` unless the ending of `path` is that of a format that can be written."""
    if os.path.splitext(path)[1] not in _WRITTEN:
        raise UserError('a file of this ending cannot be written', path, f"end it with {' or '.join(_WRITTEN)}")


def write(path: str, arrays: dict):
    """Write a weights file, whole or not at all; its ending decides the format.

    Parameters
    ----------
    path : str
        It ends with `.params`, `.npz` or `.safetensors`.
    arrays : dict of str to numpy.ndarray
        In `.params` files, names get MXNet's `arg:`.

    Raises
    ------
    UserError
        See `check_writable`.
    """
    check_writable(path)
    writer = _WRITTEN[os.path.splitext(path)[1]]
    writer.write(path, {f'arg:{name}': array for name, array in arrays.items()} if writer is mxnet_params else arrays)
