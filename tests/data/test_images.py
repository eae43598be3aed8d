"""Images: pixels and sizes agree whatever the file; damaged files are refused in one line that names them."""
import pytest
from PIL import Image

from icd.data import images
from tests.data import encoded_image, random_mask, refused, write


def test_images_are_read_as_bgr_whatever_their_encoding(tmp_path):
    path = write(tmp_path / 'a.jpg', encoded_image(ending='.png'))
    assert (images.read_image(path) == random_mask(1, (40, 60, 3))).all()
    assert images.read_image(write(tmp_path / 'a.jpg', encoded_image((40, 60)))).shape == (40, 60, 3)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_size_of_a_rotated_image_is_that_of_the_decoded_one(tmp_path, kind):
    exif = Image.Exif()
    exif[0x112] = 6
    path = str(tmp_path / 'a.jpg')
    Image.fromarray(random_mask(1, (40, 60, 3))).save(path, kind, exif=exif)
    assert images.image_size(path) == images.read_image(path).shape[:2]


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
@pytest.mark.parametrize('left', [0, 1, 30, .5, -1])
def test_images_cut_short_are_refused(tmp_path, ending, left):
    data = encoded_image(ending=ending)
    cut = len(data) - 13 if left == -1 else int(left * len(data)) if isinstance(left, float) else left
    path = write(tmp_path / 'a.jpg', data[:cut])
    with refused(path, 'cut short' if cut >= 8 else 'not an image', 'again'):
        images.read_image(path)


def test_thumbnail_in_a_header_does_not_pass_for_the_end(tmp_path):
    thumbnail, data = encoded_image((8, 8)), encoded_image()
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    whole = data[:2] + segment + data[2:]
    assert images.read_image(write(tmp_path / 'a.jpg', whole)).shape == (40, 60, 3)
    path = write(tmp_path / 'b.jpg', whole[:-100])
    with refused(path, 'cut short'):
        images.read_image(path)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_image_size_is_that_of_the_decoded_image(tmp_path, orientation):
    path, exif = str(tmp_path / 'a.jpg'), Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(random_mask(1, (40, 60, 3))).save(path, exif=exif.tobytes())
    assert images.image_size(path) == images.read_image(path).shape[:2]


def test_files_that_cannot_be_opened_are_named(tmp_path):
    for read in (images.read_image, images.image_size):
        with refused(tmp_path / 'a.jpg', 'no such file', 'image folder'):
            read(str(tmp_path / 'a.jpg'))
        with refused(tmp_path, 'this is a folder'):
            read(str(tmp_path))
        with refused(write(tmp_path / 'b.jpg', 'x') + '/c.jpg', 'no such file'):
            read(str(tmp_path / 'b.jpg' / 'c.jpg'))


def test_only_the_start_of_a_file_is_read(tmp_path):
    assert images.read_bytes(write(tmp_path / 'a', 'abcdef'), 'remedy', 4) == b'abcd'
