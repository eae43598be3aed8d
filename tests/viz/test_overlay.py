"""Overlays: seeds in VOC's colours, alone and over their images."""
import numpy as np
import pytest
from PIL import Image

from icd import files
from icd.data import images, masks
from icd.errors import UserError
from icd.viz import overlay


def mask_of_all_kinds():
    mask = np.zeros((40, 50), np.uint8)
    mask[:20, 10:30], mask[25:, :20], mask[30:, 40:] = 3, 15, 255
    return mask


def test_overlay_shows_the_image_where_the_seed_is_background():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    mask = mask_of_all_kinds()
    over = overlay.blend(image, mask)
    assert np.array_equal(over[mask == 0], image[mask == 0])
    expected = .4 * image + .6 * masks.palette()[mask][..., ::-1]
    assert np.abs(over.astype(float) - expected)[mask > 0].max() <= 1


@pytest.fixture
def paths(tmp_path):
    """A seed and its image, and where they are drawn: all in folders of their own."""
    seed, image = str(tmp_path / 'crf/sub/b.png'), str(tmp_path / 'images/sub/b.jpg')
    files.save_image(image, np.full((40, 50, 3), 90, np.uint8))
    masks.save_mask(seed, mask_of_all_kinds())
    return (seed, image) + tuple(folder + '/sub/b' + ending
                                 for folder, ending in overlay.drawn_folders(str(tmp_path / 'crf')))


def test_a_seed_is_drawn_next_to_its_folder(tmp_path, paths):
    overlay.draw_seed(paths)
    colour = str(tmp_path / 'crf_colour/sub/b.png')
    assert np.array_equal(masks.read_mask(colour), mask_of_all_kinds())
    with Image.open(colour) as image:
        assert np.array_equal(np.array(image.convert('RGB')), masks.palette()[mask_of_all_kinds()])
    over = images.read_image(str(tmp_path / 'crf_overlay/sub/b.jpg'))
    expected = overlay.blend(np.full((40, 50, 3), 90, np.uint8), mask_of_all_kinds())
    assert np.abs(over.astype(float) - expected).mean() < 4


def test_a_seed_of_another_size_is_refused(tmp_path, paths):
    masks.save_mask(paths[0], np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match='b.png: has another size than .*b.jpg'):
        overlay.draw_seed(paths)
    assert not (tmp_path / 'crf_colour').exists()
