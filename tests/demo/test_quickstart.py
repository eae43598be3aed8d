"""docs/quickstart.ipynb: its cells run, made so small that it takes seconds, and its committed outputs are clean."""
import contextlib
import io
import json
import os
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

from icd.data import masks
from tests.helpers import PROJECT

PATH = os.path.join(PROJECT, 'docs', 'quickstart.ipynb')
TINY = dict(IMAGES=8, EPOCHS=1, PARTS=16, PART_EPOCHS=1, WIDTH=1 / 32, BATCH=4, SIZE=97, PROCESSES=1)
LARGEST = 1_500_000         # bytes, for people who read it on a Git host

with open(PATH, encoding='utf-8') as notebook:
    CELLS = [cell for cell in json.load(notebook)['cells'] if cell['cell_type'] == 'code']
OUTPUTS = [output for cell in CELLS for output in cell['outputs']]


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """The names that the cells define, what they print, and the figures they draw."""
    names, printed, folder = {}, io.StringIO(), tmp_path_factory.mktemp('quickstart')
    plt.switch_backend('Agg')
    plt.close('all')
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        for cell in CELLS:
            exec(compile(''.join(cell['source']), cell['id'], 'exec'), names)
            if cell is CELLS[0]:
                assert set(names) - {'__builtins__'} == {*TINY, 'FOLDER'}
                names.update(TINY, FOLDER=str(folder))
    yield names, printed.getvalue(), [plt.figure(number) for number in plt.get_fignums()]
    plt.close('all')


def test_sizes_stand_in_the_first_cell():
    assert CELLS[0]['metadata']['tags'] == ['parameters']


def test_figures_are_drawn(done):
    _, _, figures = done
    shown = sum('image/png' in output.get('data', {}) or 'image/jpeg' in output.get('data', {}) for output in OUTPUTS)
    assert len(figures) == shown >= 6
    for axis in (axis for figure in figures for axis in figure.axes):
        assert axis.lines or axis.images and axis.images[0].get_array().std() > 0


def test_masks_are_made(done):
    names, _, _ = done
    assert len(names['names']) == TINY['IMAGES'] and ('crf', None) in names['folders'] and len(names['folders']) > 2
    for folder in names['folders'].values():
        for name, labels in zip(names['names'], names['from_csv']):
            mask = masks.read_mask(os.path.join(folder, name + '.png'))
            assert mask.shape == names['image_of'](name).shape[:2]
            assert set(np.unique(mask)) <= {0, 255, *(1 + np.flatnonzero(labels))}


def test_labels_are_the_same_in_both_formats(done):
    names, printed, _ = done
    assert 'the same from both: True' in printed and names['from_csv'].any(axis=0).all()


def test_figures_are_printed(done):
    names, printed, _ = done
    found = re.findall(r'^(ICD|CAM, threshold \S+) +mIoU +([\d.]+)', printed, re.M)
    assert [float(value) for _, value in found] == [round(one['mIoU'], 1) for one in names['figures'].values()]
    assert names['best'][0] == 'cam' and printed.count('(best of CAM)') == 1
    merged = [int(count) for count in re.findall(r'merged to (\d+)', printed)]
    assert len(merged) == 3 and max(merged) <= 64


def test_it_is_committed_with_clean_outputs():
    assert [cell['execution_count'] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    assert {output['output_type'] for output in OUTPUTS} == {'stream', 'display_data'}
    text = ''.join(''.join(output['text']) for output in OUTPUTS if output['output_type'] == 'stream')
    assert 'mIoU' in text and not re.search(r'Warning|Traceback|/(tmp|work|home|root|usr)\b', text)
    assert all(output['name'] == 'stdout' for output in OUTPUTS if output['output_type'] == 'stream')
    assert os.path.getsize(PATH) < LARGEST
