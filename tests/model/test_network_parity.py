"""Four training steps and an inference of the full network against the recorded original."""
import functools
import os
import zlib

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from icd.model.icd_blocks import CalibrationStatistics, CalibrationUpdate, SuperpixelRefine, apply_sign
from icd.model.icd_net import AUXILIARY, STATE, ICDNet
from icd.model.initial import set_values
from icd.model.losses import ICDLoss, warm_up
from tests.helpers import load_recording, parity_files

RATE, MOMENTUM, DECAY = 1e-4, .9, 5e-4
LAGGING = ('feat_bn_moving_mean', 'feat_bn_moving_var')     # recorded before the step's backward pass moves them
# Largest errors by step: of outputs, of distances from the start, of changes. On the processors of most machines those
# of the recordings hold (1e-5, 1e-4, 2e-2, 2e-2; 1e-4, 3e-3, 1e-2, 1e-2; 1e-3, 2e-2, 6e-2, 6e-2). On one, an AMD EPYC
# without AVX-512, oneDNN adds up in another order, an activation falls on the other side of 0, and from there on the
# small numbers differ by more: by 2.4 times that in the first step, 6.6 times in the second, 1.5 times in the last.
OUTPUT, DISTANCE, DELTA = (3e-5, 1e-3, 4e-2, 4e-2), (3e-4, 3e-3, 1e-2, 1e-2), (4e-3, 2e-2, 1e-1, 1e-1)
INPUTS = ('images', 'labels', 'superpixels', 'infer_aux_' + LAGGING[0], 'infer_aux_' + LAGGING[1],
          'infer_aux_' + STATE)


# ------------------------------------------------------------------------------------- what the port makes of inputs
def start_values(net, number):
    """The parameters recording `number` starts from, by the rule of its README."""
    values = {}
    for name, parameter in net.collect_params().items():
        shape = parameter.shape
        noise = np.random.RandomState((zlib.crc32(name.encode()) + number) & 0xffffffff)
        if name.endswith('_bias'):
            value = .01 * noise.standard_normal(shape)
        elif name.endswith('_weight'):
            wide = name.startswith(('conv', 'fc6', 'fc7')) and name != 'conv_ft_weight'
            value = (np.sqrt(2 / np.prod(shape[1:])) if wide else .01) * noise.standard_normal(shape)
            value = value.astype(np.float32) / (64 if name == 'conv1_1_weight' else 1)
        else:
            value = np.full(shape, float(name.endswith(('_gamma', '_moving_var'))))
        values[name] = value.astype(np.float32)
    return values


def summaries(t, name, value, start):
    """What a recording keeps of a parameter after step t."""
    value, change = value.reshape(-1), (value - start).reshape(-1)
    wide = value.astype(np.float64)
    return {
        f'stat_{name}/{t}': np.array([wide.sum(), np.linalg.norm(wide),
                                            np.linalg.norm(wide - start.reshape(-1))]),
        f'step{t}_head_{name}': value[:16],
        f'step{t}_delta_{name}': change[np.linspace(0, change.size - 1, min(64, change.size)).astype(int)]}


def decayed_gamma(t, shape):
    """The original decays gamma before it sets it to 1 again in the next forward pass; recorded in between."""
    momentum, one = np.float32(0), np.float32(1)
    for _ in range(t + 1):
        momentum = np.float32(MOMENTUM * momentum - RATE * DECAY)
    return np.full(shape, one + momentum)


def train(recorded, net, start):
    """Outputs and parameters of the recorded steps, keyed as `flat` keys the recording."""
    made, loss, statistics, update = {}, ICDLoss(net.num_classes), CalibrationStatistics(), CalibrationUpdate()
    for block in (net, loss, statistics, update):
        block.hybridize(static_alloc=True, static_shape=True)
    parameters = net.collect_params()
    trainer = gluon.Trainer(parameters, 'sgd', dict(learning_rate=RATE, momentum=MOMENTUM, wd=DECAY))
    lagging = {name: start[name] for name in LAGGING}
    for t, (images, label, superpixel) in enumerate(zip(*(recorded[n] for n in ('images', 'labels', 'superpixels')))):
        label = mx.nd.array(label)
        with autograd.record():
            cam, bottom_up, top_down, feature = net(mx.nd.array(images, dtype='uint8'))
            state = update(parameters[STATE].data(), *statistics(bottom_up, cam, label))
            out = loss(cam, bottom_up, top_down, feature, net.icd_bu_weight.data(), label,
                       mx.nd.array(superpixel[:, ::8, ::8], dtype='int32'), mx.nd.arange(superpixel.max() + 1), state,
                       mx.nd.array([warm_up(t, 2)]))
        out.loss.backward()
        parameters[STATE].set_data(state)
        trainer.step(len(images))
        made.update({f'step{t}_cam_prob': out.prob.asnumpy(), f'step{t}_bottom_up': out.calibrated.asnumpy(),
                     f'step{t}_top_down_prob': mx.nd.sigmoid(top_down).asnumpy()})
        for name, parameter in parameters.items():
            value = parameter.data().asnumpy()
            if name in LAGGING:
                value, lagging[name] = lagging[name], value
            elif name == 'feat_bn_gamma':
                assert (value == 1).all()
                value = decayed_gamma(t, value.shape)
            made.update(summaries(t, name, value, start[name]))
    return made


def infer(recorded, net, start):
    """Outputs of an inference from the starting parameters with the recorded running statistics."""
    set_values(net, dict(start, **{name: recorded['infer_aux_' + name] for name in AUXILIARY}))
    cam, bottom_up, top_down, _ = net(mx.nd.array(recorded['images'][0], dtype='uint8'))
    calibrated = apply_sign(bottom_up, net.icd_accum_resign_moving_mean.data())
    superpixel = recorded['superpixels'][0]
    refined = SuperpixelRefine()(calibrated, mx.nd.array(recorded['labels'][0]), mx.nd.array(
        superpixel[:, ::8, ::8], dtype='int32'), mx.nd.arange(superpixel.max() + 1))
    return {'infer_cam': cam.asnumpy(), 'infer_bottom_up': calibrated.asnumpy(), 'infer_refined': refined.asnumpy(),
            'infer_top_down_logit': top_down.asnumpy()}


@functools.lru_cache(maxsize=1)
def reproduce(path):
    recorded, net = load_recording(path), ICDNet(dropout=0)
    start = start_values(net, int(os.path.basename(path)[len('net_'):-len('.npz')]))
    set_values(net, start)
    made = train(recorded, net, start)
    made.update(infer(recorded, net, start))
    made['param_names'] = sorted(name for name in net.collect_params() if name not in AUXILIARY)
    made['aux_names'] = sorted(AUXILIARY)
    return made


# ---------------------------------------------------------------------------------------------------- comparison
def flat(recorded):
    """The recorded results, with a key for each step of the `stat_` arrays."""
    values = {name: value for name, value in recorded.items()
              if name not in INPUTS and not name.startswith('stat_')}
    for name, value in recorded.items():
        if name.startswith('stat_'):
            assert len(value) == len(recorded['images'])
            values.update({f'{name}/{t}': row for t, row in enumerate(value)})
    return values


@functools.lru_cache(maxsize=1)
def sizes():
    return {name: int(np.prod(parameter.shape)) for name, parameter in ICDNet().collect_params().items()}


def allowed(name, recorded):
    """Largest absolute error of each value of the recorded result `name`."""
    value = recorded[name]
    if name.startswith('infer_'):
        return 1e-4 * np.abs(value).max()
    if name.startswith('stat_'):
        name, t = name[len('stat_'):].rsplit('/', 1)
        _, norm, distance = value
        # A sum of changes errs by at most the root of their number times the norm of their errors (Cauchy-Schwarz).
        return np.array([DELTA[int(t)] * distance * np.sqrt(sizes()[name]) + 1e-12,
                         DISTANCE[int(t)] * distance + 1e-7 * norm, DISTANCE[int(t)] * distance + 1e-12])
    t, kind = int(name[len('step')]), name.split('_')[1]
    if kind in ('cam', 'bottom', 'top'):
        return OUTPUT[t] * np.abs(value).max()
    parameter = name.split('_', 2)[2]
    moved = np.abs(recorded[f'step{t}_delta_{parameter}']).max()
    return DELTA[t] * moved + (0 if kind == 'delta' else 1e-7 * np.abs(value).max())


def compare(made, recorded):
    """AssertionError unless every recorded result is met."""
    recorded = flat(recorded)
    assert set(made) == set(recorded)
    for name, value in recorded.items():
        if name in ('param_names', 'aux_names'):
            assert made[name] == sorted(value)
            continue
        assert made[name].shape == value.shape, name
        assert np.isfinite(value).all(), name
        excess = np.abs(made[name].astype(np.float64) - value) / np.maximum(allowed(name, recorded), 1e-30)
        assert excess.max() <= 1, f'{name}: {excess.max():.2g} times the allowed error'


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize('path', parity_files('net_*.npz'), ids=os.path.basename)
def test_outputs_equal_the_recorded_ones(path):
    compare(reproduce(path), load_recording(path))


@pytest.mark.parity
@pytest.mark.slow
def test_every_recorded_result_counts():
    path = parity_files('net_*.npz')[0]
    recorded = load_recording(path)
    made = reproduce(path)
    for name in sorted(set(recorded) - set(INPUTS)):
        value = recorded[name]
        changed = value[1:] if value.dtype.kind == 'U' else value + .5 * (np.abs(value).max() or 1)
        with pytest.raises(AssertionError):
            compare(made, {name: None, **recorded, **{name: changed}})     # the changed one comes first
