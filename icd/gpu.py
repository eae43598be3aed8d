"""What computing on GPUs needs of the machine, checked before MXNet would fail without an explanation.

The CUDA 11 wheels bring their libraries in folders the system does not search; they are loaded by name before MXNet
is imported, so no `LD_LIBRARY_PATH` is needed. The driver is asked through its own interface, not through NVML, which
ignores `CUDA_VISIBLE_DEVICES`.
"""
from __future__ import annotations

import ctypes
import functools
import glob
import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from typing import Any, Callable, Sequence

from icd.errors import UserError

# What libmxnet.so of the CUDA wheels is linked with, each after the libraries it needs itself. Nothing else of those
# folders may be loaded: libnvblas would replace MXNet's BLAS. cuDNN finds its parts by itself.
LIBRARIES = ('libcudart.so.11.0', 'libnvrtc.so.11.2', 'libnvToolsExt.so.1', 'libcublasLt.so.11', 'libcublas.so.11',
             'libcufft.so.10', 'libcurand.so.10', 'libcusparse.so.11', 'libcusolver.so.11', 'libcudnn.so.8',
             'libnccl.so.2')
CAPABILITIES = (5, 0), (8, 9)       # code for sm_50, 60, 70, 80 and 86, which also runs on later GPUs of a generation
_WHEELS = tuple(f'mxnet-cu11{minor}' for minor in range(8))
# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, _CLOCK_RATE (kHz), _MULTIPROCESSOR_COUNT
_MAJOR, _MINOR, _CLOCK, _PROCESSORS = 75, 76, 13, 16
_OR_CPU = 'or compute with --gpus cpu'
# Every driver of a major version runs what was built for a later minor one (CUDA 11.0's and newer: NVIDIA's "minor
# version compatibility"), but what is compiled at run time: `prepare` sees to that.
_COMPATIBLE_MINOR = 0
# Algorithms that add up in a fixed order, chosen by rule and not by timing.
DETERMINISTIC = {'MXNET_ENFORCE_DETERMINISM': '1', 'MXNET_CUDNN_AUTOTUNE_DEFAULT': '0'}
# Computes on every GPU that is named; prints the index and the reason where that fails.
_TRIAL = '''
import sys
from icd.mxnet_setup import mx
for i in sys.argv[1:]:
    try:
        assert (2 * mx.nd.ones((4, 4), ctx=mx.gpu(int(i)))).sum().asscalar() == 32, 'wrong sum'
    except Exception as error:
        print(i, str(error).strip().splitlines()[-1])
'''


def wheel() -> tuple[str, tuple[int, int]] | None:
    """The installed wheel of MXNet for CUDA 11: its name and the (major, minor) of its CUDA.

    None for all others: the CPU's wheel, builds from source and those of containers, whose features tell what they
    can compute on (`usable_gpus`).
    """
    for name in _WHEELS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name, (int(name[-3:-1]), int(name[-1]))
    return None


def library_folders() -> list[str]:
    """Folders of the `nvidia-*` wheels that hold libraries."""
    spec = importlib.util.find_spec('nvidia')
    packages = spec.submodule_search_locations if spec else ()
    return sorted(folder for package in packages or ()
                  for folder in glob.glob(os.path.join(glob.escape(package), '*', 'lib')))


def load_libraries(folders: Sequence[str], names: Sequence[str] = LIBRARIES) -> dict[str, ctypes.CDLL]:
    """Load the libraries `names` that are in `folders`, so that the dynamic linker finds them by name.

    Parameters
    ----------
    folders, names : sequence of str

    Returns
    -------
    dict of str to ctypes.CDLL
        Those that could be loaded. The others may be installed in the system.
    """
    loaded = {}
    for name in names:
        for path in (os.path.join(folder, name) for folder in folders):
            if name not in loaded and os.path.isfile(path):
                try:
                    loaded[name] = ctypes.CDLL(path)
                except OSError:
                    continue
    return loaded


def prepare():
    """Make a wheel of MXNet for CUDA importable; without one, do nothing.

    Raises
    ------
    UserError
        When the machine has no NVIDIA driver: such a build cannot even be imported then.
    """
    installed = wheel()
    if installed is None:
        return
    driver = Driver()
    # The wheel of cuDNN differs from what MXNet was built with in its minor version only, which it may.
    os.environ.setdefault('MXNET_CUDNN_LIB_CHECKING', '0')
    loaded = load_libraries(library_folders())
    compiler = loaded.get('libnvrtc.so.11.2')
    if compiler and driver.version() < _compiler_version(compiler):
        # The driver is too old for what this compiler makes at run time. MXNet works without it, a little slower.
        os.environ.setdefault('MXNET_USE_FUSION', '0')


def make_deterministic():
    """Have MXNet compute the same bits again on GPUs (`--deterministic`), in this process and those it starts.

    Raises
    ------
    UserError
        When MXNet is imported already, and the variables it reads are not set.
    """
    if 'mxnet' in sys.modules and any(os.environ.get(name) != value for name, value in DETERMINISTIC.items()):
        raise UserError('MXNet is imported already', '--deterministic',
                        'set ' + ' '.join(f'{name}={value}' for name, value in DETERMINISTIC.items()) + ' before')
    os.environ.update(DETERMINISTIC)


def not_loaded(error: OSError) -> UserError:
    """What to say when the system cannot load MXNet's library."""
    remedy = 'install that library, or MXNet as docs/gpus.md has it'
    if 'libcuda.so' in str(error):
        remedy = 'install the NVIDIA driver, or the CPU version: pip uninstall mxnet; pip install mxnet==1.9.1'
    return UserError(f'MXNet cannot be loaded ({error})', remedy=remedy)


def _compiler_version(library):
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


class Driver:
    """The NVIDIA driver.

    Parameters
    ----------
    library : object, optional
        Has the functions of libcuda; by default the machine's.

    Raises
    ------
    UserError
        When the machine has none.
    """

    def __init__(self, library: Any = None):
        try:
            self._library = library or ctypes.CDLL('libcuda.so.1')
        except OSError:
            raise UserError('the installed MXNet needs the NVIDIA driver, but libcuda.so.1 is not there',
                            remedy='install the driver, or the CPU version: '
                                   f'pip uninstall {(wheel() or _WHEELS[-1:])[0]}; pip install mxnet==1.9.1') from None

    def _number(self, function, *arguments):
        value = ctypes.c_int()
        error = getattr(self._library, function)(ctypes.byref(value), *arguments)
        if error:
            raise UserError(f'the NVIDIA driver fails ({function}: error {error})',
                            remedy=f'check nvidia-smi, {_OR_CPU}')
        return value.value

    def start(self) -> bool:
        """Initialise the driver; False when it finds no GPU.

        Raises
        ------
        UserError
            When it fails for another reason.
        """
        error = self._library.cuInit(0)
        if error not in (0, 100):           # CUDA_SUCCESS, CUDA_ERROR_NO_DEVICE
            raise UserError(f'the NVIDIA driver does not start (cuInit: error {error})',
                            remedy=f'check nvidia-smi, {_OR_CPU}')
        return error == 0

    def version(self) -> tuple[int, int]:
        """(major, minor) of the newest CUDA it supports."""
        value = self._number('cuDriverGetVersion')
        return value // 1000, value % 1000 // 10

    def count(self) -> int:
        """Number of GPUs."""
        return self._number('cuDeviceGetCount') if self.start() else 0

    def capability(self, index: int) -> tuple[int, int]:
        """Compute capability (major, minor) of a GPU."""
        return self._attribute(index, _MAJOR), self._attribute(index, _MINOR)

    def flop_per_second(self, index: int) -> float:
        """Arithmetic limit of a GPU: float32 multiplications and additions a second, without tensor cores."""
        major, minor = self.capability(index)
        lanes = 64 if major == 7 or (major, minor) in ((6, 0), (8, 0)) else 128     # of a multiprocessor
        return 2 * lanes * self._attribute(index, _PROCESSORS) * 1e3 * self._attribute(index, _CLOCK)

    def _attribute(self, index, attribute):
        return self._number('cuDeviceGetAttribute', attribute, self._number('cuDeviceGet', index))


@functools.lru_cache(maxsize=None)
def try_gpus(*indices: int) -> dict[int, str]:
    """Why GPUs cannot compute, by their index; empty when all can.

    It is tried in a process of its own: readers are forked while nothing of this one is on a GPU, and a library that
    kills its process has killed that one.
    """
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, '-c', _TRIAL, *map(str, indices)], env=dict(os.environ, PYTHONPATH=path),
                          capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        return dict.fromkeys(indices, (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1])
    lines = [line.partition(' ') for line in done.stdout.splitlines()]
    return {int(index): reason for index, _, reason in lines if index.isdigit()}


def usable_gpus(indices: list[int] | None, cuda: bool, driver: Driver | None = None,
                trial: Callable = try_gpus) -> list[int]:
    """GPUs to compute on.

    Parameters
    ----------
    indices : list of int or None
        GPUs that the user wants; None for all that MXNet can use.
    cuda : bool
        Whether the installed MXNet was built with CUDA.
    driver : Driver, optional
        By default the machine's.
    trial : callable
        Finds out what a build that is none of the known wheels can use, as `try_gpus` does.

    Returns
    -------
    list of int
        Empty when none are asked for and there are none.

    Raises
    ------
    UserError
        When one that is wanted does not exist or cannot be used.
    """
    if not cuda:
        if indices:
            raise UserError('the installed MXNet computes on the CPU only', _option(indices),
                            f'pip uninstall mxnet; pip install .[cu117], {_OR_CPU}')
        return []
    driver = driver or Driver()
    count = driver.count()
    if not count and indices is None:
        return []
    absent = [i for i in indices or () if i >= count]
    if absent:
        raise UserError(f'GPU {absent[0]} does not exist (the driver shows {count})', _option(indices),
                        f'choose another index, {_OR_CPU}')
    wanted = list(range(count) if indices is None else indices)
    unusable = _unusable(driver, wanted, *wheel()) if wheel() else trial(*wanted)
    usable = [i for i in wanted if i not in unusable]
    for i, reason in unusable.items():
        if indices or not usable:
            raise UserError(f'GPU {i} {reason}' if wheel() else f'the installed MXNet cannot use GPU {i} ({reason})',
                            remedy=f'choose another GPU, {_OR_CPU}')
    return usable


def _unusable(driver, wanted, name, needed):
    """Why GPUs cannot be used by a wheel, by index."""
    supported, least = driver.version(), (needed[0], _COMPATIBLE_MINOR)
    if supported < least:
        raise UserError(f'the NVIDIA driver supports CUDA up to {_dotted(supported)}, but {name} needs '
                        f'{_dotted(least)}', remedy=f'install a newer driver, {_OR_CPU}')
    capabilities = {i: driver.capability(i) for i in wanted}
    return {i: f'has compute capability {_dotted(found)}, but the wheels of MXNet 1.9.1 support '
               f'{_dotted(CAPABILITIES[0])} to {_dotted(CAPABILITIES[1])} only (Maxwell to Ada)'
            for i, found in capabilities.items() if not CAPABILITIES[0] <= found <= CAPABILITIES[1]}


def _dotted(version):
    return '.'.join(map(str, version))


def _option(indices):
    return '--gpus ' + ','.join(map(str, indices))
