"""What a GPU run needs of the machine, found out before MXNet would fail in its own words.

The CUDA 11 wheels bring their libraries in folders the system does not search; they are loaded by name before MXNet
is imported, so no `LD_LIBRARY_PATH` is needed. The driver is asked through its C interface, without MXNet.
"""
import contextlib
import ctypes
import glob
import importlib.util
import os
from importlib import metadata

from icd.errors import UserError

# What libmxnet.so of the CUDA wheels is linked with, each after what it needs itself. Nothing else of those folders
# must be loaded: libnvblas would take the place of MXNet's BLAS. cuDNN finds its parts by itself.
LIBRARIES = ('libcudart.so.11.0', 'libnvrtc.so.11.2', 'libnvToolsExt.so.1', 'libcublasLt.so.11', 'libcublas.so.11',
             'libcufft.so.10', 'libcurand.so.10', 'libcusparse.so.11', 'libcusolver.so.11', 'libcudnn.so.8',
             'libnccl.so.2')
CAPABILITIES = (5, 0), (8, 9)       # code for sm_50, 60, 70, 80 and 86, which runs on later GPUs of the same generation
_WHEELS = tuple('mxnet-cu11%d' % minor for minor in range(8))
_MAJOR, _MINOR = 75, 76             # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_CPU = 'or compute with --gpus cpu'
_NO_MEMORY = ('out of memory', 'Failed to allocate', 'bad_alloc', 'CUDNN_STATUS_ALLOC_FAILED')


def wheel():
    """The installed CUDA build of MXNet: its name and (major, minor) of its CUDA; None for a CPU build."""
    for name in _WHEELS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name, (int(name[-3:-1]), int(name[-1]))
    return None


# --------------------------------------------------------------------------------------------------- the libraries
def library_folders():
    """Folders of the `nvidia-*` wheels that hold libraries."""
    found = importlib.util.find_spec('nvidia')
    places = found.submodule_search_locations if found else ()
    return sorted(folder for place in places or ()
                  for folder in glob.glob(os.path.join(glob.escape(place), '*', 'lib')))


def load_libraries(folders, names=LIBRARIES):
    """Load the libraries `names` that are in `folders`, so that the dynamic linker knows them by name.

    Parameters
    ----------
    folders, names : sequence of str

    Returns
    -------
    dict of str to ctypes.CDLL
        Those that could be loaded. What is missing here may be installed in the system.
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
    """Make a CUDA build of MXNet importable; nothing happens without one.

    Raises
    ------
    UserError
        When the machine has no NVIDIA driver, without which such a build cannot even be imported.
    """
    installed = wheel()
    if installed is None:
        return
    driver = Driver()
    loaded = load_libraries(library_folders())
    compiler = loaded.get('libnvrtc.so.11.2')
    if compiler and driver.version() < _compiler_version(compiler):
        # What this compiler makes at run time is too new for the driver. MXNet does without, a little slower.
        os.environ.setdefault('MXNET_USE_FUSION', '0')


def _compiler_version(library):
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


# ------------------------------------------------------------------------------------------------------ the driver
class Driver:
    """The NVIDIA driver.

    Parameters
    ----------
    library : object, optional
        With the functions of libcuda.

    Raises
    ------
    UserError
        When there is none.
    """

    def __init__(self, library=None):
        try:
            self._library = library or ctypes.CDLL('libcuda.so.1')
        except OSError:
            raise UserError('the installed MXNet needs the NVIDIA driver, and libcuda.so.1 is not there',
                            remedy='install the driver, or the CPU version: '
                                   f'pip uninstall {(wheel() or _WHEELS[-1:])[0]}; pip install mxnet==1.9.1') from None

    def _number(self, function, *words):
        value = ctypes.c_int()
        error = getattr(self._library, function)(ctypes.byref(value), *words)
        if error:
            raise UserError(f'the NVIDIA driver answers {function} with error {error}',
                            remedy=f'check nvidia-smi, {_CPU}')
        return value.value

    def start(self):
        """Initialise the driver; False when it finds no GPU.

        Raises
        ------
        UserError
            When it refuses for another reason.
        """
        error = self._library.cuInit(0)
        if error not in (0, 100):           # CUDA_SUCCESS, CUDA_ERROR_NO_DEVICE
            raise UserError(f'the NVIDIA driver does not start (cuInit: error {error})',
                            remedy=f'check nvidia-smi, {_CPU}')
        return error == 0

    def version(self):
        """(major, minor) of the newest CUDA it knows."""
        value = self._number('cuDriverGetVersion')
        return value // 1000, value % 1000 // 10

    def count(self):
        """Number of GPUs."""
        return self._number('cuDeviceGetCount') if self.start() else 0

    def capability(self, index):
        """Compute capability (major, minor) of a GPU."""
        device = self._number('cuDeviceGet', index)
        return tuple(self._number('cuDeviceGetAttribute', attribute, device) for attribute in (_MAJOR, _MINOR))


def check(indices=None, driver=None):
    """See that MXNet can compute on GPUs.

    Parameters
    ----------
    indices : list of int, optional
        GPUs wanted; by default all that MXNet can use.
    driver : Driver, optional

    Returns
    -------
    list of int
        The GPUs to use; empty when none were asked for and there are none.

    Raises
    ------
    UserError
        When one that is wanted does not exist or cannot be used.
    """
    installed = wheel()
    if installed is None:
        if indices:
            raise UserError('the installed MXNet computes on the CPU only', f'--gpus {_spelled(indices)}',
                            f'pip uninstall mxnet; pip install .[cu117], {_CPU}')
        return []
    driver = driver or Driver()
    count = driver.count()
    if not count and indices is None:
        return []
    wrong = [i for i in indices or () if i >= count]
    if wrong:
        raise UserError(f'GPU {wrong[0]} does not exist (the driver shows {count})', f'--gpus {_spelled(indices)}',
                        f'choose another index, {_CPU}')
    if driver.version() < installed[1]:
        older = f' or install .[cu112] in place of {installed[0]},' if installed[1] > (11, 2) else ''
        known, needed = ('.'.join(map(str, version)) for version in (driver.version(), installed[1]))
        raise UserError(f'the NVIDIA driver knows CUDA up to {known}, {installed[0]} needs {needed}',
                        remedy=f'install a newer driver,{older} {_CPU}')
    wanted = range(count) if indices is None else indices
    capabilities = {i: driver.capability(i) for i in wanted}
    usable = [i for i in wanted if CAPABILITIES[0] <= capabilities[i] <= CAPABILITIES[1]]
    for i in wanted:
        if i not in usable and (indices or not usable):
            found, least, most = ('.'.join(map(str, c)) for c in (capabilities[i],) + CAPABILITIES)
            raise UserError(f'GPU {i} has compute capability {found}: MXNet 1.9.1 has code for {least} to {most} only '
                            '(Maxwell to Ada)', remedy=f'choose another GPU, {_CPU}')
    return usable


def _spelled(indices):
    return ','.join(map(str, indices))


# ------------------------------------------------------------------------------------------------------ the memory
def check_memory(free, needed):
    """See that every GPU has the memory that a training step cannot do without.

    Parameters
    ----------
    free : dict of int to int
        Free bytes by GPU.
    needed : int
        Bytes.

    Raises
    ------
    UserError
    """
    for index, available in free.items():
        if available < needed:
            raise UserError(f'GPU {index} has {available / 1e9:.1f} GB of free memory, a training step needs more than '
                            f'{needed / 1e9:.1f} GB',
                            remedy='end what else runs on it (nvidia-smi), or give a smaller --batch-size with '
                                   '--accumulate')


@contextlib.contextmanager
def memory_errors_told():
    """Turn MXNet's errors about too little memory, on any device, into a UserError."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != 'MXNetError' or not any(word in str(error) for word in _NO_MEMORY):
            raise
        raise UserError('the memory of a device does not suffice',
                        remedy='give a smaller --batch-size (with --accumulate in training) or '
                               '--infer-batch-size, or end what else runs on it') from None
