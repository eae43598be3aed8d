"""Checks of whole networks on a device: inference, training steps, resume, and what they leave behind."""
from __future__ import annotations

import gc
import tempfile
import weakref
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from icd.data.datasets import IcdBatch
from icd.data.geometry import GREY, feature_size
from icd.doctor.result import Failed
from icd.doctor.side import Side, compare
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.padded_input import PaddedInference, ScoreMaps
from icd.mxnet_setup import computing, mx
from icd.train.checkpoint import Checkpoints, Position
from icd.train.icd_task import IcdTask
from icd.train.trainer import Trainer, create_kvstore
from icd.weights import load

CLASSES, SUPERPIXELS = 20, 64
_RATE = 1e-4
# Of gradients: a superpixel whose vote is close goes to another class by rounding, and takes its gradients along.
_LIMIT = 1e-2
_SETTINGS = {'doctor': True}


@dataclass(frozen=True)
class Size:
    """Of a network that is checked.

    width : float
        Multiplier of its channels.
    side : int
        Of its input, 8k + 1.
    images : int
    """

    width: float
    side: int
    images: int


WHOLE, SMALL = Size(1., 321, 2), Size(1 / 8, 129, 4)      # the paper's network, and one for a CPU


def network(size: Size, contexts: list, dropout: float = 0., freeze_bn: bool = False) -> ICDNet:
    """A network with drawn weights, the same each time."""
    net = ICDNet(CLASSES, size.width, dropout=dropout, freeze_bn=freeze_bn)
    values = initialize_missing(net, {}, 0, he=True)
    for name in ('icd_bu_weight', 'conv_ft_weight'):
        values[name] = 10 * values[name]
    set_values(net, values, contexts)
    return net


def batch(size: Size, seed: int = 0) -> IcdBatch:
    """Random images, labels and superpixels, on the CPU."""
    rng, side = np.random.default_rng(seed), feature_size(size.side)
    labels = np.float32(rng.random((size.images, CLASSES)) < .1)
    labels[np.arange(size.images), rng.integers(0, CLASSES, size.images)] = 1
    images = rng.integers(0, 256, (size.images, 3, size.side, size.side))
    superpixels = np.arange(side)[:, None] * 8 // side * 8 + np.arange(side) * 8 // side
    superpixels = np.broadcast_to(superpixels, (size.images, side, side))
    return IcdBatch(mx.nd.array(images, dtype='uint8'), mx.nd.array(labels), mx.nd.array(superpixels, dtype='int32'),
                    [], SUPERPIXELS)


def trainer(size: Size, contexts: list, **kwargs) -> Trainer:
    """A training of `network`; `kwargs`: dropout, freeze_bn, accumulate, sync_bn."""
    net = network(size, contexts, kwargs.pop('dropout', 0.), kwargs.pop('freeze_bn', False))
    task = IcdTask(net, sync_bn=kwargs.pop('sync_bn', False))
    return Trainer(task, contexts, create_kvstore('device', contexts), **kwargs)


def _state(side, made):
    """Momentum, running statistics and calibration state, by name: all that a step changes."""
    found = {name: side.get(value) for name, value in made.momentum().items()}
    found.update({name: side.get(parameter.data(side.context)) for name, parameter in
                  made.task.net.collect_params().items() if parameter.grad_req == 'null'})
    return found


def inference(side: Side, reference: Side, size: Size, limit: float = 1e-4) -> str:
    """The outputs of the network, compared with the CPU's; up to `limit` they may differ."""
    images = batch(size).image.asnumpy()

    def outputs(one):
        net = network(size, [one.context])
        net.hybridize(static_alloc=True, static_shape=True)
        maps = dict(zip(('CAM', 'bottom-up', 'top-down', 'feature'), net(one.put(images))))
        return {name: one.get(value) for name, value in maps.items()}
    return compare('outputs', outputs(side), outputs(reference), limit)


def score_maps(side: Side, size: Size) -> str:
    """Score maps of images of several sizes, compared with those of the whole input."""
    net, ours, theirs = network(size, [side.context]), {}, {}
    padded = PaddedInference(ScoreMaps, net, size.side)
    for height, width in ((1., 1.), (.75, 1.), (1., .67), (.5, .5), (.2, 1.)):
        fitted = tuple(max(8, int(size.side * fraction)) for fraction in (height, width))
        images = batch(size).image.asnumpy()
        images[:, :, fitted[0]:] = images[:, :, :, fitted[1]:] = GREY
        x = side.put(images)
        rows, columns = map(feature_size, fitted)
        for name, part, whole in zip(('CAM', 'top-down'), padded(x, [fitted] * len(images)), net(x)[::2]):
            name = f'{name} of {fitted[1]}x{fitted[0]} pixels'
            ours[name], theirs[name] = (side.get(maps)[..., :rows, :columns] for maps in (part, whole))
    return compare('score maps', ours, theirs, 1e-5)


def training_step(side: Side, reference: Side, size: Size) -> str:
    """All gradients and statistics of a training step, compared with the CPU's."""
    def step(one):
        made = trainer(size, [one.context])
        made.step(batch(size), _RATE, 1)
        return _state(one, made)
    ours = step(side)
    broken = [name for name, value in ours.items() if not np.isfinite(value).all()]
    if broken:
        raise Failed(f'not finite after a step: {", ".join(broken[:4])}')
    return compare('gradients and statistics', ours, step(reference), _LIMIT)


def accumulation(side: Side, size: Size) -> str:
    """A batch in two parts, compared with the whole batch."""
    def step(accumulate):
        made = trainer(size, [side.context], freeze_bn=True, accumulate=accumulate)
        made.step(batch(size), _RATE, 1)
        return _state(side, made)
    return compare('gradients', step(2), step(1), _LIMIT)


def resumed(side: Side, size: Size) -> str:
    """Four steps, compared with two, a checkpoint, and two more from it."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder, 'doctor')
        made = trainer(size, [side.context], dropout=.5)
        for number in range(4):
            if number == 2:
                checkpoints.save(made.task.net, made.momentum(), Position(0, 2, 2), _SETTINGS)
            made.step(batch(size, number), _RATE, number)
        whole = _values(side, made)
        found = checkpoints.newest(_SETTINGS)
        made = trainer(size, [side.context], dropout=.5)
        load.load_trained(found.path, made.task.net, [side.context])
        made.set_momentum(found.momentum)
        for number in (2, 3):
            made.step(batch(size, number), _RATE, number)
    again = _values(side, made)
    other = [name for name in whole if not np.array_equal(whole[name], again[name])]
    if other:
        raise Failed(f'{len(other)} of {len(whole)} arrays have other bits after a resume: {", ".join(other[:4])}',
                     'do not count on equal bits here; on a GPU they need --deterministic')
    return f'{len(whole)} arrays have the same bits'


def _values(side, made):
    values = {name: side.get(p.data(side.context)) for name, p in made.task.net.collect_params().items()}
    return {**values, **{'momentum of ' + name: side.get(value) for name, value in made.momentum().items()}}


def memory_is_released(side: Side, size: Size) -> str:
    """What a training holds is free when it has ended."""
    def train():
        made = trainer(size, [side.context])
        made.step(batch(size), _RATE, 1)
        mx.nd.waitall()
        during.append(side.free())
        return weakref.ref(made.task.net)
    gc.collect()
    if side.is_gpu:
        side.context.empty_cache()
    before, during = side.free(), []
    with computing([side.context], ''):
        network_of_training = train()
    if network_of_training() is not None:
        raise Failed('a network outlives its training')
    if before is None:
        return 'the network is gone'
    kept, taken = before - side.free(), before - during[0]
    if kept > max(.1 * taken, 3e8):
        raise Failed(f'{kept / 1e9:.1f} GB of {taken / 1e9:.1f} GB are still taken after training')
    return f'{taken / 1e9:.1f} GB taken, {kept / 1e9:.1f} GB kept'


# -------------------------------------------------------------------------------------------------- several devices
def sums(sides: Sequence[Side], stores: Sequence[str]) -> str:
    """Sums over devices by every store, of whole numbers: exact."""
    rng = np.random.default_rng(0)
    shapes = (CLASSES, 2), (CLASSES,), (512,), (1 << 20,)
    for name in stores:
        store = create_kvstore(name, [side.context for side in sides])
        for key, shape in enumerate(shapes):
            arrays = [np.float32(rng.integers(-99, 99, shape)) for _ in sides]
            on_devices = [side.put(array) for side, array in zip(sides, arrays)]
            store.init(key, mx.nd.zeros(shape))
            store.pushpull(key, on_devices, out=on_devices)
            if any(not np.array_equal(side.get(found), sum(arrays)) for side, found in zip(sides, on_devices)):
                raise Failed(f'--kvstore {name} adds up wrongly over {len(sides)} devices',
                             'give another --kvstore, or set MXNET_ENABLE_GPU_P2P=0')
    return f"{', '.join(stores)}: exact"


def several(sides: Sequence[Side], size: Size) -> str:
    """A step on all devices, compared with one on the first."""
    size = Size(size.width, size.side, len(sides) * max(1, size.images // len(sides)))

    def step(used):
        made = trainer(size, [side.context for side in used], sync_bn=True)
        made.step(batch(size), _RATE, 1)
        return _state(used[0], made)
    return compare('gradients and statistics', step(sides), step(sides[:1]), _LIMIT)
