"""Image labels from any source: docs/data.md has the list.

A source is recognised by its content. `read_source` reads it; `classes_of` says what it has of the images of a list.
"""
from __future__ import annotations

import os
from typing import Sequence

import numpy as np

from icd import console
from icd.data import images
from icd.data.labels import arrays, folders, json_files, texts
from icd.data.labels.table import Matcher, Missing, Table, classes_of
from icd.errors import Problems, UserError

__all__ = ['Matcher', 'Missing', 'Table', 'classes_of', 'read', 'read_source']
_LONG = 40 << 20                # bytes that take seconds to read
_REMEDY = 'give one of the sources of image labels that docs/data.md lists'


def read_source(source: str) -> Table:
    """What a source of image labels says.

    Parameters
    ----------
    source : str
        A folder of VOC XML, a folder of class folders, CSV, TSV, JSON, COCO's instances, `cls_labels.npy`, a list of
        indices, or a list of DeepLab.

    Returns
    -------
    Table

    Raises
    ------
    UserError
        When there is none, or it is none of these.
    """
    if os.path.isdir(source):
        return folders.read(source)
    if os.path.exists(source) and not os.path.isfile(source):
        raise UserError('neither a folder nor a file', source, _REMEDY)
    start = images.read_bytes(source, _REMEDY, 4096)
    begin = start.decode('utf-8-sig', 'replace').lstrip()[:1]
    if begin and begin in '{[':
        return json_files.read(source)          # says by itself how long it takes
    if os.path.getsize(source) > _LONG:
        console.log(f'{source}: {os.path.getsize(source) >> 20} MB of image labels are read')
    if start.startswith(b'\x93NUMPY'):
        return arrays.read(source)
    if begin == '<':
        raise UserError('one XML file', source, 'give the folder of all annotations')
    if start[:2] in (b'PK', b'\x1f\x8b') or start[:1] == b'\x80':
        raise UserError('an archive or a pickle', source, _REMEDY)
    return texts.read(source)


def read(source: str, names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Image labels of a list.

    Parameters
    ----------
    source : str
        See `read_source`.
    names : sequence of str
    class_names : sequence of str

    Returns
    -------
    ndarray (len(names), len(class_names)) float32
        1 where the source gives the image the class, else 0.

    Raises
    ------
    UserError
        With everything that is wrong: an image that the source does not have, an unknown class.
    """
    problems, labels = Problems(), np.zeros((len(names), len(class_names)), np.float32)
    for row, found in zip(labels, classes_of(read_source(source), names, class_names)):
        if isinstance(found, UserError):
            problems.add_error(found)
        else:
            row[list(found)] = 1
    problems.raise_if_any()
    return labels
