"""What is seen of a training from its files, also while they are being written."""
import json
import os
import time

import numpy as np
import pytest

from icd import files
from icd.live import training
from tests.helpers import run_files


@pytest.fixture
def folder(tmp_path):
    run_files.training(str(tmp_path))
    return str(tmp_path)


def state(folder, later=0.):
    return training.state(folder, time.time() + later)


def test_position_curves_and_last_lines(folder):
    seen = state(folder)
    assert (seen['epoch'], seen['epochs'], seen['step'], seen['steps']) == (2, 3, 6, 12)
    assert seen['command'] == '--num-epoch 3' and seen['network'] == '' and abs(seen['wrote'] - time.time()) < 60
    assert [panel['title'] for panel in seen['panels']] == [
        'loss', 'CAM ranking accuracy', 'calibrated score', 'fraction of classes with flipped sign', 'learning rate',
        'images a second']
    loss, both = seen['panels'][0]['lines'], seen['panels'][2]['lines']
    assert loss == [{'name': 'loss', 'steps': [1, 2, 3, 4, 5, 6], 'values': [1, .5, .3333333, .25, .2, .1666667]}]
    assert [(line['name'], line['values'][-1]) for line in both] == [('score min', -1), ('score max', 6)]
    assert seen['starts'] == [4] and seen['last']['loss'] == .1666667
    assert seen['log'][-1] == '2026-01-02 03:04:05 epoch 1 batch 1: loss' and len(seen['log']) == 8
    json.dumps(seen, allow_nan=False)


def test_time_is_left_only_while_a_run_goes_on(folder):
    assert state(folder)['seconds_left'] is None and not state(folder)['held']
    with files.folder_lock(folder):
        assert state(folder)['held'] and 98 <= state(folder)['seconds_left'] <= 100
        assert 58 <= state(folder, later=40)['seconds_left'] <= 60
        assert state(folder, later=4000)['seconds_left'] == 0
    assert not files.is_held(folder) and not files.is_held(folder + '/none')


def test_a_checkpoint_says_what_the_log_does_not(folder):
    for name in ('net-0001.params', 'net-resume-00000011.params', 'net-0001.states', 'other.params'):
        run_files.write(os.path.join(folder, name), b'')
    assert state(folder)['step'] == 8
    run_files.write(os.path.join(folder, 'net-0002.params'), b'')
    with files.folder_lock(folder):
        assert state(folder)['step'] == 12 and state(folder)['seconds_left'] is None


def test_the_newest_run_counts(folder):
    with open(os.path.join(folder, 'log.txt'), 'a') as file:
        file.write("2026-01-02 04:00:00 --num-epoch 9 --snapshot 'a b'\n"
                   '2026-01-02 04:00:00 from epoch 1, batch 2, of 9 epochs of 4 batches\n')
    assert (state(folder)['epochs'], state(folder)['steps']) == (9, 36)
    assert state(folder)['command'] == "--num-epoch 9 --snapshot 'a b'"
    with open(os.path.join(folder, 'log.txt'), 'a') as file:       # as before the length was written
        file.write('2026-01-02 04:00:00 --width 1\n2026-01-02 04:00:00 from epoch 1, batch 2\n')
    assert (state(folder)['steps'], state(folder)['step'], state(folder)['command']) == (None, 6, '--width 1')


@pytest.mark.parametrize('ending', ['1,2', '1,2,7,0.00', '1,2,7,nan,inf,,x,,,,,,,,,,\n', '\0\0\0', '\xff\n', '1,' * 99])
def test_half_written_lines_change_nothing_that_is_known(folder, ending):
    before = state(folder)
    with open(os.path.join(folder, 'log.csv'), 'a', encoding='latin-1') as file:
        file.write(ending)
    after = json.loads(json.dumps(state(folder), allow_nan=False))
    assert after['panels'][0]['lines'][0]['values'][:6] == before['panels'][0]['lines'][0]['values']
    assert after['epoch'] == 2


@pytest.mark.parametrize('text', ['', 'epoch,batch', run_files.COLUMNS + '\n', 'a,b\n1,2\n', '\0', '"'])
def test_tables_without_lines_are_empty(tmp_path, text):
    run_files.write(tmp_path / 'log.csv', text)
    seen = state(str(tmp_path))
    assert (seen['step'], seen['epoch'], seen['log'], seen['command']) == (None, None, (), '')
    json.dumps(seen, allow_nan=False)


def test_long_logs_are_averaged_and_keep_their_extremes(tmp_path):
    lines = [run_files.row(step, 500) for step in range(1, 1501)]
    lines[700] = lines[700].replace(lines[700].split(',')[5], '55.5')
    run_files.write(tmp_path / 'log.csv', run_files.COLUMNS + '\n' + ''.join(lines))
    line, = state(str(tmp_path))['panels'][0]['lines']
    assert {len(line[name]) for name in ('steps', 'values', 'low', 'high')} == {300}
    assert line['values'][0] == pytest.approx(np.mean([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]))
    assert (line['low'][0], line['high'][0], line['steps'][0], line['steps'][-1]) == (.2, 1, 5, 1500)
    assert max(line['high']) == 55.5 and state(str(tmp_path))['starts'] == [500, 1000]


def test_a_segmentation_network_is_named(folder):
    run_files.write(os.path.join(folder, 'profile.json'), '{"traceEvents": []}')
    run_files.write(os.path.join(folder, 'broken.json'), '{')
    assert state(folder)['network'] == ''
    run_files.write(os.path.join(folder, 'net.json'), '{"network": "vgg16_largefov", "class_names": ["a"]}')
    assert state(folder)['network'] == 'vgg16_largefov'
