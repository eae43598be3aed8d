"""The previews that a run has written so far: the only files of its folder that a page may show."""
from __future__ import annotations

import os
import re
import stat
import urllib.parse
from dataclasses import dataclass

from icd.errors import UserError

_LARGEST = 64 << 20         # bytes of a preview
_OF_EPOCH = re.compile(r'[^/]+-(\d{4,})\.jpg')
_OF_CLASS = re.compile(r'class_(\d+)\.jpg')
_SUPERPIXELS = 'superpixels_demo.jpg'


@dataclass(frozen=True)
class Preview:
    """A preview of a run.

    path : str
    name : str
        Its path relative to the folder of the run.
    title : str
    wrote : float
        Seconds since 1970.
    """

    path: str
    name: str
    title: str
    wrote: float

    @property
    def url(self) -> str:
        """Relative to the page, without what follows a question mark."""
        return 'preview/' + urllib.parse.quote(os.fsencode(self.name), safe='/')

    def read(self) -> bytes:
        """The file's content: a regular file, no link.

        Raises
        ------
        OSError
            When it is gone, or something else stands there by now.
        UserError
            When it is larger than a preview ever is.
        """
        # Without waiting: a pipe of this name would let the page wait for ever.
        file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, 'rb') as opened:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise UserError('no preview', self.path)
            return opened.read()


def of_training(root: str, folder: str) -> list:
    """Previews of a training's epochs, the oldest first.

    Parameters
    ----------
    root : str
        Folder of the run.
    folder : str
        Of the training, relative to it; '' for the folder itself.

    Returns
    -------
    list of Preview
    """
    found = []
    for name in sorted(_entries(os.path.join(root, folder), os.DirEntry.is_dir)):
        if name.endswith('_visdemo'):
            found += _matching(root, os.path.join(folder, name), _OF_EPOCH, lambda number: f'epoch {number + 1}')
    return found


def others(root: str, folder: str, class_names: list) -> list:
    """Previews of superpixels, and of the scores of each class, in and below a folder of the run; see `of_training`."""
    found = [preview for part in (folder, os.path.join(folder, 'superpixels')) if _is_folder(root, part)
             for preview in _matching(root, part, re.compile(re.escape(_SUPERPIXELS) + '()'), None)]
    if _is_folder(root, os.path.join(folder, 'results', 'scores_demo')):
        found += _matching(root, os.path.join(folder, 'results', 'scores_demo'), _OF_CLASS,
                           lambda number: class_names[number] if number < len(class_names) else f'class {number}')
    return found


def _is_folder(root, folder):
    """Whether a folder below `root` is there, and none on the way to it is a link, which may lead anywhere."""
    parts = folder.split('/') if folder else []
    paths = [os.path.join(root, *parts[:number]) for number in range(1, len(parts) + 1)]
    return all(os.path.isdir(path) and not os.path.islink(path) for path in paths)


def _matching(root, folder, pattern, title):
    """Previews in a folder whose names match, in the order of the numbers in them."""
    found = []
    for name, entry in _entries(os.path.join(root, folder), os.DirEntry.is_file).items():
        match = pattern.fullmatch(name)
        if match:
            try:
                wrote = entry.stat(follow_symlinks=False).st_mtime
            except OSError:         # just replaced
                continue
            number = int(match.group(1) or 0)
            found.append((number, Preview(entry.path, os.path.join(folder, name),
                                          title(number) if title else 'superpixels', wrote)))
    return [preview for _, preview in sorted(found, key=lambda each: (each[0], each[1].name))]


def _entries(folder, kind):
    """Entries of a folder that are of a kind, by name, without links."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries if kind(entry, follow_symlinks=False)}
    except OSError:
        return {}
