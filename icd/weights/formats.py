"""Weights files of any format as arrays by name.

A format is a module with `recognises(start)`, which is given the first bytes of a file, and `read(path)`, which
returns `{name: numpy.ndarray}`; its line in `_FORMATS` makes every command read it.
"""
from __future__ import annotations

from icd.data import images
from icd.errors import UserError
from icd.weights import mxnet_params

_FORMATS = {'MXNet .params': mxnet_params}
_START = 64             # bytes by which a format is recognised


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
    start = images.read_bytes(path, remedy, _START)
    for reader in _FORMATS.values():
        if reader.recognises(start):
            return reader.read(path)
    raise UserError(f"not a weights file of a known format ({', '.join(_FORMATS)})", path, 'copy or download it again')
