"""Pretrained weights: from a file of any format to those of a network of this project. MXNet is not needed."""
from __future__ import annotations

import os

from icd import files
from icd.errors import UserError, printable
from icd.weights import formats, resnet101, vgg16
from icd.weights.converted import Converted
from icd.weights.source_input import SourceInput

# A converter is a module with `convert(arrays, source)`, which returns a `Converted`, and `required(parameters,
# values)`: names of a network's parameters that a file must hold, given those and what was converted.
CONVERTERS = {'vgg16': vgg16, 'resnet101': resnet101}
_REMEDY = 'see data/README.md for where to get pretrained weights, or give --pretrained none for a random start'


def convert(arrays: dict, source: SourceInput | None = None) -> Converted:
    """Weights of the first architecture whose converter recognises some arrays.

    Raises
    ------
    ValueError
        When none does: what each says.
    """
    complaints = []
    for converter in CONVERTERS.values():
        try:
            return converter.convert(arrays, source)
        except ValueError as error:
            complaints.append(str(error))
    raise ValueError('; '.join(complaints))


def read(path: str, architecture: str | None, source: SourceInput | None = None) -> Converted:
    """Weights that a file holds for networks of an architecture.

    Parameters
    ----------
    path : str
        Of any format that `icd.weights.formats` reads.
    architecture : str or None
        One of `CONVERTERS`; None for the first that recognises the weights.
    source : SourceInput, optional
        The input the weights were trained with; by default what the file's layout says.

    Returns
    -------
    Converted
        Its description begins with the file's name, format and checksum.

    Raises
    ------
    UserError
        When the file is missing, damaged, or holds another network.
    """
    kind, arrays = formats.name_of(path, _REMEDY), formats.read(path, _REMEDY)
    try:
        converted = (CONVERTERS[architecture].convert if architecture else convert)(arrays, source)
    except ValueError as error:
        raise UserError(printable(str(error)), path, 'icd-weights show lists what is in it') from None
    return Converted(converted.values, f'{os.path.basename(path)} ({kind}, CRC-32 {files.checksum(path):08x}): '
                     f'{converted.description}')
