"""Blocks against the recorded original, brute force, and their own invariances."""
import os

import mxnet as mx
import numpy as np
import pytest
from conftest import load_recording, parity_files
from mxnet import autograd

from icd.model.icd_blocks import (
    BottomUp, CalibrationStatistics, CalibrationUpdate, SuperpixelRefine, apply_sign, calibration_statistics)
from icd.model.losses import bottom_up_gradient, top_down_gradient

BLOCKS = parity_files('blocks_*.npz')


def assert_close(got, want, tolerance):
    """Equal within `tolerance` of the largest recorded magnitude, NaN nowhere."""
    got = got.asnumpy() if isinstance(got, mx.nd.NDArray) else got
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(np.abs(want).max(), 1e-30))


# ------------------------------------------------------------------------------------------- the recorded original
def check_bottom_up(recorded):
    feature, weight = mx.nd.array(recorded['bottom_up_data']), mx.nd.array(recorded['bottom_up_weight'])
    score = BottomUp(weight.shape[0])(feature, weight)
    assert_close(score, recorded['bottom_up_out'], 1e-5)
    gradient = bottom_up_gradient(mx.nd, score, feature, weight, mx.nd.array(recorded['label']))
    assert_close(gradient, recorded['bottom_up_weight_grad'], 1e-5)


def check_calibration(recorded):
    statistics, update = CalibrationStatistics(), CalibrationUpdate()
    score, cam, label = (mx.nd.array(recorded['calib_' + name]) for name in ('score', 'cam', 'label'))
    assert len(score) == len(recorded['calib_out']) == len(recorded['calib_state'])
    state = mx.nd.zeros(recorded['calib_state'].shape[1:])
    for t in range(len(score)):
        state = update(state, *statistics(score[t], cam[t], label[t]))
        assert_close(state, recorded['calib_state'][t], 1e-6)
        assert_close(apply_sign(score[t], state), recorded['calib_out'][t], 1e-6)
    assert_close(apply_sign(score[-1], state), recorded['calib_infer_out'], 1e-6)


def check_refine(recorded):
    superpixel = mx.nd.array(recorded['refine_superpixel'][:, ::8, ::8], dtype='int32')
    regions = mx.nd.arange(recorded['refine_superpixel'].max() + 1)
    refined = SuperpixelRefine()(mx.nd.array(recorded['refine_score']), mx.nd.array(recorded['label']), superpixel,
                                 regions)
    assert_close(refined, recorded['refine_out'], 1e-5)


def check_top_down(recorded):
    logit = mx.nd.array(recorded['top_down_logit'])
    assert_close(mx.nd.sigmoid(logit), recorded['top_down_out'], 1e-5)
    gradient = top_down_gradient(mx.nd, logit, mx.nd.array(recorded['top_down_target_score']),
                                 mx.nd.array(recorded['label']), mx.nd.ones(1))
    assert_close(gradient, recorded['top_down_logit_grad'], 1e-5)


def check_cam(recorded):
    logit = mx.nd.array(recorded['cam_logit'])
    assert_close(mx.nd.sigmoid(logit), recorded['cam_prob'], 1e-6)
    assert_close(mx.nd.sigmoid(logit) - mx.nd.array(recorded['label']), recorded['cam_logit_grad'], 1e-6)


CHECKS = (check_bottom_up, check_calibration, check_refine, check_top_down, check_cam)


@pytest.mark.parity
@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('path', BLOCKS, ids=os.path.basename)
def test_equals_original(path, check):
    check(load_recording(path))
