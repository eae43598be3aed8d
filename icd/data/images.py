"""Image files: pixels and sizes."""
from __future__ import annotations

import contextlib
import errno
import functools
import os
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from icd import files
from icd.data import headers, listing
from icd.errors import UserError

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')   # of images, in any case
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# What Pillow raises on damaged files, besides OSError.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
          struct.error, zlib.error, Image.DecompressionBombError)
# Chunks of a PNG that change no pixel. Decoders refuse or complain of large and of damaged ones.
_IDLE_CHUNKS = {b'iCCP', b'tEXt', b'zTXt', b'iTXt', b'sPLT', b'hIST', b'pHYs', b'tIME'}
_AGAIN = 'copy or download it again'
_CHECK = 'check the image folder and the list of names'
# OpenCV moved it; both return the level before.
_set_log_level = cv2.setLogLevel if hasattr(cv2, 'setLogLevel') else cv2.utils.logging.setLogLevel


@contextlib.contextmanager
def _opening(path, remedy):
    """Raise a `UserError` when `path` cannot be opened; read errors of the disk stay `OSError`, and name it."""
    try:
        with files.named(path):
            yield
    except (FileNotFoundError, NotADirectoryError):
        raise UserError('no such file', path, remedy) from None
    except IsADirectoryError:
        raise UserError('this is a folder, not a file', path, remedy) from None
    except PermissionError:
        raise UserError('permission denied', path, 'change its permissions') from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError('a link that leads to itself', path, remedy) from None


def read_bytes(path: str, remedy: str, count: int = -1) -> bytes:
    """Content of a file.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.
    count : int
        Bytes to read at most; by default all.

    Returns
    -------
    bytes

    Raises
    ------
    UserError
        When there is no such file, or permission to read it is denied. Read errors of the disk stay `OSError`.
    """
    with _opening(path, remedy), open(path, 'rb') as file:
        if count > 1 << 16:                 # Python takes the memory for all of them before it reads
            count = min(count, os.fstat(file.fileno()).st_size or 1 << 16)
        return file.read(count)


def image_path(image_root: str, name: str) -> str:
    """Where the image `name` of a list is: NAME.jpg, or another of `ENDINGS` in any case.

    Where there is none, NAME.jpg, and where there are several, the first; `single_path` refuses these.
    """
    found = listing.find(image_root, name, ENDINGS)
    return found[0] if found else os.path.join(image_root, name + '.jpg')


def single_path(image_root: str, name: str) -> str:
    """`image_path`, or a `UserError` when several files of a folder may be the image `name`."""
    found = listing.find(image_root, name, ENDINGS)
    if len(found) > 1:
        raise UserError('several files for one image', ', '.join(found), 'keep one of them under this name')
    return found[0] if found else os.path.join(image_root, name + '.jpg')


def names_below(folder: str) -> list:
    """Names of all images below a folder, as a list has them: relative, without ending, sorted."""
    return sorted({os.path.splitext(path)[0] for path in listing.walk(folder)
                   if os.path.splitext(path)[1].lower() in ENDINGS})


def cut_short(data: bytes) -> bool:
    """True for the content of a JPEG or PNG file whose end is missing: decoders may fill the rest with grey."""
    if data[:8] == PNG_SIGNATURE:
        return _chunks(data)[-1][2] > len(data)
    if data[:2] != b'\xff\xd8':
        return False
    start = 2
    while start + 4 <= len(data) and data[start] == 0xff and data[start + 1] != 0xda:       # up to start of scan
        start += 1 if data[start + 1] == 0xff else 2 + int.from_bytes(data[start + 2:start + 4], 'big')
    return data.rfind(b'\xff\xd9') < start                                                  # end of image


def _chunks(data):
    """Chunks of a PNG file by their lengths: kind, begin and end of each; the last one ends beyond a file cut short."""
    start, found = len(PNG_SIGNATURE), []
    while start + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, start)
        found.append((kind, start, start + 12 + length))
        start += 12 + length
        if kind == b'IEND':
            return found
    return found + [(b'', start, start + 12)]


def bare(data: bytes) -> bytes:
    """A PNG file without the chunks that change no pixel (texts, colour profiles); other files as they are."""
    if data[:8] != PNG_SIGNATURE:
        return data
    found = _chunks(data)
    if not any(kind in _IDLE_CHUNKS for kind, *_ in found):
        return data
    return PNG_SIGNATURE + b''.join(data[start:end] for kind, start, end in found if kind not in _IDLE_CHUNKS)


def decode(data: bytes, mode: int) -> np.ndarray | None:
    """Pixels of an encoded image file.

    Parameters
    ----------
    data : bytes
    mode : int
        `cv2.IMREAD_COLOR` or `cv2.IMREAD_UNCHANGED`.

    Returns
    -------
    ndarray (H, W) or (H, W, channels)
        Of the depth and channels that `mode` asks for, colours in BGR order. None when the file is damaged, cut short
        or not an image.
    """
    if not data or cut_short(data):
        return None
    before = _set_log_level(0)              # its lines name no file; the caller reports what is wrong with one
    try:
        return cv2.imdecode(np.frombuffer(bare(data), np.uint8), mode)
    except cv2.error:                                               # sizes that are beyond OpenCV's limits
        return None
    finally:
        _set_log_level(before)


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Colours of an encoded image file.

    Parameters
    ----------
    data : bytes
    path : str
        Its file, for the message.

    Returns
    -------
    ndarray (H, W, 3) uint8
        BGR.

    Raises
    ------
    UserError
        When it is damaged or not an image.
    """
    image = decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise _no_image(data, path)
    return image


def _no_image(data, path):
    return UserError('the file is cut short' if cut_short(data) else 'not an image that OpenCV can read', path, _AGAIN)


def read_image(path: str) -> np.ndarray:
    """Read an image: (H, W, 3) uint8, BGR. Raises `UserError` when it is missing, damaged or not an image."""
    return decode_image(read_bytes(path, _CHECK), path)


def image_size(path: str, remedy: str = _CHECK) -> tuple:
    """Height and width of an image file, from its header where that is plain.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.

    Returns
    -------
    (int, int)
        What OpenCV decodes it to. An EXIF orientation may lay it on its side, and releases differ in where they look
        for one: of a file that has EXIF data the decoder itself is asked.

    Raises
    ------
    UserError
        When the file is missing, its header is not that of an image, or it has more pixels than OpenCV decodes.
    """
    with _opening(path, remedy), open(path, 'rb') as file:
        start = file.read(headers.COUNT)
        found = headers.size(start)
        if not found or start[:8] == PNG_SIGNATURE and headers.exif_behind(functools.partial(_at, file.fileno())):
            found = _decoded_size(start + file.read(), path)
    if found[0] * found[1] > headers.LARGEST:
        raise UserError(f'more than {headers.LARGEST // 1000000} million pixels', path, 'scale it down')
    return found


def _at(file, count, position):
    return os.pread(file, count, position)


def _decoded_size(data, path):
    """Height and width of an image that is no plain one, as it is decoded."""
    size, oriented = headers.jpeg_size(data)
    if size and not cut_short(data):
        if not oriented:
            return size
        # A JPEG is decoded at an eighth of its size in a fraction of the time, and turned just the same.
        small = decode(data, cv2.IMREAD_REDUCED_COLOR_8)
        eighth = tuple(-(-side // 8) for side in size)
        if small is not None and eighth[0] != eighth[1] and small.shape[:2] in (eighth, eighth[::-1]):
            return size if small.shape[:2] == eighth else size[::-1]
    image = decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise _no_image(data, path)
    return image.shape[:2]
