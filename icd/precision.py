"""Which precisions the devices compute convolutions in: tried before the first step, as no table says it for all.

MXNet 1.9.1 has float16 convolutions on GPUs alone, and bfloat16 ones on CPUs alone, where oneDNN wants AVX-512.
"""
from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from typing import Any, Callable, Sequence

from icd.errors import UserError

PRECISIONS = 'float32', 'float16', 'bfloat16'
FLOAT32 = PRECISIONS[0]
# Trains a convolution on every device that is named; prints the device and the reason where that fails.
_TRIAL = '''
import sys
from icd import precision
from icd.mxnet_setup import mx
from icd.doctor import operators, result
from icd.doctor.side import Side
precision.use_matrix_units()
for name in sys.argv[2:]:
    kind, _, index = name.partition(':')
    side = Side(mx.Context(kind, int(index)))
    found = result.run(name, '', lambda: operators.lower_precision(side, sys.argv[1]))
    if found.state == result.FAILED:
        print(name, found.found)
'''


# Of Linux on x86-64: the call arch_prctl, its ARCH_REQ_XCOMP_PERM, and the state of the matrix units (AMX).
_ARCH_PRCTL, _ASK, _TILE_DATA = 158, 0x1023, 18


def has_matrix_units(cpuinfo: str = '/proc/cpuinfo') -> bool:
    """Whether the processor has matrix units for bfloat16 (Intel AMX), by where Linux lists its features."""
    try:
        with open(cpuinfo, encoding='utf-8') as file:
            return any(line.startswith('flags') and 'amx_bf16' in line.split() for line in file)
    except OSError:
        return False


def use_matrix_units(cpuinfo: str = '/proc/cpuinfo'):
    """Let oneDNN compute bfloat16 in the processor's matrix units, where there are any.

    The oneDNN of MXNet 1.9.1 leaves them alone unless an environment variable says otherwise, and does not ask the
    operating system, which ends a process that uses them without. It reads the variable at its first operator; one
    that is set already stays.

    Parameters
    ----------
    cpuinfo : str, optional
        As in `has_matrix_units`.
    """
    if has_matrix_units(cpuinfo) and not ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK, _TILE_DATA):
        os.environ.setdefault('DNNL_MAX_CPU_ISA', 'AVX512_CORE_AMX')


@functools.lru_cache(maxsize=None)
def try_devices(precision: str, *names: str) -> dict[str, str]:
    """Why devices cannot compute in a precision, by their names; empty when all can.

    It is tried in a process of its own: readers are forked while nothing of this one has computed, and a library that
    kills its process has killed that one.

    Parameters
    ----------
    precision : str
        One of `PRECISIONS`.
    names : str
        `cpu:0`, `gpu:1`.
    """
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, '-c', _TRIAL, precision, *names], env=dict(os.environ, PYTHONPATH=path),
                          capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        return dict.fromkeys(names, (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1])
    lines = [line.partition(' ') for line in done.stdout.splitlines()]
    return {name: reason for name, _, reason in lines if name in names}


def check(precision: str, contexts: Sequence[Any], trial: Callable = try_devices):
    """Whether devices compute in a precision.

    Parameters
    ----------
    precision : str
        `--precision`, one of `PRECISIONS`.
    contexts : sequence of mxnet.Context
        CPU devices are the same one.
    trial : callable
        As `try_devices`.

    Raises
    ------
    UserError
        Naming the first that does not.
    """
    if precision == FLOAT32:
        return
    use_matrix_units()
    names = [f'{one.device_type}:{one.device_id if one.device_type == "gpu" else 0}' for one in contexts]
    for name, reason in trial(precision, *dict.fromkeys(names)).items():
        device = 'the CPU' if name.startswith('cpu') else f"GPU {name.partition(':')[2]}"
        reason = reason.rpartition('MXNetError: ')[2]
        raise UserError(f'MXNet has no such convolutions on {device} ({reason})', f'--precision {precision}',
                        'leave it out; icd-doctor lists what each device computes in')


def setting(precision: str) -> dict:
    """What the settings of outputs say of it: nothing of float32, which those from before there was a choice have."""
    return {} if precision == FLOAT32 else {'precision': precision}


def check_onnx(precision: str, path: str):
    """Raise a `UserError` unless an ONNX file is to be run as it is, in float32."""
    if precision != FLOAT32:
        raise UserError(f'an ONNX file is computed in {FLOAT32}', f'--precision {precision}',
                        f'leave it out, or give a checkpoint in place of {path}')
