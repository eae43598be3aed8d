"""A whole source of image labels: the images that it names, their classes, and the names of all classes."""
from __future__ import annotations

import os

from icd import console
from icd.data import images, voc
from icd.data.labels.table import Matcher, Table
from icd.errors import Problems, UserError


def contents(table: Table, names: list | None = None) -> dict:
    """Classes of the images of a source, or of the images of a list.

    Parameters
    ----------
    table : Table
    names : list of str, optional
        Of a list; by default all that the source has, without endings.

    Returns
    -------
    dict of str to tuple
        Names or indices of classes, as the source has them.

    Raises
    ------
    UserError
        With all that is wrong, or when the source holds nothing.
    """
    problems, found, matcher = Problems(), {}, Matcher(table)
    for name in console.patient_progress(table.entries if names is None else names, 'image labels'):
        if name in table.copies:
            continue
        try:
            found[_plain(name)] = tuple(table.read(table.entries[name] if names is None else matcher.find(name)))
        except UserError as error:
            problems.add_error(error)
    problems.raise_if_any()
    if not found:
        raise UserError('holds no image labels', table.path, 'see docs/data.md')
    return found


def class_names_of(table: Table, found: dict, path: str | None = None) -> tuple:
    """Class names: those of the file `path`, those of the source, those that occur in it, or VOC's.

    Raises
    ------
    UserError
        When the source has another number of classes.
    """
    if path is not None:
        return voc.read_class_names(path)
    occurring = sorted({one for classes in found.values() for one in classes if isinstance(one, str)})
    names = tuple(table.class_names) or tuple(occurring) or voc.CATEGORIES
    if table.number_of_classes not in (None, len(names)):
        raise UserError(f'is of {table.number_of_classes} classes and does not name them', table.path,
                        'give their names with --class-names')
    return names


def _plain(name):
    """The name of a list for a name of a source."""
    if isinstance(name, int):
        digits = str(name)
        return f'{digits[:4]}_{digits[4:]}' if len(digits) == 10 else digits        # as VOC's are
    stem, ending = os.path.splitext(name.replace('\\', '/'))
    name = stem if ending.lower() in images.ENDINGS + ('.xml',) else stem + ending
    return '/'.join(part for part in name.split('/') if part not in ('', '.'))
