"""Overlays: what they show, and which are drawn again."""
import os

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


def test_an_overlay_shows_the_image_in_the_background_and_colours_elsewhere():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    mask = mask_of_all_kinds()
    over = overlay.blend(image, mask)
    assert np.array_equal(over[mask == 0], image[mask == 0])
    expected = .4 * image + .6 * masks.palette()[mask][..., ::-1]
    assert np.abs(over.astype(float) - expected)[mask > 0].max() <= 1


@pytest.fixture
def drawn(tmp_path):
    for name in ('a', 'sub/b'):
        files.save_image(str(tmp_path / 'images' / (name + '.jpg')), np.full((40, 50, 3), 90, np.uint8))
        masks.save_mask(str(tmp_path / 'crf' / (name + '.png')), mask_of_all_kinds())
    overlay.draw_seeds([str(tmp_path / 'crf')], ['a', 'sub/b'], str(tmp_path / 'images'), 1)
    return tmp_path


def test_colour_copies_keep_the_indices(drawn):
    for name in ('a', 'sub/b'):
        path = str(drawn / 'crf_colour' / (name + '.png'))
        assert np.array_equal(masks.read_mask(path), mask_of_all_kinds())
        with Image.open(path) as image:
            assert np.array_equal(np.array(image.convert('RGB')), masks.palette()[mask_of_all_kinds()])
        over = images.read_image(str(drawn / 'crf_overlay' / (name + '.jpg')))
        expected = overlay.blend(np.full((40, 50, 3), 90, np.uint8), mask_of_all_kinds())
        assert np.abs(over.astype(float) - expected).mean() < 4


@pytest.mark.parametrize('newer', ['crf/sub/b.png', 'images/sub/b.jpg'])
def test_only_overlays_of_new_seeds_and_images_are_drawn_again(drawn, newer):
    copies = [str(drawn / kind) for kind in ('crf_colour/a.png', 'crf_colour/sub/b.png', 'crf_overlay/a.jpg',
                                             'crf_overlay/sub/b.jpg')]
    for path in copies:
        os.utime(path, (300, 300))
    for path in ('crf/a.png', 'crf/sub/b.png', 'images/a.jpg', 'images/sub/b.jpg'):
        os.utime(str(drawn / path), (301, 301) if path == newer else (300, 300))
    files.save_bytes(str(drawn / 'crf_colour' / '.a.png.part'), b'half')
    overlay.draw_seeds([str(drawn / 'crf')], ['a', 'sub/b'], str(drawn / 'images'), 1)
    assert [os.stat(path).st_mtime == 300 for path in copies] == [True, False, True, False]
    assert not (drawn / 'crf_colour' / '.a.png.part').exists()


@pytest.mark.parametrize('copy', ['crf_colour/a.png', 'crf_overlay/a.jpg'])
def test_a_missing_overlay_is_drawn(drawn, copy):
    os.remove(str(drawn / copy))
    overlay.draw_seeds([str(drawn / 'crf')], ['a', 'sub/b'], str(drawn / 'images'), 1)
    assert (drawn / copy).exists()


def test_a_seed_of_another_size_is_refused(drawn):
    masks.save_mask(str(drawn / 'crf' / 'a.png'), np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match='a.png: has another size than .*a.jpg'):
        overlay.draw_seeds([str(drawn / 'crf')], ['a'], str(drawn / 'images'), 1)
