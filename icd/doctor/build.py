"""Checks of the installed MXNet: its version and features, and the devices it finds."""
from __future__ import annotations

import os

from icd import gpu, parallel
from icd.doctor import machine
from icd.doctor.result import Failed, Note
from icd.doctor.side import Side
from icd.mxnet_setup import has_cuda, mx

_VERSION = '1.9.1'
_SHOWN = 'CUDA', 'CUDNN', 'NCCL', 'TENSORRT', 'MKLDNN', 'OPENMP', 'DIST_KVSTORE'


def features(found: set) -> str | Note:
    """What MXNet was built with; `found`: names of the features that are on (`enabled`)."""
    text = f"{mx.__version__} with {', '.join(name for name in _SHOWN if name in found) or 'none of its features'}"
    if 'CUDA' in found and 'CUDNN' not in found:
        raise Failed(text, 'install a build with cuDNN: convolutions are many times slower without')
    if mx.__version__ != _VERSION:
        return Note(text, f'this project was tested with {_VERSION}')
    if 'CUDA' not in found and 'MKLDNN' not in found:
        return Note(text, 'install the wheel mxnet==1.9.1: this build computes slowly on the CPU')
    if 'CUDA' in found and 'NCCL' not in found:
        return Note(text, '--kvstore nccl is not there; --kvstore device needs none')
    return text


def enabled() -> set:
    """Features that are on in the installed MXNet."""
    found = mx.runtime.Features()
    return {name for name in found if found.is_enabled(name)}


def gpus() -> str | Note:
    """GPUs of this machine, whether MXNet can use them or not."""
    return machine.unused_gpus(has_cuda())


def device(side: Side) -> str:
    """What a device is, and its free memory."""
    if not side.is_gpu:
        return f"threads MXNet computes with: {os.environ.get('OMP_NUM_THREADS') or parallel.physical_cores()}"
    driver, index = gpu.Driver(), side.context.device_id
    capability, version = ('.'.join(map(str, found)) for found in (driver.capability(index), driver.version()))
    return f'compute capability {capability}, driver for CUDA {version}, {side.free() / 1e9:.1f} GB are free'
