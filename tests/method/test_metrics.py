"""Counting and figures: against brute force, against GluonCV, and what ignored pixels mean."""
import doctest
import inspect

import mxnet as mx
import numpy as np
import pytest
from gluoncv.utils.metrics import SegmentationMetric
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icd.method import bootstrap, metrics

NAMES = ('background', 'cat', 'cow', 'dog', 'tree')
C = len(NAMES)


def random_masks(seed, shape=(3, 40, 50), num_cls=C, ignored=.1):
    """Truths and predictions (n, H, W), blocky like real masks, half of the pixels right."""
    rng = np.random.default_rng(seed)

    def blocks():
        small = rng.integers(num_cls, size=(shape[0], shape[1] // 5, shape[2] // 5)).astype(np.uint8)
        small[rng.random(small.shape) < ignored] = 255
        return small.repeat(5, 1).repeat(5, 2)
    truth = blocks()
    return truth, np.where(rng.random(shape) < .5, truth, blocks())


def brute_force(truth, pred, num_cls=C):
    """Confusion matrix, a pixel at a time."""
    matrix = np.zeros((num_cls + 1, num_cls + 1), int)
    for t, p in zip(truth.ravel().tolist(), pred.ravel().tolist()):
        matrix[min(t, num_cls), min(p, num_cls)] += 1
    return matrix


def brute_iou(truth, pred, c):
    """IoU of a class in percent, from its definition."""
    known = truth != 255
    union = ((truth == c) | (pred == c)) & known
    return 100 * ((truth == c) & (pred == c)).sum() / union.sum() if union.any() else None


def gluoncv(truth, pred, num_cls=C):
    """pixAcc and mIoU in percent by GluonCV; ignored pixels of the prediction are one more class, which is no truth."""
    metric = SegmentationMetric(num_cls)
    for t, p in zip(truth, pred):
        scores = np.minimum(p, num_cls)[None] == np.arange(num_cls + 1)[:, None, None]
        label = np.where(t == 255, -1, t.astype(np.int32))
        metric.update([mx.nd.array(label[None])], [mx.nd.array(scores[None].astype(np.float32))])
    return [100 * value for value in metric.get()]


index = st.integers(0, C - 1) | st.just(255)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@settings(deadline=None, max_examples=200)
@given(st.data(), shapes)
def test_counts_equal_a_brute_force_count(data, shape):
    truth, pred = (data.draw(hnp.arrays(np.uint8, shape, elements=index)) for _ in range(2))
    assert (metrics.confusion_matrix(truth, pred, C) == brute_force(truth, pred)).all()


@pytest.mark.parametrize('num_cls', [2, 21, 254, 255])
def test_any_number_of_classes_and_any_layout_in_memory(num_cls):
    rng = np.random.default_rng(num_cls)
    truth, pred = rng.choice(np.r_[np.arange(num_cls), 255].astype(np.uint8), (2, 60, 70))
    counts = metrics.confusion_matrix(truth, pred, num_cls)
    assert (counts == brute_force(truth, pred, num_cls)).all()
    assert (metrics.confusion_matrix(truth.T, pred.T, num_cls) == counts).all()
    assert (metrics.confusion_matrix(truth[::-1], pred[::-1], num_cls) == counts).all()


def test_other_indices_and_sizes_are_refused():
    mask = np.zeros((4, 5), np.uint8)
    for value in (C, 254):
        wrong = mask.copy()
        wrong[2, 3] = value
        for pair in ((mask, wrong), (wrong, mask)):
            with pytest.raises(ValueError):
                metrics.confusion_matrix(*pair, num_cls=C)
        assert metrics.unknown_index(wrong, C) == value
    assert metrics.unknown_index(np.uint8([[0, C - 1, 255]]), C) is None
    with pytest.raises(ValueError):
        metrics.confusion_matrix(mask, mask.T, C)


@pytest.mark.parametrize('seed', range(4))
def test_figures_equal_gluoncv_and_the_definition(seed):
    truth, pred = random_masks(seed)
    figures = metrics.figures(sum(map(brute_force, truth, pred)), NAMES)
    accuracy, miou = gluoncv(truth, pred)
    assert figures['mIoU'] == pytest.approx(miou, abs=1e-9)
    assert figures['pixel_accuracy'] == pytest.approx(accuracy, abs=1e-9)
    for c, name in enumerate(NAMES):
        assert figures['IoU'][name] == pytest.approx(brute_iou(truth, pred, c), abs=1e-9)
        hit = ((truth == c) & (pred == c)).sum()
        assert figures['recall'][name] == pytest.approx(100 * hit / (truth == c).sum())
        assert figures['precision'][name] == pytest.approx(100 * hit / ((pred == c) & (truth != 255)).sum())
    assert figures['ignored'] == pytest.approx(100 * (pred == 255).mean())
    assert figures['ignored_truth'] == pytest.approx(100 * (truth == 255).mean())
    assert figures['agreement'] == pytest.approx(100 * (pred == truth).mean())


@pytest.mark.parametrize('seed', range(4))
def test_defined_figures_leave_out_what_the_prediction_ignores(seed):
    truth, pred = random_masks(seed)
    figures = metrics.figures(sum(map(brute_force, truth, pred)), NAMES)
    truth = np.where(pred == 255, 255, truth)
    accuracy, miou = gluoncv(truth, pred)
    assert figures['mIoU_defined'] == pytest.approx(miou, abs=1e-9)
    assert figures['agreement_defined'] == pytest.approx(accuracy, abs=1e-9)
    for c, name in enumerate(NAMES):
        assert figures['IoU_defined'][name] == pytest.approx(brute_iou(truth, pred, c), abs=1e-9)


def test_an_ignored_pixel_is_missed_but_no_false_alarm():
    truth = np.uint8([[0, 0, 1, 1]])
    figures = metrics.figures(metrics.confusion_matrix(truth, np.uint8([[0, 0, 1, 255]]), 2), ('background', 'cat'))
    assert figures['IoU'] == {'background': 100, 'cat': 50}
    assert figures['IoU_defined'] == {'background': 100, 'cat': 100}
    assert (figures['mIoU'], figures['pixel_accuracy'], figures['ignored']) == (75, 75, 25)


def test_a_class_that_is_nowhere_is_left_out_of_the_mean():
    truth, pred = random_masks(0)
    truth[truth == 3], pred[pred == 3] = 0, 0
    figures = metrics.figures(sum(map(brute_force, truth, pred)), NAMES)
    assert figures['absent'] == ['dog'] and figures['IoU']['dog'] is None
    assert figures['mIoU'] == pytest.approx(np.mean([v for v in figures['IoU'].values() if v is not None]))
    assert figures['mIoU_absent_as_zero'] == pytest.approx(gluoncv(truth, pred)[1], abs=1e-9)
    assert figures['mIoU_absent_as_zero'] < figures['mIoU']


def test_nothing_to_count_is_none_not_nan():
    figures = metrics.figures(brute_force(np.full((2, 2), 255), np.zeros((2, 2), int)), NAMES)
    assert figures['mIoU'] is None and figures['pixel_accuracy'] is None and figures['ignored'] == 0


def test_miou_from_class_counts_equals_that_of_the_matrix():
    truth, pred = random_masks(1)
    counts = np.stack([metrics.class_counts(brute_force(t, p)) for t, p in zip(truth, pred)])
    assert metrics.mean_iou(counts.sum(0)) == pytest.approx(
        metrics.figures(sum(map(brute_force, truth, pred)), NAMES)['mIoU'])
    for t, p, of_image in zip(truth, pred, metrics.mean_iou(counts)):
        assert of_image == pytest.approx(metrics.figures(brute_force(t, p), NAMES)['mIoU'])


# -------------------------------------------------------------------------------------------------- confidence
def test_confidence_of_a_known_case():
    scores = np.float32([[[4, 2, -1, -4]], [[-1, 8, -2, -1]]])
    confidence = metrics.confidence(np.uint8([[2, 2, 0, 0]]), scores, (1, 4))
    assert confidence == pytest.approx(np.float32([[1, .5, .25, .5]]))
    assert metrics.confidence(np.uint8([[5, 1, 255, 5]]), scores, (1, 4)) == pytest.approx(np.float32([[0, 0, 0, 0]]))
    assert (metrics.confidence(np.uint8([[0, 255, 3]]), np.zeros((0, 1, 3)), ()) == [[1, 0, 0]]).all()


def test_precision_coverage_curve_equals_thresholding():
    truth, pred = random_masks(6)
    confidence = np.random.default_rng(6).random(truth.shape, np.float32)
    curve = metrics.precision_coverage_curve(sum(map(metrics.confidence_counts, truth, pred, confidence)))
    assert curve['threshold'] == [i / 100 for i in range(101)]
    known = truth != 255
    for threshold in (0, .07, .5, .93):
        at = curve['threshold'].index(threshold)
        kept = known & (pred != 255) & (confidence >= threshold)
        assert curve['ignored'][at] == pytest.approx(100 * (1 - kept.sum() / known.sum()), abs=.02)
        assert curve['precision'][at] == pytest.approx(100 * (pred == truth)[kept].mean(), abs=.02)
    assert curve['precision'][-1] is None and curve['ignored'][-1] == 100


# ---------------------------------------------------------------------------------------------------- examples
@pytest.mark.parametrize('module', [metrics, bootstrap], ids=lambda module: module.__name__)
def test_every_public_function_has_an_example_that_holds(module):
    public = {name for name, value in vars(module).items()
              if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != '_'}
    shown = {test.name.split('.')[-1] for test in doctest.DocTestFinder().find(module) if test.examples}
    assert public and public <= shown
    assert doctest.testmod(module).failed == 0
