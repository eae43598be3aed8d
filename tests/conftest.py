"""Where the tests find recordings and photographs."""
import glob
import os

import numpy as np
import pytest

import icd  # noqa: F401  (makes MXNet importable on newer NumPy before any test imports it)

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(HERE)


def pytest_configure():
    # Tests measure properties, not machines: one thread keeps them comparable and lets them run beside each other.
    os.environ.setdefault('OMP_NUM_THREADS', '2')


def parity_files(pattern):
    """Recordings of one kind in `ICD_PARITY_ROOT` (by default the project's own); none at all is a failure.

    Parameters
    ----------
    pattern : str
        File pattern, like ``'seeds_*.npz'``.

    Returns
    -------
    list of str
        For `pytest.mark.parametrize(..., ids=os.path.basename)`.
    """
    root = os.environ.get('ICD_PARITY_ROOT', os.path.join(HERE, 'fixtures', 'original'))
    found = sorted(glob.glob(os.path.join(root, pattern)))
    return found or [os.path.join(root, pattern)]


def load_recording(path):
    """Arrays of one recording as a dict."""
    assert os.path.isfile(path), 'no recording %s: ICD_PARITY_ROOT must hold at least one of each kind' % path
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope='session')
def photographs():
    """Folder with the real photographs (`voc_mini`, `parity_voc`, `bsds_mini`), which are not part of the project.

    `ICD_PHOTOGRAPHS` names it; the default is a folder `shared` beside the project.
    """
    root = os.environ.get('ICD_PHOTOGRAPHS', os.path.join(os.path.dirname(PROJECT), 'shared'))
    if not os.path.isdir(os.path.join(root, 'voc_mini')):
        pytest.skip('no photographs at %s (set ICD_PHOTOGRAPHS)' % root)
    return root


@pytest.fixture(scope='session')
def valid(tmp_path_factory):
    """A folder with a small, valid data set (`small_data`); copy it before changing anything."""
    import small_data
    root = str(tmp_path_factory.mktemp('valid'))
    small_data.make(root)
    return root
