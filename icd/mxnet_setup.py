"""MXNet, imported with what it needs: `from icd.mxnet_setup import mx`.

Nothing else in the project imports MXNet by itself, and what does not compute with it never imports this module: what
it changes in the process, it changes only for those who compute with MXNet.
"""
from __future__ import annotations

import contextlib
import functools
import os
import sys

import numpy

from icd import console, gpu, parallel
from icd.errors import UserError


@contextlib.contextmanager
def _environment_default(name, value, *others):
    """Set an environment variable for a while, unless the user has set it or one of the others that mean the same."""
    unset = not any(known in os.environ for known in (name, *others))
    if unset:
        os.environ[name] = value
    try:
        yield
    finally:
        if unset:
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
# GNU's threads spin for milliseconds when they wait for each other, which takes the processor from those they wait for
# when another program is running: docs/machines.md has what that costs, and what a short spin does.
with _environment_default('OMP_NUM_THREADS', str(parallel.physical_cores())), \
        _environment_default('GOMP_SPINCOUNT', '1000', 'OMP_WAIT_POLICY'), _environment_without('DMLC_ROLE'):
    import mxnet as mx
    from mxnet import autograd, gluon, init, nd
    from mxnet.gluon import Block, HybridBlock, nn

__all__ = ['Block', 'HybridBlock', 'autograd', 'devices', 'gluon', 'init', 'mx', 'nd', 'nn']


def devices(spec: str | None) -> list[mx.Context]:
    """MXNet contexts that `--gpus` names.

    Parameters
    ----------
    spec : str or None
        `'0,1'` for GPUs, `'cpu'`, `'cpu:2'` for two CPU devices, None for all GPUs or, without any, the CPU
        (which is logged, once).

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
    usable = gpu.usable_gpus(indices and [int(i) for i in indices])
    if spec is None:
        found = f'GPU {",".join(map(str, usable))}' if usable else 'the CPU'
        _log_once(f'no --gpus: computing on {found}')
    return [mx.gpu(i) for i in usable] or [mx.cpu()]


def _is_number(text):
    return text.isascii() and text.isdigit()


@functools.lru_cache(maxsize=None)
def _log_once(text):
    console.log(text)
