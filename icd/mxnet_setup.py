"""MXNet, imported with what it needs: `from icd.mxnet_setup import mx`.

Nothing else in the project imports MXNet by itself, and what does not compute with it never imports this.
"""
import functools
import os

import numpy

from icd import console, gpu, parallel
from icd.errors import UserError

# MXNet 1.9.1 names `numpy.bool`, an alias of `bool` that NumPy 1.24 dropped; giving it back is all that the releases
# up to 1.26 need.
if 'bool' not in vars(numpy):
    numpy.bool = bool
# MXNet gives every CPU device four scratch buffers, each as large as the largest operator needs: 120 MB for nothing,
# since operators of one device run one after the other.
os.environ.setdefault('MXNET_CPU_TEMP_COPY', '1')
# By itself MXNet takes half of the processors it sees for hyper-threads, and leaves half of a virtual machine idle.
os.environ.setdefault('OMP_NUM_THREADS', str(parallel.physical_cores()))
gpu.prepare()

import mxnet as mx  # noqa: E402
from mxnet import autograd, gluon, init, nd  # noqa: E402
from mxnet.gluon import Block, HybridBlock, nn  # noqa: E402

__all__ = ['Block', 'HybridBlock', 'autograd', 'devices', 'gluon', 'init', 'mx', 'nd', 'nn']


def devices(spec):
    """MXNet contexts named by `--gpus`.

    Parameters
    ----------
    spec : str or None
        `'0,1'` for GPUs, `'cpu'`, `'cpu:2'` for two CPU devices, None for all GPUs or, without any, the CPU
        (which is said on standard error).

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    UserError
        When the text cannot be read, or a GPU does not exist or cannot be used (`icd.gpu.check`).
    """
    kind, _, count = (spec or '').partition(':')
    indices = None if spec is None else spec.split(',')
    if kind == 'cpu' and (spec == 'cpu' or _is_number(count) and int(count) > 0):
        return [mx.cpu(i) for i in range(int(count or 1))]
    if indices and (not all(map(_is_number, indices)) or len(set(indices)) < len(indices)):
        raise UserError("give different GPU indices like 0,1, or 'cpu', or 'cpu:2'", f'--gpus {spec}')
    usable = gpu.check(indices and [int(i) for i in indices])
    if spec is None:
        _log_once('no --gpus: computing on %s' % ('GPU ' + ','.join(map(str, usable)) if usable else 'the CPU'))
    return [mx.gpu(i) for i in usable] or [mx.cpu()]


def _is_number(text):
    return text.isascii() and text.isdigit()


@functools.lru_cache(maxsize=None)
def _log_once(text):
    console.log(text)
