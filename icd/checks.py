"""Checks of files and folders that every stage makes before it computes.

- All problems of a run are found and counted, ten of each kind are named (`icd.errors.Problems`).
- Headers are read here, not whole files. What only the content tells (a truncated JPEG) ends the run when it is met,
  in one line; what was finished stays.
- Names of a list never leave the given folders: `..`, absolute paths and links that lead outside are refused.
"""
from __future__ import annotations

import os
import shutil
from typing import Iterable

from icd import files
from icd.data import images
from icd.errors import Problems, UserError

_SPARE = 64 << 20       # bytes that stay free on the disk


def check_size(problems: Problems, path: str, expected: tuple | None, what: str, remedy: str):
    """Height and width of the image file `path`; None, and a problem, when it is missing, no image, or not of the size
    `expected` (None: any)."""
    if not os.path.exists(path):
        problems.add(f'no such {what}', path, remedy)
        return None
    try:
        size = images.image_size(path, 'copy or make it again')
    except UserError as error:
        problems.add_error(error)
        return None
    if expected is not None and tuple(size) != tuple(expected):
        problems.add(f'{what} and image differ in size',
                     f'{path} ({size[1]}x{size[0]}, not {expected[1]}x{expected[0]})', 'make it again from this image')
    return size


def check_folder(problems: Problems, folder: str, needed: int = 0):
    """Record when `folder` cannot be written or its disk lacks `needed` bytes."""
    parent = os.path.abspath(folder)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        problems.add('a file or a broken link where a folder is needed', parent, 'choose another folder')
        return
    if not os.access(parent, os.W_OK | os.X_OK):
        problems.add('cannot be written', parent, 'choose another folder or change its permissions')
        return
    try:
        disk = shutil.disk_usage(parent)
    except OSError:                         # some network file systems cannot tell; the disk may turn out to be full
        return
    if disk.total and disk.free < needed + _SPARE:
        problems.add(f'{disk.free / 1e9:.1f} GB are free, about {(needed + _SPARE) / 1e9:.1f} GB are needed', folder,
                     'free some space or choose another folder')


def check_output_folders(problems: Problems, folders: Iterable[str], names: Iterable[str]):
    """Record when a file for every name cannot be written below one of `folders`."""
    for folder in folders:
        check_folder(problems, folder)
        check_links(problems, folder, names)


def check_links(problems: Problems, folder: str, names: Iterable[str]):
    """Record when a name in `folder` would be outside of it: a link in it leads elsewhere."""
    real = os.path.realpath(folder)
    for sub in sorted({os.path.dirname(name) for name in names} - {''}):
        if os.path.commonpath([real, os.path.realpath(os.path.join(folder, sub))]) != real:
            problems.add('a link leads outside of the folder', os.path.join(folder, sub), 'remove the link')


def check_input_folder(problems: Problems, flag: str, folder: str, remedy: str = 'check the path') -> bool:
    """Whether the option `flag` names a folder that can be read; if not, one problem, not one a file in it."""
    if not os.path.isdir(folder):
        problems.add('no such folder', f'{flag} {folder}', remedy)
        return False
    if not os.access(folder, os.R_OK | os.X_OK):
        problems.add('permission denied', f'{flag} {folder}', 'change its permissions')
        return False
    return True


def check_written_files(problems: Problems, written: dict, read: Iterable, folders: Iterable[tuple]):
    """Record when a file that a command writes cannot be written, or is one that it reads.

    Parameters
    ----------
    problems : Problems
    written : dict
        Path by option; None where nothing is written.
    read : iterable of str or None
        Files, or folders, that are read.
    folders : iterable of (str or None, str)
        Folders that are read from, and the ending of what is read.
    """
    inputs = [os.path.realpath(path) for path in read if path]
    below = [(os.path.join(os.path.realpath(folder), ''), ending) for folder, ending in folders if folder]
    found = {}
    for flag, path in written.items():
        if path is None:
            continue
        if os.path.isdir(path):
            problems.add('this is a folder', f'{flag} {path}', 'name a file')
        else:
            check_folder(problems, os.path.dirname(path) or '.')
        real = os.path.realpath(path)
        if real in inputs or any(real.startswith(folder) and real.lower().endswith(ending) for folder, ending in below):
            problems.add('would overwrite an input', f'{flag} {path}', 'name another file')
        if real in found:
            problems.add('both name the same file', f'{found[real]} and {flag} {path}', 'give them different names')
        found.setdefault(real, flag)


def missing_bytes(folder: str, ending: str, names: Iterable[str], needed: Iterable[float | None]) -> int:
    """About how many bytes the files NAME + `ending` will take in `folder`, of those that are not there yet.

    Parameters
    ----------
    folder, ending : str
    names : iterable of str
    needed : iterable of float
        Bytes of each; None of an image of unknown size.
    """
    there = files.Listed()
    return int(sum(4096 + size for name, size in zip(names, needed)
                   if size is not None and os.path.join(folder, name + ending) not in there))
