"""The table of margins, and what a training says of its classes."""
import csv

import numpy as np
import pytest

from icd.data.image_labels import ImageLabels
from icd.train.margins import COLUMNS, Margins

CLASSES = 'cow', 'face, of people', 'body', 'boat'
# Four images: a cow, a cow, a face with a body, a body. No boat.
LABELS = np.float32([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]])
STATE = np.float32([[9, 1], [3, 4], [2, 6], [0, 0]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'margins.csv'


def rows(path):
    with open(str(path), newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def margins(path, epochs=3):
    return Margins(str(path), CLASSES, ImageLabels(LABELS), epochs)


def test_the_table_has_a_row_a_class_and_epoch(path):
    made = margins(path)
    for epoch in range(2):
        assert made.after_epoch(epoch, STATE * (1 + epoch)) == []
    found = rows(path)
    assert tuple(found[0]) == COLUMNS and len(found) == 8
    assert [row['epoch'] for row in found] == ['0'] * 4 + ['1'] * 4
    assert [row['class'] for row in found[:4]] == list(CLASSES)
    assert [row['margin'] for row in found[4:]] == ['0.8', '0.1428571', '0.5', '']
    assert [(row['positive'], row['negative']) for row in found[4:6]] == [('18', '2'), ('6', '8')]
    assert [row['alone'] for row in found[:4]] == ['2', '0', '1', '0']


def test_epochs_that_are_done_again_replace_their_rows(path):
    for epoch in range(3):
        margins(path).after_epoch(epoch, STATE)
    margins(path).after_epoch(1, 2 * STATE)
    assert [row['epoch'] for row in rows(path)] == ['0'] * 4 + ['1'] * 4
    assert rows(path)[4]['positive'] == '18'


@pytest.mark.parametrize('text', ['', 'a,b\n1,2\n', 'epoch,class\n', ','.join(COLUMNS) + '\n0,cow\nx,cow,1,2,3,4\n'])
def test_what_is_no_row_of_this_table_goes(path, text):
    path.write_text(text)
    margins(path).after_epoch(1, STATE)
    assert [row['epoch'] for row in rows(path)] == ['1'] * 4


def test_undecided_classes_are_named_after_the_last_epoch_alone(path):
    made = margins(path)
    assert [made.after_epoch(epoch, STATE) for epoch in range(2)] == [[], []]
    line, = made.after_epoch(2, STATE)
    assert 'face, of people (3 and 4, margin 0.14, 0 images hold it alone)' in line and '\n' not in line
    assert not any(name in line for name in ('cow', 'body', 'boat'))
    assert made.after_epoch(2, np.float32([[9, 1], [1, 4], [2, 6], [0, 0]])) == []


def test_classes_that_no_image_holds_alone_are_named_at_the_start(path):
    line, = margins(path).before()
    assert 'alone: face, of people.' in line and '\n' not in line
    assert not any(name in line for name in ('cow', 'boat'))
    assert Margins(str(path), CLASSES, ImageLabels(LABELS[[0, 1, 3]]), 3).before() == []
    assert not path.exists()
