"""Image files: pixels and sizes."""
from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from icd.data import headers, listing
from icd.errors import UserError

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')   # of images, in any case
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# What Pillow raises on damaged files, besides OSError.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
          struct.error, zlib.error, Image.DecompressionBombError)
_EXIF_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x112, 0x100, 0x101
_AGAIN = 'copy or download it again'
_CHECK = 'check the image folder and the list of names'


@contextlib.contextmanager
def _opening(path, remedy):
    """Raise a `UserError` when `path` cannot be opened; read errors of the disk stay `OSError`."""
    try:
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
        return _png_end(data) > len(data)
    if data[:2] != b'\xff\xd8':
        return False
    start = 2
    while start + 4 <= len(data) and data[start] == 0xff and data[start + 1] != 0xda:       # up to start of scan
        start += 1 if data[start + 1] == 0xff else 2 + int.from_bytes(data[start + 2:start + 4], 'big')
    return data.rfind(b'\xff\xd9') < start                                                  # end of image


def _png_end(data):
    """Where the last chunk of a PNG file ends, by the lengths of its chunks; OpenCV takes seconds over wrong ones."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, start)
        start += 12 + length
        if kind == b'IEND':
            return start
    return start + 12


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
    before = cv2.setLogLevel(0)             # its lines name no file; the caller reports what is wrong with one
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:                                               # sizes that are beyond OpenCV's limits
        return None
    finally:
        cv2.setLogLevel(before)


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
        raise UserError('the file is cut short' if cut_short(data) else 'not an image that OpenCV can read', path,
                        _AGAIN)
    return image


def read_image(path: str) -> np.ndarray:
    """Read an image: (H, W, 3) uint8, BGR. Raises `UserError` when it is missing, damaged or not an image."""
    return decode_image(read_bytes(path, _CHECK), path)


def _on_its_side(image):
    """True when the EXIF data of an open image, if it has any that can be read, turn it by a quarter."""
    tags = Image.Exif()
    try:
        if image.format == 'TIFF':
            tags = image.tag_v2
            if image.size != (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]):
                return False                    # newer releases of Pillow have turned the size already
        else:
            tags.load(image.info.get('exif', b''))
        return tags.get(_EXIF_ORIENTATION, 1) in range(5, 9)
    except DAMAGE:
        return False


def image_size(path: str, remedy: str = _CHECK) -> tuple:
    """Height and width of an image file, from its header.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.

    Returns
    -------
    (int, int)
        What OpenCV decodes it to: an EXIF orientation that lays it on its side is followed.

    Raises
    ------
    UserError
        When the file is missing or its header is not that of an image.
    """
    try:
        with _opening(path, remedy), open(path, 'rb') as file:
            plain = headers.size(file.read(headers.COUNT))
            if plain:
                return plain
            file.seek(0)
            with Image.open(file) as image:
                width, height = image.size
                on_its_side = image.format != 'WEBP' and _on_its_side(image)     # which OpenCV does not turn
    except Image.DecompressionBombError:
        raise UserError(f'more than {2 * Image.MAX_IMAGE_PIXELS // 1000000} million pixels', path,
                        'scale it down') from None
    except DAMAGE:
        raise UserError('not an image', path, remedy) from None
    return (width, height) if on_its_side else (height, width)
