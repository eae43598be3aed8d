"""A sweep gives, at every threshold, the figures that icd-evaluate gives of the seeds."""
import csv
import io
import os

import numpy as np
import pytest

from icd import cli, files
from icd.data import masks
from icd.evaluate_options import EVALUATE
from icd.steps import evaluate
from tests.steps.test_map_seeds import irn, run


@pytest.fixture
def swept(in_valid):
    irn()


def table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(io.StringIO(file.read())))


def evaluated(pred, truth):
    return evaluate.run(cli.defaults(EVALUATE, pred=pred, truth=truth, list='list.txt', num_process=1))['mIoU']


def test_figures_are_those_of_the_seeds(swept, capfd):
    assert run('--from-maps', 'other=irn', '--from-maps', 'snap/results/scores_icd', '--sweep', '0.6,0.1',
               '--truth', 'truth', '--against', 'pred', '--by-sign', '--seeds', 'raw,crf', '--csv', 'a.csv') == 0
    rows = table('a.csv')
    assert [row['threshold'] for row in rows] == 4 * ['0.1', '0.6', '']
    for maps, folder, out in ('other', 'irn', 'out'), ('scores_icd', 'snap/results/scores_icd', 'icd'):
        assert run('--from-maps', folder, '--threshold', '0.1,0.6', '--seeds', 'raw,crf', '--out', out) == 0
        assert run('--from-maps', folder, '--by-sign', '--seeds', 'raw,crf', '--out', out) == 0
        for row in (row for row in rows if row['maps'] == maps):
            name = f"{out}/{row['seeds']}" + (f"_{float(row['threshold']):.2f}" if row['threshold'] else '')
            assert float(row['mIoU']) == pytest.approx(evaluated(name, 'truth'))
            assert float(row['agreement']) == pytest.approx(evaluated(name, 'pred'))
    printed = capfd.readouterr().out
    best = max((row for row in rows if row['threshold'] and row['maps'] == 'other' and row['seeds'] == 'crf'),
               key=lambda row: float(row['mIoU']))
    assert f"other, crf: best by truth at {float(best['threshold']):g}, mIoU {float(best['mIoU']):.2f}" in printed


def test_a_threshold_is_chosen_without_truth(swept, capfd):
    assert run('--from-maps', 'irn', '--threshold', '0.3', '--seeds', 'raw', '--out', 'out') == 0
    assert run('--from-maps', 'irn', '--sweep', '0.6,0.1,0.3', '--against', 'out/raw_0.30',
               '--csv', 'a.csv', '--plot', 'a.png') == 0
    with open('a.png', 'rb') as file:
        assert file.read(8) == b'\x89PNG\r\n\x1a\n'
    assert 'irn: chosen without truth: 0.3 agrees most with out/raw_0.30 (100.00)\n' in capfd.readouterr().out
    assert list(table('a.csv')[0]) == ['maps', 'seeds', 'threshold', 'agreement']
    assert [row['threshold'] for row in table('a.csv')] == ['0.1', '0.3', '0.6']


def test_maps_without_signs_have_no_figures_by_sign(swept):
    for name in 'a', 'b', 'c', 'sub/d':
        path = f'snap/results/scores_cam/{name}.npy'
        np.save(path, np.abs(np.load(path)))
    assert run('--from-maps', 'irn', '--from-maps', 'snap/results/scores_cam', '--sweep', '--truth', 'truth',
               '--by-sign', '--csv', 'a.csv') == 0
    by_sign = [row['maps'] for row in table('a.csv') if not row['threshold']]
    assert by_sign == ['irn'] and len(table('a.csv')) == 19 + 19 + 1


def test_images_without_classes_count_as_background(swept):
    files.save_bytes('annotations/a.xml', b'<annotation/>')
    os.remove('irn/a.npy')
    assert run('--from-maps', 'irn', '--sweep', '0.3', '--truth', 'truth', '--unlabelled', 'keep', '--seeds', 'crf',
               '--csv', 'a.csv') == 0
    assert run('--from-maps', 'irn', '--unlabelled', 'keep', '--out', 'out') == 0
    assert not masks.read_mask('out/crf_0.30/a.png').any()
    assert float(table('a.csv')[0]['mIoU']) == pytest.approx(evaluated('out/crf_0.30', 'truth'))


def test_the_number_of_processes_changes_no_figure(swept):
    for number, path in ('1', 'a.csv'), ('2', 'b.csv'):
        assert run('--from-maps', 'irn', '--sweep', '0.2', '--truth', 'truth', '--csv', path,
                   '--num-process', number) == 0
    assert table('a.csv') == table('b.csv')
