"""Training curves: drawn from logs of every length, of any task."""
import os

import cv2
import numpy as np
import pytest

from icd import files
from icd.errors import UserError
from icd.viz import curves

HEADER = 'epoch,batch,step,learning_rate,loss,ranking,score_min,score_max,flipped,images_per_second\n'
LINES = [HEADER] + [f'{i // 4},{i % 4},{i},0.001,{1 / (i + 1):g},0.8,-1,{i:g},0.1,30\n' for i in range(12)]


def drawing(tmp_path, text):
    log, png = str(tmp_path / 'log.csv'), str(tmp_path / 'curves.png')
    files.save_bytes(log, text.encode())
    curves.draw(log, png)
    image = cv2.imread(png)
    assert image.shape[0] in (360, 720) and image.shape[1:] == (1500, 3)
    return image


def ink(image):
    """Pixels of the default line colours."""
    blue, green, red = (image[..., i].astype(int) for i in range(3))
    return (np.maximum(np.maximum(blue, green), red) - np.minimum(np.minimum(blue, green), red) > 60).sum()


def test_curves_are_drawn(tmp_path):
    assert ink(drawing(tmp_path, ''.join(LINES))) > 6 * 300
    assert sorted(os.listdir(str(tmp_path))) == ['curves.png', 'log.csv']


def test_a_panel_without_values_is_empty(tmp_path):
    rest = drawing(tmp_path, ''.join(line.replace(',loss', ',epoch') for line in LINES))
    assert ink(rest[:360, :480]) == 0 < ink(rest[:360, 520:])


@pytest.mark.parametrize('lines', [[], LINES[:2], LINES + ['3,0,12,nan,inf,x,,,,\n\0\0'], ['no,such,log\n1,2,3\n']])
def test_logs_of_every_length_and_half_written_lines(tmp_path, lines):
    drawing(tmp_path, ''.join(lines))


def test_a_half_written_line_changes_nothing(tmp_path):
    assert np.array_equal(drawing(tmp_path, ''.join(LINES)), drawing(tmp_path, ''.join(LINES) + '3,1,1'))


def test_the_dotted_lines_stand_where_epochs_begin(tmp_path):
    def column_of_line(batch):
        rows = ['epoch,batch,step,loss\n']
        rows += [f'{step // 21},{batch(step)},{step + 1},1\n' for step in range(5, 42, 6)]
        image = drawing(tmp_path, ''.join(rows))[100:300, 70:470].astype(int)
        grey = ((image.max(2) < 200) & (image.max(2) - image.min(2) < 9)).sum(0)
        return int(grey.argmax()), int(grey.max())
    column, height = column_of_line(lambda step: step % 21)
    first, last, width = 6 - .05 * 36, 42 + .05 * 36, .945 / 3.32 * 1500        # of the axis: steps, pixels
    assert height > 40 and abs((60 + (21 - first) / (last - first) * width) - (70 + column)) < 3
    assert column_of_line(lambda step: step % 21 - 9)[0] > column + 50


def test_a_log_with_an_endless_field_is_refused(tmp_path):
    with pytest.raises(UserError, match='log.csv: not a log of a training: .*remove it'):
        drawing(tmp_path, LINES[0] + '1' * 140000)


def test_curves_without_a_log_are_refused(tmp_path):
    with pytest.raises(UserError, match='log.csv: no such file: train first'):
        curves.draw(str(tmp_path / 'log.csv'), str(tmp_path / 'curves.png'))


def test_a_log_of_icd_has_six_panels(tmp_path):
    columns = ('epoch batch step learning_rate warm_up loss ranking score_min score_max state_min state_max flipped '
               'images_per_second seconds_left input_s compute_s update_s').split()
    assert curves.panels(columns) == {
        'loss': ['loss'], 'CAM ranking accuracy': ['ranking'], 'calibrated score': ['score_min', 'score_max'],
        'fraction of classes with flipped sign': ['flipped'], 'learning rate': ['learning_rate'],
        'images a second': ['images_per_second']}
    assert drawing(tmp_path, ''.join(LINES)).shape[0] == 720


def test_a_log_of_another_task_has_its_own_panels(tmp_path):
    lines = ['epoch,batch,step,learning_rate,loss,pixel_accuracy,images_per_second,input_s\n']
    lines += [f'0,{i},{i + 1},.1,{2 / (i + 1):g},{i / 9:g},9,1\n' for i in range(9)]
    assert list(curves.panels(lines[0].strip().split(','))) == [
        'loss', 'pixel accuracy', 'learning rate', 'images a second']
    image = drawing(tmp_path, ''.join(lines))
    drawn = [ink(image[y:y + 360, x:x + 500]) > 200 for y in (0, 360) for x in (0, 500, 1000)]
    assert drawn == [True] * 4 + [False] * 2 and image[360:, 510:].min() == 255


def test_an_empty_log_has_empty_panels(tmp_path):
    assert drawing(tmp_path, '').shape[0] == 360                # loss, learning rate and speed, without values
