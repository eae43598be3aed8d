"""Files by name, whatever their ending: one listing a folder, not a question a file.

Names of a list and names on disk are the same when they are so after canonical decomposition (Unicode's NFD): a list
that was written on one system is read on another. `external/superpixel/app/listing.cpp` has the same rule.
"""
from __future__ import annotations

import itertools
import os
import time
import unicodedata
from typing import Iterator, Sequence

from icd.errors import UserError
from icd.lines import Lines

_SETTLED = 2_000_000_000    # nanoseconds after which a folder's date tells every change: file systems count coarsely
_PATIENCE = 20              # a folder that changes all the time is listed for one part of this of the time
_QUICK = .005               # seconds: a folder that is listed faster is listed whenever it changed
_MOST_FILES = 5_000_000


def normal(name: str) -> str:
    """A name as names are compared: NFD."""
    return name if name.isascii() else unicodedata.normalize('NFD', name)


class _Listing:
    """The entries of a folder by stem, as it was when it was read."""

    def __init__(self, folder):
        begin = time.monotonic()
        self.changed = _changed(folder)
        self._settled = time.time_ns() - self.changed > _SETTLED
        try:
            # What no list can name is left out.
            found = [entry for entry in os.listdir(folder) if '\n' not in entry and '\t' not in entry]
        except OSError:                                     # nothing there; opening a file of it says what is wrong
            found = []
        self._by_stem = Lines(b''.join(_by_stem(found)))
        self.by_name = {normal(entry): entry for entry in found if not entry.isascii()}
        end = time.monotonic()
        self._took = end - begin if end - begin > _QUICK else 0
        self._due = end + _PATIENCE * self._took

    def is_current(self, folder):
        if time.monotonic() < self._due:
            return True
        same = self._settled and _changed(folder) == self.changed
        if same:                                            # a long one is not asked about once a file
            self._due = time.monotonic() + self._took
        return same


    def of_stem(self, stem):
        """The entries of a stem in its normal form."""
        found = self._by_stem.get(os.fsencode(stem))
        return os.fsdecode(found).split('\t') if found else []


def _by_stem(found):
    """Lines of a stem and its entries, which are sorted by stem meanwhile."""
    found.sort(key=_stem)
    for stem, entries in itertools.groupby(found, _stem):
        yield os.fsencode('\t'.join([stem, *entries])) + b'\n'


def _stem(entry):
    return normal(os.path.splitext(entry)[0])


def _changed(folder):
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


_LISTINGS = {}


def _listing(folder):
    path = os.path.join(os.getcwd(), folder)
    known = _LISTINGS.get(path)
    if known is None or not known.is_current(folder):
        known = _LISTINGS[path] = _Listing(folder)
    return known


def _folder(root, part):
    """The folder `part` (a/b) of `root`, by the names its parts have on disk."""
    if not part:
        return root
    path = os.path.join(root, part)
    if part.isascii() or os.path.isdir(path):
        return path
    path = root
    for name in part.split('/'):
        path = os.path.join(path, _listing(path).by_name.get(normal(name), name))
    return path


def find(root: str, name: str, endings: Sequence[str]) -> list:
    """Files that a name of a list may mean.

    Parameters
    ----------
    root : str
        Folder.
    name : str
        Relative to it, without an ending; / between folders.
    endings : sequence of str
        Lower case, with their dot; any case is found.

    Returns
    -------
    list of str
        Paths, in the order of `endings`; empty when there is none.
    """
    part, stem = os.path.split(name)
    folder = _folder(root, part)
    found = _listing(folder).of_stem(normal(stem))
    ranked = sorted((endings.index(ending), entry) for entry in found
                    for ending in [os.path.splitext(entry)[1].lower()] if ending in endings)
    return [os.path.join(folder, entry) for _, entry in ranked]


def walk(root: str) -> Iterator[str]:
    """Paths of all files below a folder, relative to it, sorted within each folder; hidden ones are left out.

    Links to folders are followed, each folder once.

    Raises
    ------
    UserError
        When there are more than five million files, or a folder cannot be read.
    """
    seen, count = set(), 0

    def stop(error):
        raise UserError(error.strerror, error.filename, 'check the path and its permissions')
    for folder, parts, names in os.walk(root, followlinks=True, onerror=stop):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            parts.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        parts[:] = sorted(part for part in parts if not part.startswith('.'))
        count += len(names)
        if count > _MOST_FILES:
            raise UserError(f'more than {_MOST_FILES} files', root, 'give the folder of one data set')
        relative = os.path.relpath(folder, root).replace(os.sep, '/')
        for name in sorted(names):
            if not name.startswith('.'):
                yield name if relative == '.' else f'{relative}/{name}'
