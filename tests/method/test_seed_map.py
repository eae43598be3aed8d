"""The rules that turn score maps into seeds: recordings, the rule pixel by pixel, invariances."""
import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.data import score_map
from icd.method import crf
from icd.method import seed_map as module
from tests.helpers import load_recording, parity_files

SIDE = 65                   # inference size: maps of 9x9


def seed_map(icd, cam, classes, shape, infer_size, saliency=None):
    """The seed of small maps of a network input of `infer_size` pixels."""
    icd, cam = (score_map.at_image_size(maps, shape, infer_size) for maps in (icd, cam))
    return module.seed_map(icd, cam, classes, saliency)


def cam_seed_map(cam, classes, shape, infer_size, threshold):
    return module.cam_seed_map(score_map.at_image_size(cam, shape, infer_size), classes, threshold)


@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('seeds_*.npz'), ids=os.path.basename)
def test_seeds_equal_the_recorded_ones(path):
    r = load_recording(path)
    given = r['scores_icd'], r['scores_cam'], r['classes'], r['image'].shape[:2], int(r['infer_size'])
    assert np.array_equal(seed_map(*given, saliency=r['saliency']), r['seed_sal'])
    image = cv2.imdecode(r['image_jpeg'], cv2.IMREAD_COLOR)
    refined = crf.refine_seed(np.ascontiguousarray(image[:, :, ::-1]), seed_map(*given),
                            int(r['num_classes_with_background']), float(r['confidence']))
    assert (refined != r['seed_crf']).mean() <= 1e-4


def one_pixel(icd, cam, classes, low_icd, cam_range, not_salient):
    """The rule for one pixel, with plain numbers; `not_salient` is None without saliency."""
    fraction = [max(s, 0) / top for s, (top, _) in zip(icd, low_icd)]
    against_all = all(min(s, 0) / bottom > 1e-5 for s, (_, bottom) in zip(icd, low_icd))
    foreground = [i for i, f in enumerate(fraction) if f > 1e-5]
    background = against_all if not_salient is None else not_salient(against_all)
    if background == bool(foreground):
        return 255
    if background:
        return 0
    winner = foreground[0]
    if len(classes) > 1:
        low, high = cam_range
        compared = [(max(a, 0) - low) / max(high - low, 1e-5) * f for a, f in zip(cam, fraction)]
        if max(compared) - min(compared) <= 1e-5:
            return 255
        if len(foreground) > 1:
            winner = compared.index(max(compared))
    return classes[winner] + 1


def one_by_one(scores_icd, scores_cam, classes, shape, size, saliency=None):
    icd, cam = (np.stack([cv2.resize(s, (size, size))[:shape[0], :shape[1]] for s in scores]).astype(np.float64)
                for scores in (scores_icd, scores_cam))
    limits = [(max(s.max(), 1e-5), min(s.min(), -1e-5)) for s in icd]
    positive = np.maximum(cam, 0)
    few = saliency is not None and (saliency >= 3).mean() < .01         # 2 / 255 < 0.01 < 3 / 255
    seed = np.zeros(shape, np.uint8)
    for y in range(shape[0]):
        for x in range(shape[1]):
            def not_salient(against_all, y=y, x=x):
                return saliency[y, x] < 3 and (against_all or not few)
            seed[y, x] = one_pixel(icd[:, y, x], cam[:, y, x], classes, limits, (positive.min(), positive.max()),
                                   None if saliency is None else not_salient)
    return seed


def scores(seed, num_classes, side=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, num_classes, side, side)).astype(np.float32)


@pytest.mark.parametrize('salient, lift', [(None, 0), (None, 9), (.5, 0), (.015, 0), (.005, 0)])
@pytest.mark.parametrize('classes', [(4,), (0, 19), (2, 3, 7)])
def test_the_rule_pixel_by_pixel(classes, salient, lift):
    icd, cam = scores(len(classes), len(classes))
    cam[:, 5:] = -1                                     # nothing distinguishes classes there
    cam += lift
    shape, saliency = (50, 61), None
    if salient is not None:
        rng = np.random.default_rng(1)
        saliency = np.uint8(rng.integers(0, 6, shape) * (rng.random(shape) < 2 * salient))      # from 3 it is
    made = seed_map(icd, cam, classes, shape, SIDE, saliency)
    assert (made != one_by_one(icd, cam, classes, shape, SIDE, saliency)).mean() <= 1e-3     # rounding at 1e-5
    assert len(set(made.ravel())) >= (2 if len(classes) == 1 and saliency is None else 3)


def test_the_scale_of_a_class_does_not_matter():
    icd, cam = scores(7, 2)
    given = cam, (1, 2), (50, 61), SIDE
    scaled = icd * np.float32([[[2 ** 20]], [[1]]])
    assert np.array_equal(seed_map(scaled, *given), seed_map(icd, *given))


KINDS = {
    'random': lambda a: a, 'negative': lambda a: -np.abs(a) - .1, 'positive': lambda a: np.abs(a) + .1,
    'zero': np.zeros_like, 'NaN': lambda a: np.full_like(a, np.nan), 'some NaN': lambda a: np.where(a > 1, np.nan, a),
    'infinite': lambda a: np.where(a > 1, np.inf, np.where(a < -1, -np.inf, a)), 'huge': lambda a: a * np.float32(6e37),
    'tiny': lambda a: a * np.float32(1e-40)}


@settings(max_examples=200, deadline=None)
@given(classes=st.one_of(st.sets(st.integers(0, 19), max_size=3), st.just(set(range(20)))),
       icd=st.sampled_from(sorted(KINDS)), cam=st.sampled_from(sorted(KINDS)), height=st.integers(1, 90),
       width=st.integers(1, 90), saliency=st.sampled_from([None, 0, 2, 255, 'random']), seed=st.integers(0, 99))
def test_only_the_images_classes_background_and_undefined(classes, icd, cam, height, width, saliency, seed):
    classes = sorted(classes)
    raw_icd, raw_cam = scores(seed, len(classes), side=5)
    raw_icd, raw_cam = KINDS[icd](raw_icd), KINDS[cam](raw_cam)
    if saliency is not None:
        rng = np.random.default_rng(seed)
        saliency = np.uint8(rng.integers(0, 256, (height, width)) if saliency == 'random' else np.full(
            (height, width), saliency))
    made = seed_map(raw_icd, raw_cam, classes, (height, width), 33, saliency)
    assert made.shape == (height, width) and made.dtype == np.uint8
    assert set(made.ravel()) <= {0, 255} | {c + 1 for c in classes}
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert set(crf.refine_seed(image, made, 21, iterations=1).ravel()) <= {0, 255} | {c + 1 for c in classes}
    made = cam_seed_map(raw_cam, classes, (height, width), 33, .3)
    assert made.shape == (height, width) and made.dtype == np.uint8
    assert set(made.ravel()) <= {0} | {c + 1 for c in classes}
    if not classes:
        assert not made.any()


@pytest.mark.parametrize('kind, expected', [('zero', {255}), ('negative', {0}), ('positive', {8}), ('NaN', {255})])
def test_scores_of_one_sign_give_one_class(kind, expected):
    icd, cam = scores(0, 1)
    assert set(seed_map(KINDS[kind](icd), cam, [7], (20, 30), SIDE).ravel()) == expected


@pytest.mark.parametrize('kind', ['some NaN', 'infinite'])
def test_scores_that_are_not_finite_count_as_zero(kind):
    icd, cam = (score_map.at_image_size(maps, (40, 50), SIDE) for maps in scores(5, 3))
    bad_icd, bad_cam = KINDS[kind](icd), KINDS[kind](cam)
    icd, cam = (np.where(np.isfinite(bad), bad, np.float32(0)) for bad in (bad_icd, bad_cam))
    classes = (0, 4, 5)
    assert np.array_equal(module.seed_map(bad_icd, bad_cam, classes), module.seed_map(icd, cam, classes))
    assert np.array_equal(module.cam_seed_map(bad_cam, classes, .3), module.cam_seed_map(cam, classes, .3))


def test_without_classes_all_is_background():
    nothing = np.zeros((0, 9, 9), np.float32)
    assert not seed_map(nothing, nothing, [], (5, 6), SIDE).any()
    assert not cam_seed_map(nothing, [], (5, 6), SIDE, .3).any()


def test_cam_seeds_take_the_highest_score_above_the_threshold():
    ramp = np.tile(np.linspace(-1, 2, 9, dtype=np.float32), (9, 1))
    made = cam_seed_map(np.stack([ramp, 5 * ramp[:, ::-1]]), [3, 9], (SIDE, SIDE), SIDE, .5)
    across = np.maximum(cv2.resize(ramp, (SIDE, SIDE))[0], 0) / 2
    back = across[::-1]
    expected = np.where(np.maximum(across, back) < .5, 0, np.where(across >= back, 4, 10))
    assert (made == expected).all() and set(expected) == {0, 4, 10}
    stricter = cam_seed_map(np.stack([ramp, 5 * ramp[:, ::-1]]), [3, 9], (SIDE, SIDE), SIDE, .8)
    assert (stricter > 0).sum() < (made > 0).sum()


def test_large_images_get_the_seeds_of_the_scaled_image():
    icd, cam = (cv2.GaussianBlur(s.transpose(1, 2, 0), (0, 0), 1).transpose(2, 0, 1) for s in scores(3, 2))
    small = seed_map(icd, cam, (1, 2), (40, SIDE), SIDE)
    large = seed_map(icd, cam, (1, 2), (4 * 40, 4 * SIDE), SIDE)
    assert large.shape == (160, 4 * SIDE)
    assert (large[2::4, 2::4] == small).mean() > .95
