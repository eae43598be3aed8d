"""Sizes of plain JPEG and PNG files from their first bytes.

Pillow opens a file ten times as slowly, and the check before a run opens every image and every superpixel map. What is
not plain (EXIF, which may turn an image; rare kinds; anything damaged) is left to Pillow.
"""
from __future__ import annotations

import struct
import zlib

COUNT = 4096                    # bytes to read of a file
_LARGEST = 1 << 26              # pixels; Pillow refuses or warns of more
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_KINDS = {(8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 0), (16, 2), (16, 4), (16, 6), (1, 0), (2, 0), (4, 0),
              (1, 3), (2, 3), (4, 3)}
_START_OF_FRAME = 0xc0, 0xc1, 0xc2                          # baseline, extended, progressive
_START_OF_SCAN, _EXIF = 0xda, 0xe1
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
        found = _png(start) if start[:8] == _PNG_SIGNATURE else _jpeg(start) if start[:2] == b'\xff\xd8' else None
    except (struct.error, IndexError):                      # it goes on behind what was read
        return None
    return found if found and 0 < found[0] * found[1] <= _LARGEST else None


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
    position, found = 2, None
    while start[position] == 0xff:
        marker, length = struct.unpack_from('>BH', start, position + 1)
        if marker == _START_OF_SCAN:
            return found
        if marker in _START_OF_FRAME and found is None:
            precision, height, width, components = struct.unpack_from('>BHHB', start, position + 4)
            if precision != 8 or components not in (1, 3) or length != 8 + 3 * components:
                return None
            found = height, width
        elif marker not in _SKIPPED or length < 2:
            return None
        position += 2 + length
    return None
