"""Blocks against the recorded original, brute force, and their own invariances."""
import os

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.model.icd_blocks import (
    BottomUp,
    CalibrationStatistics,
    CalibrationUpdate,
    SuperpixelRefine,
    apply_sign,
    calibration_statistics,
)
from icd.model.losses import ICDLoss, bottom_up_gradient, ranking_accuracy, top_down_gradient, warm_up
from tests.helpers import load_recording, parity_files

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
    indices = mx.nd.arange(recorded['refine_superpixel'].max() + 1)
    refined = SuperpixelRefine()(mx.nd.array(recorded['refine_score']), mx.nd.array(recorded['label']), superpixel,
                                 indices)
    assert_close(refined, recorded['refine_out'], 1e-5)


def check_top_down(recorded):
    logit = mx.nd.array(recorded['top_down_logit'])
    assert_close(mx.nd.sigmoid(logit), recorded['top_down_out'], 1e-5)
    gradient = top_down_gradient(mx.nd, logit, mx.nd.array(recorded['top_down_target_score']),
                                 mx.nd.array(recorded['label']), mx.nd.ones(1))
    assert_close(gradient, recorded['top_down_logit_grad'], 1e-5)


def check_cam(recorded):
    cam = mx.nd.array(recorded['cam_logit'][:, :, None, None])
    label, count = mx.nd.array(recorded['label']), recorded['cam_logit'].shape[1]
    cam.attach_grad()
    with autograd.record():
        out = ICDLoss(count, pixelwise=True)(cam, mx.nd.zeros_like(cam), mx.nd.zeros_like(cam), mx.nd.ones(
            (len(cam), 2, 1, 1)), mx.nd.ones((count, 2)), label, None, None, mx.nd.zeros((count, 2)), mx.nd.ones(1))
    out.loss.backward()
    assert_close(out.prob, recorded['cam_prob'], 1e-6)
    assert_close(cam.grad.reshape((0, -1)), recorded['cam_logit_grad'], 1e-6)


CHECKS = (check_bottom_up, check_calibration, check_refine, check_top_down, check_cam)


@pytest.mark.parity
@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('path', BLOCKS, ids=os.path.basename)
def test_outputs_equal_the_recorded_ones(path, check):
    check(load_recording(path))


@pytest.mark.parity
@pytest.mark.parametrize('path', BLOCKS, ids=os.path.basename)
def test_every_recorded_array_counts(path):
    recorded = load_recording(path)
    for name, value in recorded.items():
        changed = 1 - value if 'label' in name else value[:, ::-1] if name == 'refine_superpixel' else value + .3
        altered = dict(recorded, **{name: np.ascontiguousarray(changed)})
        with pytest.raises(AssertionError):
            for check in CHECKS:
                check(altered)


# ------------------------------------------------------------------------------------------------------- oracles
def refine_by_loops(score, label, superpixel):
    """Superpixel refinement as the method's description reads, one superpixel at a time, in float64."""
    refined = np.zeros(score.shape)
    for i, labels in enumerate(superpixel):
        f = score[i].astype(np.float64) * label[i, :, None, None]
        confidence = np.maximum(f, 0) / np.maximum(f.max(axis=0), 1e-5)
        for r in np.unique(labels):
            inside = labels == r
            vote = np.sign(f[:, inside]).sum(axis=1)
            winner = confidence[:, inside].mean(axis=1).argmax()
            for c in range(len(f)):
                won = vote.max() > 1e-5 and c == winner and label[i, c] == 1
                refined[i, c, inside] = (np.maximum if won else np.minimum)(f[c, inside], 0).mean()
    return refined


def random_refinement(seed, num_superpixels):
    rng = np.random.default_rng(seed)
    score = rng.standard_normal((3, 4, 9, 11)).astype(np.float32)
    label = (rng.random((3, 4)) < .5).astype(np.float32)
    label[0] = 0                                        # an image without any class
    return score, label, rng.integers(0, num_superpixels, (3, 9, 11)).astype(np.int32)


@pytest.mark.parametrize('dtype', ['int32', 'float32'])
@pytest.mark.parametrize('num_superpixels', [1, 5, 64, 300])
def test_refinement_equals_its_definition_by_loops(num_superpixels, dtype):
    score, label, superpixel = random_refinement(num_superpixels, num_superpixels)
    refined = SuperpixelRefine()(mx.nd.array(score), mx.nd.array(label), mx.nd.array(superpixel, dtype=dtype),
                                 mx.nd.arange(num_superpixels))
    np.testing.assert_allclose(refined.asnumpy(), refine_by_loops(score, label, superpixel), rtol=0, atol=1e-5)


def test_superpixels_that_do_not_occur_change_nothing():
    score, label, superpixel = (mx.nd.array(a) for a in random_refinement(0, 7))
    one, other = (SuperpixelRefine()(score, label, superpixel, mx.nd.arange(n)).asnumpy() for n in (7, 129))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_pixelwise_refinement_is_one_superpixel_a_position():
    score, label, _ = random_refinement(1, 1)
    superpixel = np.broadcast_to(np.arange(99, dtype=np.int32).reshape(1, 9, 11), (3, 9, 11))
    whole = SuperpixelRefine()(mx.nd.array(score), mx.nd.array(label), mx.nd.array(superpixel), mx.nd.arange(99))
    pixelwise = SuperpixelRefine(pixelwise=True)(mx.nd.array(score), mx.nd.array(label))
    np.testing.assert_allclose(pixelwise.asnumpy(), whole.asnumpy(), rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- invariances
def random_maps(count=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    score, cam = (mx.nd.array(rng.standard_normal((count, classes, 5, 6))) for _ in range(2))
    return score, cam, mx.nd.array(rng.random((count, classes)) < .5)


def test_calibration_statistics_of_parts_add_up():
    arrays = random_maps()
    whole = calibration_statistics(*arrays)
    for cut in (1, 3):
        parts = [calibration_statistics(*(a[rows] for a in arrays)) for rows in (slice(0, cut), slice(cut, None))]
        for total, first, second in zip(whole, *parts):
            np.testing.assert_allclose((first + second).asnumpy(), total.asnumpy(), rtol=1e-6)


def test_calibration_flips_inverted_but_not_absent_classes():
    state = mx.nd.array([[.3, .4], [.4, .3], [.2, .2]])
    new = CalibrationUpdate()(state, mx.nd.array([[2, 0], [0, 0], [0, 0]]), mx.nd.array([2, 0, 0])).asnumpy()
    np.testing.assert_allclose(new, [[.37, .36], [.4, .3], [.2, .2]], rtol=1e-6)
    signs = apply_sign(mx.nd.ones((1, 3, 1, 1)), state).asnumpy().ravel()
    assert signs.tolist() == [-1, 1, 1]


def test_positions_without_a_sign_belong_to_no_side():
    """An empty side has the mean 0, not NaN."""
    sums, counts = calibration_statistics(mx.nd.zeros((1, 1, 2, 2)), mx.nd.ones((1, 1, 2, 2)), mx.nd.ones((1, 1)))
    assert sums.asnumpy().tolist() == [[0, 0]] and counts.asnumpy().tolist() == [1]


def test_bottom_up_score_ignores_the_length_of_its_weight():
    rng = np.random.default_rng(0)
    feature, weight = mx.nd.array(rng.standard_normal((2, 6, 3, 3))), mx.nd.array(rng.standard_normal((4, 6)))
    block = BottomUp(4)
    np.testing.assert_allclose(block(feature, weight).asnumpy(), block(feature, 17 * weight).asnumpy(), rtol=1e-5)
    assert block(feature, mx.nd.zeros((4, 6))).asnumpy().tolist() == np.zeros((2, 4, 3, 3)).tolist()


# --------------------------------------------------------------------------------------------------------- losses
def loss_inputs(seed=0):
    rng = np.random.default_rng(seed)
    cam, bottom_up, top_down = (mx.nd.array(rng.standard_normal((4, 3, 5, 5))) for _ in range(3))
    label = mx.nd.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    superpixel = mx.nd.array(rng.integers(0, 9, (4, 5, 5)), dtype='int32')
    return [cam, bottom_up, top_down, mx.nd.array(rng.standard_normal((4, 6, 5, 5))), mx.nd.array(
        rng.standard_normal((3, 6))), label, superpixel, mx.nd.arange(9), mx.nd.array([[0, 1], [1, 0], [0, 0]]),
        mx.nd.array([.3])]


def gradients(loss, inputs):
    """Outputs of `loss` and the gradients of its first five inputs."""
    inputs = [array.copy() for array in inputs]
    for array in inputs[:5]:
        array.attach_grad()
    with autograd.record():
        out = loss(*inputs)
    out.loss.backward()
    return [o.asnumpy() for o in out[1:]] + [array.grad.asnumpy() for array in inputs[:5]]


@pytest.mark.parametrize('pixelwise', [False, True])
def test_hybridized_loss_is_the_same(pixelwise):
    plain, hybrid = ICDLoss(3, pixelwise), ICDLoss(3, pixelwise)
    hybrid.hybridize(static_alloc=True, static_shape=True)
    for seed in (0, 1):
        for one, other in zip(gradients(plain, loss_inputs(seed)), gradients(hybrid, loss_inputs(seed))):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_loss_passes_the_gradients_of_the_formulas():
    cam, bottom_up, top_down, feature, weight, label, superpixel, indices, state, factor = inputs = loss_inputs()
    *_, prob, calibrated, d_cam, d_bottom_up, d_top_down, d_feature, d_weight = gradients(ICDLoss(3), inputs)
    assert not d_bottom_up.any() and not d_feature.any()
    assert_close(d_cam, np.broadcast_to((prob - label.asnumpy())[:, :, None, None] / 25, (4, 3, 5, 5)), 1e-5)
    refined = SuperpixelRefine()(mx.nd.array(calibrated), label, superpixel, indices)
    assert_close(d_top_down, top_down_gradient(mx.nd, top_down, refined, label, factor).asnumpy(), 1e-6)
    assert_close(d_weight, bottom_up_gradient(mx.nd, bottom_up, feature, weight, label).asnumpy(), 1e-6)


def test_only_single_class_images_train_the_bottom_up_weight():
    _, score, _, feature, weight, label, *_ = loss_inputs()
    alone = bottom_up_gradient(mx.nd, score[0:1], feature[0:1], weight, label[0:1])
    third = bottom_up_gradient(mx.nd, score[2:3], feature[2:3], weight, label[2:3])
    assert_close(bottom_up_gradient(mx.nd, score, feature, weight, label), (alone + third).asnumpy(), 1e-5)
    assert not bottom_up_gradient(mx.nd, score[1:2], feature[1:2], weight, label[1:2]).asnumpy().any()


def test_warm_up_ends_after_its_steps():
    assert [warm_up(step, 2) for step in range(4)] == pytest.approx([np.exp(-10), np.exp(-5), 1, 1])
    assert warm_up(0, 0) == 1
    assert warm_up(99, 100) == pytest.approx(np.exp(-.1))


def test_ranking_accuracy_counts_present_above_absent_classes():
    logit = mx.nd.array([[3, 2, 1], [1, 2, 3], [0, 0, 5], [7, 8, 9]])
    label = mx.nd.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert ranking_accuracy(mx.nd, logit, label).asscalar() == pytest.approx((1 + 0) / 2)
    assert ranking_accuracy(mx.nd, logit[:1], mx.nd.array([[0, 1, 0]])).asscalar() == pytest.approx(.5)
    assert ranking_accuracy(mx.nd, logit[2:3], label[2:3]).asscalar() == 0
