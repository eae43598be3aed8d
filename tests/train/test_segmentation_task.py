"""Training of segmentation networks: the loss, and that a step does not depend on how its batch is spread."""
import os
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.data.segmentation_set import SegmentationBatch
from icd.model import deeplab
from icd.model.initial import set_values, starting_values
from icd.model.segmentation_loss import CountPixels, Scales, SegmentationLoss
from icd.train import distributed, launch
from icd.train.segmentation_task import SegmentationTask
from icd.train.trainer import Trainer, create_kvstore
from tests.helpers import PROJECT

CLASSES, SIZE, SIDE, BATCH = 4, 33, 5, 8
STATIC = dict(static_alloc=True, static_shape=True)


# -------------------------------------------------------------------------------------------------------- the loss
def random_labels(count=3, side=SIDE, seed=0):
    return np.random.default_rng(seed).choice([0, 0, 1, 2, 3, 255], (count, side, side)).astype(np.uint8)


def random_scores(side=SIDE, count=3, seed=1):
    return np.random.default_rng(seed).normal(size=(count, CLASSES, side, side)).astype(np.float32)


def loss_of(labels, scores, balanced=False, counts=None):
    """`LossOutputs` as numbers, and the gradients."""
    count, loss = CountPixels(), SegmentationLoss(balanced)
    for block in count, loss:
        block.hybridize(**STATIC)
    labels, scores = mx.nd.array(labels, dtype='uint8'), [mx.nd.array(score) for score in scores]
    for score in scores:
        score.attach_grad()
    counts = count(labels) if counts is None else counts
    with autograd.record():
        found = loss(labels, counts, *scores)
    found.loss.backward()
    return type(found)(*(float(value.asscalar()) for value in found)), [score.grad.asnumpy() for score in scores]


def expected_loss(labels, scores, balanced=False):
    """The loss and its gradient, pixel by pixel."""
    probability = np.exp(scores - scores.max(1, keepdims=True)).astype(np.float64)
    probability /= probability.sum(1, keepdims=True)
    weight = np.zeros(labels.shape)
    for kind in ([labels == 0, (labels > 0) & (labels < 255)] if balanced else [labels < 255]):
        weight[kind] = 1 / max(kind.sum(), 1)
    loss, gradient = 0., np.zeros(scores.shape)
    for i, y, x in np.argwhere(labels < 255):
        loss -= weight[i, y, x] * np.log(probability[i, labels[i, y, x], y, x])
        gradient[i, :, y, x] = weight[i, y, x] * (probability[i, :, y, x] - np.eye(CLASSES)[labels[i, y, x]])
    return loss, gradient


@pytest.mark.parametrize('balanced', [False, True])
def test_loss_is_the_mean_cross_entropy_of_the_known_pixels(balanced):
    labels, scores = random_labels(), random_scores()
    found, (gradient,) = loss_of(labels, [scores], balanced)
    loss, expected = expected_loss(labels, scores, balanced)
    assert found.loss == pytest.approx(loss, rel=1e-5) and found.shown == found.loss
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    right, known = scores.argmax(1) == labels, labels < 255
    assert found.accuracy == pytest.approx(right[known].mean())
    assert found.foreground_accuracy == pytest.approx(right[known & (labels > 0)].mean())
    assert found.valid == pytest.approx(known.mean())


@pytest.mark.parametrize('labels', [np.full((2, 5, 5), 255), np.zeros((2, 5, 5)), np.full((2, 5, 5), 3)], ids=str)
@pytest.mark.parametrize('balanced', [False, True])
def test_kinds_of_pixels_that_are_missing_make_no_nan(labels, balanced):
    found, gradients = loss_of(labels, [random_scores(side, 2) for side in (5, 4, 3)], balanced)
    assert np.isfinite(found).all() and all(np.isfinite(gradient).all() for gradient in gradients)
    nothing = (labels == 255).all()
    assert (found.loss == 0) == nothing and all((gradient == 0).all() == nothing for gradient in gradients)


def aligned(scores, side):
    """Scores resized with corners aligned, by interpolation along each axis."""
    def along(values, axis):
        position = np.linspace(0, values.shape[axis] - 1, side)
        low = np.minimum(position.astype(int), values.shape[axis] - 2)
        part = (position - low).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        return values.take(low, axis) * (1 - part) + values.take(low + 1, axis) * part
    return along(along(scores.astype(np.float64), 2), 3)


def test_multi_scale_loss_is_the_sum_of_four():
    labels = random_labels()
    whole, middle, small = (random_scores(side, seed=side) for side in (5, 4, 3))
    found, _ = loss_of(labels, [whole, middle, small])
    large = [whole] + [aligned(scores, 5) for scores in (middle, small)]
    expected = sum(expected_loss(labels, scores)[0] for scores in (whole, large[1], np.maximum.reduce(large)))
    expected += expected_loss(labels[:, ::2, ::2], small)[0]
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_parts_of_a_batch_add_up_to_its_loss():
    labels, scores = random_labels(4), random_scores(count=4)
    labels[1] = 255
    whole, (gradient,) = loss_of(labels, [scores])
    counts = sum(CountPixels()(mx.nd.array(labels[part], dtype='uint8')) for part in (slice(2), slice(2, 4)))
    parts = [loss_of(labels[part], [scores[part]], counts=counts) for part in (slice(2), slice(2, 4))]
    assert sum(part.loss for part, _ in parts) == pytest.approx(whole.loss, rel=1e-5)
    np.testing.assert_allclose(np.concatenate([g for _, (g,) in parts]), gradient, atol=1e-7)
    for name in 'shown', 'accuracy', 'foreground_accuracy':
        assert np.mean([getattr(part, name) for part, _ in parts]) == pytest.approx(getattr(whole, name), rel=1e-5)


def test_smaller_inputs_hold_every_fourth_position():
    """Of a side 32k+1, where the corners are aligned."""
    image = np.tile(np.arange(65, dtype=np.uint8) * 3, (1, 3, 65, 1))
    scales = Scales(65)
    scales.hybridize(**STATIC)
    middle, small = (x.asnumpy() for x in scales(mx.nd.array(image, dtype='uint8')))
    assert middle.shape[2:] == (49, 49) and small.shape[2:] == (33, 33)
    np.testing.assert_allclose(small[0, 0, 0], image[0, 0, 0, ::2], atol=1e-4)
    np.testing.assert_allclose(middle[0, 0, 0, ::3], image[0, 0, 0, ::4], atol=1e-4)


# --------------------------------------------------------------------------------------------------------- splits
def batches(count, seed=0):
    """Batches over which the known pixels are unevenly spread; one image has none."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = rng.integers(0, CLASSES, (BATCH, SIDE, SIDE)).astype(np.uint8)
        labels[rng.random(labels.shape) < np.linspace(0, 1, BATCH)[:, None, None]] = 255
        labels[-1] = 255
        yield SegmentationBatch(mx.nd.array(rng.integers(0, 256, (BATCH, 3, SIZE, SIZE)), dtype='uint8'),
                                mx.nd.array(labels, dtype='uint8'), [])


def starting(net):
    """Scores large enough that every layer learns in a few steps."""
    values = starting_values(net, 3, he=True)
    return {name: 10 * value if name.startswith('fc8') else value for name, value in values.items()}


def train(number=1, steps=3, accumulate=1, network='vgg16_largefov', store=None, rate=2e-2, **task):
    """Weights after `steps` batches on so many CPU devices, and the figures of each step."""
    devices = [mx.cpu(i) for i in range(number)]
    net = deeplab.create(network, CLASSES, 1 / 32, dropout=0)
    set_values(net, starting(net), devices)
    store = store or create_kvstore('device', devices)
    trainer = Trainer(SegmentationTask(net, **task), devices, store, accumulate, 7)
    part, figures = slice(trainer.rank * BATCH // trainer.nodes, (trainer.rank + 1) * BATCH // trainer.nodes), []
    for step, batch in enumerate(batches(steps)):
        batch = batch._replace(image=batch.image[part], label=batch.label[part])
        found = trainer.step(batch, rate, step).figures
        figures.append({name: np.mean([f[name].asscalar() for f in found]) for name in found[0]})
    return {name: p.data(devices[-1]).asnumpy() for name, p in net.collect_params().items()}, figures, trainer


def assert_same(ours, theirs):
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-5, err_msg=name)


KINDS = {'plain': {}, 'balanced': dict(balanced=True), 'multi-scale': dict(multi_scale_side=SIZE)}


@pytest.fixture(scope='module')
def single():
    return {kind: train(**task) for kind, task in KINDS.items()}


@pytest.mark.parametrize('kind, number, accumulate', [
    ('plain', 2, 1), ('plain', 4, 1), ('plain', 1, 4), ('balanced', 2, 2), ('multi-scale', 2, 2)])
def test_steps_are_equal_on_any_devices_and_in_any_parts(single, kind, number, accumulate):
    weights, figures, _ = train(number, accumulate=accumulate, **KINDS[kind])
    assert_same(weights, single[kind][0])
    for ours, theirs in zip(figures, single[kind][1]):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_every_parameter_learns_more_than_the_tolerance(single):
    for kind, (weights, _, _) in single.items():
        net = deeplab.create('vgg16_largefov', CLASSES, 1 / 32)
        start = starting(net)
        assert all(np.abs(weights[name] - start[name]).max() > 5e-5 for name in weights), kind


def test_resnet_learns_all_but_its_normalisation():
    weights, _, _ = train(2, steps=1, network='resnet101_largefov')
    start = starting(deeplab.create('resnet101_largefov', CLASSES, 1 / 32))
    for name, value in weights.items():
        assert (np.abs(value - start[name]).max() > 0) == ('batchnorm' not in name), name


def be_a_worker(path):
    """What each process of the distributed test does."""
    if distributed.role() in distributed.SERVING:
        mx.kvstore.kvstore_server.KVStoreServer(mx.kv.create('dist')).run()
        return
    weights, _, trainer = train(store=create_kvstore('dist_sync', [mx.cpu()]))
    np.savez(path % trainer.rank, **weights)


def test_two_workers_and_a_server_equal_one_process(single, tmp_path):
    code = 'import sys; sys.path.insert(0, {!r}); import icd.mxnet_setup; from tests.train import ' \
        'test_segmentation_task as t; t.be_a_worker({!r})'.format(PROJECT, str(tmp_path / 'worker%d.npz'))
    processes = launch.start(['scheduler', 'server', 'worker', 'worker'], [sys.executable, '-c', code],
                             dict(os.environ, OMP_NUM_THREADS='1'))
    assert launch.wait(processes) == 0
    for rank in range(2):
        with np.load(str(tmp_path / f'worker{rank}.npz')) as ours:
            assert_same(ours, single['plain'][0])


def test_a_step_waits_for_no_value(monkeypatch):
    _, _, trainer = train(steps=1)

    def wait(*_):
        raise AssertionError('a step waited for a value')
    (batch,) = batches(1)
    for name in ('asnumpy', 'asscalar', 'wait_to_read'):
        monkeypatch.setattr(mx.nd.NDArray, name, wait)
    monkeypatch.setattr(mx.nd, 'waitall', wait)
    result = trainer.step(batch, 1e-2, 1)
    monkeypatch.undo()
    assert np.isfinite(result.figures[0]['loss'].asscalar())


def test_the_preview_shows_image_label_and_prediction():
    task = SegmentationTask(deeplab.create('vgg16_largefov', CLASSES, 1 / 32))
    scores = np.full((3, CLASSES, SIDE, SIDE), -1.)
    scores[:, 2] = 1
    images, labels = (mx.nd.full(shape, value, dtype='uint8') for shape, value in (
        ((3, 3, SIZE, SIZE), 200), ((3, SIDE, SIDE), 0)))
    first, second = task.preview((images, labels, mx.nd.array(scores)))
    assert first.shape == second.shape == (120, 3 * 120 + 2 * 4, 3)
    image, label, predicted = (first[:, i * 124:i * 124 + 120] for i in range(3))
    assert (image == 200).all() and (label == 200).all()                # background shows the image
    np.testing.assert_allclose(predicted[0, 0], .4 * 200 + .6 * np.array([0, 128, 0]), atol=1)


@pytest.mark.parametrize('network, precision, bytes_of_image, bytes_of_parameter', [
    ('vgg16_largefov', 'float32', 4 * (30.1e6 + 2 * 1.72e6), 12),
    ('vgg16_largefov', 'float16', 2 * 30.1e6 + 12 * 1.72e6, 14),
    ('vgg16_aspp', 'float32', 4 * (30.1e6 + 8 * 1.72e6), 12),
    ('vgg16_aspp', 'bfloat16', 2 * 30.1e6 + 48 * 1.72e6, 14)])
def test_least_memory_is_known(network, precision, bytes_of_image, bytes_of_parameter):
    """By hand: values of the backbone and of fc6 and fc7, these in half precision before and after a cast."""
    net = deeplab.create(network, 21, precision=precision)
    one, four = (SegmentationTask(net).least_memory({'image': ((images, 3, 321, 321), np.uint8)}) for images in (1, 4))
    assert (four - one) / 3 == pytest.approx(bytes_of_image, rel=.01)
    parameters = sum(int(np.prod(p.shape)) for p in net.collect_params().values())
    assert one - (four - one) / 3 == pytest.approx(bytes_of_parameter * parameters, rel=1e-6)


def test_a_resnet_takes_more_memory_in_half_precision():
    """Its batch normalisation is float32 on both sides, and what it gives is there in halves, too: 10 bytes for 8."""
    pytest.importorskip('gluoncv')
    layout, found = {'image': ((1000, 3, 97, 97), np.uint8)}, {}
    for precision in ('float32', 'float16'):
        net = deeplab.create('resnet101_largefov', 21, 1 / 32, precision=precision)
        found[precision] = SegmentationTask(net).least_memory(layout)
    assert found['float16'] / found['float32'] == pytest.approx(1.25, rel=.01)
