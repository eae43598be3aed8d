"""Masks: every program reads the indices that were meant; what is no mask is refused in one line."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from icd.data import masks
from tests.data import random_mask, refused, write


def test_palette_is_the_one_of_voc():
    palette = masks.palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8 and len(set(map(tuple, palette))) == 256
    assert palette[[0, 1, 2, 3, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_grey_mask_is_read_as_indices_by_everybody(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    masks.save_mask(path, mask)
    assert (masks.read_mask(path) == mask).all()
    assert (np.array(Image.open(path)) == mask).all()
    assert (cv2.imread(path, cv2.IMREAD_UNCHANGED) == mask).all()


def test_palette_mask_has_vocs_colours_and_the_same_indices(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    masks.save_colour(path, mask)
    assert (masks.read_mask(path) == mask).all()
    assert (cv2.imread(path)[..., ::-1] == masks.palette()[mask]).all()


@pytest.mark.parametrize('bits', [1, 2, 4])
@pytest.mark.parametrize('mode', ['P', 'L'])
def test_masks_of_1_to_4_bits_are_read_as_indices(tmp_path, bits, mode):
    """Pillow stretches grey values of 2 and 4 bits to 0..255; they are indices all the same."""
    mask, path = random_mask() % (1 << bits), str(tmp_path / 'a.png')
    image = Image.fromarray(mask, 'P')
    image.putpalette(masks.palette().tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG', bits=bits)
    data = bytearray(data.getvalue())
    if mode == 'L':
        data = grey_header(data)
    assert data[24] == bits
    assert (masks.read_mask(write(tmp_path / 'a.png', bytes(data))) == mask).all(), path


def grey_header(data):
    """A palette PNG turned into a grey one: another colour type, the palette left out."""
    data[25] = 0
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    start = data.index(b'PLTE') - 4
    return data[:start] + data[start + 12 + int.from_bytes(data[start:start + 4], 'big'):]


def test_masks_of_16_bits_hold_indices_up_to_255(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    cv2.imwrite(path, mask.astype(np.uint16))
    assert (masks.read_mask(path) == mask).all()
    cv2.imwrite(path, np.full((3, 3), 256, np.uint16))
    with refused(path, '256', 'indices'):
        masks.read_mask(path)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_colour_images_are_refused_as_masks(tmp_path, mode):
    path = str(tmp_path / 'a.png')
    Image.new(mode, (5, 4)).save(path)
    with refused(path, 'colour picture', 'indices'):
        masks.read_mask(path)


@pytest.mark.parametrize('content', [b'', b'\x89PNG\r\n\x1a\n', b'GIF89a', 'cut', 'jpeg'])
def test_damaged_masks_are_refused(tmp_path, content):
    good = cv2.imencode('.png', random_mask())[1].tobytes()
    content = {'cut': good[:-40], 'jpeg': cv2.imencode('.jpg', random_mask())[1].tobytes()}.get(content, content)
    path = write(tmp_path / 'a.png', content)
    with refused(path, 'not a whole PNG'):
        masks.read_mask(path)


def test_a_mask_with_a_chunk_before_its_header_is_refused(tmp_path):
    good = cv2.imencode('.png', random_mask())[1].tobytes()
    gamma = b'gAMA' + struct.pack('>I', 0)
    chunk = struct.pack('>I', 4) + gamma + struct.pack('>I', zlib.crc32(gamma))
    path = write(tmp_path / 'a.png', good[:8] + chunk + good[8:])
    with refused(path, 'not a whole PNG'):
        masks.read_mask(path)


def test_save_mask_refuses_other_types_than_indices(tmp_path):
    for wrong in (np.zeros((3, 3)), np.zeros((3, 3, 3), np.uint8)):
        with pytest.raises(ValueError):
            masks.save_mask(str(tmp_path / 'a.png'), wrong)
    assert not list(tmp_path.iterdir())


def test_truncated_masks_are_refused_with_any_setting_of_pillow(tmp_path, monkeypatch):
    """Importing GluonCV makes Pillow fill what is missing with zeros."""
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    good = cv2.imencode('.png', random_mask())[1].tobytes()
    path = write(tmp_path / 'a.png', good[:len(good) // 2])
    with refused(path, 'not a whole PNG'):
        masks.read_mask(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES
