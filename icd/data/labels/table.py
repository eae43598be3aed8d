"""What a source of image labels says, whatever its format, and what it says of the images of a list."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from icd import console
from icd.data import images, listing, voc
from icd.errors import UserError

LARGEST = 64 << 20                      # bytes of a source that is one file of text
_ENDINGS = images.ENDINGS + ('.xml',)


class Missing(UserError):
    """An image of the list that a source does not have."""


@dataclass(frozen=True)
class Table:
    """The images of a source and their classes.

    kind : what the source is, for messages
    path : the source
    entries : by the name the source has for an image (a number, where it has numbers), what `read` makes classes of;
        a str is the path of a file
    read : from an entry to its classes, names or indices; may raise a `UserError`
    class_names : the classes that the source names, in its order; empty where it names none
    number_of_classes : of a source that knows no names but the number of classes; None: unknown
    ending : of a folder of one file an image
    truth : whether the classes are taken from masks
    copies : names of entries that are other entries once more
    """
    kind: str
    path: str
    entries: dict
    read: Callable[[Any], Sequence] = tuple
    class_names: tuple = ()
    number_of_classes: int | None = None
    ending: str = ''
    truth: bool = False
    copies: frozenset = frozenset()

    def path_of(self, entry: Any) -> str:
        """The file that says what classes an entry has."""
        return entry if isinstance(entry, str) else self.path

    def expected(self, name: str) -> str:
        """Where the classes of an image of a list belong, for messages."""
        return os.path.join(self.path, name + self.ending) if self.ending else f'{self.path} ({name})'


def key_of(name: str) -> str:
    """A name as names are compared: without ending, './' and '/' in front, in one Unicode form."""
    name = name.replace('\\', '/')
    stem, ending = os.path.splitext(name)
    name = stem if ending.lower() in _ENDINGS else name
    if '/' in name:
        plain = '/'.join(part for part in name.split('/') if part not in ('', '.'))
        name = name if plain == name else plain             # one text for both, where there are a million
    return listing.normal(name)


def number_of(name: str) -> int | None:
    """The number that stands for an image where names are numbers: 2007000032 for 2007_000032, else the last one."""
    found = re.search(r'(?:(?<!\d)(\d{4})_(\d{6})|(\d{1,18}))\D*$', name)
    return int(''.join(part for part in found.groups() if part)) if found else None


class Matcher:
    """Finds the images of a list among those of a source.

    The name of the source and that of the list mean one image when they are equal, or when one of them is the end of
    the other, from a / on, and nothing else fits. Endings of images do not count.
    """

    def __init__(self, table: Table):
        self._table, self._taken, self._by_last = table, {}, None
        self._entries, self._more = {}, {}              # by key: an entry, and further ones
        self._numbers = {name: entry for name, entry in table.entries.items() if isinstance(name, int)}
        for name, entry in table.entries.items() if len(self._numbers) < len(table.entries) else ():
            if isinstance(name, int):
                continue
            key = key_of(name)
            if key in self._entries:
                self._more.setdefault(key, []).append(entry)
            else:
                self._entries[key] = entry

    def _of_key(self, key):
        return [self._entries[key], *self._more.get(key, ())] if key in self._entries else []

    def find(self, name: str) -> Any:
        """The entry of the image `name` of a list.

        Raises
        ------
        Missing
            When the source does not have it.
        UserError
            When several entries fit that do not agree, or another name of the list has the same entry.
        """
        key = key_of(name)
        found = self._of_key(key) or self._by_ends(name, key)
        if not found and self._numbers:
            number = number_of(key.rpartition('/')[2])
            found = [self._numbers[number]] if number in self._numbers else None
        if not found:
            raise Missing('no such annotation' if self._table.ending else f'the {self._table.kind} has no such image',
                          self._table.expected(name), 'check --annotation-root or --labels, and the list of names')
        if any(entry != found[0] for entry in found[1:]):
            raise UserError(f'the {self._table.kind} has several images of this name', f'{self._table.path} ({name})',
                            'give names with folders, in the list and in the source')
        return found[0]

    def _by_ends(self, name, key):
        if self._by_last is None:                       # lists mostly have the source's own names, and need none of it
            self._by_last = {}
            for one in self._entries:
                if '/' in one:
                    self._by_last.setdefault(one.rpartition('/')[2], []).append(one)
        longer = [one for one in self._by_last.get(key.rpartition('/')[2], ()) if one.endswith('/' + key)]
        parts = key.split('/')
        ends = ('/'.join(parts[i:]) for i in range(1, len(parts)))
        shorter = None if longer else next((end for end in ends if end in self._entries), None)
        if shorter is not None:
            if self._taken.setdefault(shorter, name) != name:
                raise UserError(f'the {self._table.kind} has one image for several of the list',
                                f'{self._table.path} ({self._taken[shorter]}, {name})', 'give it names with folders')
            longer = [shorter]
        return [entry for one in longer for entry in self._of_key(one)]


def classes_of(table: Table, names: Sequence[str], class_names: Sequence[str]) -> list:
    """Classes of the images of a list.

    Parameters
    ----------
    table : Table
    names : sequence of str
    class_names : sequence of str

    Returns
    -------
    list
        For each image a tuple of indices into `class_names`, ascending, or the `UserError` that keeps it from having
        one: `Missing` when the source does not have the image.

    Raises
    ------
    UserError
        When the source is of another number of classes.
    """
    if table.number_of_classes not in (None, len(class_names)):
        raise UserError(f'is of {table.number_of_classes} classes, not {len(class_names)}', table.path,
                        'give the names of its classes with --class-names')
    matcher, known = Matcher(table), {}                 # images of the same classes share one object

    def one(name):
        try:
            entry = matcher.find(name)
            found = voc.indices(table.read(entry), class_names, table.path_of(entry))
            return known.setdefault(found, found)
        except UserError as error:
            return error
    return [one(name) for name in console.patient_progress(names, 'image labels')]
