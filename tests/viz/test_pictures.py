import os

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data import images, masks
from icd import files
from icd.errors import UserError
from icd.viz import pictures

HEADER = 'epoch,batch,step,learning_rate,loss,ranking,score_min,score_max,flipped,images_per_second\n'
LINES = [HEADER] + ['%d,%d,%d,0.001,%g,0.8,-1,%g,0.1,30\n' % (i // 4, i % 4, i, 1 / (i + 1), i) for i in range(12)]


def mask_of_all_kinds():
    mask = np.zeros((40, 50), np.uint8)
    mask[:20, 10:30], mask[25:, :20], mask[30:, 40:] = 3, 15, 255
    return mask


def test_an_overlay_shows_the_photograph_in_the_background_and_colours_elsewhere():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    mask = mask_of_all_kinds()
    over = pictures.overlay(image, mask)
    assert np.array_equal(over[mask == 0], image[mask == 0])
    expected = .4 * image + .6 * masks.palette()[mask][..., ::-1]
    assert np.abs(over.astype(float) - expected)[mask > 0].max() <= 1


@pytest.fixture
def drawn(tmp_path):
    for name in ('a', 'sub/b'):
        files.save_image(str(tmp_path / 'images' / (name + '.jpg')), np.full((40, 50, 3), 90, np.uint8))
        masks.save_mask(str(tmp_path / 'crf' / (name + '.png')), mask_of_all_kinds())
    pictures.draw_seeds([str(tmp_path / 'crf')], ['a', 'sub/b'], str(tmp_path / 'images'), 1)
    return tmp_path


def test_colour_copies_keep_the_indices(drawn):
    for name in ('a', 'sub/b'):
        path = str(drawn / 'crf_colour' / (name + '.png'))
        assert np.array_equal(masks.read_mask(path), mask_of_all_kinds())
        with Image.open(path) as image:
            assert np.array_equal(np.array(image.convert('RGB')), masks.palette()[mask_of_all_kinds()])
        over = images.read_image(str(drawn / 'crf_overlay' / (name + '.jpg')))
        expected = pictures.overlay(np.full((40, 50, 3), 90, np.uint8), mask_of_all_kinds())
        assert np.abs(over.astype(float) - expected).mean() < 4


@pytest.mark.parametrize('newer', ['crf/sub/b.png', 'images/sub/b.jpg'])
def test_only_pictures_of_new_seeds_and_photographs_are_drawn_again(drawn, newer):
    copies = [str(drawn / kind) for kind in ('crf_colour/a.png', 'crf_colour/sub/b.png', 'crf_overlay/a.jpg',
                                             'crf_overlay/sub/b.jpg')]
    for path in copies:
        os.utime(path, (300, 300))
    for path in ('crf/a.png', 'crf/sub/b.png', 'images/a.jpg', 'images/sub/b.jpg'):
        os.utime(str(drawn / path), (301, 301) if path == newer else (300, 300))
    files.save_bytes(str(drawn / 'crf_colour' / '.a.png.part'), b'half')
    pictures.draw_seeds([str(drawn / 'crf')], ['a', 'sub/b'], str(drawn / 'images'), 1)
    assert [os.stat(path).st_mtime == 300 for path in copies] == [True, False, True, False]
    assert not (drawn / 'crf_colour' / '.a.png.part').exists()


@pytest.mark.parametrize('copy', ['crf_colour/a.png', 'crf_overlay/a.jpg'])
def test_a_missing_picture_is_drawn(drawn, copy):
    os.remove(str(drawn / copy))
    pictures.draw_seeds([str(drawn / 'crf')], ['a', 'sub/b'], str(drawn / 'images'), 1)
    assert (drawn / copy).exists()


def test_a_seed_of_another_size_is_refused(drawn):
    masks.save_mask(str(drawn / 'crf' / 'a.png'), np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match='a.png: has another size than .*a.jpg'):
        pictures.draw_seeds([str(drawn / 'crf')], ['a'], str(drawn / 'images'), 1)


def drawing(tmp_path, text):
    log, png = str(tmp_path / 'log.csv'), str(tmp_path / 'curves.png')
    files.save_bytes(log, text.encode())
    pictures.curves(log, png)
    image = cv2.imread(png)
    assert image.shape == (720, 1500, 3)
    return image


def ink(image):
    """Pixels of the default line colours."""
    blue, green, red = (image[..., i].astype(int) for i in range(3))
    return (np.maximum(np.maximum(blue, green), red) - np.minimum(np.minimum(blue, green), red) > 60).sum()


def test_curves_are_drawn(tmp_path):
    assert ink(drawing(tmp_path, ''.join(LINES))) > 6 * 300
    assert sorted(os.listdir(str(tmp_path))) == ['curves.png', 'log.csv']


def test_a_panel_without_values_is_empty(tmp_path):
    rest = drawing(tmp_path, ''.join(line.replace(',loss', ',other') for line in LINES))
    assert ink(rest[:360, :480]) == 0 < ink(rest[:360, 520:])


@pytest.mark.parametrize('lines', [[], LINES[:2], LINES + ['3,0,12,nan,inf,x,,,,\n\0\0'], ['no,such,log\n1,2,3\n']])
def test_logs_of_every_length_and_half_written_lines(tmp_path, lines):
    drawing(tmp_path, ''.join(lines))


def test_a_half_written_line_changes_nothing(tmp_path):
    assert np.array_equal(drawing(tmp_path, ''.join(LINES)), drawing(tmp_path, ''.join(LINES) + '3,1,1'))


def test_the_dotted_lines_stand_where_epochs_begin(tmp_path):
    def column_of_line(batch):
        rows = ['epoch,batch,step,loss\n'] + ['%d,%d,%d,1\n' % (step // 21, batch(step), step + 1) for step in range(5, 42, 6)]
        image = drawing(tmp_path, ''.join(rows))[100:300, 70:470].astype(int)
        grey = ((image.max(2) < 200) & (image.max(2) - image.min(2) < 9)).sum(0)
        return int(grey.argmax()), int(grey.max())
    column, height = column_of_line(lambda step: step % 21)
    first, last, width = 6 - .05 * 36, 42 + .05 * 36, .945 / 3.32 * 1500        # of the axis: steps, pixels
    assert height > 40 and abs((60 + (21 - first) / (last - first) * width) - (70 + column)) < 3
    assert column_of_line(lambda step: step % 21 - 9)[0] > column + 50


def test_a_field_without_end_is_no_log(tmp_path):
    with pytest.raises(UserError, match='log.csv: not a log of a training: .*remove it'):
        drawing(tmp_path, LINES[0] + '1' * 140000)


def test_no_log(tmp_path):
    with pytest.raises(UserError, match='log.csv: no such file: train first'):
        pictures.curves(str(tmp_path / 'log.csv'), str(tmp_path / 'curves.png'))


def test_the_curves_are_of_columns_the_log_has():
    from icd.train import log
    from icd.train.icd_task import IcdTask
    assert {column for _, columns in pictures._PANELS for column in columns} <= set(log.columns(IcdTask.figures))
