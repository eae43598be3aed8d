"""One optimisation step of ICD over any number of devices and machines."""
from collections import namedtuple

import numpy as np

from icd.errors import UserError
from icd.model.icd_blocks import CalibrationStatistics, CalibrationUpdate
from icd.model.losses import ICDLoss
from icd.model.icd_net import AUXILIARY, STATE
from icd.model.sync_bn import forward_synchronised
from icd.mxnet_setup import autograd, gluon, mx

MOMENTUM, WEIGHT_DECAY = .9, 5e-4
_REGIONS = 64               # numbers of superpixels are rounded up to a multiple: the graph sees few different shapes

Done = namedtuple('Done', 'parts state forward_backward update')
Done.__doc__ = """What a step gives back at once; the values follow when the devices have computed them.

parts : list of Part, one a device and accumulated batch
state : NDArray (C, 2), the calibration state after the step
forward_backward, update : NDArray (1,)
    Ready when the gradients, and when the new parameters, are.
"""
Part = namedtuple('Part', 'images labels top_down losses')


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

    Raises
    ------
    UserError
        When this MXNet was built without it.
    """
    if not name.startswith('dist') and len(devices) == 1:
        return None
    try:
        return mx.kv.create(name)
    except mx.base.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'this MXNet cannot create it ({reason})', f'--kvstore {name}',
                        'choose device or local') from None


class TrainingStep:
    """Forward, sign calibration, losses, backward and update of one batch.

    The batch is cut into `accumulate` parts, each spread over the devices. The calibration state moves once, by the
    statistics of the whole batch, before any loss is computed; so with several parts the statistics come from a
    forward pass of their own, with the same dropout. Sums cross devices and machines through `kvstore`.

    Parameters
    ----------
    net : ICDNet
        Initialised on `devices`.
    devices : list of mxnet.Context
    kvstore : mxnet.kvstore.KVStore or None
        See `create_kvstore`. With machines, all of them start from the parameters of the first.
    accumulate : int
    seed : int
        Of the dropout. Every part of every step draws from a seed of its own: nothing has to be remembered for a
        resumed run to draw the same.
    pixelwise, sync_bn : bool
        `--no-superpixel`, `--sync-bn`.
    clip_gradient : float
        Largest norm of the gradient an image, the bottom-up weight left out; 0: no limit.
    """

    def __init__(self, net, devices, kvstore=None, accumulate=1, seed=0, pixelwise=False, sync_bn=False,
                 clip_gradient=0.):
        self._net, self._devices, self._kvstore = net, devices, kvstore
        self._accumulate, self._seed, self._clip = accumulate, seed, clip_gradient
        self._sync_bn = sync_bn and len(devices) > 1
        self._machines, self._rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
        self._statistics, self._update_state = CalibrationStatistics(), CalibrationUpdate()
        self._loss = ICDLoss(net.num_classes, pixelwise)
        for block in (net, self._statistics, self._update_state, self._loss):
            block.hybridize(static_alloc=True, static_shape=True)
        self._parameters = net.collect_params()
        self._state = self._parameters[STATE]
        self._running = [self._parameters[name] for name in AUXILIARY if name != STATE]
        self._learning = [p for p in self._parameters.values() if p.grad_req != 'null']
        if accumulate > 1:
            for parameter in self._learning:
                parameter.grad_req = 'add'
        self._regions = {}
        self._start_trainer()

    def _start_trainer(self):
        # Updating on the devices, not in the store, lets the store add up other things than gradients, too.
        self._trainer = gluon.Trainer(self._parameters, 'sgd', {'momentum': MOMENTUM, 'wd': WEIGHT_DECAY},
                                      kvstore=self._kvstore, update_on_kvstore=False)
        # All devices and machines get the parameters of the first one now, not in the first step, as the trainer would
        # do: there, nothing keeps the first gradients from overtaking the parameters on the way to a machine.
        self._trainer._init_kvstore()
        self._trainer._init_params()
        mx.nd.waitall()
        if self._kvstore:
            self._key = len(list(self._parameters))         # the trainer's keys are 0 to this - 1
            classes, channels = self._net.num_classes, self._running[0].shape[0]
            for key, shape in enumerate([(classes, 2), (classes,)] + [(channels,)] * len(self._running), self._key):
                self._kvstore.init(key, mx.nd.zeros(shape))

    def __call__(self, images, labels, superpixels, regions, learning_rate, warm_up, step):
        """Train on one batch. Nothing is waited for.

        Parameters
        ----------
        images : NDArray (N, 3, H, W) uint8
            RGB; on one machine the whole batch, on several its share.
        labels : NDArray (N, C) float32
        superpixels : NDArray (N, h, w) int32
            Labels from 0 at every eighth pixel.
        regions : int
            More than the largest label.
        learning_rate, warm_up : float
        step : int
            Steps done before.

        Returns
        -------
        Done
        """
        parts = self._spread(images, labels, superpixels, regions)
        if self._accumulate > 1:
            self._calibrate(self._look_ahead(parts, step))
        done = []
        for number, part in enumerate(parts):
            maps = self._forward(part, step, number)
            if self._accumulate == 1:
                self._calibrate([self._measure(m, piece) for m, piece in zip(maps, part)])
            done += self._backward(maps, part, warm_up)
        # conv1_1 is the last to get its gradient.
        first, device = self._parameters['conv1_1_bias'], self._devices[0]
        forward_backward = first.grad(device)[:1].copy()
        self._step_optimiser(len(images) * self._machines, learning_rate)
        self._show_running()
        return Done(done, self._state.data(device).copy(), forward_backward, first.data(device)[:1].copy())

    # ------------------------------------------------------------------------------------------------- the stages
    def _spread(self, images, labels, superpixels, regions):
        """Cut the batch: accumulated parts x devices -> (images, labels, superpixels, regions) on the device."""
        size = len(images) // (self._accumulate * len(self._devices))

        def piece(part, i, device):
            first = (part * len(self._devices) + i) * size
            return [a[first:first + size].as_in_context(device) for a in (images, labels, superpixels)] + [
                self._numbers(regions, device)]
        return [[piece(part, i, device) for i, device in enumerate(self._devices)]
                for part in range(self._accumulate)]

    def _numbers(self, regions, device):
        """0, 1, 2, ... for at least `regions` superpixels and the padding beside them."""
        count = _REGIONS * max(1, -(-(regions - 1) // _REGIONS)) + 1
        if (count, device) not in self._regions:
            self._regions[count, device] = mx.nd.arange(count, ctx=device)
        return self._regions[count, device]

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

    def _look_ahead(self, parts, step):
        """Calibration statistics of all accumulated parts, a pair a device; leaves the network as it was.

        On GPUs batch normalisation moves its running statistics in the forward pass, on the CPU in the backward pass.
        """
        kept = [[data.copy() for data in p.list_data()] for p in self._running]
        totals = None
        for number, part in enumerate(parts):
            maps = self._forward(part, step, number, record=False)
            found = [self._measure(m, piece) for m, piece in zip(maps, part)]
            totals = found if totals is None else [
                [total + more for total, more in zip(*pair)] for pair in zip(totals, found)]
        for parameter, values in zip(self._running, kept):
            for data, value in zip(parameter.list_data(), values):
                data[:] = value
        return totals

    def _calibrate(self, statistics):
        """Add the statistics up over devices and machines and move the calibration state of every device."""
        sums, counts = map(list, zip(*statistics))
        self._add_up(self._key if self._kvstore else None, sums)
        self._add_up(self._key + 1 if self._kvstore else None, counts)
        for state, s, c in zip(self._state.list_data(), sums, counts):
            state[:] = self._update_state(state, s, c)

    def _add_up(self, key, arrays):
        """Replace `arrays`, one a device, by their sum over devices and machines."""
        if self._kvstore:
            self._kvstore.pushpull(key, arrays, out=arrays, priority=1)

    def _backward(self, maps, part, warm_up):
        losses = []
        with autograd.record():
            for device, m, (_, labels, superpixels, regions) in zip(self._devices, maps, part):
                losses.append(self._loss(
                    *m, self._net.icd_bu_weight.data(device), labels, superpixels, regions,
                    self._state.data(device), mx.nd.full((1,), warm_up, ctx=device)))
        autograd.backward([loss.loss for loss in losses])
        return [Part(piece[0], piece[1], m[2], loss) for piece, m, loss in zip(part, maps, losses)]

    def _step_optimiser(self, count, learning_rate):
        self._trainer.set_learning_rate(learning_rate)
        self._trainer.allreduce_grads()
        if self._clip:
            for i in range(len(self._devices)):
                gluon.utils.clip_global_norm(
                    [p.list_grad()[i] for p in self._learning if p.name != 'icd_bu_weight'],
                    self._clip * count, check_isfinite=False)
        self._trainer.update(count)
        if self._accumulate > 1:
            for parameter in self._learning:
                parameter.zero_grad()

    def _show_running(self):
        """Let the running statistics be read only when this step has moved them.

        On the CPU batch normalisation moves them in its backward pass, which MXNet's engine does not take for writing:
        who read them now would get the old ones. So they are written once more, after the last update of the step.
        """
        for device in self._devices:
            last = self._parameters['conv1_1_bias'].data(device)[:1]
            for parameter in self._running:
                data = parameter.data(device)
                data[:] = data + 0 * last

    # ------------------------------------------------------------------------------------- what a checkpoint holds
    def average_running_statistics(self):
        """Give every device and machine the mean of all their running statistics of `feat_bn`.

        Each device sees other images. Running means are linear in what they have seen, so it does not matter how
        often this is done. All machines must do it at the same step.
        """
        if not self._kvstore:
            return
        for key, parameter in enumerate(self._running, self._key + 2):
            arrays = parameter.list_data()
            self._add_up(key, arrays)
            for array in arrays:
                array /= len(arrays) * self._machines

    def momentum(self):
        """Momentum of every learning parameter by name, on the CPU; zeros before the first step.

        Returns
        -------
        dict of str to NDArray
        """
        states = self._trainer._updaters[0].states          # `Trainer.save_states` gives nothing but a pickle
        return {p.name: mx.nd.zeros(p.shape) if states.get(i) is None else states[i].as_in_context(mx.cpu())
                for i, p in enumerate(self._trainer._params) if p.grad_req != 'null'}

    def set_momentum(self, momentum):
        """Take up what `momentum` returned."""
        for device, updater in zip(self._devices, self._trainer._updaters):
            for i, p in enumerate(self._trainer._params):
                if p.grad_req != 'null':
                    updater.states[i] = momentum[p.name].copyto(device)
                    updater.states_synced[i] = True
