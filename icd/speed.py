"""How fast devices compute convolutions, to say beforehand how long a run takes."""
from __future__ import annotations

import time

from icd import mxnet_setup
from icd.mxnet_setup import mx, nd

_CHANNELS, _SIDE, _KERNEL = 256, 40, 3
_REPEATS = 4


def flop_per_second(devices: list) -> float:
    """Multiplications and additions a second in convolutions as VGG16 has them, float32, on all devices together.

    Parameters
    ----------
    devices : list of mxnet.Context

    Returns
    -------
    float
        Of the fastest of a few trials on the first device, times their number; devices of the CPU share its cores and
        count once. It takes about a second.
    """
    device = devices[0]
    x = nd.ones((1, _CHANNELS, _SIDE, _SIDE), ctx=device)
    weight = nd.ones((_CHANNELS, _CHANNELS, _KERNEL, _KERNEL), ctx=device)
    seconds = []
    for _ in range(_REPEATS):
        mx.nd.waitall()
        begin = time.perf_counter()
        nd.Convolution(x, weight, kernel=(_KERNEL,) * 2, pad=(1, 1), num_filter=_CHANNELS, no_bias=True).wait_to_read()
        seconds.append(time.perf_counter() - begin)
    several = 1 if device.device_type == 'cpu' else len(devices)
    return 2 * (_CHANNELS * _SIDE * _KERNEL) ** 2 / min(seconds) * several


def measure(gpus: str | None) -> tuple[int, float, int | None]:
    """Number of the devices that `--gpus` names, their `flop_per_second`, and the free bytes of the smallest GPU."""
    devices = mxnet_setup.devices(gpus)
    free = min(mxnet_setup.free_memory(devices).values(), default=None)
    return len(devices), flop_per_second(devices), free
