"""Sizes from the first bytes of a file are those that decoders find, or none."""
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data import headers, images
from tests.data import encoded_image, random_mask
from tests.fuzz import damage

EXIF = Image.Exif()
EXIF[0x112] = 6


def saved(kind, mode='RGB', **kwargs):
    data = io.BytesIO()
    Image.fromarray(random_mask(1, (40, 60, 3))).convert(mode).save(data, kind, **kwargs)
    return data.getvalue()


@pytest.mark.parametrize('data', [
    encoded_image(), encoded_image((40, 60)), encoded_image(ending='.png'), encoded_image((40, 60), '.png'),
    saved('PNG', 'P'), saved('PNG', '1'), saved('PNG', 'RGBA'), saved('JPEG', progressive=True), saved('JPEG', 'L'),
    saved('JPEG', comment=b'x' * 900), cv2.imencode('.png', np.zeros((40, 60), np.uint16))[1].tobytes()])
def test_plain_files_have_their_size(data):
    assert headers.size(data[:headers.COUNT]) == (40, 60)


@pytest.mark.parametrize('data', [
    saved('JPEG', exif=EXIF), saved('PNG', exif=EXIF), saved('JPEG', 'CMYK'), saved('WEBP'), saved('BMP'), b'',
    b'\xff\xd8', encoded_image()[:150], encoded_image(ending='.png')[:30], saved('JPEG', comment=b'x' * 9000),
    encoded_image((1, 1), '.png')[:16] + b'\xff' * 40])
def test_what_is_not_plain_is_left_to_the_decoder(data):
    assert headers.size(data[:headers.COUNT]) is None


@pytest.mark.parametrize('data', [encoded_image(), encoded_image(ending='.png')])
def test_damaged_files_have_no_other_size_than_pillows(data):
    rng, compared = np.random.RandomState(0), 0
    for _ in range(400):
        damaged = damage(data[:300], rng) + data[300:]
        found = headers.size(damaged[:headers.COUNT])
        try:
            with Image.open(io.BytesIO(damaged)) as image:
                size = image.size[::-1]
        except images.DAMAGE:
            continue
        compared += found is not None
        assert found in (None, size)
    assert compared > 20
