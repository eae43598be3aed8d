"""ZIP archives of others, in which PyTorch and NumPy keep arrays: opened with bounds on what comes out of them."""
from __future__ import annotations

import contextlib
import errno
import zipfile
import zlib

from icd import files
from icd.errors import UserError, printable

_SIGNATURE = b'PK\x03\x04'
_PACKED = 16                    # times its own size that an archive may unpack to, and besides:
_SMALL = 16 << 20               # bytes
_MOST = 100000                  # files
# What `zipfile` raises on damaged archives.
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError,
           IndexError, OverflowError)


def first_name(start: bytes) -> str | None:
    """Name of the first file of the archive that starts with these bytes; None when it is no archive."""
    if start[:4] != _SIGNATURE:
        return None
    return start[30:30 + int.from_bytes(start[26:28], 'little')].decode('latin1')


@contextlib.contextmanager
def opened(path: str, what: str):
    """An archive whose files together are not much larger than itself.

    Parameters
    ----------
    path : str
    what : str
        What it should be, for the message.

    Yields
    ------
    zipfile.ZipFile

    Raises
    ------
    UserError
        When the archive, or a file that is read in the context, is damaged, or it would fill the memory.
    """
    try:
        with files.named(path), open(path, 'rb') as file, zipfile.ZipFile(file) as archive:
            size, entries = file.seek(0, 2), archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if len(entries) > _MOST or unpacked > _PACKED * size + _SMALL:
                raise ValueError(f'it would unpack {size} bytes to {unpacked}')
            yield archive
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:      # a place before the beginning of the file
            raise
        text = printable(str(error)) or type(error).__name__
        raise UserError(f'not a whole {what} ({text})', path, 'copy or download it again') from None
