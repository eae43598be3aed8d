"""MXNet, imported with what it needs: `from icd.mxnet_setup import mx`.

Nothing else in the project imports MXNet by itself, and what does not compute with it never imports this module: what
it changes in the process, it changes only for those who compute with MXNet.
"""
from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
from typing import Iterator

import numpy

from icd import console, gpu, gpu_memory, parallel
from icd.errors import UserError


@contextlib.contextmanager
def _environment_default(**values):
    """Set environment variables for a while, unless the user has set one of them."""
    unset = not any(name in os.environ for name in values)
    if unset:
        os.environ.update(values)
    try:
        yield
    finally:
        if unset:
            for name in values:
                del os.environ[name]


@contextlib.contextmanager
def _environment_without(name):
    """Hide an environment variable for a while."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


if sys.flags.optimize > 1:
    raise UserError('MXNet cannot be imported without docstrings', 'PYTHONOPTIMIZE=2 (python -OO)',
                    'unset it, or give 1')
# MXNet 1.9.1 names `numpy.bool`, an alias of `bool` that NumPy 1.24 dropped, when it is imported and when its own
# arrays are indexed; giving it back is all that the releases up to 1.26 need.
if 'bool' not in vars(numpy):
    numpy.bool = bool
# MXNet gives every CPU device four scratch buffers, each as large as the largest operator needs: 120 MB for nothing,
# since operators of one device run one after the other. It reads this when the first operator runs.
os.environ.setdefault('MXNET_CPU_TEMP_COPY', '1')
gpu.prepare()
# By itself MXNet takes half of the processors it sees for hyper-threads, which leaves half of a virtual machine idle,
# and sees those of the whole machine where a container may use a few. It and OpenMP read this while they are loaded.
# With a DMLC_ROLE other than worker, which a shell may have from an earlier training, the import becomes a server and
# does not return; `icd.train.distributed` starts one when it is wanted.
# GNU's threads spin while they wait for each other. MXNet has more of them than there are processors, and then they
# spin a hundred times only, which leaves them asleep between small operators, unless they are called active: then the
# number counts. A large one takes the processor from those who are waited for when another program is running:
# tests/benchmarks/waiting.py, docs/machines.md.
with _environment_default(OMP_NUM_THREADS=str(parallel.physical_cores())), \
        _environment_default(OMP_WAIT_POLICY='active', GOMP_SPINCOUNT='1000'), _environment_without('DMLC_ROLE'):
    try:
        import mxnet as mx
    except OSError as error:
        raise gpu.not_loaded(error) from None
    from mxnet import autograd, gluon, init, nd
    from mxnet.gluon import Block, HybridBlock, nn

__all__ = ['Block', 'HybridBlock', 'autograd', 'computing', 'devices', 'free_memory', 'gluon', 'init', 'mx', 'nd', 'nn',
           'untuned']


def devices(spec: str | None, divide: int | None = None) -> list[mx.Context]:
    """MXNet contexts that `--gpus` names.

    Parameters
    ----------
    spec : str or None
        `'0,1'` for GPUs, `'cpu'`, `'cpu:2'` for two CPU devices, None for all GPUs or, without any, the CPU
        (which is logged, once).
    divide : int, optional
        Without a `spec`, as many GPUs as divide this number of images: the most that do.

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    UserError
        When the text means nothing, or a GPU does not exist or cannot be used (`icd.gpu.usable_gpus`).
    """
    kind, _, count = (spec or '').partition(':')
    indices = None if spec is None else spec.split(',')
    if kind == 'cpu' and (spec == 'cpu' or _is_number(count) and int(count) > 0):
        return [mx.cpu(i) for i in range(int(count or 1))]
    if indices and (not all(map(_is_number, indices)) or len(set(indices)) < len(indices)):
        raise UserError('not a list of different devices', f'--gpus {spec}',
                        'give GPU indices like 0,1, or cpu, or cpu:2')
    usable = gpu.usable_gpus(indices and [int(i) for i in indices], has_cuda())
    if spec is None:
        chosen = usable[:max(n for n in range(len(usable) + 1) if n == 0 or not divide or divide % n == 0)]
        found = f'GPU {",".join(map(str, chosen))}' if chosen else 'the CPU'
        left_out = f' ({len(usable)} GPUs do not divide a batch of {divide})' if len(chosen) < len(usable) else ''
        _log_once(f'no --gpus: computing on {found}{left_out}')
        usable = chosen
    return [mx.gpu(i) for i in usable] or [mx.cpu()]


def has_cuda() -> bool:
    """Whether this MXNet was built with CUDA."""
    return mx.runtime.Features().is_enabled('CUDA')


def free_memory(contexts: list[mx.Context]) -> dict[int, int]:
    """Free bytes of the GPUs among some devices, by index."""
    return {device.device_id: mx.context.gpu_memory_info(device.device_id)[0]
            for device in contexts if device.device_type == 'gpu'}


@contextlib.contextmanager
def computing(contexts: list[mx.Context], remedy: str) -> Iterator[None]:
    """While a stage computes on devices: what it does when they run out of memory, and what it leaves behind: nothing.

    Networks and their graphs are parts of reference cycles, which hold gigabytes of a GPU until Python happens to look
    for cycles; what is freed then stays in MXNet's pool, where cuDNN and other processes cannot get it. So both are
    emptied at the end. What the caller still holds stays: compute in a function of its own.

    Parameters
    ----------
    contexts : list of mxnet.Context
    remedy : str
        For the `UserError` where memory runs out.
    """
    with gpu_memory.explained(remedy):
        yield
        gc.collect()
        mx.nd.waitall()
    for device in contexts:
        if device.device_type == 'gpu':
            device.empty_cache()


def untuned() -> contextlib.AbstractContextManager:
    """While shapes vary: cuDNN chooses algorithms for convolutions by rule, unless the user decides.

    Otherwise it times all of them at every new shape, which is worth its time where one shape is computed for hours.
    MXNet reads this when a convolution first meets a shape, so it may change while it runs.
    """
    return _environment_default(MXNET_CUDNN_AUTOTUNE_DEFAULT='0')


def _is_number(text):
    return text.isascii() and text.isdigit()


@functools.lru_cache(maxsize=None)
def _log_once(text):
    console.log(text)
