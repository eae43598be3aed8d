"""Dropout of one draw has the distribution of dropout, and a graph for each mode."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.model.fast_dropout import FAR, ByMode, FullyConnected


@pytest.mark.parametrize('fraction', [.3, .5])
def test_dropout_keeps_and_scales_by_definition(fraction):
    """The form that needs no mask: kept values are scaled by 1 / (1 - p), a fraction p is 0, gradients likewise."""
    block = FullyConnected(1, 1, 400, fraction)
    block.initialize()
    values = {name: np.zeros(p.shape, np.float32) for name, p in block.collect_params().items()}
    values['fc6_bias'][:200] = 2                # the other half is off before dropout
    values['fc8_weight'] += 1
    values['fc7_weight'][:, :, 0, 0] = np.eye(400)
    for name, parameter in block.collect_params().items():
        parameter.set_data(mx.nd.array(values[name]))
    mx.random.seed(0)
    with autograd.record():
        output = block(mx.nd.zeros((1, 1, 60, 60)))
    output.backward()
    # Sums of 200 values that are 2 / (1 - p)^2 with probability (1 - p)^2, else 0.
    kept = output.asnumpy() * (1 - fraction) ** 2 / 2
    assert np.allclose(kept, kept.round(), atol=1e-3)
    assert kept.mean() == pytest.approx(200 * (1 - fraction) ** 2, rel=.01)
    assert kept.std() == pytest.approx(np.sqrt(200 * (1 - fraction) ** 2 * (1 - (1 - fraction) ** 2)), rel=.05)
    gradient = block.fc6_bias.grad().asnumpy()
    assert not gradient[200:].any()
    np.testing.assert_allclose(gradient[:200].sum() * 2, output.asnumpy().sum(), rtol=1e-4)
    assert FAR < np.finfo(np.float32).max / 100


@pytest.mark.parametrize('first', [True, False], ids=['training first', 'inference first'])
def test_training_and_inference_have_separate_graphs(first):
    block = FullyConnected(2, 3, 40, .5)
    block.initialize(mx.init.Normal(.3))
    x = mx.nd.random.normal(shape=(1, 3, 9, 9))
    plain = block(x).asnumpy()
    graphs = ByMode(block)
    graphs.hybridize(static_alloc=True, static_shape=True)
    for training in (first, not first, first, not first):
        with autograd.train_mode() if training else autograd.predict_mode():
            found = graphs(x).asnumpy()
        assert np.allclose(found, plain, rtol=1e-5, atol=1e-6) != training
    assert set(graphs.collect_params()) == set(block.collect_params())
