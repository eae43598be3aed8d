"""Files that are whole or not there: atomic writes, locked folders, leftovers of killed runs."""
from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import json
import os
import secrets
import time
import zipfile
import zlib
from typing import Any, Callable, Iterable

import cv2
import numpy as np

from icd import console, system_errors
from icd.errors import UserError
from icd.lines import Lines

PARTIAL = '.part'
# What NumPy raises on a file that is no whole .npz.
NPZ_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, NotImplementedError,
              zipfile.BadZipFile, zlib.error)
_FEW = 100              # files of a folder that are asked for one by one, before it is listed
PATIENCE = 5.           # seconds that the children of a killed run need to end


@contextlib.contextmanager
def write_atomic(path: str):
    """Give the name of a file beside `path` to write to; on success it becomes `path` in one step.

    The file is synced before the rename, so `path` is either absent, what it was, or complete, also after a
    crash. On an exception nothing is left; what a killed process leaves is removed by `clear_partial`.

    Parameters
    ----------
    path : str
        The file to make. Its folder is created when missing.

    Yields
    ------
    str
        Name to write to, in the same folder: the name of `path` behind a dot, and the ending `PARTIAL`.
    """
    folder, name = os.path.split(path)
    with named(path):
        os.makedirs(folder or '.', exist_ok=True)
    partial = os.path.join(folder, f'.{name}.{secrets.token_hex(4)}{PARTIAL}')
    try:
        with named(path):
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            yield partial
            _sync(partial)
            os.replace(partial, path)       # nobody has it open: some shared folders do not rename what is open
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(partial)
        if isinstance(error, OSError) and error.filename == partial:
            error.filename = path
        raise


@contextlib.contextmanager
def named(path: str):
    """Let errors of the system that name no file, such as those of writing, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = path
        raise


def _sync(path):
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in system_errors.NO_SYNC:
            raise
        _say_unsynced()
    finally:
        os.close(file)


@functools.lru_cache(maxsize=None)
def _say_unsynced():
    console.log('this file system cannot tell when a file is on the disk: after a power failure files may be lost')


def save_bytes(path: str, data: bytes):
    """Write `data` to `path`, whole or not at all."""
    with write_atomic(path) as partial, open(partial, 'wb') as file:
        file.write(data)


def save_json(path: str, value: Any):
    """Write `value` as indented JSON to `path`, whole or not at all."""
    save_bytes(path, (json.dumps(value, indent=2) + '\n').encode())


def save_npy(path: str, array: np.ndarray):
    """Write `array` as a `.npy` file (no pickles), whole or not at all."""
    data = io.BytesIO()                     # NumPy writes to files by itself, and errors of that have no code
    np.save(data, array, allow_pickle=False)
    save_bytes(path, data.getbuffer())


def save_image(path: str, image: np.ndarray, *parameters: int):
    """Encode `image` (H, W) or (H, W, 3 BGR) uint8 by the ending of `path` and write it, whole or not at all."""
    done, data = cv2.imencode(os.path.splitext(path)[1], image, list(parameters))
    if not done:
        raise ValueError(f'{path}: OpenCV could not encode a {image.dtype} image of {image.shape}')
    save_bytes(path, data.tobytes())


def checksum(path: str) -> int:
    """CRC-32 of a file's content."""
    value = 0
    with named(path), open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 24), b''):
            value = zlib.crc32(block, value)
    return value


# ------------------------------------------------------------------------------------------------------- listings
class Listed:
    """Which files there are: after the first questions about a folder it is listed, once, and what changes later is
    not seen. On a network file system a question takes as long as a part of the listing that has a hundred names.
    Names beyond ASCII are always asked for: file systems differ in which forms of them are the same."""

    def __init__(self):
        self._asked, self._names = {}, {}

    def __contains__(self, path: str):
        """Whether there is a file, or a link to one."""
        folder, name = os.path.split(path)
        asked = self._asked.get(folder, 0)
        if asked < _FEW or not name.isascii():
            self._asked[folder] = asked + 1
            return os.path.isfile(path)
        found = self._names.get(folder)
        if found is None:
            found = self._names[folder] = Lines(b''.join(_names_of_files(folder)))
        return os.fsencode(name) in found


def _names_of_files(folder):
    """The names of the files in a folder as lines; without those that no list can have."""
    with contextlib.suppress(OSError), os.scandir(folder or '.') as entries:
        for entry in entries:
            if '\n' not in entry.name and '\t' not in entry.name and entry.is_file():
                yield os.fsencode(entry.name) + b'\n'


# ----------------------------------------------------------------------------------------------------- leftovers
def clear_partial(folder: str, name: str = ''):
    """Remove what a killed run left half-written in a locked folder, all of it or of the file `name` only."""
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            stale = [e.path for e in entries if e.name.startswith('.' + name) and e.name.endswith(PARTIAL)]
        for path in stale:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.remove(path)


def sub_folders(names: Iterable[str]) -> set:
    """Folders that the files of some names lie in: 'a' for a/b, '' for b."""
    return {os.path.dirname(name) for name in names}


@contextlib.contextmanager
def nothing_partial(folder: str, sub_folders: Iterable[str] = ()):
    """Remove what was left half-written before, and after whatever happens meanwhile (a worker killed, say).

    Parameters
    ----------
    folder : str
        Locked.
    sub_folders : iterable of str
        Where its files are, relative to it.
    """
    parts = [os.path.join(folder, part) for part in sorted({'', *sub_folders})]
    for part in parts:
        clear_partial(part)
    try:
        yield
    finally:
        for part in parts:
            clear_partial(part)


# --------------------------------------------------------------------------------------------------------- locks
def try_lock(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or folder, or change its lock; False when another process has it.

    On a file system without locks nothing is locked, and nobody is refused.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def wait_until(ready: Callable, error: UserError):
    """Wait some seconds until `ready()` is true, then raise `error`: the children of a killed run need them to end."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise error
        time.sleep(.05)


@contextlib.contextmanager
def folder_lock(folder: str, what: str = 'is writing here', remedy: str = 'wait for it, or choose another folder',
                shared: bool = False):
    """Hold a folder that only one run may change, or several that share it.

    Parameters
    ----------
    folder : str
        Created when missing.
    what, remedy : str
        What another run does here, and what the user can do, for the message.
    shared : bool
        Others may share it, too.

    Raises
    ------
    UserError
        When another run holds the folder, see `wait_until`.
    """
    with named(folder):
        os.makedirs(folder, exist_ok=True)
    file, kind = os.open(folder, os.O_RDONLY), fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        wait_until(lambda: try_lock(file, kind), UserError('another run ' + what, folder, remedy))
        yield
    finally:
        os.close(file)


def is_held(folder: str) -> bool:
    """Whether a run holds a folder by `folder_lock`, as far as its file system has locks.

    Looking takes the lock for an instant, which a run that begins just then waits out.
    """
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not try_lock(file)
    finally:
        os.close(file)
