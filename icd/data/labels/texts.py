"""Image labels as lines of text: CSV and TSV, lists of indices, and the lists of DeepLab."""
from __future__ import annotations

import csv
import functools
import os
import re

import numpy as np

from icd.data import geometry, masks, voc
from icd.data.labels.table import Table
from icd.errors import UserError

_NAME_HEADINGS = {'name', 'names', 'image', 'images', 'file', 'filename', 'file_name', 'image_name', 'image_id', 'id',
                  'path', 'img', ''}
_CLASS_HEADINGS = {'class', 'classes', 'label', 'labels', 'category', 'categories', 'tag', 'tags', 'class_name'}
_YES, _NO = {'1', '1.0', 'true', 'yes'}, {'0', '0.0', 'false', 'no', ''}
_PAIR = re.compile(r'(\S+\.(?:jpe?g|png|webp|bmp|tiff?))\s+(\S+\.png)', re.I)
INDICES = re.compile(r'(.*?)((?:\s+\d{1,4})*)')
_MOST_COLUMNS = 1024
_SNIFFED = 100              # lines that tell whether it is CSV
_PARENTS = 4                # folders, from that of a list of DeepLab upwards, in which its paths are looked for


def read(path: str) -> Table:
    """The labels of a file of text, by its lines.

    Raises
    ------
    UserError
        When it is not UTF-8, or a line is not understood.
    """
    lines = voc.read_lines(path, 'give a file of image labels', 'labels')
    first = lines[0][1]
    if _PAIR.fullmatch(first):
        return _masks(path, lines)
    delimiter = next((one for one in '\t,;' if any(one in line for _, line in lines[:_SNIFFED])), None)
    return _indices(path, lines) if delimiter is None else _rows(path, lines, delimiter)


# ------------------------------------------------------------------------------------------------------ CSV, TSV
def _rows(path, lines, delimiter):
    """The table of CSV or TSV: a name and its classes, or a column of 0 and 1 for each class; a heading or none."""
    rows = []
    for number, line in lines:
        try:
            row = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True))]
        except csv.Error as error:
            raise UserError(f'line {number} is not understood ({error})', path, 'correct it') from None
        if len(row) > _MOST_COLUMNS:
            raise UserError(f'line {number} has {len(row)} columns', path, f'{_MOST_COLUMNS} are the most')
        rows.append((number, row))
    kind = 'TSV' if delimiter == '\t' else 'CSV'
    heading, body = _heading(rows)
    if _is_columns(heading, body):
        return _columns(path, kind, heading, body)
    entries, known = {}, {}                             # images of the same classes share one object
    for number, row in body:
        name, labels = _name_and_classes(path, number, row, heading)
        classes = tuple(dict.fromkeys([*entries.get(name, ()), *labels]))
        entries[name] = known.setdefault(classes, classes)
    named = sorted({label for labels in entries.values() for label in labels})
    return Table(kind, path, entries, class_names=tuple(named))


def _binary(cells):
    return all(cell.lower() in _YES or cell.lower() in _NO for cell in cells)


def _heading(rows):
    """The heading, where the first row is one, and the rows below."""
    (_, first), *below = rows
    if first[0].lower() in _NAME_HEADINGS or not _binary(first[1:]) and len(first) > 2 and _is_columns(first, below):
        return first, below
    return None, rows


def _is_columns(heading, rows):
    """Whether there is a column of 0 and 1 for each class."""
    width = max((len(row) for _, row in rows), default=0)
    if width < 2 or not all(_binary(row[1:]) for _, row in rows):
        return False
    return width > 2 or heading is not None and heading[-1].lower() not in _CLASS_HEADINGS


def _columns(path, kind, heading, body):
    """The table of a column of 0 and 1 for each class: by the heading's names, by index where there is none."""
    width, entries = len(heading or body[0][1]), {}
    names = tuple(heading[1:]) if heading else ()
    if len(set(names)) < len(names) or '' in names:
        raise UserError('the heading names a class twice, or not at all', path, 'correct it')
    for number, row in body:
        if len(row) != width or not row[0]:
            raise UserError(f'line {number} has {len(row)} columns, not {width}' if row[0] else
                            f'line {number} has no name', path, 'correct it')
        if row[0] in entries:
            raise UserError(f'line {number}: {row[0]!r:.80} was there before', path, 'remove one of them')
        found = (i for i, cell in enumerate(row[1:]) if cell.lower() in _YES)
        entries[row[0]] = tuple(names[i] if heading else i for i in found)
    return Table(f'{kind} of a column a class', path, entries, class_names=names,
                 number_of_classes=None if heading else width - 1)


def _name_and_classes(path, number, row, heading):
    """Name and classes of a row."""
    name_at, classes_at = 0, range(1, len(row))
    if heading:
        low = [cell.lower() for cell in heading]
        name_at = next((i for i, cell in enumerate(low) if cell in _NAME_HEADINGS), 0)
        named = [i for i, cell in enumerate(low) if cell in _CLASS_HEADINGS]
        classes_at = named or [i for i in range(max(len(low), len(row))) if i != name_at]
    if len(row) <= name_at or not row[name_at]:
        raise UserError(f'line {number} has no name', path, 'correct it')
    cells = [row[i] for i in classes_at if i < len(row)]
    return row[name_at], [label for cell in cells for label in map(str.strip, cell.split(';')) if label]


# ---------------------------------------------------------------------------------------------------------- lists
def _indices(path, lines):
    """The table of `name 3 7`: indices of classes from 0, background not counted."""
    entries = {}
    for number, line in lines:
        name, digits = INDICES.fullmatch(line).groups()
        if name in entries:
            raise UserError(f'line {number}: {name!r:.80} was there before', path, 'remove one of them')
        entries[name] = tuple(dict.fromkeys(map(int, digits.split())))
    return Table('list of indices', path, entries)


def _masks(path, lines):
    """The table of `/JPEGImages/a.jpg /SegmentationClassAug/a.png`: the classes of the masks."""
    root, entries = None, {}
    for number, line in lines:
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise UserError(f'line {number} is not an image and its mask', path, 'correct it')
        image, mask = (part.lstrip('/') for part in pair.groups())
        if '..' in mask.split('/') or '\\' in mask:
            raise UserError(f'line {number}, {mask!r:.80}', path, "masks must not leave the folder by '..'")
        if root is None:
            root = _root(path, mask)
        entries[image] = os.path.join(root, mask)
    return Table('list of images and masks', path, entries, functools.lru_cache(maxsize=None)(_mask_classes),
                 truth=True)


def _root(path, mask):
    """The folder that the paths of a list of DeepLab begin in: that of the list, or one above."""
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(_PARENTS):
        if os.path.isfile(os.path.join(folder, mask)):
            return folder
        folder = os.path.dirname(folder)
    raise UserError(f'{mask:.80} is neither beside the list nor in a folder above', path,
                    'put the list into the folder that its paths begin in')


def _mask_classes(path):
    values = np.flatnonzero(np.bincount(masks.read_mask(path).ravel(), minlength=256))
    return tuple(int(value) - 1 for value in values if value not in (0, geometry.IGNORE))
