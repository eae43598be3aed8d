"""Properties of the network that its users rely on: determinism, graphs that agree, statistics over devices."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from icd.model.icd_blocks import CalibrationStatistics
from icd.model.icd_net import AUXILIARY, ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.sync_bn import combine, forward_synchronised

STATIC = dict(static_alloc=True, static_shape=True)
WIDTH = 1 / 16


def network(devices=None, seed=0, **changes):
    net = ICDNet(3, WIDTH, **changes)
    values = initialize_missing(net, {}, seed, he=True)
    # Running statistics and a state that are not where they start, so that using the wrong ones shows.
    values['feat_bn_moving_mean'] = values['feat_bn_moving_mean'] + .1
    values['icd_accum_resign_moving_mean'] = np.array([[0, .1], [.1, 0], [0, 0]], np.float32)
    set_values(net, values, devices or mx.cpu())
    return net


def images(count=2, height=65, width=65, seed=0):
    return mx.nd.array(np.random.default_rng(seed).integers(0, 256, (count, 3, height, width)), dtype='uint8')


def same(one, other, tolerance=1e-6):
    for a, b in zip(one, other):
        a, b = a.asnumpy(), b.asnumpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


# --------------------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize('height, width', [(65, 65), (33, 97), (321, 33)])
def test_maps_have_a_position_every_eight_pixels(height, width):
    cam, bottom_up, top_down, feature = network()(images(1, height, width))
    grid = (height // 8 + 1, width // 8 + 1)
    assert cam.shape == bottom_up.shape == top_down.shape == (1, 3) + grid
    assert feature.shape == (1, 32) + grid


def test_paper_network_has_the_paper_shapes():
    shapes = {name: parameter.shape for name, parameter in ICDNet().collect_params().items()}
    assert shapes['conv1_1_weight'] == (64, 3, 3, 3) and shapes['conv5_3_weight'] == (512, 512, 3, 3)
    assert shapes['fc6_weight'] == shapes['fc6_ft_weight'] == (1024, 512, 3, 3)
    assert shapes['fc7_weight'] == (1024, 1024, 1, 1) and shapes['conv_ft_weight'] == (20, 2560, 1, 1)
    assert shapes['icd_bu_weight'] == (20, 512) and shapes['icd_accum_resign_moving_mean'] == (20, 2)
    assert len(shapes) == 43 and 'conv_ft_bias' not in shapes


def test_learning_rates_and_decay_of_the_original():
    parameters = ICDNet(3, WIDTH).collect_params()
    assert {n for n, p in parameters.items() if p.lr_mult == 10} == {'fc8_weight', 'fc8_bias', 'conv_ft_weight'}
    assert {n for n, p in parameters.items() if p.wd_mult} == {
        n for n in parameters if n.endswith(('_weight', '_gamma'))}
    assert {n for n, p in parameters.items() if p.grad_req == 'null'} == {'feat_bn_gamma'} | set(AUXILIARY)


# --------------------------------------------------------------------------------------------------------- graphs
def test_pixels_may_be_bytes_or_floats():
    net, x = network(), images()
    same(net(x), net(x.astype('float32')), 0)


def test_padding_with_127_is_padding_with_nothing():
    """The network subtracts 127, so a black 127 image has no input at all."""
    net = network()
    backbone = net.layers.backbone
    same(backbone(mx.nd.full((1, 3, 33, 33), 127)), backbone.layers(mx.nd.zeros((1, 3, 33, 33))), 0)


@pytest.mark.parametrize('training', [False, True])
def test_hybridized_network_is_the_same(training):
    plain, hybrid = network(dropout=0), network(dropout=0)
    hybrid.hybridize(**STATIC)
    with autograd.train_mode() if training else autograd.predict_mode():
        for seed in (0, 1):
            same(hybrid(images(seed=seed)), plain(images(seed=seed)), 1e-5)


def test_bottom_up_score_passes_no_gradient():
    net = network()
    with autograd.record():
        loss = net(images())[1].sum()
    loss.backward()
    assert all(not p.grad().asnumpy().any() for p in net.collect_params().values() if p.grad_req != 'null')


def test_frozen_bn_uses_and_keeps_its_running_statistics():
    net = network(dropout=0, freeze_bn=True)
    before = net.layers.feature_norm.moving_mean.data().asnumpy()
    inference = net(images())
    with autograd.record():
        outputs = net(images())
        loss = outputs[2].sum()
    loss.backward()
    same(outputs, inference, 1e-5)
    assert (net.layers.feature_norm.moving_mean.data().asnumpy() == before).all()


def test_dropout_repeats_with_its_seed_and_rests_in_inference():
    net = network()
    net.hybridize(**STATIC)

    def draw(seed):
        mx.random.seed(seed)
        with autograd.train_mode():
            return net(images())[0].asnumpy()
    assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()
    same(net(images()), network(dropout=0)(images()), 1e-5)


# ----------------------------------------------------------------------------------------- statistics over devices
def trained(splits, count=8):
    """Outputs, gradients and running statistics after forward and backward on as many CPU devices as `splits`."""
    devices = [mx.cpu(i) for i in range(len(splits))]
    net = network(devices, dropout=0)
    net.hybridize(**STATIC)
    bounds = np.cumsum([0] + splits)
    parts = [images(count)[a:b].as_in_context(d) for a, b, d in zip(bounds, bounds[1:], devices)]
    with autograd.record():
        outputs = forward_synchronised(net, parts)
        losses = [(cam ** 2).sum() + (top_down ** 2).sum() for cam, _, top_down, _ in outputs]
    autograd.backward(losses)
    parameters = net.collect_params()
    gradients = {name: sum(g.as_in_context(mx.cpu()) for g in p.list_grad()).asnumpy()
                 for name, p in parameters.items() if p.grad_req != 'null'}
    running = [p.data(d).asnumpy() for d in devices for p in map(parameters.get, AUXILIARY)]
    return [np.concatenate([o[i].asnumpy() for o in outputs]) for i in range(4)], gradients, running


@pytest.mark.parametrize('splits', [[8], [4, 4], [2, 2, 2, 2], [5, 3]])
def test_synchronised_statistics_do_not_depend_on_the_split(splits):
    net = network(dropout=0)
    with autograd.record():
        outputs = net(images(8))
        loss = (outputs[0] ** 2).sum() + (outputs[2] ** 2).sum()
    loss.backward()
    got, gradients, running = trained(splits)
    for one, other in zip(got, outputs):
        np.testing.assert_allclose(one, other.asnumpy(), rtol=0, atol=1e-5 * np.abs(one).max())
    for name, gradient in gradients.items():
        want = net.collect_params()[name].grad().asnumpy()
        np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-5 * max(np.abs(want).max(), 1e-30), err_msg=name)
    wanted = [net.collect_params()[name].data().asnumpy() for name in AUXILIARY]
    for i, value in enumerate(running):             # every device holds the same
        np.testing.assert_allclose(value, wanted[i % len(AUXILIARY)], rtol=1e-5, atol=1e-6)


def test_combined_moments_survive_a_large_mean():
    values = np.random.default_rng(0).standard_normal(1000) + 3000
    parts = [values[:300], values[300:]]
    mean, variance = combine([(mx.nd.array([p.mean()]), mx.nd.array([p.var()])) for p in parts], [300, 700])
    assert mean.asscalar() == pytest.approx(values.mean(), rel=1e-6)
    assert variance.asscalar() == pytest.approx(values.var(), rel=1e-2)


def test_an_unrecorded_pass_leaves_the_network_unchanged():
    """A training-mode pass that is not recorded moves no running statistics."""
    net = network(dropout=0)
    net.hybridize(**STATIC)
    before = [net.collect_params()[name].data().asnumpy() for name in AUXILIARY]
    with autograd.train_mode():
        cam, bottom_up, _, _ = net(images())
        forward_synchronised(net, [images()])
    CalibrationStatistics()(bottom_up, cam, mx.nd.ones((2, 3)))[0].wait_to_read()
    assert all((net.collect_params()[name].data().asnumpy() == value).all()
               for name, value in zip(AUXILIARY, before))
