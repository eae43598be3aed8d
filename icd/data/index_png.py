"""A fast decoder of the PNG files that masks mostly are: eight bits, grey or palette, one simple filter for all rows.

General decoders undo the filters byte by byte, which is most of their time on masks: with Pillow alone, evaluating
masks takes over 1.3 times as long as reading them (`tests/benchmarks/evaluate.py`).
"""
from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from icd.data.images import PNG_SIGNATURE

_GREY, _PALETTE = 0, 3                  # colour types of the header
_NONE, _LEFT = 0, 1                     # filters: bytes as they are, or differences from the left neighbour
_LARGEST = 1 << 23                      # pixels whose sum fits 32 bits; damaged headers may claim anything


def decode(data: bytes) -> np.ndarray | None:
    """Class indices of a PNG file, if it is one of the simple kind.

    Parameters
    ----------
    data : bytes
        The file's content.

    Returns
    -------
    ndarray (H, W) uint8, or None
        What Pillow gives for the same file. None: another kind of PNG, a damaged one, or something else; a general
        decoder has to look at it.

    References
    ----------
    Portable Network Graphics (W3C recommendation, second edition), sections 5, 9 and 11.2.
    """
    try:
        header, compressed = _parts(data)
        width, height, depth, colour, compression, filtering, interlace = struct.unpack('>IIBBBBB', header)
    except (struct.error, ValueError):
        return None
    if (depth, compression, filtering, interlace) != (8, 0, 0, 0) or colour not in (_GREY, _PALETTE):
        return None
    rows = _rows(compressed, height, width) if 0 < height * width <= _LARGEST else None
    if rows is None:
        return None
    kind, pixels = rows[0, 0], rows[:, 1:]
    if kind not in (_NONE, _LEFT) or (rows[:, 0] != kind).any():
        return None
    return pixels.copy() if kind == _NONE else _add_up(pixels)


def _parts(data):
    """Content of the header and of the image data; `ValueError` when the file is damaged."""
    if data[:8] != PNG_SIGNATURE or data[12:16] != b'IHDR':
        raise ValueError('not a PNG')
    position, header, compressed, kind = 8, b'', [], b''
    while kind != b'IEND':
        length, kind = struct.unpack_from('>I4s', data, position)
        end = position + 8 + length
        if struct.unpack_from('>I', data, end)[0] != zlib.crc32(data[position + 4:end]):
            raise ValueError('a checksum is wrong')
        if kind == b'IHDR':
            header = data[position + 8:end]
        elif kind == b'IDAT':
            compressed.append(data[position + 8:end])
        position = end + 4
    return header, b''.join(compressed)


def _rows(compressed, height, width):
    """Rows (height, 1 + width) uint8, each behind its filter; None when the data are not those of this size."""
    inflate, size = zlib.decompressobj(), height * (width + 1)
    try:
        data = inflate.decompress(compressed, size + 1)
    except zlib.error:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width + 1) if len(data) == size and inflate.eof else None


def _add_up(differences):
    """Undo differences from the left neighbour: sums along each row, modulo 256 as the filter wants them."""
    sums = cv2.integral(differences)                    # five times as fast as numpy.cumsum, over all rows above, too
    return (sums[1:, 1:] - sums[:-1, 1:]).astype(np.uint8)
