"""A step's result does not depend on how its batch is spread over devices, nodes and passes."""
import functools
import os
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from icd.data.datasets import IcdBatch
from icd.errors import UserError
from icd.model.icd_blocks import CalibrationStatistics, CalibrationUpdate
from icd.model.icd_net import STATE, ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.losses import ICDLoss, warm_up
from icd.train import distributed, launch, task
from icd.train.icd_task import IcdTask
from icd.train.loss_scaling import LossScaler
from icd.train.trainer import Sgd, Trainer, create_kvstore
from tests.helpers import PROJECT

CLASSES, SIZE, SIDE, BATCH = 5, 65, 9, 8
WARM_UP, FIRST = 12, 11     # steps; the first one that is trained: the top-down branch already learns in it
RATE = 2e-2
SLOW = 1e-3         # several steps amplify rounding: signs turn, thresholds are crossed
RUNNING = ('feat_bn_moving_mean', 'feat_bn_moving_var')


def batches(count, seed=0):
    """Batches over which the classes are unevenly spread."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = (rng.random((BATCH, CLASSES)) < np.linspace(.8, .1, BATCH)[:, None]).astype(np.float32)
        labels[labels.sum(axis=1) == 0, 0] = 1
        labels[-2:] = np.eye(CLASSES)[[1, 2]]
        superpixels = np.sort(rng.integers(0, 12, (BATCH, SIDE * SIDE)), axis=1).reshape(BATCH, SIDE, SIDE)
        yield IcdBatch(mx.nd.array(rng.integers(0, 256, (BATCH, 3, SIZE, SIZE)), dtype='uint8'), mx.nd.array(labels),
                       mx.nd.array(superpixels, dtype='int32'), [], 12)


def part_of(batch, part):
    return batch._replace(**{name: getattr(batch, name)[part] for name in ('image', 'label', 'superpixel')})


def start_net(devices, dropout=0., freeze_bn=False):
    net = ICDNet(CLASSES, 1 / 16, dropout=dropout, freeze_bn=freeze_bn)
    values = initialize_missing(net, {}, 3, he=True)
    for name in ('icd_bu_weight', 'conv_ft_weight'):
        values[name] = 10 * values[name]      # else fc6_ft and fc7_ft learn little in a step
    set_values(net, values, devices)
    return net


def values_of(net, device=None):
    return {name: p.data(device or p.list_ctx()[0]).asnumpy() for name, p in net.collect_params().items()}


def train(number=1, steps=1, accumulate=1, freeze_bn=False, sync_bn=False, kvstore='device', dropout=0., clip=0.,
          rate=RATE, make_task=IcdTask, store=None, scaled=False):
    """Weights, and the trainer, after `steps` batches on so many CPU devices."""
    devices = [mx.cpu(i) for i in range(number)]
    net = start_net(devices, dropout, freeze_bn)
    store = store or create_kvstore(kvstore, devices)
    trainer = Trainer(make_task(net, WARM_UP, sync_bn=sync_bn), devices, store, accumulate, 7,
                      Sgd(clip_gradient=clip), LossScaler(devices) if scaled else None)
    part = slice(trainer.rank * BATCH // trainer.nodes, (trainer.rank + 1) * BATCH // trainer.nodes)
    for number, batch in enumerate(batches(steps), FIRST):
        trainer.step(part_of(batch, part), rate, number)
    return net, trainer


def assert_same(ours, theirs, but=()):
    for name in set(theirs) - set(but):
        close = 1e-6 if name == STATE else 1e-5
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=close, err_msg=name)


@pytest.fixture(scope='module')
def single():
    """Weights after a step on one device."""
    return values_of(train()[0])


@pytest.fixture(scope='module')
def single_frozen():
    """Weights after a step on one device with running statistics."""
    return values_of(train(freeze_bn=True)[0])


# ----------------------------------------------------------------------------------------------------- one device
def test_a_step_equals_the_plain_sequence_of_its_parts():
    ours = values_of(train(steps=3)[0])
    net = start_net([mx.cpu()])
    statistics, update, loss = CalibrationStatistics(), CalibrationUpdate(), ICDLoss(CLASSES)
    parameters = net.collect_params()
    trainer = gluon.Trainer(parameters, 'sgd', {'learning_rate': RATE, 'momentum': .9, 'wd': 5e-4})
    for number, batch in enumerate(batches(3), FIRST):
        with autograd.record():
            cam, bottom_up, top_down, feature = net(batch.image)
            state = update(parameters[STATE].data(), *statistics(bottom_up, cam, batch.label))
            out = loss(cam, bottom_up, top_down, feature, net.icd_bu_weight.data(), batch.label, batch.superpixel,
                       mx.nd.arange(batch.num_superpixels), state, mx.nd.array([warm_up(number, WARM_UP)]))
        out.loss.backward()
        parameters[STATE].set_data(state)
        trainer.step(BATCH)
    assert_same(ours, values_of(net))


def test_what_is_slowed_takes_smaller_steps(single):
    slowed = 'conv5_3_weight', 'fc6_weight'
    start = values_of(start_net([mx.cpu()]))
    found = values_of(train(make_task=functools.partial(IcdTask, fit=task.Fit(slowed)))[0])
    for name in single:
        factor = task.SLOW if name in slowed else 1.
        np.testing.assert_allclose(found[name] - start[name], factor * (single[name] - start[name]), rtol=0, atol=1e-6,
                                   err_msg=name)


def test_every_parameter_is_updated(single):
    start = values_of(start_net([mx.cpu()]))
    for name in single:
        moved = np.abs(single[name] - start[name]).max()
        assert moved == 0 if name == 'feat_bn_gamma' else moved > 5e-5, name     # the tolerance is 1e-5


def test_a_step_waits_for_no_value(monkeypatch):
    _, trainer = train()

    def wait(*_):
        raise AssertionError('a step waited for a value')
    (batch,) = batches(1)
    for name in ('asnumpy', 'asscalar', 'wait_to_read'):
        monkeypatch.setattr(mx.nd.NDArray, name, wait)
    monkeypatch.setattr(mx.nd, 'waitall', wait)
    result = trainer.step(batch, RATE, 1)
    monkeypatch.undo()
    assert np.isfinite(result.figures[0]['loss'].asscalar())


def test_later_steps_do_not_overwrite_returned_figures():
    _, trainer = train()
    first, second, third = batches(3)
    kept = trainer.step(first, RATE, 1)

    def values():
        return [value.asnumpy() for value in kept.shown + (kept.figures[0]['state_min'], kept.figures[0]['loss'])]
    seen = values()
    for number, batch in enumerate((second, third), 2):
        trainer.step(batch, RATE, number)
    assert all((a == b).all() for a, b in zip(seen, values()))


@pytest.mark.parametrize('number, accumulate', [(2, 1), (1, 2)])
def test_dropout_is_decided_by_seed_step_and_part(number, accumulate):
    batch = next(batches(1))
    batch = batch._replace(image=mx.nd.concat(batch.image[:4], batch.image[:4], dim=0),
                           label=mx.nd.concat(batch.label[:4], batch.label[:4], dim=0))

    def losses(trainer, number):
        return [figures['loss'].asscalar() for figures in trainer.step(batch, 0., number).figures]
    _, trainer = train(number, accumulate=accumulate, dropout=.5, steps=0, freeze_bn=True)
    first, second, again = (losses(trainer, number) for number in (0, 1, 0))
    assert first == again
    assert first[0] != second[0] and first[0] != first[1]
    _, other = train(number, accumulate=accumulate, dropout=.5, steps=0, freeze_bn=True)
    assert first == losses(other, 0)


def test_clipping_limits_the_norm_without_the_bottom_up_weight(single):
    net, _ = train(clip=.1)
    start, clipped = values_of(start_net([mx.cpu()])), values_of(net)
    np.testing.assert_allclose(clipped['icd_bu_weight'], single['icd_bu_weight'], atol=1e-7)
    total = 0.
    for name, parameter in net.collect_params().items():
        if parameter.grad_req != 'null' and name != 'icd_bu_weight':
            gradient = (start[name].astype(np.float64) - clipped[name]) / (RATE * parameter.lr_mult)
            total += ((gradient - 5e-4 * parameter.wd_mult * start[name]) ** 2).sum()
    assert np.sqrt(total) == pytest.approx(.1, rel=.02)
    assert_same(values_of(train(clip=1e9)[0]), single)


# --------------------------------------------------------------------------------------------------------- splits
@pytest.mark.parametrize('kvstore', ['device', 'local'])
@pytest.mark.parametrize('number', [2, 4])
def test_a_step_with_common_statistics_is_equal_on_any_devices(single, number, kvstore):
    net, _ = train(number, sync_bn=True, kvstore=kvstore)
    for device in (mx.cpu(0), mx.cpu(number - 1)):
        assert_same(values_of(net, device), single)


def test_three_steps_with_frozen_bn_are_equal_on_two_devices():
    expected = values_of(train(steps=3, freeze_bn=True, rate=SLOW)[0])
    assert_same(values_of(train(2, steps=3, freeze_bn=True, rate=SLOW)[0]), expected)


def test_accumulated_batches_equal_one_whole_batch(single_frozen):
    assert_same(values_of(train(accumulate=4, freeze_bn=True)[0]), single_frozen)
    expected = values_of(train(steps=2, freeze_bn=True, rate=SLOW)[0])
    assert_same(values_of(train(2, accumulate=2, steps=2, freeze_bn=True, rate=SLOW)[0]), expected)


def test_both_passes_of_accumulation_use_the_same_dropout():
    measured, trained = [], []

    class Watched(IcdTask):
        def measure(self, outputs, batch):
            measured.append(outputs[0].asnumpy())
            return super().measure(outputs, batch)

        def loss(self, outputs, batch):
            trained.append(outputs[0].asnumpy())
            return super().loss(outputs, batch)
    train(2, accumulate=2, dropout=.5, make_task=Watched)
    assert len(measured) == len(trained) == 4 and all((a == b).all() for a, b in zip(measured, trained))


def test_the_statistics_pass_leaves_running_statistics():
    """On GPUs batch normalisation moves them in the forward pass, on the CPU in the backward pass."""
    class MovesAtOnce(IcdTask):
        def forward(self, batches):
            if not autograd.is_recording():
                for parameter in self.running():
                    for data in parameter.list_data():
                        data += 1
            return super().forward(batches)
    assert_same(values_of(train(accumulate=2, make_task=MovesAtOnce)[0]), values_of(train(accumulate=2)[0]))


def test_running_statistics_take_one_step_an_accumulated_batch():
    moved = values_of(train(accumulate=2)[0])
    net = start_net([mx.cpu()])
    images = next(batches(1)).image
    first, second = (net.layers.backbone(images[i:i + BATCH // 2]).mean(axis=(0, 2, 3)).asnumpy()
                     for i in (0, BATCH // 2))
    np.testing.assert_allclose(moved[RUNNING[0]], .9 * .1 * first + .1 * second, atol=1e-5)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_running_statistics_count_steps_that_were_not_waited_for(accumulate):
    net, other = start_net([mx.cpu()]), start_net([mx.cpu()])
    trainer, patient = (Trainer(IcdTask(n), [mx.cpu()], accumulate=accumulate) for n in (net, other))
    for number, batch in enumerate(batches(5)):
        patient.step(batch, SLOW, number)
        mx.nd.waitall()
    for number, batch in enumerate(batches(5)):
        trainer.step(batch, SLOW, number)
    for name in RUNNING:            # nothing else is read before, so nothing else is waited for
        ours, expected = (n.collect_params()[name].data().asnumpy() for n in (net, other))
        assert (ours == expected).all(), name


def test_running_statistics_are_averaged_over_devices():
    net, trainer = train(2)
    both = [np.stack([data.asnumpy() for data in net.collect_params()[name].list_data()]) for name in RUNNING]
    assert all(np.abs(a[0] - a[1]).max() > 1e-4 for a in both)
    trainer.average_running_statistics()
    for name, before in zip(RUNNING, both):
        for data in net.collect_params()[name].list_data():
            np.testing.assert_allclose(data.asnumpy(), before.mean(axis=0), atol=1e-6)


def test_momentum_is_restored_with_a_checkpoint():
    net, trainer = train(2, steps=2, freeze_bn=True)
    expected = values_of(train(2, steps=3, freeze_bn=True)[0])
    devices = [mx.cpu(0), mx.cpu(1)]
    again = start_net(devices, freeze_bn=True)
    set_values(again, values_of(net), devices)
    resumed = Trainer(IcdTask(again, WARM_UP), devices, create_kvstore('device', devices), seed=7)
    resumed.set_momentum(trainer.momentum())
    *_, third = batches(3)
    resumed.step(third, RATE, FIRST + 2)
    ours = values_of(again)
    assert all((ours[name] == expected[name]).all() for name in expected)


def test_a_kvstore_missing_in_this_mxnet_is_named():
    with pytest.raises(UserError, match='--kvstore nccl: .*choose device'):
        create_kvstore('nccl', [mx.cpu(0), mx.cpu(1)])


# ---------------------------------------------------------------------------------------------------------- nodes
def be_a_worker(path):
    """What each process of the distributed test does."""
    if distributed.role() in distributed.SERVING:
        mx.kvstore.kvstore_server.KVStoreServer(mx.kv.create('dist')).run()
        return
    store = create_kvstore('dist_sync', [mx.cpu()])
    net, trainer = train(steps=1, freeze_bn=True, store=store, scaled=True, make_task=Overflowing)
    trainer.average_running_statistics()
    assert distributed.same_everywhere(store, bytes([7, store.rank])) == (store.rank == 0)
    trained = values_of(net)
    trainer.task.factor = float('inf') if store.rank else 1.        # one of the workers alone
    trainer.step(part_of(next(batches(1)), slice(4 * store.rank, 4 * store.rank + 4)), RATE, FIRST + 1)
    assert_same(values_of(net), trained, but=[STATE])
    assert trainer.scaler.state() == (2. ** 15, 0, 1)
    np.savez(path % trainer.rank, **trained)


class Overflowing(IcdTask):
    factor = 1.

    def loss(self, outputs, batch):
        found = super().loss(outputs, batch)
        return found._replace(loss=found.loss * self.factor)


def test_two_workers_and_a_server_equal_one_process_and_skip_the_same_step(single_frozen, tmp_path):
    code = 'import sys; sys.path.insert(0, {!r}); import icd.mxnet_setup; from tests.train import test_trainer as t; ' \
        't.be_a_worker({!r})'.format(PROJECT, str(tmp_path / 'worker%d.npz'))
    processes = launch.start(['scheduler', 'server', 'worker', 'worker'], [sys.executable, '-c', code],
                             dict(os.environ, OMP_NUM_THREADS='1'))
    assert launch.wait(processes) == 0
    for rank in range(2):
        with np.load(str(tmp_path / f'worker{rank}.npz')) as ours:
            assert_same(ours, single_frozen)
