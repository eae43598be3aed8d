"""Masks of class indices: index PNGs and VOC's colours."""
from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
from PIL import Image, ImageFile

from icd import files
from icd.data import images, index_png
from icd.errors import UserError

_PACKED = 1032          # bytes that a byte of DEFLATE can stand for at most
_BEFORE_PALETTE = 4096  # bytes of a PNG within which its palette begins


@functools.lru_cache(maxsize=None)
def _palette_bytes():
    return palette().tobytes()


def palette() -> np.ndarray:
    """VOC's colours of the 256 indices: (256, 3) uint8, RGB. The channels take the bits of an index in turn."""
    index = np.arange(256, dtype=np.uint8)
    bits = np.unpackbits(index[:, None], axis=1, bitorder='little')             # (256, 8), lowest bit first
    colours = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for level, bit in enumerate(range(channel, 8, 3)):
            colours[:, channel] |= bits[:, bit] << (7 - level)
    return colours


@contextlib.contextmanager
def _strict_pillow():
    """Refuse damaged files: once GluonCV is imported, Pillow fills what is missing with zeros, background in a mask.
    Large ones are read; `_is_bomb` finds those whose header alone is large."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _is_bomb(data):
    """Whether the header of a PNG file announces more pixels than its bytes can hold."""
    width, height = int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
    return width * height > 8 * _PACKED * len(data)


def read_mask(path: str) -> np.ndarray:
    """Read the class indices of a mask.

    Parameters
    ----------
    path : str
        A palette or grey PNG; its colours do not matter.

    Returns
    -------
    ndarray (H, W) uint8

    Raises
    ------
    UserError
        When the file is missing, damaged or not a PNG, is a colour picture, or has values above 255.
    """
    return decode_mask(images.read_bytes(path, 'check the folder and the list of names'), path)


def decode_mask(data: bytes, path: str) -> np.ndarray:
    """`read_mask` of a file's content; `path` is named when it is no mask."""
    mask = index_png.decode(data)
    return _decode(data, path) if mask is None else mask


def _pixels(data, path, wanted=None):
    """Mode and values of a PNG of any kind, by Pillow, converted to the mode that is `wanted`."""
    try:
        if _is_bomb(data):
            raise ValueError
        with _strict_pillow(), Image.open(io.BytesIO(images.bare(data)), formats=('PNG',)) as image:
            return image.mode, np.array(image.convert(wanted) if wanted else image)
    except images.DAMAGE:
        raise UserError('not a whole PNG image', path, 'copy or make it again') from None


def _decode(data, path):
    """`decode_mask` of a PNG of any kind, by Pillow."""
    mode, mask = _pixels(data, path)
    if mode not in ('P', 'L', '1') and not mode.startswith('I'):
        raise UserError(f'a colour picture (mode {mode})', path, 'masks hold class indices, in a grey or palette PNG')
    if data[12:16] != b'IHDR':
        raise UserError('not a whole PNG image', path, 'copy or make it again')
    bits = data[24]                                     # Pillow stretches grey of 2 and 4 bits to 8
    if mode == 'L' and bits < 8:
        mask = mask // (255 // (2 ** bits - 1))
    if mask.max() > 255:
        raise UserError(f'has the index {mask.max()}', path, 'masks hold class indices up to 255')
    return mask.astype(np.uint8)


def decode_colours(data: bytes, path: str) -> np.ndarray:
    """Colours of a mask that is a colour picture or has a palette: (H, W, 3) uint8, RGB.

    Raises
    ------
    UserError
        When it is damaged, not a PNG, or a grey one, which has no colours.
    """
    mode, colours = _pixels(data, path, 'RGB')
    if mode not in ('P', 'RGB', 'RGBA'):
        raise UserError(f'has no colours (mode {mode})', path, 'its values are the class indices: use it as it is')
    return colours


@functools.lru_cache(maxsize=None)
def _indices():
    return {tuple(colour): index for index, colour in enumerate(palette().tolist())}


def other_index(data: bytes, used) -> tuple | None:
    """Whether the palette of a PNG gives indices the colours that VOC gives others.

    That is what comes of a coloured mask which a program has brought into a palette of its own: it looks right, and
    every index means something else.

    Parameters
    ----------
    data : bytes
        Of a whole PNG file.
    used : sequence of int
        The indices that occur.

    Returns
    -------
    (int, int) or None
        The first of them with another's colour, and the index that has this colour in VOC. None unless all that are
        used have colours of VOC.
    """
    start = data.find(b'PLTE')
    if start < 0 or start > data.find(b'IDAT'):
        return None
    length = int.from_bytes(data[start - 4:start], 'big')
    colours = [tuple(data[i:i + 3]) for i in range(start + 4, start + 4 + length, 3)]
    index_of = _indices()
    meant = {index: index_of.get(colours[index]) for index in used if index < len(colours)}
    if None in meant.values():
        return None
    return next(((int(index), other) for index, other in meant.items() if index != other), None)


def reordered(data: bytes, mask: np.ndarray) -> tuple | None:
    """`other_index` of a PNG file with these class indices; files without a palette, or with VOC's, take no time."""
    start = data.find(b'PLTE', 0, _BEFORE_PALETTE)
    end = start + 4 + int.from_bytes(data[start - 4:start], 'big')
    if start < 0 or _palette_bytes().startswith(data[start + 4:end]):
        return None
    return other_index(data, np.flatnonzero(np.bincount(mask.ravel(), minlength=256)))


def save_mask(path: str, mask: np.ndarray):
    """Write class indices (H, W) uint8 as a grey PNG that every program reads as indices, whole or not at all."""
    files.save_image(path, _checked(mask))


def colour_png(mask: np.ndarray) -> bytes:
    """Class indices (H, W) uint8 as the content of a palette PNG in VOC's colours."""
    image = Image.fromarray(_checked(mask), 'P')
    image.putpalette(palette().tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG')
    return data.getvalue()


def save_colour(path: str, mask: np.ndarray):
    """Write class indices (H, W) uint8 as a palette PNG in VOC's colours, whole or not at all."""
    files.save_bytes(path, colour_png(mask))


def _checked(mask):
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f'a mask is (H, W) uint8, this is {mask.shape} {mask.dtype}')
    return np.ascontiguousarray(mask)
