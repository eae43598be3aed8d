"""What a check finds, and running one: whatever it raises is a finding, too."""
from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Callable

from icd import gpu_memory
from icd.errors import UserError, printable

OK, NOTE, FAILED = 'ok', 'note', 'FAILED'
REPORT = 'report it with this table and your versions (CONTRIBUTING.md)'
# Texts in errors of MXNet and CUDA, what they mean, and what to do.
_MEANINGS = (
    ('no kernel image', 'the installed MXNet holds no code for this device',
     'install another build, or compute with --gpus cpu (docs/gpus.md)'),
    ('CUDNN_STATUS_EXECUTION_FAILED', 'cuDNN cannot compute on this device',
     'install another build, or compute with --gpus cpu (docs/gpus.md)'),
    ('initialization error', 'CUDA was used after a fork', REPORT),
    ('gpu-architecture', 'the compiler of fused operators does not know this device', 'set MXNET_USE_FUSION=0'),
    ('NVRTC', 'fused operators cannot be compiled', 'set MXNET_USE_FUSION=0'),
    ('not implemented for GPU', 'the installed MXNet computes on the CPU only', 'install .[cu117] (docs/gpus.md)'))


@dataclass(frozen=True)
class Result:
    """A line of the table.

    device, name : str
        What was checked, and what of it.
    state : str
        `OK`; `NOTE`: it works, but something about it matters; `FAILED`: what is promised does not hold.
    found, remedy : str
        The values behind it, and what to do; a failure always has a remedy.
    seconds : float
    """

    device: str
    name: str
    state: str
    found: str
    remedy: str = ''
    seconds: float = 0.

    def as_json(self) -> dict:
        """As values of JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Note:
    """What a check returns in place of a text when it works, but its user should do something."""

    found: str
    remedy: str


class Failed(Exception):
    """What a check raises: what was found, and what to do."""

    def __init__(self, found: str, remedy: str = REPORT):
        super().__init__(found, remedy)
        self.found, self.remedy = found, remedy


def run(device: str, name: str, check: Callable) -> Result:
    """Make a check.

    Parameters
    ----------
    device, name : str
        See `Result`.
    check : callable
        () -> what was found, or a `Note`. It raises `Failed`; anything else that it raises is a failure, too.

    Returns
    -------
    Result
    """
    begun = time.perf_counter()
    try:
        found = check()
        state, remedy = (NOTE, found.remedy) if isinstance(found, Note) else (OK, '')
        found = found.found if isinstance(found, Note) else found
    except Exception as error:
        state, (found, remedy) = FAILED, _meaning(error)
    return Result(device, name, state, found, remedy, round(time.perf_counter() - begun, 3))


def _meaning(error):
    """What an error says, and what to do."""
    if isinstance(error, Failed):
        return error.found, error.remedy
    if isinstance(error, UserError):
        return ': '.join(filter(None, (error.path, error.what))), error.remedy or REPORT
    if gpu_memory.is_out_of_memory(error):
        return 'memory ran out', 'end what else runs on the device (nvidia-smi), or train with a smaller --batch-size'
    text = str(error)
    for part, meaning, remedy in _MEANINGS:
        if part in text:
            return meaning, remedy
    return printable(f"{type(error).__name__}: {(text.strip().splitlines() or [''])[-1]}"), REPORT
