"""Image labels that are folders: of VOC XML files, or one folder of images a class."""
from __future__ import annotations

import os

from icd import console, files
from icd.data import images, listing, voc
from icd.data.labels.table import Table
from icd.errors import UserError


def read(folder: str) -> Table:
    """The labels of a folder, by what lies in it: XML files anywhere make it one of annotations.

    Raises
    ------
    UserError
        When it holds neither XML files nor folders of images.
    """
    found = list(listing.walk(folder))
    xml = [path for path in found if path.lower().endswith('.xml')]
    if xml:
        return _annotations(folder, xml)
    pictures = [path for path in found if '/' in path and os.path.splitext(path)[1].lower() in images.ENDINGS]
    if not pictures:
        raise UserError('holds no XML files and no folders of images', folder,
                        'give annotations, or a folder for each class with its images')
    return _classes(folder, pictures)


def annotations(folder: str) -> Table:
    """The labels of a folder of VOC XML, empty or not."""
    return _annotations(folder, [path for path in listing.walk(folder) if path.lower().endswith('.xml')])


def _annotations(folder, found):
    return Table('folder of VOC XML', folder, {path[:-len('.xml')]: os.path.join(folder, path) for path in found},
                 voc.read_objects, ending='.xml')


def _classes(folder, pictures):
    """The table of a folder of class folders: an image of one name and content in several has several classes."""
    by_name = {}
    for path in pictures:
        label, _, name = path.partition('/')
        by_name.setdefault(os.path.splitext(name)[0], []).append((label, path))
    entries, copies = {}, set()
    for same in console.patient_progress(by_name.values(), 'images of one name'):
        together = len(same) > 1 and len({_content(os.path.join(folder, path)) for _, path in same}) == 1
        for label, path in same:
            entries[path] = tuple(sorted({other for other, _ in same})) if together else (label,)
        copies.update(path for _, path in same[1:] if together)
    labels = sorted(part for part in os.listdir(folder)
                    if os.path.isdir(os.path.join(folder, part)) and not part.startswith('.'))
    return Table('folder of class folders', folder, entries, class_names=tuple(labels),
                 copies=frozenset(copies))


def _content(path):
    """What tells whether two files hold the same image."""
    try:
        return os.path.getsize(path), files.checksum(path)
    except OSError as error:
        raise UserError(error.strerror, path, 'remove or restore it') from None
