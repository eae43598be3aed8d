"""Networks, losses and gradients equal those of an independent implementation (PyTorch, `tests/fixtures/segmentation`).

"Equal" is within 1e-4 of the largest value, for every parameter's gradient by itself. Of the gradients one value in a
hundred may be off by ten times that: a unit whose input is 0 but for rounding is on with one processor and off with
another, of two million units of a ResNet-101.
"""
import os

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.model import deeplab
from icd.model.initial import set_values
from icd.model.segmentation_loss import CountPixels, Scales, SegmentationLoss
from tests.helpers import TESTS, load_recording
from tests.helpers import segmentation_case as given

TOLERANCE = 1e-4


def errors(found, recorded):
    """Of the values that were kept and of the largest, as fractions of the largest."""
    found = given.summary(found, len(recorded) - 2)
    assert recorded[-1] > 0
    return np.abs(np.delete(found - recorded, -2)) / recorded[-1]


def computed(case):
    """Scores, loss and the gradients by name."""
    net = deeplab.create(case.network, given.CLASSES, case.width, dropout=0)
    parameters = net.collect_params()
    set_values(net, {name: given.parameter(name, p.shape) for name, p in parameters.items()})
    image, label = mx.nd.array(given.images(case), dtype='uint8'), mx.nd.array(given.labels(case), dtype='uint8')
    loss, scales = SegmentationLoss(), Scales(case.side)
    for block in net, loss, scales:
        block.hybridize(static_alloc=True, static_shape=True)
    counts = CountPixels()(label)
    with autograd.record():
        scores = [net(image)] + [net(x) for x in (scales(image) if case.multi_scale else ())]
        found = loss(label, counts, *scores)
    found.loss.backward()
    return scores[0].asnumpy(), found.loss.asscalar(), {
        name: p.grad().asnumpy() for name, p in parameters.items() if p.grad_req != 'null'}


@pytest.mark.parametrize('case', given.CASES, ids=lambda case: case.file[:-len('.npz')])
def test_scores_loss_and_gradients_are_those_of_pytorch(case):
    recorded = load_recording(os.path.join(TESTS, 'fixtures', 'segmentation', case.file))
    scores, loss, gradients = computed(case)
    assert errors(scores, recorded['scores']).max() < TOLERANCE
    assert loss == pytest.approx(float(recorded['loss']), rel=TOLERANCE)
    expected = dict(zip(recorded['names'].tolist(), recorded['gradients']))
    assert set(gradients) == set(expected)
    found = {name: errors(gradient, expected[name]) for name, gradient in gradients.items()}
    assert {name: error.max() for name, error in found.items() if error.max() > 10 * TOLERANCE} == {}
    assert np.mean(np.concatenate(list(found.values())) > TOLERANCE) < .01
