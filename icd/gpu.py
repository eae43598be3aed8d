"""What computing on GPUs needs of the machine, checked before MXNet would fail without an explanation.

The CUDA 11 wheels bring their libraries in folders the system does not search; they are loaded by name before MXNet
is imported, so no `LD_LIBRARY_PATH` is needed. The driver is asked through its own interface, not through NVML, which
ignores `CUDA_VISIBLE_DEVICES`.
"""
from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.util
import os
from importlib import metadata
from typing import Any, Sequence

from icd.errors import UserError

# What libmxnet.so of the CUDA wheels is linked with, each after the libraries it needs itself. Nothing else of those
# folders may be loaded: libnvblas would replace MXNet's BLAS. cuDNN finds its parts by itself.
LIBRARIES = ('libcudart.so.11.0', 'libnvrtc.so.11.2', 'libnvToolsExt.so.1', 'libcublasLt.so.11', 'libcublas.so.11',
             'libcufft.so.10', 'libcurand.so.10', 'libcusparse.so.11', 'libcusolver.so.11', 'libcudnn.so.8',
             'libnccl.so.2')
CAPABILITIES = (5, 0), (8, 9)       # code for sm_50, 60, 70, 80 and 86, which also runs on later GPUs of a generation
_WHEELS = tuple(f'mxnet-cu11{minor}' for minor in range(8))
_MAJOR, _MINOR = 75, 76             # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_OR_CPU = 'or compute with --gpus cpu'
_OUT_OF_MEMORY = ('out of memory', 'Failed to allocate', 'bad_alloc', 'CUDNN_STATUS_ALLOC_FAILED')


def wheel() -> tuple[str, tuple[int, int]] | None:
    """The installed CUDA build of MXNet: its name and the (major, minor) of its CUDA; None for a CPU build."""
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
    """Make a CUDA build of MXNet importable; without one, do nothing.

    Raises
    ------
    UserError
        When the machine has no NVIDIA driver: such a build cannot even be imported then.
    """
    installed = wheel()
    if installed is None:
        return
    driver = Driver()
    loaded = load_libraries(library_folders())
    compiler = loaded.get('libnvrtc.so.11.2')
    if compiler and driver.version() < _compiler_version(compiler):
        # The driver is too old for what this compiler makes at run time. MXNet works without it, a little slower.
        os.environ.setdefault('MXNET_USE_FUSION', '0')


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
        device = self._number('cuDeviceGet', index)
        return tuple(self._number('cuDeviceGetAttribute', attribute, device) for attribute in (_MAJOR, _MINOR))


def usable_gpus(indices: list[int] | None = None, driver: Driver | None = None) -> list[int]:
    """GPUs to compute on.

    Parameters
    ----------
    indices : list of int, optional
        GPUs that the user wants; by default all that MXNet can use.
    driver : Driver, optional
        By default the machine's.

    Returns
    -------
    list of int
        Empty when none are asked for and there are none.

    Raises
    ------
    UserError
        When one that is wanted does not exist or cannot be used.
    """
    installed = wheel()
    if installed is None:
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
    _check_version(driver.version(), *installed)
    wanted = range(count) if indices is None else indices
    capabilities = {i: driver.capability(i) for i in wanted}
    usable = [i for i in wanted if CAPABILITIES[0] <= capabilities[i] <= CAPABILITIES[1]]
    for i in wanted:
        if i not in usable and (indices or not usable):
            found, least, most = map(_dotted, (capabilities[i],) + CAPABILITIES)
            raise UserError(f'GPU {i} has compute capability {found}, but MXNet 1.9.1 supports {least} to {most} only '
                            '(Maxwell to Ada)', remedy=f'choose another GPU, {_OR_CPU}')
    return usable


def _check_version(supported, name, needed):
    if supported < needed:
        older = f' or install .[cu112] in place of {name},' if needed > (11, 2) else ''
        raise UserError(f'the NVIDIA driver supports CUDA up to {_dotted(supported)}, but {name} needs '
                        f'{_dotted(needed)}', remedy=f'install a newer driver,{older} {_OR_CPU}')


def _dotted(version):
    return '.'.join(map(str, version))


def _option(indices):
    return '--gpus ' + ','.join(map(str, indices))


def check_memory(free: dict[int, int], needed: int):
    """Check that every GPU has the memory that a training step needs at the least.

    Parameters
    ----------
    free : dict of int to int
        Free bytes of each GPU by its index.
    needed : int
        Bytes.

    Raises
    ------
    UserError
        When one has less.
    """
    for index, available in free.items():
        if available < needed:
            raise UserError(f'GPU {index} has {available / 1e9:.1f} GB of free memory, a training step needs more than '
                            f'{needed / 1e9:.1f} GB',
                            remedy='end what else runs on it (nvidia-smi), or use a smaller --batch-size with '
                                   '--accumulate')


@contextlib.contextmanager
def explain_out_of_memory():
    """Turn MXNet's errors about too little memory, on any device, into a `UserError`."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != 'MXNetError' or not any(text in str(error) for text in _OUT_OF_MEMORY):
            raise
        raise UserError('a device is out of memory',
                        remedy='use a smaller --batch-size (with --accumulate in training) or '
                               '--infer-batch-size, or end what else runs on it') from None
