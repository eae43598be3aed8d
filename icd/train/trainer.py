"""One optimisation step of any network, over any number of devices and nodes."""
from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from icd.errors import UserError
from icd.mxnet_setup import autograd, gluon, mx
from icd.train.loss_scaling import LossScaler, SkippingSgd, all_finite
from icd.train.task import SLOW, Task


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent. The learning rate comes with each step, multipliers with the parameters.

    momentum, weight_decay : float
        The paper's.
    clip_gradient : float
        Largest norm of the gradient of an image, `Task.unclipped` left out; 0: no limit.
    """

    momentum: float = .9
    weight_decay: float = 5e-4
    clip_gradient: float = 0.


class StepResult(NamedTuple):
    """What a step gives back at once; the values follow when the devices have computed them.

    figures : list of dict of str to NDArray or float
        `Losses.figures`, one a device and accumulated batch; with a loss scaler its figures, too.
    shown : object
        `Losses.shown` of the first of them.
    forward_backward, update : NDArray (1,)
        Ready when the gradients, and when the new parameters, are.
    finite : NDArray (1,) or None
        1 where all new parameters are finite, else 0; None where that was not asked for.
    """

    figures: list
    shown: Any
    forward_backward: Any
    update: Any
    finite: Any = None


def create_kvstore(name: str, devices: list):
    """The store that adds up over devices and nodes, or None where there is nothing to add up.

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


class Trainer:
    """Forward, losses, backward and update of one batch.

    The batch is cut into `accumulate` parts, each spread over the devices. What the losses need to know of the whole
    batch (`Task.shared`) is added up before any of them is computed; if it depends on the network's outputs and there
    are several parts, it comes from a forward pass of its own, with the same dropout. Sums cross devices and nodes
    through `kvstore`.

    Parameters
    ----------
    task : icd.train.task.Task
        Its network is initialised on `devices`.
    devices : list of mxnet.Context
    kvstore : mxnet.kvstore.KVStore or None
        See `create_kvstore`. All nodes start from the parameters of the first.
    accumulate : int
    seed : int
        Of the dropout. Every part of every step draws from a seed of its own: nothing has to be remembered for a
        resumed run to draw the same.
    sgd : Sgd
    scaler : icd.train.loss_scaling.LossScaler, optional
        Of these devices. Steps whose gradients are not finite are then skipped.

    Attributes
    ----------
    task : Task
    scaler : LossScaler or None
    nodes, rank : int
        How many nodes train, and which one this is.
    """

    def __init__(self, task: Task, devices: list, kvstore: mx.kvstore.KVStore | None = None, accumulate: int = 1,
                 seed: int = 0, sgd: Sgd = Sgd(), scaler: LossScaler | None = None):
        self.task, self._devices, self._kvstore, self.scaler = task, devices, kvstore, scaler
        self._accumulate, self._seed, self._sgd = accumulate, seed, sgd
        self.nodes, self.rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
        for block in (task.net, *task.blocks):
            block.hybridize(static_alloc=True, static_shape=True)
        parameters = task.net.collect_params()
        self._running = task.running()
        self._learning = [p for p in parameters.values() if p.grad_req != 'null']
        self._clipped = [p for p in self._learning if p.name not in task.unclipped]
        for parameter in self._learning:
            if parameter.name in task.fit.slowed:
                parameter.lr_mult *= SLOW
        if accumulate > 1:
            for parameter in self._learning:
                parameter.grad_req = 'add'
        # Updating on the devices, not in the store, lets the store add up other things than gradients, too.
        values = {'momentum': sgd.momentum, 'wd': sgd.weight_decay}
        rule = SkippingSgd(scaler, **values) if scaler else mx.optimizer.SGD(**values)
        self._optimiser = gluon.Trainer(parameters, rule, kvstore=kvstore, update_on_kvstore=False)
        # All devices and nodes get the parameters of the first one now, not in the first step, as Gluon would do:
        # there, nothing keeps the first gradients from overtaking the parameters on the way to a node.
        self._optimiser._init_kvstore()
        self._optimiser._init_params()
        mx.nd.waitall()
        # The sum of a value of each is ready when all of them are. Vectors are enough (biases, and what a batch
        # normalisation learns), and looking at a kernel would make oneDNN bring it into another layout.
        vectors = [p for p in self._learning if len(p.shape) == 1] or self._learning[:1]
        self._gradient_views = [_one_value(p.grad(devices[0])) for p in vectors]
        self._data_views = [[_one_value(p.data(device)) for p in vectors] for device in devices]
        shapes = {**task.shared, **{p.name: p.shape for p in self._running}}
        self._keys = {name: key for key, name in enumerate(shapes, len(list(parameters)))}  # Gluon's end before these
        if kvstore:
            for name, shape in shapes.items():
                kvstore.init(self._keys[name], mx.nd.zeros(shape))

    def step(self, batch: tuple, learning_rate: float, number: int, check: bool = False) -> StepResult:
        """Train on one batch. Nothing is waited for.

        Parameters
        ----------
        batch : namedtuple
            Arrays, with the images along their first axis; on one node the whole batch, on several its part of it.
            What is no array goes to the task as it is.
        learning_rate : float
        number : int
            Steps done before.
        check : bool
            Whether to look if the parameters are still finite. The loss does not tell: on GPUs, ReLU and pooling make
            0 of NaN.
        """
        parts, results = self._split(batch), []
        if len(parts) > 1:
            self._prepare(number, self._look_ahead(parts, number))
        for i, part in enumerate(parts):
            outputs = self._forward(part, number, i)
            if len(parts) == 1:
                self._prepare(number, self._measure(outputs, part))
            results += self._backward(outputs, part)
        forward_backward = mx.nd.add_n(*self._gradient_views)
        self._update(len(batch[0]) * self.nodes if self.task.mean_over_images else 1, learning_rate)
        update = [mx.nd.add_n(*views) for views in self._data_views]
        self._show_running(update)
        scaling = self.scaler.figures() if self.scaler else {}
        return StepResult([{**result.figures, **scaling} for result in results], results[0].shown, forward_backward,
                          update[0],
                          all_finite(self._values()) if check else None)

    # ------------------------------------------------------------------------------------------------- the stages
    def _split(self, batch):
        """Cut the batch: a list of accumulated parts, each a list of batches, one on each device."""
        size = len(batch[0]) // (self._accumulate * len(self._devices))

        def cut(first, device):
            return type(batch)(*(value[first:first + size].as_in_context(device)
                                 if isinstance(value, mx.nd.NDArray) else value for value in batch))
        return [[cut((part * len(self._devices) + i) * size, device) for i, device in enumerate(self._devices)]
                for part in range(self._accumulate)]

    def _forward(self, part, number, i, record=True):
        """Outputs of the network on every device for the accumulated part `i`."""
        for k, device in enumerate(self._devices):
            entropy = [self._seed, number, i, self.rank, k]
            mx.random.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1), ctx=device)
        with autograd.record() if record else autograd.train_mode():
            return self.task.forward(part)

    def _measure(self, outputs, part):
        """What the task measures on every device."""
        with autograd.pause():
            return [self.task.measure(o, batch) for o, batch in zip(outputs, part)]

    def _look_ahead(self, parts, number):
        """What the task measures on every device, added up over accumulated parts."""
        totals = None
        with self._running_kept() if self.task.measures_outputs else contextlib.nullcontext():
            for i, part in enumerate(parts):
                outputs = [None] * len(part)
                if self.task.measures_outputs:
                    outputs = self._forward(part, number, i, record=False)
                found = self._measure(outputs, part)
                totals = found if totals is None else [
                    {name: total[name] + more[name] for name in total} for total, more in zip(totals, found)]
        return totals

    @contextlib.contextmanager
    def _running_kept(self):
        """Leave the running statistics as they were: GPUs move them in the forward pass, CPUs in the backward pass."""
        kept = [[data.copy() for data in p.list_data()] for p in self._running]
        yield
        for parameter, values in zip(self._running, kept):
            for data, value in zip(parameter.list_data(), values):
                data[:] = value

    def _prepare(self, number, found):
        """Add up over devices and nodes what the task measured, and hand it over."""
        sums = {name: [values[name] for values in found] for name in self.task.shared}
        for name, arrays in sums.items():
            self._add_up(name, arrays)
        self.task.prepare(number, sums)

    def _add_up(self, name, arrays):
        """Replace `arrays`, one a device, by their sum over devices and nodes."""
        if self._kvstore:
            self._kvstore.pushpull(self._keys[name], arrays, out=arrays, priority=1)

    def _backward(self, outputs, part):
        with autograd.record():
            results = [self.task.loss(o, batch) for o, batch in zip(outputs, part)]
        heads = [self.scaler.scale(device) for device in self._devices] if self.scaler else None
        autograd.backward([result.loss for result in results], heads)
        return results

    def _update(self, count, learning_rate):
        """Add the gradients up, clip them and move the parameters; `count`: what they are divided by."""
        self._optimiser.set_learning_rate(learning_rate)
        self._optimiser.allreduce_grads()
        if self.scaler:
            for i, device in enumerate(self._devices):
                self.scaler.unscale(device, [p.list_grad()[i] for p in self._learning])
        if self._sgd.clip_gradient:
            for i in range(len(self._devices)):
                gluon.utils.clip_global_norm([p.list_grad()[i] for p in self._clipped],
                                             self._sgd.clip_gradient * count, check_isfinite=False)
        self._optimiser.update(count)
        if self.scaler:
            self.scaler.update()
        if self._accumulate > 1:
            for parameter in self._learning:
                parameter.zero_grad()

    def _show_running(self, update):
        """Write the running statistics once more when the step's `update` is done (an array a device).

        MXNet's CPU batch normalisation moves them during backward without registering a write, so a read may return
        stale values.
        """
        for device, done in zip(self._devices, update):
            for parameter in self._running:
                data = parameter.data(device)
                data[:] = data + 0 * done

    def _values(self):
        """All parameters on the first device."""
        return [p.data(self._devices[0]) for p in self.task.net.collect_params().values()]

    # ------------------------------------------------------------------------------------- what a checkpoint holds
    def average_running_statistics(self):
        """Give every device and node the mean of all their running statistics.

        Each device sees other images. Running means are linear in what they have seen, so it does not matter how
        often this is done. All nodes must do it at the same step.
        """
        if not self._kvstore:
            return
        for parameter in self._running:
            arrays = parameter.list_data()
            self._add_up(parameter.name, arrays)
            for array in arrays:
                array /= len(arrays) * self.nodes

    def momentum(self) -> dict:
        """Momentum of every learning parameter by name, NDArrays on the CPU; zeros before the first step."""
        states = self._optimiser._updaters[0].states        # `gluon.Trainer.save_states` gives nothing but a pickle
        return {p.name: mx.nd.zeros(p.shape) if states.get(i) is None else states[i].as_in_context(mx.cpu())
                for i, p in enumerate(self._optimiser._params) if p.grad_req != 'null'}

    def set_momentum(self, momentum: dict):
        """Take up what `momentum` returned."""
        for device, updater in zip(self._devices, self._optimiser._updaters):
            for i, p in enumerate(self._optimiser._params):
                if p.grad_req != 'null':
                    updater.states[i] = momentum[p.name].copyto(device)
                    updater.states_synced[i] = True


def _one_value(array):
    """A view (1,) of an array."""
    return array.reshape(-1)[:1]
