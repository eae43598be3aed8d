"""Masks of class indices: index PNGs and VOC's colours."""
import contextlib
import io

import numpy as np
from PIL import Image, ImageFile

from icd import files
from icd.data import images
from icd.errors import UserError


def palette():
    """VOC's colours of the 256 indices: (256, 3) uint8, RGB. The bits of an index are dealt out to the channels."""
    index = np.arange(256, dtype=np.uint8)
    bits = np.unpackbits(index[:, None], axis=1, bitorder='little')             # (256, 8), lowest bit first
    colours = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for level, bit in enumerate(range(channel, 8, 3)):
            colours[:, channel] |= bits[:, bit] << (7 - level)
    return colours


@contextlib.contextmanager
def _strict_pillow():
    """Importing GluonCV tells Pillow to fill what is missing of a damaged file with zeros: the background, in a mask."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def read_mask(path):
    """Read the class indices of a mask.

    Parameters
    ----------
    path : str
        A palette or grey PNG; its colours are of no account.

    Returns
    -------
    ndarray (H, W) uint8

    Raises
    ------
    UserError
        When the file is missing, damaged or no PNG, is a colour picture, or has values above 255.
    """
    data = images.read_bytes(path, 'check the folder and the list of names')
    try:
        with _strict_pillow(), Image.open(io.BytesIO(data), formats=('PNG',)) as image:
            mode, mask = image.mode, np.array(image)
    except images.DAMAGE:
        raise UserError('not a whole PNG image', path, 'copy or make it again') from None
    if mode not in ('P', 'L', '1') and not mode.startswith('I'):
        raise UserError(f'a colour picture (mode {mode})', path, 'masks hold class indices, in a grey or palette PNG')
    bits = data[24]                                     # of the header: Pillow stretches 2 and 4 bits of grey to 8
    if data[12:16] != b'IHDR':
        raise UserError('not a whole PNG image', path, 'copy or make it again')
    if mode == 'L' and bits < 8:
        mask = mask // (255 // (2 ** bits - 1))
    if mask.max() > 255:
        raise UserError(f'has the index {mask.max()}', path, 'masks hold class indices up to 255')
    return mask.astype(np.uint8)


def save_mask(path, mask):
    """Write class indices (H, W) uint8 as a grey PNG that every program reads as indices, whole or not at all."""
    files.save_image(path, _checked(mask))


def save_colour(path, mask):
    """Write class indices (H, W) uint8 as a palette PNG in VOC's colours, whole or not at all."""
    image = Image.fromarray(_checked(mask), 'P')
    image.putpalette(palette().tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG')
    files.save_bytes(path, data.getvalue())


def _checked(mask):
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError('a mask is (H, W) uint8, this is %s %s' % (mask.shape, mask.dtype))
    return np.ascontiguousarray(mask)
