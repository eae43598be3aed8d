"""The checks of devices, in the process that makes them: a line of JSON for each, as soon as it is made.

`icd-doctor` starts this, so that a library that kills its process is a finding, and variables that MXNet and CUDA read
when they are loaded can be chosen for the checks.
"""
from __future__ import annotations

import json
import os
from typing import Callable, Iterator

from icd import mxnet_setup, precision
from icd.doctor import build, network, operators, speed
from icd.doctor.result import run
from icd.doctor.side import Side
from icd.mxnet_setup import mx

_TF32 = 2e-2                # outputs may differ by, where convolutions round to 10 bits


def of_machine() -> Iterator[tuple[str, str, Callable]]:
    """Checks that need no device: (device, name, check)."""
    yield 'machine', 'MXNet', lambda: build.features(build.enabled())
    yield 'machine', 'GPUs', build.gpus


def of_device(side: Side, reference: Side, size: network.Size) -> Iterator[tuple[str, str, Callable]]:
    """Checks of a device next to the CPU; `size` of the network they are made with."""
    name = str(side.context)
    yield name, 'device', lambda: build.device(side)
    yield name, 'arithmetic', lambda: operators.computes(side)
    yield name, 'fused operators', lambda: operators.fused(side)
    yield name, 'operators', lambda: operators.operators(side, reference)
    yield name, 'precisions', lambda: operators.precisions(side)
    yield name, 'NaN', lambda: operators.not_a_number(side)
    yield name, 'dropout', lambda: operators.random_numbers(side)
    yield name, 'inference', lambda: network.inference(side, reference, size)
    yield name, 'score maps', lambda: network.score_maps(side, size)
    yield name, 'training step', lambda: network.training_step(side, reference, size)
    yield name, 'accumulation', lambda: network.accumulation(side, size)
    yield name, 'resume', lambda: network.resumed(side, size)
    yield name, 'memory after training', lambda: network.memory_is_released(side, size)
    yield name, 'out of memory', lambda: operators.out_of_memory(side)


def of_several(sides: list[Side], size: network.Size) -> Iterator[tuple[str, str, Callable]]:
    """Checks of devices that share a batch."""
    stores = ['device', 'local'] + ['nccl'] * (sides[0].is_gpu and 'NCCL' in build.enabled())
    yield f'{len(sides)} devices', 'sums', lambda: network.sums(sides, stores)
    yield f'{len(sides)} devices', 'training step', lambda: network.several(sides, size)


def of_speed(sides: list[Side]) -> Iterator[tuple[str, str, Callable]]:
    """How fast devices are, with the defaults of the project and of the user's environment."""
    for side in sides:
        yield str(side.context), 'speed', lambda side=side: speed.convolutions(side)
        if side.is_gpu:
            yield str(side.context), 'inference with TF32', lambda side=side: network.inference(
                side, Side(mx.cpu()), network.WHOLE, _TF32)
    yield 'all', 'training', lambda: speed.training(sides)
    yield str(sides[0].context), 'scores', lambda: speed.inference(sides[0])


def checks(what: str, gpus: str | None) -> Iterator[tuple[str, str, Callable]]:
    """All checks of a kind.

    Parameters
    ----------
    what : str
        'numbers' or 'speed'.
    gpus : str or None
        `--gpus`.

    Raises
    ------
    UserError
        When a device cannot be used.
    """
    if what == 'numbers':
        yield from of_machine()
    sides = [Side(context) for context in mxnet_setup.devices(gpus)]
    if what == 'speed':
        yield from of_speed(sides if sides[0].is_gpu else sides[:1])
        return
    reference, compared = Side(mx.cpu(0)), sides if sides[0].is_gpu else [Side(mx.cpu(1))]
    size = network.WHOLE if sides[0].is_gpu else network.SMALL
    for side in compared:
        yield from of_device(side, reference, size)
    several = sides if len(sides) > 1 else [] if sides[0].is_gpu else [reference, *compared]
    if several:
        yield from of_several(several, size)


def main(arguments: list):
    """Make the checks `arguments[0]` on the devices `arguments[1]`, empty for the default; see `checks`."""
    precision.use_matrix_units()                        # as commands with --precision bfloat16 do
    with os.fdopen(os.dup(1), 'w', encoding='utf-8') as output:
        os.dup2(2, 1)                                   # what libraries print is no result
        for check in checks(arguments[0], arguments[1] or None):
            output.write(json.dumps(run(*check).as_json()) + '\n')
            output.flush()
