"""The fast decoder gives what Pillow gives, or nothing."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data import index_png, masks


def mask(seed=0, shape=(37, 52)):
    rng = np.random.default_rng(seed)
    small = rng.choice(np.uint8([0, 0, 1, 7, 20, 255]), (shape[0] // 4 + 1, shape[1] // 4 + 1))
    return small.repeat(4, 0).repeat(4, 1)[:shape[0], :shape[1]]


def pillow(image, mode, **how):
    made, file = Image.fromarray(image, mode), io.BytesIO()
    if mode == 'P':
        made.putpalette(masks.palette().tobytes())
    made.save(file, 'PNG', **how)
    return file.getvalue()


def opencv(image, *how):
    return cv2.imencode('.png', image, list(how))[1].tobytes()


def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(header, rows, cut=None):
    """A file made by the book; `cut` bytes are missing of its compressed data (negative)."""
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', *header)) + chunk(
        b'IDAT', zlib.compress(rows)[:cut]) + chunk(b'IEND', b'')


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1), (37, 52), (375, 500)])
@pytest.mark.parametrize('encode', [lambda m: pillow(m, 'P'), opencv], ids=['palette by Pillow', 'grey by OpenCV'])
def test_8_bit_index_png_is_decoded(encode, shape):
    for image in (mask(shape=shape), np.random.default_rng(1).integers(256, size=shape).astype(np.uint8)):
        found = index_png.decode(encode(image))
        assert found is not None and found.dtype == np.uint8 and found.flags.writeable
        assert (found == image).all()


@pytest.mark.parametrize('data', [
    pillow(mask(), 'L'), opencv(mask(), cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    pillow(mask() % 2, 'P', bits=1), pillow(mask() % 16, 'P', bits=4), opencv(mask().astype(np.uint16) * 257),
    opencv(np.dstack([mask()] * 3)), opencv(np.dstack([mask()] * 4))])
def test_any_file_is_decoded_as_by_pillow_or_not_at_all(data):
    found = index_png.decode(data)
    assert found is None or (found == np.array(Image.open(io.BytesIO(data)))).all()


def test_unsupported_kinds_of_png_are_left_to_pillow():
    rows = bytes([0, 1, 2, 0, 3, 4])
    assert index_png.decode(png((2, 2, 8, 0, 0, 0, 0), rows)).tolist() == [[1, 2], [3, 4]]
    for header in ((2, 2, 8, 0, 0, 0, 1), (2, 2, 4, 0, 0, 0, 0), (2, 2, 8, 2, 0, 0, 0), (2, 2, 8, 0, 0, 1, 0),
                   (2, 3, 8, 0, 0, 0, 0), (2, 1, 8, 0, 0, 0, 0), (0, 0, 8, 0, 0, 0, 0),
                   (2 ** 31, 2 ** 31, 8, 0, 0, 0, 0)):
        assert index_png.decode(png(header, rows)) is None
    assert index_png.decode(png((0, 0, 8, 0, 0, 0, 0), b'')) is None
    assert index_png.decode(png((2049, 4096, 8, 0, 0, 0, 0), bytes(2050 * 4096))) is None
    for filters in ((0, 1), (1, 2), (2, 2), (4, 4), (9, 9)):
        assert index_png.decode(png((2, 2, 8, 3, 0, 0, 0), bytes([filters[0], 1, 2, filters[1], 3, 4]))) is None


def test_damaged_index_png_is_never_decoded():
    data = opencv(mask(shape=(9, 9)))
    for i in range(8, len(data)):
        assert index_png.decode(data[:i]) is None
        assert index_png.decode(data[:i] + bytes([data[i] ^ 5]) + data[i + 1:]) is None
    assert index_png.decode(png((2, 1, 8, 0, 0, 0, 0), bytes(3), -4)) is None
    assert index_png.decode(b'') is None and index_png.decode(b'text') is None
