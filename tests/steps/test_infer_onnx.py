"""Scores for seeds by onnxruntime: the files that MXNet makes."""
import os
import shutil

import numpy as np
import pytest

from icd.data import masks, score_map
from tests.helpers import segment_data, small_data
from tests.helpers.segment_data import SIZES


def read(snapshot, kind, name):
    return np.load(score_map.path(snapshot, kind, name))


def test_score_maps_and_seeds_are_those_of_mxnet(segmented):
    for snapshot in 'one', 'other':
        os.makedirs(snapshot)
    shutil.copy('snap/vgg16_icd-0000.params', 'one')
    assert small_data.run('infer', ['--snapshot', 'one', '--no-superpixel']) == 0
    assert segment_data.run('infer onnx', '--snapshot', 'other') == 0
    for name in SIZES:
        for kind in score_map.KINDS:
            ours, others = read('one', kind, name), read('other', kind, name)
            assert ours.shape == others.shape and ours.any()
            assert abs(ours - others).max() <= 1e-4 * abs(ours).max()
    for snapshot in 'one', 'other':
        assert small_data.run('seeds', ['--snapshot', snapshot, '--seeds', 'crf,raw']) == 0
    for kind in 'crf', 'raw':
        for name in SIZES:
            ours, others = (masks.read_mask(f'{snapshot}/results/seeds/{kind}/{name}.png')
                            for snapshot in ('one', 'other'))
            assert (ours != others).mean() <= 1e-4


@pytest.mark.parametrize('given', [['--infer-scales', '0.75,1,1.5', '--infer-flip'], ['--infer-branch', 'bottom-up']],
                         ids=' '.join)
def test_other_scores_are_those_of_mxnet_too(segmented, given):
    assert small_data.run('infer', ['--no-superpixel', *given]) == 0
    assert segment_data.run('infer onnx', '--snapshot', 'other', *given) == 0
    for name in SIZES:
        for kind in score_map.KINDS:
            ours, others = read('snap', kind, name), read('other', kind, name)
            assert ours.any() and abs(ours - others).max() <= 1e-4 * abs(ours).max()


def test_scores_of_the_same_checkpoint_are_kept(segmented, capfd):
    assert small_data.run('infer', ['--no-superpixel']) == 0
    assert segment_data.run('infer onnx') == 0
    assert 'scores: all 4 are up to date' in capfd.readouterr().err


def test_an_onnx_file_goes_on_to_seeds_without_training(segmented):
    assert segment_data.run('infer onnx', '--snapshot', 'fresh', without=['--only-infer']) == 0
    assert os.path.isfile('fresh/results/seeds/crf/a.png') and not os.path.exists('fresh/log.txt')
