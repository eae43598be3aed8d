"""Memory of devices: what a training step takes, which batch fits, and what to do where it ran out.

Needs no MXNet: its errors are recognised by their texts.
"""
from __future__ import annotations

import contextlib
import re
from typing import Callable

from icd.errors import UserError

# A step holds about as much again as backward looks at, for gradients of maps. A convolution may take a workspace of
# 1 GB, and CUDA with cuDNN's and cuBLAS' code takes half a gigabyte or more.
_STEP, _BESIDE = 2.2, 1.5e9
# The memory's own errors, and those of cuDNN and cuBLAS when it has none left for their handles and workspaces.
_OUT_OF_MEMORY = re.compile(
    r'out of memory|Failed to allocate|bad_alloc|(?:CUDNN|CUBLAS)_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|'
    r'cudaErrorMemoryAllocation|Create cu\w+ handle failed|Failed to (?:find|get) any [\w-]+ \w*convolution algorithm')
_OTHERS = 'end what else runs on it (nvidia-smi)'


def expected(least: float) -> float:
    """Bytes that a training step on a GPU is expected to take.

    Parameters
    ----------
    least : float
        Bytes of parameters, gradients, momentum and what backward looks at again (`Task.least_memory`).
    """
    return _STEP * least + _BESIDE


def fitting_batch(batch_size: int, accumulate: int, devices: int, fits: Callable) -> tuple[int, int] | None:
    """The same step in more parts: the largest batch that fits.

    Parameters
    ----------
    batch_size, accumulate : int
        Options of these names.
    devices : int
        That share a batch, over all nodes.
    fits : callable
        Whether so many images fit a device.

    Returns
    -------
    (int, int) or None
        `--batch-size` and `--accumulate`, of the same product; None when nothing smaller fits.
    """
    for parts in range(2, batch_size // devices + 1):
        smaller = batch_size // parts
        if batch_size % parts == 0 and smaller % devices == 0 and fits(smaller // devices):
            return smaller, accumulate * parts
    return None


def smaller_step(batch_size: int, accumulate: int, devices: int, fits: Callable = lambda images: True) -> str:
    """What to do where a training step does not fit; see `fitting_batch`."""
    found = fitting_batch(batch_size, accumulate, devices, fits)
    if not found:
        return f'give a smaller --image-size or --width, or {_OTHERS}'
    return f'give --batch-size {found[0]} --accumulate {found[1]}, the same step in smaller parts, or {_OTHERS}'


def smaller_batch(flag: str, batch_size: int, size_flag: str) -> str:
    """What to do where images do not fit that a network only looks at: a smaller batch, else a smaller input."""
    remedy = f'{flag} {batch_size // 2}' if batch_size > 1 else f'a smaller {size_flag}'
    return f'give {remedy}, or {_OTHERS}'


def check(free: dict[int, int], least: Callable, batch_size: int, accumulate: int, devices: int) -> list[str]:
    """Compare what a training step takes with what GPUs have.

    Parameters
    ----------
    free : dict of int to int
        Free bytes of each GPU by its index.
    least : callable
        Bytes that a step of so many images a device needs at the least.
    batch_size, accumulate, devices : int
        See `fitting_batch`.

    Returns
    -------
    list of str
        A warning for the log where a step is expected to take more than there is.

    Raises
    ------
    UserError
        When a GPU has less than the least.
    """
    if not free:
        return []
    index = min(free, key=free.get)
    needed = least(batch_size // devices)
    remedy = smaller_step(batch_size, accumulate, devices, lambda images: expected(least(images)) <= free[index])
    there = (f'GPU {index} has {free[index] / 1e9:.1f} GB of free memory, a training step of {batch_size // devices} '
             'images')
    if free[index] < needed:
        raise UserError(f'{there} needs more than {needed / 1e9:.1f} GB', remedy=remedy)
    if free[index] < expected(needed):
        return [f'{there} takes about {expected(needed) / 1e9:.1f} GB; if it runs out, {remedy}']
    return []


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of MXNet is about too little memory, on any device."""
    return type(error).__name__ == 'MXNetError' and bool(_OUT_OF_MEMORY.search(str(error)))


@contextlib.contextmanager
def explained(remedy: str):
    """Turn MXNet's errors about too little memory into a `UserError` that says what to do."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError('a device is out of memory', remedy=remedy) from None
