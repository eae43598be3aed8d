"""How fast devices compute convolutions, to say beforehand how long a run takes."""
from __future__ import annotations

import contextlib
import time

from icd import mxnet_setup
from icd.mxnet_setup import autograd, mx, nd
from icd.precision import FLOAT32

_CHANNELS, _SIDE, _KERNEL = 256, 40, 3
_REPEATS = 4


def flop_per_second(devices: list, precision: str = FLOAT32) -> float:
    """Multiplications and additions a second in convolutions as VGG16 has them, on all devices together.

    Parameters
    ----------
    devices : list of mxnet.Context
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions. In half precision gradients are counted, too, which gain less of it.

    Returns
    -------
    float
        Of the fastest of a few trials on the first device, times their number; devices of the CPU share its cores and
        count once. It takes about a second.
    """
    device = devices[0]
    several = 1 if device.device_type == 'cpu' else len(devices)
    flop = 2 * (_CHANNELS * _SIDE * _KERNEL) ** 2 / convolution_seconds(device, FLOAT32, gradients=False) * several
    if precision == FLOAT32:
        return flop
    full, half = (convolution_seconds(device, one, gradients=True) for one in (FLOAT32, precision))
    return flop * full / half


def convolution_seconds(device: mx.Context, precision: str, gradients: bool) -> float:
    """The least that a convolution takes in a few trials, alone or with its gradients."""
    x, weight = (nd.amp_cast(nd.ones(shape, ctx=device), dtype=precision) for shape in (
        (1, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _CHANNELS, _KERNEL, _KERNEL)))
    for array in (x, weight):
        array.attach_grad()
    found = []
    for _ in range(_REPEATS):
        mx.nd.waitall()
        begin = time.perf_counter()
        with autograd.record() if gradients else contextlib.nullcontext():
            made = nd.Convolution(x, weight, kernel=(_KERNEL,) * 2, pad=(1, 1), num_filter=_CHANNELS, no_bias=True)
        if gradients:
            made.backward()
        mx.nd.waitall()
        found.append(time.perf_counter() - begin)
    return min(found)


def measure(gpus: str | None, precision: str) -> tuple[int, float, int | None]:
    """Number of the devices that `--gpus` names, their `flop_per_second`, and the free bytes of the smallest GPU."""
    devices = mxnet_setup.devices(gpus)
    free = min(mxnet_setup.free_memory(devices).values(), default=None)
    return len(devices), flop_per_second(devices, precision), free
