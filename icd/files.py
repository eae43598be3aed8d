"""Files that are whole or not there: atomic writes, locks, leftovers of killed runs."""
import contextlib
import fcntl
import json
import os
import time
import zlib

import cv2
import numpy as np

from icd.errors import UserError

PARTIAL = '.part'
_PATIENCE = 5.          # seconds a worker gets to remove what it is writing


@contextlib.contextmanager
def write_atomic(path):
    """Give the name of a file beside `path` to write to; on success it becomes `path` in one step.

    The file is synced before the rename, so `path` is either absent, what it was, or complete, also after a
    crash. On an exception nothing is left. The file is locked meanwhile: what is left of a killed process has no lock.

    Parameters
    ----------
    path : str
        The file to make. Its folder is created when missing.

    Yields
    ------
    str
        Name to write to: `.NAME.part` in the same folder, with the ending of `path` kept out of the way.

    Raises
    ------
    UserError
        When another process is writing the same file.
    """
    folder, name = os.path.split(path)
    os.makedirs(folder or '.', exist_ok=True)
    partial = os.path.join(folder, '.' + name + PARTIAL)
    try:
        with _locked_file(partial, path) as file:
            yield partial
            os.fsync(file)
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_unlocked(partial)
        raise


@contextlib.contextmanager
def _locked_file(partial, path):
    """The descriptor of the file `partial`, new and locked, in which `path` is going to be written."""
    while True:
        file = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                raise UserError('another run is writing this file', path,
                                'wait for it, then run the same command again')
            # Between opening and locking, its last owner may have moved or removed it.
            if _is_at(file, partial):
                os.ftruncate(file, 0)
                yield file
                return
        finally:
            os.close(file)


def _lock(file):
    """Lock an open file or folder; False when another process has it. File systems without locks have no others."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(file, path):
    """Whether the open file is the one that `path` names."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def folder_lock(folder, what):
    """Hold a folder that only one run may change.

    Parameters
    ----------
    folder : str
        Created when missing.
    what : str
        What another run may not do here meanwhile, and what the user can do, for the message.

    Raises
    ------
    UserError
        When another process holds it, and a moment later still does: the children of a killed one need that to end.
    """
    os.makedirs(folder, exist_ok=True)
    file, deadline = os.open(folder, os.O_RDONLY), time.monotonic() + _PATIENCE
    try:
        while not _lock(file):
            if time.monotonic() > deadline:
                raise UserError(f'another run {what}', folder)
            time.sleep(.05)
        yield
    finally:
        os.close(file)


def save_bytes(path, data):
    """Write `data` (bytes) to `path`, whole or not at all."""
    with write_atomic(path) as partial, open(partial, 'wb') as file:
        file.write(data)


def save_json(path, value):
    """Write `value` as indented JSON to `path`, whole or not at all."""
    save_bytes(path, (json.dumps(value, indent=2) + '\n').encode())


def save_npy(path, array):
    """Write `array` as a `.npy` file (no pickles), whole or not at all."""
    with write_atomic(path) as partial, open(partial, 'wb') as file:
        np.save(file, array, allow_pickle=False)


def save_image(path, image, *parameters):
    """Encode `image` (H, W) or (H, W, 3 BGR) uint8 by the ending of `path` and write it, whole or not at all."""
    done, data = cv2.imencode(os.path.splitext(path)[1], image, list(parameters))
    if not done:
        raise ValueError('%s: OpenCV could not encode a %s image of %s' % (path, image.dtype, image.shape))
    save_bytes(path, data.tobytes())


def clear_partial(folder):
    """Remove what a killed run left half-written in `folder` (no error when the folder does not exist).

    What another process is writing at the moment stays.
    """
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            stale = [e.path for e in entries if e.name.startswith('.') and e.name.endswith(PARTIAL)]
        for path in stale:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                _remove_unlocked(path)


def _remove_unlocked(path):
    """Remove a file unless another process is writing it."""
    file = os.open(path, os.O_RDWR)
    try:
        if _lock(file) and _is_at(file, path):
            os.remove(path)
    finally:
        os.close(file)


@contextlib.contextmanager
def nothing_partial(folders, names=()):
    """Remove what was left half-written before, and after whatever happens meanwhile (a worker killed, say).

    Parameters
    ----------
    folders : iterable of str
        Output folders.
    names : iterable of str
        Names of their files; `a/b` stands for a file in the sub-folder `a`.
    """
    parts = {''} | {os.path.dirname(name) for name in names}
    places = [os.path.join(folder, part) for folder in folders for part in parts]
    for place in places:
        clear_partial(place)
    try:
        yield
    finally:
        for place in places:
            clear_partial(place)


def checksum(name):
    """CRC-32 of a file's content."""
    value = 0
    with open(name, 'rb') as file:
        for block in iter(lambda: file.read(1 << 24), b''):
            value = zlib.crc32(block, value)
    return value
