"""Where the tests find recordings and real images, and what keeps them fast."""
import gc
import os
import resource
import shutil

import pytest

# Tests measure properties, not machines: one thread keeps them comparable and lets them run at the same time.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import icd.mxnet_setup  # noqa: E402,F401  (makes MXNet importable on newer NumPy before any test imports it)
from icd import parallel  # noqa: E402
from tests.helpers import PROJECT, segment_data, small_data  # noqa: E402


def pytest_collection_finish():
    """What the tests have imported stays: a collection of garbage, one a stage, need not look at it (0.2 s) again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def imported_meanwhile():
    """The same of what the tests of a file have imported when it ends."""
    yield
    pytest_collection_finish()


@pytest.fixture(scope='session', autouse=True)
def no_waiting():
    """Nothing is computed in other processes unless `--num-process` asks for it, and nothing written waits for a disk.

    To start processes would take most of the time of tests that are about something else, and no test survives a power
    failure.
    """
    with pytest.MonkeyPatch.context() as patch:
        found = parallel.number_of_cores
        patch.setattr(parallel, 'number_of_cores', lambda root=None: 1 if root is None else found(root))
        patch.setattr(os, 'fsync', lambda file: None)
        yield


@pytest.fixture(scope='session')
def real_images():
    """Folder with real images (`voc_mini`, `parity_voc`, `bsds_mini`), which are not part of the project.

    `ICD_PHOTOGRAPHS` names it; the default is a folder `shared` next to the project.
    """
    root = os.environ.get('ICD_PHOTOGRAPHS', os.path.join(os.path.dirname(PROJECT), 'shared'))
    if not os.path.isdir(os.path.join(root, 'voc_mini')):
        pytest.skip(f'no real images at {root} (set ICD_PHOTOGRAPHS)')
    return root


@pytest.fixture(scope='session')
def valid(tmp_path_factory):
    """A folder with a small, valid data set (`small_data`); copy it before changing anything."""
    root = str(tmp_path_factory.mktemp('valid'))
    small_data.make(root)
    return root


@pytest.fixture(scope='session')
def with_networks(valid, tmp_path_factory):
    """`valid` with trained networks, their ONNX files and masks (`segment_data`); copy it before changing anything."""
    root = str(tmp_path_factory.mktemp('networks') / 'data')
    segment_data.make(root, valid)
    return root


def _enter_copy(source, target, monkeypatch):
    monkeypatch.chdir(shutil.copytree(source, str(target)))
    return str(target)


@pytest.fixture
def in_valid(valid, tmp_path, monkeypatch):
    """The current folder is a copy of `valid`."""
    return _enter_copy(valid, tmp_path / 'data', monkeypatch)


@pytest.fixture
def segmented(with_networks, tmp_path, monkeypatch):
    """The current folder is a copy of `with_networks`."""
    return _enter_copy(with_networks, tmp_path / 'segmented', monkeypatch)


@pytest.fixture
def little_memory():
    """Two more gigabytes of address space than there are now: a terabyte cannot be reserved by accident."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope='session')
def bfloat16():
    """The name of this precision, where the processor computes in it."""
    from icd.doctor import operators
    from icd.doctor.side import Side
    from icd.mxnet_setup import mx
    try:
        operators.lower_precision(Side(mx.cpu(0)), 'bfloat16')
    except mx.base.MXNetError:
        with pytest.raises(mx.base.MXNetError):
            mx.nd.waitall()
        pytest.skip('oneDNN has no bfloat16 on this processor')
    return 'bfloat16'
