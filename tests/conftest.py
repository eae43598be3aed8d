"""Where the tests find recordings and photographs."""
import os

import pytest

# Tests measure properties, not machines: one thread keeps them comparable and lets them run beside each other.
os.environ.setdefault('OMP_NUM_THREADS', '2')

import icd.mxnet_setup  # noqa: E402,F401  (makes MXNet importable on newer NumPy before any test imports it)
from tests.helpers import PROJECT, small_data  # noqa: E402


@pytest.fixture(scope='session')
def photographs():
    """Folder with the real photographs (`voc_mini`, `parity_voc`, `bsds_mini`), which are not part of the project.

    `ICD_PHOTOGRAPHS` names it; the default is a folder `shared` beside the project.
    """
    root = os.environ.get('ICD_PHOTOGRAPHS', os.path.join(os.path.dirname(PROJECT), 'shared'))
    if not os.path.isdir(os.path.join(root, 'voc_mini')):
        pytest.skip(f'no photographs at {root} (set ICD_PHOTOGRAPHS)')
    return root


@pytest.fixture(scope='session')
def valid(tmp_path_factory):
    """A folder with a small, valid data set (`small_data`); copy it before changing anything."""
    root = str(tmp_path_factory.mktemp('valid'))
    small_data.make(root)
    return root
