"""Sizes of plain JPEG and PNG files from their first bytes.

Decoding a file takes a hundred times as long, and the check before a run opens every image and every superpixel map.
What is not plain (EXIF, which may turn an image; rare kinds; anything damaged) is left to the decoder.
"""
from __future__ import annotations

import struct
import zlib
from typing import Callable

COUNT = 4096                    # bytes to read of a file
LARGEST = 1 << 30               # pixels; OpenCV refuses more
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_KINDS = {(8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 0), (16, 2), (16, 4), (16, 6), (1, 0), (2, 0), (4, 0),
              (1, 3), (2, 3), (4, 3)}
_START_OF_FRAME = 0xc0, 0xc1, 0xc2                          # baseline, extended, progressive
_START_OF_SCAN, _EXIF = 0xda, 0xe1
_ORIENTATION = b'\x01\x12', b'\x12\x01'      # the number of the tag in both byte orders
_SKIPPED = {0xdb, 0xc4, 0xdd, 0xfe, *range(0xe0, 0xf0)} - {_EXIF}


def size(start: bytes) -> tuple | None:
    """Height and width of an image.

    Parameters
    ----------
    start : bytes
        The first `COUNT` bytes of its file.

    Returns
    -------
    (int, int) or None
        None: something else has to look at it.
    """
    try:
        if start[:8] == _PNG_SIGNATURE:
            return _positive(_png(start))
    except struct.error:                                    # it goes on behind what was read
        return None
    found, exif = _jpeg(start)
    return None if exif else found


def jpeg_size(data: bytes) -> tuple:
    """Height and width of the pixels of a JPEG file, and whether something in it may turn them.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    ((int, int) or None, bool)
        None: no plain JPEG.
    """
    found, exif = _jpeg(data)
    return found, any(number in segment for segment in exif for number in _ORIENTATION)


def exif_behind(read: Callable) -> bool:
    """Whether a PNG file has EXIF data at all, which may stand behind the pixels.

    Parameters
    ----------
    read : callable
        `read(count, position)` gives bytes of the file.
    """
    position, head = len(_PNG_SIGNATURE), read(8, len(_PNG_SIGNATURE))
    while len(head) == 8 and head[4:] not in (b'eXIf', b'IEND'):
        position += 12 + int.from_bytes(head[:4], 'big')
        head = read(8, position)
    return head[4:] == b'eXIf'


def _positive(size):
    return size if size and size[0] * size[1] else None


def _png(start):
    position, found = 8, None
    while True:
        length, kind = struct.unpack_from('>I4s', start, position)
        if kind == b'IDAT':
            return found
        end = position + 8 + length
        if struct.unpack_from('>I', start, end)[0] != zlib.crc32(start[position + 4:end]):
            return None
        if kind == b'IHDR' and position == 8 and length == 13:
            width, height, *rest, compression, filtering, interlace = struct.unpack_from('>IIBBBBB', start, 16)
            if tuple(rest) not in _PNG_KINDS or compression or filtering or interlace > 1:
                return None
            found = height, width
        elif kind in (b'IHDR', b'eXIf', b'IEND'):
            return None
        position = end + 4


def _jpeg(start):
    """Height and width, or None, and the EXIF segments before the pixels."""
    position, found, exif = 2, None, []
    try:
        while start[:2] == b'\xff\xd8' and start[position] == 0xff:
            marker, length = struct.unpack_from('>BH', start, position + 1)
            if marker == _START_OF_SCAN:
                return _positive(found), exif
            if marker in _START_OF_FRAME and found is None:
                precision, height, width, components = struct.unpack_from('>BHHB', start, position + 4)
                if precision != 8 or components not in (1, 3) or length != 8 + 3 * components:
                    return None, exif
                found = height, width
            elif marker == _EXIF:
                exif.append(start[position + 4:position + 2 + length])
            elif marker not in _SKIPPED or length < 2:
                return None, exif
            position += 2 + length
    except (struct.error, IndexError):                      # it goes on behind what was read
        pass
    return None, exif
