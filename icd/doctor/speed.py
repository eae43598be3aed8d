"""How fast devices train and infer, next to what their arithmetic allows."""
from __future__ import annotations

import time
from typing import Callable, Sequence

import numpy as np

from icd import gpu, gpu_memory, plan, speed
from icd.data import geometry
from icd.doctor import machine
from icd.doctor.network import CLASSES, Size, batch, network, trainer
from icd.doctor.result import Note
from icd.doctor.side import Side, error_once
from icd.errors import UserError
from icd.model.padded_input import PaddedInference, ScoreMaps
from icd.mxnet_setup import mx, untuned

_TRAINING, _INFERENCE = Size(1., 321, 32), Size(1., 513, 4)         # the defaults
_FEW = 1                                                            # images at once on a CPU, where each takes seconds
_SECONDS = 4.                                                       # to measure for
_SLOW = .2                                                          # of the arithmetic limit


def convolutions(side: Side) -> str | Note:
    """Convolutions as those of VGG16, and the arithmetic limit of the device."""
    found = speed.flop_per_second([side.context])
    text = f'{found / 1e9:.0f} GFLOP/s in float32{_in_half_precision(side, found)}'
    try:
        limit = gpu.Driver().flop_per_second(side.context.device_id) if side.is_gpu else machine.flop_per_second()
    except UserError:
        return f'{text}; the driver does not say what the limit is'
    text += f', {found / limit:.0%} of the arithmetic limit of {limit / 1e9:.0f}'
    if found < _SLOW * limit:
        return Note(text, 'see what else runs here (nvidia-smi, top), and how many threads OMP_NUM_THREADS allows')
    return text


def _in_half_precision(side, full):
    """How many times as fast it is in the half precision of such devices, as text; nothing where that fails."""
    precision = 'float16' if side.is_gpu else 'bfloat16'
    try:
        with error_once():
            return f' ({speed.flop_per_second([side.context], precision) / full:.1f} times as fast in {precision})'
    except mx.base.MXNetError:
        return ''


def training(sides: Sequence[Side], size: Size = _TRAINING, seconds: float = _SECONDS) -> str:
    """Training steps on all devices.

    Parameters
    ----------
    sides : sequence of Side
    size : Size
        Of the network and, on GPUs, of the batch.
    seconds : float
        To measure for, at least.
    """
    contexts, count, images, note = [side.context for side in sides], len(sides), _FEW, f' by {_FEW} a step'
    if sides[0].is_gpu:
        for context in contexts:
            context.empty_cache()
        images, note = _fitting(size.images // count * count, count, min(side.free() for side in sides))
    size, free = Size(size.width, size.side, images), sides[0].free()
    made, data, numbers = trainer(size, contexts, dropout=.5), batch(size), iter(range(1 << 30))

    def step():
        made.step(data, 1e-6, next(numbers)).update.wait_to_read()
        mx.nd.waitall()
    rate = images / _time(step, seconds)
    if free is not None:
        least = made.task.least_memory({'image': ((images // count, 3, size.side, size.side), np.uint8)})
        taken = free - sides[0].free()
        note += f'; {taken / 1e9:.1f} GB of a GPU are taken, {gpu_memory.expected(least) / 1e9:.1f} were expected'
    flop = plan.STEP_FLOP * size.width ** 2 * (size.side / 321) ** 2
    return f'{rate:.2f} images/s{note}; {_of_limit(rate * flop, sides)}'


def _fitting(images, devices, free):
    """The largest batch that is expected to fit the defaults' step, and a note if it is another one."""
    def fits(a_device):
        return gpu_memory.expected(plan.least_bytes(a_device)) <= free
    if fits(images // devices):
        return images, f' by {images} a step'
    smaller, parts = gpu_memory.fitting_batch(images, 1, devices, fits) or (devices, images // devices)
    return smaller, f' by {smaller} a step (--batch-size {smaller} --accumulate {parts})'


def inference(side: Side, size: Size = _INFERENCE, seconds: float = _SECONDS) -> str:
    """Score maps of images as VOC has them, as the stage computes them; parameters as for `training`."""
    images = batch(size).image.asnumpy()[:None if side.is_gpu else _FEW]
    fitted = geometry.fitted_size(375, 500, size.side)
    images[:, :, fitted[0]:] = images[:, :, :, fitted[1]:] = geometry.GREY
    padded = PaddedInference(ScoreMaps, network(size, [side.context]), size.side)
    x = side.put(images)

    def infer():
        for maps in padded(x, [fitted] * len(images)):
            side.get(maps)
    with untuned():
        rate = len(images) / _time(infer, seconds)
    flop = plan.STEP_FLOP / 3 * size.width ** 2 * fitted[0] * fitted[1] / 321 ** 2
    return f'{rate:.2f} images/s of 500x375 pixels and {CLASSES} classes; {_of_limit(rate * flop, [side])}'


def _of_limit(flop_per_second, sides):
    """How close to convolutions alone that comes."""
    several = len(sides) if sides[0].is_gpu else 1
    allowed = speed.flop_per_second([sides[0].context]) * several
    return f'{flop_per_second / allowed:.0%} of the speed of single convolutions'


def _time(function: Callable, least: float) -> float:
    """Seconds of a call, after one that does not count."""
    function()
    calls, begun = 0, time.perf_counter()
    while not calls or time.perf_counter() - begun < least:
        function()
        calls += 1
    return (time.perf_counter() - begun) / calls
