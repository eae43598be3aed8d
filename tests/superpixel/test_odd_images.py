"""Of any image file, header, decoder and makeSuperpixel have one opinion: its size, which way up it is, its pixels."""
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data import headers, images, masks, superpixel_map
from icd.errors import UserError
from icd.superpixels import slic
from tests.data import write
from tests.helpers import odd_images
from tests.superpixel.superpixel_program import build, call

WHOLE, REFUSED = odd_images.table(), odd_images.refused()


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    """The folder of the files 0.jpg, 1.jpg, ..., those of `WHOLE` first; their maps; what the program said."""
    build()
    root = tmp_path_factory.mktemp('odd')
    os.mkdir(str(root / 'images'))
    files = [*WHOLE.values(), *REFUSED.values()]
    for i, data in enumerate(files):
        write(root / 'images' / f'{i}.jpg', data)
    write(root / 'list.txt', '\n'.join(map(str, range(len(files)))))
    code, lines = call('list.txt', 'images', 'maps', 5, cwd=str(root))
    assert code == 1
    return root, lines


def test_there_are_many():
    assert len(WHOLE) + len(REFUSED) >= 80


@pytest.mark.parametrize('what', WHOLE)
def test_whole_files(what, seen, capfd):
    number = list(WHOLE).index(what)
    path = str(seen[0] / 'images' / f'{number}.jpg')
    image = images.read_image(path)
    assert images.image_size(path) == image.shape[:2]
    labels = superpixel_map.read(str(seen[0] / 'maps' / f'{number}.png'))
    assert np.array_equal(labels, slic(np.ascontiguousarray(image[..., ::-1]), 5))
    assert 'iCCP' not in capfd.readouterr().err         # libpng names no file


@pytest.mark.parametrize('what', REFUSED)
def test_refused_files(what, seen):
    number = len(WHOLE) + list(REFUSED).index(what)
    path = str(seen[0] / 'images' / f'{number}.jpg')
    with pytest.raises(UserError):
        images.read_image(path)
    assert not (seen[0] / 'maps' / f'{number}.png').exists()
    assert len([line for line in seen[1] if f'/{number}.jpg: ' in line]) == 1


@pytest.mark.parametrize('what', ['png much text', 'png much text as it is', 'png much profile'])
def test_masks_may_hold_much_that_is_no_pixel(what, tmp_path):
    mask = np.arange(60, dtype=np.uint8).reshape(6, 10)
    cut = cv2.imencode('.png', mask)[1].tobytes()
    at, whole = WHOLE[what].index(b'IDAT') - 4, WHOLE[what]
    begin = 33                                      # behind the header
    path = write(tmp_path / 'a.png', cut[:33] + whole[begin:at] + cut[33:])
    assert len(open(path, 'rb').read()) > 3000 and (masks.read_mask(path) == mask).all()


def test_large_images_are_no_attack(tmp_path, monkeypatch):
    """Pillow refuses 200 million pixels."""
    path = write(tmp_path / 'a.png', odd_images.grey_png(14000, 14300))
    assert images.image_size(path) == (14000, 14300)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    path = write(tmp_path / 'b.png', odd_images.save('PNG', Image.fromarray(odd_images.pixels()[..., 0]).convert('1')))
    assert images.image_size(path) == masks.read_mask(path).shape == (odd_images.HEIGHT, odd_images.WIDTH)


def test_more_pixels_than_are_decoded_are_refused_by_the_header(tmp_path):
    path = write(tmp_path / 'a.png', REFUSED['png of a false size'])
    assert 60000 ** 2 > headers.LARGEST
    with pytest.raises(UserError, match='more than 1073 million pixels: scale it down'):
        images.image_size(path)
    with pytest.raises(UserError, match='not a whole PNG'):
        masks.read_mask(path)
