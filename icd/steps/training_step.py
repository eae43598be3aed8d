"""One optimisation step of ICD over any number of devices and machines."""
from collections import namedtuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from icd.errors import UserError
from icd.model.icd_blocks import CalibrationStatistics, CalibrationUpdate
from icd.model.losses import ICDLoss
from icd.model.network import AUXILIARY, STATE
from icd.model.sync_bn import forward_synchronised

Outputs = namedtuple('Outputs', 'images labels top_down losses')


def create_kvstore(name, devices):
    """The store that adds up over devices and machines, or None where there is nothing to add up.

    Parameters
    ----------
    name : str
        `--kvstore`.
    devices : list of mxnet.Context

    Returns
    -------
    mxnet.kvstore.KVStore or None
    """
    if not name.startswith('dist') and len(devices) == 1:
        return None
    try:
        return mx.kv.create(name)
    except mx.base.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError('--kvstore %s: this MXNet cannot create it (%s): choose device or local'
                        % (name, reason)) from None


class TrainingStep:
    """Forward, sign calibration, losses, backward and update of one batch.

    The batch is cut into `accumulate` parts, each spread over the devices. The calibration state is updated once,
    with the statistics of the whole batch, before any loss is computed; so with several parts their statistics
    come from a forward pass of its own, with the same dropout. Sums cross devices and machines through `kvstore`.

    Parameters
    ----------
    net : ICDNet
        Initialised on `devices`.
    devices : list of mxnet.Context
    kvstore : mxnet.kvstore.KVStore or None
    accumulate : int
    seed : int
        Of the dropout; each part of each step draws from a seed of its own, so that a resumed run repeats the same.
    pixelwise, sync_bn : bool
    clip_gradient : float
        Largest norm of the gradient an image, the bottom-up weight left out; 0: no limit.
    """

    def __init__(self, net, devices, kvstore=None, accumulate=1, seed=0, pixelwise=False, sync_bn=False,
                 clip_gradient=0., momentum=.9, weight_decay=5e-4):
        self._net, self._devices, self._kvstore = net, devices, kvstore
        self._accumulate, self._seed, self._clip = accumulate, seed, clip_gradient
        self._sync_bn = sync_bn and len(devices) > 1
        self._machines = kvstore.num_workers if kvstore else 1
        self._rank = kvstore.rank if kvstore else 0
        self._statistics, self._update_state = CalibrationStatistics(), CalibrationUpdate()
        self._loss = ICDLoss(net.num_classes, pixelwise)
        for block in (net, self._statistics, self._update_state, self._loss):
            block.hybridize(static_alloc=True, static_shape=True)
        parameters = net.collect_params()
        # Updating on the devices, not in the store, lets the store add up the calibration statistics, too.
        self.trainer = gluon.Trainer(parameters, 'sgd', {'momentum': momentum, 'wd': weight_decay},
                                     kvstore=kvstore, update_on_kvstore=False)
        self._state = parameters[STATE]
        self._batch_statistics = [parameters[name] for name in AUXILIARY if name != STATE]
        self._learning = [p for p in parameters.values() if p.grad_req != 'null']
        if accumulate > 1:
            for parameter in self._learning:
                parameter.grad_req = 'add'
        self._key = len(parameters)         # the trainer's keys are 0 to len - 1
        if kvstore:
            for key, array in zip((self._key, self._key + 1), self._no_statistics()):
                kvstore.init(key, array)

    def __call__(self, images, labels, superpixels, learning_rate, warm_up, step):
        """Train on one batch; nothing is waited for.

        Parameters
        ----------
        images : (N, 3, H, W) uint8 NDArray, RGB
        labels : (N, C) float32 NDArray
        superpixels : (N, h, w) int32 NDArray
            Sampled at every eighth pixel.
        learning_rate, warm_up : float
        step : int
            Steps done before.

        Returns
        -------
        list of Outputs
            One a device and part, on its device.
        """
        count = len(images)
        parts = self._spread(images, labels, superpixels)
        if self._accumulate > 1:
            statistics = self._look_ahead(parts, step)
        outputs = []
        for number, part in enumerate(parts):
            maps = self._forward(part, step, number)
            if self._accumulate == 1:
                statistics = [self._measure(m, p) for m, p in zip(maps, part)]
            if number == 0:
                self._calibrate(statistics)
            outputs += self._backward(maps, part, warm_up)
        self._step_optimiser(count * self._machines, learning_rate)
        return outputs

    # ------------------------------------------------------------------------------------------------- the stages
    def _spread(self, images, labels, superpixels):
        """Cut the batch: accumulated parts x devices -> (images, labels, superpixels, regions) on the device."""
        pieces = self._accumulate * len(self._devices)
        size = len(images) // pieces
        # Rounded up, so that the graph sees few different shapes.
        regions = mx.nd.arange(-(-(int(superpixels.max().asscalar()) + 1) // 64) * 64 + 1)

        def piece(number):
            device = self._devices[number % len(self._devices)]
            rows = slice(number * size, (number + 1) * size)
            return [a[rows].as_in_context(device) for a in (images, labels, superpixels)] + [
                regions.as_in_context(device)]
        return [[piece(part * len(self._devices) + i) for i in range(len(self._devices))]
                for part in range(self._accumulate)]

    def _forward(self, part, step, number, record=True):
        """Outputs (cam, bottom_up, top_down, feature) of the network on every device."""
        for i, device in enumerate(self._devices):
            words = [self._seed, step, number, self._rank, i]
            mx.random.seed(int(np.random.SeedSequence(words).generate_state(1)[0] >> 1), ctx=device)
        images = [piece[0] for piece in part]
        with autograd.record() if record else autograd.train_mode():
            if self._sync_bn:
                return forward_synchronised(self._net, images)
            return [self._net(x) for x in images]

    def _measure(self, maps, piece):
        cam, bottom_up = maps[:2]
        with autograd.pause():
            return self._statistics(bottom_up, cam, piece[1])

    def _no_statistics(self, device=None):
        classes = self._net.num_classes
        return mx.nd.zeros((classes, 2), ctx=device), mx.nd.zeros((classes,), ctx=device)

    def _look_ahead(self, parts, step):
        """Calibration statistics of all accumulated parts, a device each; leaves the network as it was."""
        kept = [[data.copy() for data in p.list_data()] for p in self._batch_statistics]
        totals = [self._no_statistics(device) for device in self._devices]
        for number, part in enumerate(parts):
            maps = self._forward(part, step, number, record=False)
            for total, m, piece in zip(totals, maps, part):
                for array, more in zip(total, self._measure(m, piece)):
                    array += more
        for parameter, values in zip(self._batch_statistics, kept):
            for data, value in zip(parameter.list_data(), values):
                data[:] = value
        return totals

    def _calibrate(self, statistics):
        """Add the statistics up over devices and machines and move the calibration state of every device."""
        sums, counts = zip(*statistics)
        if self._kvstore:
            for key, arrays in ((self._key, sums), (self._key + 1, counts)):
                self._kvstore.push(key, list(arrays), priority=1)
                self._kvstore.pull(key, out=list(arrays), priority=1)
        for state, s, c in zip(self._state.list_data(), sums, counts):
            state[:] = self._update_state(state, s, c)

    def _backward(self, maps, part, warm_up):
        losses = []
        with autograd.record():
            for device, m, (_, labels, superpixels, regions) in zip(self._devices, maps, part):
                losses.append(self._loss(
                    *m, self._net.icd_bu_weight.data(device), labels, superpixels, regions,
                    self._state.data(device), mx.nd.full((1,), warm_up, ctx=device)))
        autograd.backward([loss.loss for loss in losses])
        return [Outputs(piece[0], piece[1], m[2], loss) for piece, m, loss in zip(part, maps, losses)]

    def _step_optimiser(self, count, learning_rate):
        self.trainer.set_learning_rate(learning_rate)
        self.trainer.allreduce_grads()
        if self._clip:
            for i in range(len(self._devices)):
                gluon.utils.clip_global_norm(
                    [p.list_grad()[i] for p in self._learning if p.name != 'icd_bu_weight'],
                    self._clip * count, check_isfinite=False)
        self.trainer.update(count)
        if self._accumulate > 1:
            for parameter in self._learning:
                parameter.zero_grad()

    # --------------------------------------------------------------------------------------------------- momentum
    def momentum(self):
        """Momentum of every parameter by name; zeros where it has not moved yet."""
        states = self.trainer._updaters[0].states
        return {p.name: mx.nd.zeros(p.shape) if states.get(i) is None else states[i].as_in_context(mx.cpu())
                for i, p in enumerate(self.trainer._params) if p.grad_req != 'null'}

    def set_momentum(self, momentum):
        """Take up the momentum that `momentum` returned."""
        for device, updater in zip(self._devices, self.trainer._updaters):
            for i, p in enumerate(self.trainer._params):
                if p.grad_req != 'null':
                    updater.states[i] = momentum[p.name].as_in_context(device)
                    updater.states_synced[i] = True
