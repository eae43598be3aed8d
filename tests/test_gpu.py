"""GPU installs and checks, with drivers and libraries made for the purpose: no GPU is needed, none is used."""
import os
import subprocess
import sys

import pytest

from icd import gpu, gpu_memory, mxnet_setup
from icd.errors import UserError
from icd.mxnet_setup import mx
from tests.helpers import PROJECT


class FakeLibrary:
    """The functions of libcuda that are asked for, on a machine with GPUs of these compute capabilities."""

    def __init__(self, capabilities=(), version=11080, init=0):
        self._capabilities, self._version, self._init = capabilities, version, init

    def cuInit(self, flags):
        assert flags == 0
        return self._init

    def cuDriverGetVersion(self, value):
        value._obj.value = self._version
        return 0

    def cuDeviceGetCount(self, value):
        value._obj.value = len(self._capabilities)
        return 0

    def cuDeviceGet(self, value, index):
        value._obj.value = 100 + index
        return 0 if index < len(self._capabilities) else 101

    def cuDeviceGetAttribute(self, value, attribute, device):
        major, minor = self._capabilities[device - 100]
        value._obj.value = {75: major, 76: minor, 16: 80, 13: 1500000}[attribute]      # 80 processors at 1.5 GHz
        return 0


@pytest.fixture
def cuda_build(monkeypatch):
    monkeypatch.setattr(gpu, 'wheel', lambda: ('mxnet-cu117', (11, 7)))
    monkeypatch.setattr(mxnet_setup, 'has_cuda', lambda: True)


@pytest.fixture
def built_from_source(monkeypatch):
    monkeypatch.setattr(gpu, 'wheel', lambda: None)
    monkeypatch.setattr(mxnet_setup, 'has_cuda', lambda: True)


PASCAL, VOLTA, AMPERE, ADA, HOPPER, KEPLER = (6, 1), (7, 0), (8, 0), (8, 9), (9, 0), (3, 7)
BAD = {
    'wrong index': (dict(capabilities=[VOLTA]), [1], '--gpus 1: GPU 1 does not exist .the driver shows 1'),
    'no GPU': (dict(init=100), [0], 'GPU 0 does not exist .the driver shows 0'),
    'too new': (dict(capabilities=[AMPERE, HOPPER]), [0, 1], r'GPU 1 has compute capability 9\.0, .*8\.9 only'),
    'only too new': (dict(capabilities=[HOPPER, (12, 0)]), None, r'GPU 0 has compute capability 9\.0'),
    'too old': (dict(capabilities=[KEPLER]), [0], r'GPU 0 has compute capability 3\.7'),
    'old driver': (dict(capabilities=[VOLTA], version=10020), [0],
                   r'supports CUDA up to 10\.2, but mxnet-cu117 needs 11\.0: install a newer driver'),
    'broken driver': (dict(init=803), [0], 'does not start .cuInit: error 803'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_gpu_that_cannot_be_used_is_an_error_of_one_line(cuda_build, case):
    machine, indices, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        gpu.usable_gpus(indices, True, gpu.Driver(FakeLibrary(**machine)))
    assert '\n' not in str(caught.value) and '--gpus cpu' in str(caught.value)


@pytest.mark.parametrize('machine, indices, usable', [
    (dict(capabilities=[(5, 0), PASCAL, (7, 5), (8, 6), ADA]), None, [0, 1, 2, 3, 4]),
    (dict(capabilities=[VOLTA, AMPERE], version=12040), [1], [1]),
    (dict(capabilities=[VOLTA, HOPPER, AMPERE]), None, [0, 2]),
    (dict(capabilities=[KEPLER, VOLTA]), [1], [1]),
    (dict(init=100), None, []),
    (dict(version=11020), None, []),
    (dict(capabilities=[VOLTA], version=11020), None, [0]),         # CUDA 11.7's wheel on the driver of 11.2
    (dict(capabilities=[VOLTA], version=11000), [0], [0]),
])
def test_gpus_that_can_be_used(cuda_build, machine, indices, usable):
    assert gpu.usable_gpus(indices, True, gpu.Driver(FakeLibrary(**machine))) == usable


@pytest.mark.parametrize('capability, lanes', [(VOLTA, 64), (PASCAL, 128), ((6, 0), 64), (AMPERE, 64), ((8, 6), 128)])
def test_the_arithmetic_limit_of_a_gpu_is_that_of_its_processors(capability, lanes):
    assert gpu.Driver(FakeLibrary([KEPLER, capability])).flop_per_second(1) == 2 * lanes * 80 * 1.5e9


def test_devices_are_the_usable_gpus(cuda_build, monkeypatch):
    monkeypatch.setattr(gpu, 'Driver', lambda library=None: FakeDriver)
    FakeDriver = type('', (), dict(count=lambda: 3, version=lambda: (12, 0),
                                   capability=lambda i: [VOLTA, HOPPER, AMPERE][i]))
    assert mxnet_setup.devices(None) == [mx.gpu(0), mx.gpu(2)] and mxnet_setup.devices('2,0') == [mx.gpu(2), mx.gpu(0)]
    assert mxnet_setup.devices('cpu:2') == [mx.cpu(0), mx.cpu(1)]
    with pytest.raises(UserError, match='GPU 1'):
        mxnet_setup.devices('0,1')


def test_a_cpu_build_names_what_to_install(monkeypatch):
    monkeypatch.setattr(gpu, 'wheel', lambda: None)
    with pytest.raises(UserError, match=r'--gpus 0,1: .*CPU only.*\[cu117\]'):
        gpu.usable_gpus([0, 1], False)
    assert gpu.usable_gpus(None, False) == []


def test_a_build_that_is_no_known_wheel_is_tried_on_every_gpu(built_from_source):
    driver = gpu.Driver(FakeLibrary([HOPPER, VOLTA], version=12040))

    def trial(*indices):
        return {i: 'no kernel image is available' for i in indices if i == 1}
    assert gpu.usable_gpus(None, True, driver, trial) == [0] == gpu.usable_gpus([0], True, driver, trial)
    with pytest.raises(UserError, match=r'installed MXNet cannot use GPU 1 \(no kernel image is available\): choose'):
        gpu.usable_gpus([0, 1], True, driver, trial)
    assert list(gpu.try_gpus(0, 7)) == [0, 7]           # this machine's MXNet, in a process of its own


def test_without_gpus_given_as_many_compute_as_divide_the_batch(cuda_build, monkeypatch, capsys):
    for count, divide, chosen in ((3, 32, 2), (7, 32, 4), (6, 30, 6), (3, None, 3), (5, 7, 1)):
        monkeypatch.setattr(gpu, 'Driver', lambda library=None, count=count: type('', (), dict(
            count=lambda: count, version=lambda: (12, 0), capability=lambda i: VOLTA)))
        assert mxnet_setup.devices(None, divide) == [mx.gpu(i) for i in range(chosen)]
    assert 'computing on GPU 0,1 (3 GPUs do not divide a batch of 32)' in capsys.readouterr().err
    assert len(mxnet_setup.devices('0,1,2', 32)) == 3   # what is asked for is not changed behind one's back


# --------------------------------------------------------------------------------------------------------- memory
def test_a_step_that_cannot_fit_is_refused_and_one_that_may_not_is_warned_of():
    def least(images):
        return images * 100e6
    assert gpu_memory.check({}, least, 8, 1, 1) == []
    assert gpu_memory.check({0: 9e9, 1: 3.3e9}, least, 8, 1, 1) == []       # 2.2 x 0.8 GB + 1.5 GB
    warning, = gpu_memory.check({0: 9e9, 1: 3e9}, least, 8, 1, 1)
    assert warning.startswith('GPU 1 has 3.0 GB of free memory, a training step of 8 images takes about 3.3 GB; if it '
                              'runs out, give --batch-size 4 --accumulate 2, ')
    with pytest.raises(UserError, match='GPU 1 has 2.0 GB of free memory, a training step of 32 images needs more than '
                                        '3.2 GB: give --batch-size 2 --accumulate 48, '):
        gpu_memory.check({0: 9e9, 1: 2e9}, least, 32, 3, 1)
    with pytest.raises(UserError, match='needs more than 2.0 GB: give a smaller --image-size or --width, or end'):
        gpu_memory.check({0: 1e9}, least, 40, 1, 2)


@pytest.mark.parametrize('batch, accumulate, devices, most, found', [
    (32, 1, 1, 8, (8, 4)), (32, 1, 2, 9, (16, 2)), (30, 2, 3, 5, (15, 4)), (7, 1, 1, 3, (1, 7)), (4, 1, 4, 9, None)])
def test_the_batch_that_fits_makes_the_same_step(batch, accumulate, devices, most, found):
    assert gpu_memory.fitting_batch(batch, accumulate, devices, lambda images: images <= most) == found


@pytest.mark.parametrize('text', [
    'cudaMalloc retry failed: out of memory', 'Failed to allocate CPU Memory', 'std::bad_alloc',
    'cuDNN: CUDNN_STATUS_ALLOC_FAILED', 'Failed to find any forward convolution algorithm.  with workspace size of 1',
    'Failed to get any backprop-to-data convolution algorithm. ', 'Create cublas handle failed',
    'Check failed: e == CUDNN_STATUS_SUCCESS (1 vs. 0) : cuDNN: CUDNN_STATUS_NOT_INITIALIZED',
    'cuBLAS: CUBLAS_STATUS_ALLOC_FAILED'])
def test_too_little_memory_is_a_user_error(text):
    with pytest.raises(UserError, match='^a device is out of memory: buy more$'), gpu_memory.explained('buy more'):
        raise mx.base.MXNetError('[00:00:00] src/storage.cc:1: ' + text)


def test_other_mxnet_errors_keep_their_type():
    for error in (mx.base.MXNetError('shapes do not match'), ValueError('out of memory')):
        with pytest.raises(type(error)), gpu_memory.explained(''):
            raise error


# ------------------------------------------------------------------------------------------------------ libraries
def compile_library(path, source, *needed):
    """A shared library of this name, linked with others and with no memory of where they are."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run(['gcc', '-shared', '-fPIC', '-x', 'c', '-', '-x', 'none', '-o', path,
                    '-Wl,-soname,' + os.path.basename(path), '-Wl,--no-as-needed,--allow-shlib-undefined'] +
                   list(needed), input=source.encode(), check=True)
    return path


@pytest.fixture(scope='module')
def cuda_site(tmp_path_factory):
    """A folder with an MXNet that links with CUDA libraries, the wheels of these, and a driver elsewhere."""
    site, driver = (str(tmp_path_factory.mktemp(name)) for name in ('site', 'driver'))

    def wheel_library(wheel, name, source, *needed):
        return compile_library(os.path.join(site, 'nvidia', wheel, 'lib', name), source, *needed)
    light = wheel_library('cublas', 'libcublasLt.so.11', 'int light() { return 1; }')
    blas = wheel_library('cublas', 'libcublas.so.11', 'int light(); int blas() { return light() + 1; }', light)
    # Later in the alphabet than what it needs, and the other way round.
    cusolver = wheel_library('cusolver', 'libcusolver.so.11', 'int blas(); int solver() { return blas() + 1; }', blas)
    rtc = wheel_library('nvrtc', 'libnvrtc.so.11.2', 'int nvrtcVersion(int *a, int *b) { *a = 11; *b = 8; return 0; }')
    wheel_library('cublas', 'libnvblas.so.11', '__attribute__((constructor)) void f() { __builtin_trap(); }')
    compile_library(os.path.join(site, 'mxnet', 'libmxnet.so'), 'int solver(); int answer() { return solver(); }',
                    cusolver, blas, light, rtc)
    os.makedirs(os.path.join(site, 'mxnet_cu117-1.9.1.dist-info'))
    for name, text in (('mxnet_cu117-1.9.1.dist-info/METADATA',
                        'Metadata-Version: 2.1\nName: mxnet-cu117\nVersion: 1.9.1\n'),
                       ('mxnet/__init__.py', 'import ctypes, os, sys, types\n'
                        'for name in ("autograd", "gluon", "init", "nd"): globals()[name] = types.ModuleType(name)\n'
                        'gluon.Block = gluon.HybridBlock = gluon.nn = sys.modules["mxnet.gluon"] = gluon\n'
                        'library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "libmxnet.so"))\n')):
        with open(os.path.join(site, name), 'w') as file:
            file.write(text)
    compile_library(os.path.join(driver, 'libcuda.so.1'),
                    '#include <stdlib.h>\nint cuDriverGetVersion(int *v) { *v = atoi(getenv("DRIVER")); return 0; }')
    return site, driver


def run_python(code, site, **environment):
    environment = {name: value for name, value in dict(os.environ, **environment).items() if value is not None}
    environment['PYTHONPATH'] = os.pathsep.join([site, PROJECT])
    done = subprocess.run([sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.stdout.decode()


ASK = 'import icd.mxnet_setup, mxnet, os; print(mxnet.library.answer(), os.environ.get("MXNET_USE_FUSION"))'
ASK_QUIET = 'import icd.mxnet_setup, os; print(os.environ.get("MXNET_CUDNN_LIB_CHECKING"))'


def test_importing_mxnet_finds_the_libraries_of_the_wheels(cuda_site):
    site, driver = cuda_site
    assert run_python(ASK, site, LD_LIBRARY_PATH=driver, DRIVER='12020').split() == ['3', 'None']
    # The test means something: without the package's help the libraries are not found.
    printed = run_python(ASK.replace('icd.mxnet_setup, ', ''), site, LD_LIBRARY_PATH=driver)
    assert 'cannot open shared object file' in printed


def test_fusion_is_off_with_a_driver_older_than_the_compiler(cuda_site):
    site, driver = cuda_site
    assert run_python(ASK, site, LD_LIBRARY_PATH=driver, DRIVER='11070').split() == ['3', '0']
    assert run_python(ASK, site, LD_LIBRARY_PATH=driver, DRIVER='11070', MXNET_USE_FUSION='1').split() == ['3', '1']


def test_a_newer_cudnn_is_not_warned_of(cuda_site):
    site, driver = cuda_site
    assert run_python(ASK_QUIET, site, LD_LIBRARY_PATH=driver, DRIVER='12020').strip() == '0'
    assert run_python(ASK_QUIET, site, LD_LIBRARY_PATH=driver, DRIVER='12020', MXNET_CUDNN_LIB_CHECKING='1') == '1\n'


def test_a_library_that_mxnet_lacks_is_named(cuda_site, tmp_path):
    (tmp_path / 'mxnet.py').write_text('import ctypes; ctypes.CDLL("libcuda.so.9")')
    code = 'from icd import console\nprint(console.run_command(lambda _: __import__("icd.mxnet_setup"), []))'
    output = run_python(code, str(tmp_path))
    assert 'MXNet cannot be loaded (libcuda.so.9' in output and 'install the NVIDIA driver' in output
    assert 'Traceback' not in output and output.split()[-1] == '2'


def test_a_missing_driver_is_a_user_error(cuda_site):
    code = 'from icd import console\nprint(console.run_command(lambda _: __import__("icd.mxnet_setup"), []))'
    output = run_python(code, cuda_site[0], LD_LIBRARY_PATH=None)
    assert 'libcuda.so.1 is not there: install the driver' in output and output.split()[-1] == '2'
    assert 'Traceback' not in output


def test_nothing_is_loaded_before_mxnet_is_imported(cuda_site):
    site, driver = cuda_site
    code = 'import icd.data.voc, icd.steps.seeds; print("libcu" in open("/proc/self/maps").read())'
    assert run_python(code, site, LD_LIBRARY_PATH=driver).strip() == 'False'
