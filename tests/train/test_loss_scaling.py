"""Loss scaling: which steps are skipped, what they leave alone, and what the log and a resume know of it.

No device here computes in float16, which the scaler does not need: gradients that are not finite are planted.
"""
import csv
import os

import numpy as np
import pytest

from icd.errors import UserError
from icd.mxnet_setup import mx
from icd.train import checkpoint, loss_scaling
from icd.train.checkpoint import Checkpoints
from icd.train.loss_scaling import START, LossScaler, Scaling
from icd.train.trainer import Sgd, Trainer, create_kvstore
from tests.helpers import results
from tests.train import toy

DEVICES = [mx.cpu(0), mx.cpu(1)]


class Planted(toy.ToyTask):
    """The loss of a device is multiplied by a number, one a step; the figures are not."""

    def __init__(self, net, factors=()):
        super().__init__(net)
        self._factors, self._step = dict(factors), -1

    def prepare(self, step, sums):
        super().prepare(step, sums)
        self._step = step

    def loss(self, outputs, batch):
        found = super().loss(outputs, batch)
        return found._replace(loss=found.loss * self._factors.get((self._step, outputs.context.device_id), 1.))


def batch_of(seed, count=16):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    return toy.Points.Batch(mx.nd.array(rng.normal(size=(count, 2)) + 2 * label[:, None] - 1), mx.nd.array(label))


def trainer(devices=DEVICES, factors=(), scaling=START, accumulate=1, clip=0., scaled=True):
    net = toy.make_task(devices, None).net
    return Trainer(Planted(net, factors), devices, create_kvstore('device', devices), accumulate, 5,
                   Sgd(clip_gradient=clip), LossScaler(devices, scaling) if scaled else None)


def state_of(made, device=DEVICES[0]):
    """Weights and momentum, what running statistics hold left out."""
    found = {name: p.data(device).asnumpy() for name, p in made.task.net.collect_params().items()
             if p.grad_req != 'null'}
    return {**found, **{'momentum of ' + name: value.asnumpy() for name, value in made.momentum().items()}}


def steps(made, numbers, rate=.1):
    for number in numbers:
        result = made.step(batch_of(number), rate, number)
    return result


def same(one, other):
    return all((one[name] == other[name]).all() for name in one)


# ------------------------------------------------------------------------------------------------- scaled gradients
@pytest.mark.parametrize('how', [{}, {'accumulate': 2}, {'clip': .01}, {'devices': DEVICES[:1]}])
def test_scaling_by_a_power_of_two_changes_no_bit(how):
    scaled, plain = trainer(**how), trainer(scaled=False, **how)
    for made in (scaled, plain):
        steps(made, range(4))
    assert same(state_of(scaled), state_of(plain))
    assert scaled.scaler.state() == Scaling(2. ** 16, 4, 0)


def test_backward_computes_scaled_gradients(monkeypatch):
    seen, unscale = [], LossScaler.unscale

    def watched(self, device, gradients):
        seen.append([gradient.asnumpy() for gradient in gradients])
        unscale(self, device, gradients)
    monkeypatch.setattr(LossScaler, 'unscale', watched)
    for scaling in (Scaling(1.), START):
        steps(trainer(DEVICES[:1], scaling=scaling), [0])
    for plain, scaled in zip(*seen):
        assert (scaled == 2 ** 16 * plain).all()
    assert max(np.abs(plain).max() for plain in seen[0]) > 0


# -------------------------------------------------------------------------------------------------- skipped steps
@pytest.mark.parametrize('planted', [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize('device', [0, 1])
def test_infinity_on_one_device_skips_the_step_on_all(device, planted):
    made = trainer(factors={(1, device): planted})
    steps(made, [0])
    before = [state_of(made, one) for one in DEVICES]
    result = steps(made, [1])
    assert [same(state_of(made, one), old) for one, old in zip(DEVICES, before)] == [True, True]
    assert made.scaler.state() == Scaling(2. ** 15, 0, 1)
    assert [float(array.asscalar()) for array in map(made.scaler.scale, DEVICES)] == [2. ** 15] * 2
    assert [part['skipped_steps'].asscalar() for part in result.figures] == [1, 1]
    steps(made, [2])
    assert not any(same(state_of(made, one), old) for one, old in zip(DEVICES, before))
    assert same(state_of(made, DEVICES[0]), {**state_of(made, DEVICES[1])})


def test_a_skipped_step_leaves_no_trace_but_in_the_scale():
    """The steps around it are those of a training without it; accumulated parts are forgotten, too."""
    for how in ({}, {'accumulate': 2}, {'clip': .01}):
        made, without = trainer(factors={(1, 1): np.inf}, **how), trainer(**how)
        steps(made, [0, 1, 2])
        steps(without, [0, 2])
        assert same(state_of(made), state_of(without)), how


def test_a_step_with_loss_scaling_waits_for_no_value(monkeypatch):
    made = trainer(factors={(1, 1): np.inf})
    steps(made, [0])

    def wait(*_):
        raise AssertionError('a step waited for a value')
    batch = batch_of(1)
    for name in ('asnumpy', 'asscalar', 'wait_to_read'):
        monkeypatch.setattr(mx.nd.NDArray, name, wait)
    monkeypatch.setattr(mx.nd, 'waitall', wait)
    made.step(batch, .1, 1)
    monkeypatch.undo()
    assert made.scaler.state().skipped == 1


def scaler_after(finite, scaling):
    """Where a scaler of two devices stands after steps that were finite or not."""
    scaler = LossScaler(DEVICES, scaling)
    for one in finite:
        for device in DEVICES:
            gradients = [mx.nd.ones((2, 3), ctx=device), mx.nd.full((4,), 1 if one else np.inf, ctx=device)]
            scaler.unscale(device, gradients)
        scaler.update()
    assert [float(scaler.scale(device).asscalar()) for device in DEVICES] == [scaler.state().scale] * 2
    return scaler.state()


def test_the_scale_halves_with_every_skipped_step_and_doubles_after_2000_good_ones():
    assert scaler_after([0, 0, 1], START) == Scaling(2. ** 14, 1, 2)
    assert scaler_after([1], Scaling(8., 1998, 3)) == Scaling(8., 1999, 3)
    assert scaler_after([1], Scaling(8., 1999, 3)) == Scaling(16., 0, 3)
    assert scaler_after([0, 1], Scaling(8., 1999, 3)) == Scaling(4., 1, 4)
    assert scaler_after([1], Scaling(2. ** 24, 1999, 0)) == Scaling(2. ** 24, 0, 0)


# --------------------------------------------------------------------------------------------------- whole trainings
def rows_of(folder):
    with open(os.path.join(folder, 'log.csv'), newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder of a training of 15 steps, of which those of `toy.OVERFLOWS` are skipped."""
    folder = str(tmp_path_factory.mktemp('whole'))
    toy.train(folder, precision='float16')
    return folder


def test_log_and_checkpoints_know_the_scale_and_the_skipped_steps(whole):
    rows = rows_of(whole)
    skipped = [sum(step <= number for step in toy.OVERFLOWS) for number in range(15)]
    assert [int(float(row['skipped_steps'])) for row in rows] == skipped
    assert [float(row['loss_scale']) for row in rows] == [2. ** (16 - count) for count in skipped]
    assert list(rows[0])[4:9] == ['loss', 'accuracy', 'score_max', 'loss_scale', 'skipped_steps']
    with open(os.path.join(whole, 'log.txt')) as file:
        text = file.read()
    assert text.count(': skipped, for gradients that are not finite; loss scale ') == len(toy.OVERFLOWS)
    assert 'epoch 0 batch 1: skipped, for gradients that are not finite; loss scale 32768\n' in text
    assert ', loss scale 8192, 3 steps skipped, ' in text and 'convolutions in float16' in text
    found = checkpoint.read(os.path.join(whole, 'toy-0002.params'))
    assert found.scaling == Scaling(2. ** 13, 14 - toy.OVERFLOWS[-1], 3)


def test_a_training_that_was_stopped_goes_on_to_the_same_bits_with_its_scale(whole, tmp_path, monkeypatch):
    folder, fill = str(tmp_path), toy.Points.fill

    def stopped(self, keys, arrays):
        if any((epoch, position) == (1, 100) for epoch, position, _ in keys):
            raise InterruptedError
        return fill(self, keys, arrays)
    with monkeypatch.context() as until, pytest.raises(InterruptedError):
        until.setattr(toy.Points, 'fill', stopped)
        toy.train(folder, precision='float16')
    found = Checkpoints(folder, 'toy').newest()
    assert found.position == (1, 2, 7) and found.scaling == Scaling(2. ** 14, 6 - toy.OVERFLOWS[1], 2)
    toy.train(folder, precision='float16')
    assert results(folder) == results(whole)
    kept = 'step', 'loss', 'loss_scale', 'skipped_steps'
    assert [[row[name] for name in kept] for row in rows_of(folder)] == [
        [row[name] for name in kept] for row in rows_of(whole)]
    with open(os.path.join(folder, 'log.txt')) as file:
        text = file.read()
    assert 'from epoch 1, batch 2' in text and text.count(': skipped, for ') == len(toy.OVERFLOWS)


def test_a_training_without_finite_gradients_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, 'OVERFLOWS', range(1000))
    monkeypatch.setattr(loss_scaling, 'LEAST', 2. ** 13)
    with pytest.raises(UserError, match='^training diverged .gradients that are not finite, down to a loss scale of '
                                        '4096.: give a smaller --learning-rate$'):
        toy.train(str(tmp_path), precision='float16')


def test_without_float16_checkpoints_and_log_are_as_before(tmp_path):
    toy.train(str(tmp_path))
    assert b'loss_scaling' not in results(str(tmp_path))['toy-0002.states']
    assert 'loss_scale' not in rows_of(str(tmp_path))[0]
    assert checkpoint.read(str(tmp_path / 'toy-0002.params')).scaling is None
