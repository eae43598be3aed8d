"""What tests have in common: recordings of the original, and small data sets."""
import csv
import glob
import os
import time

import numpy as np

import icd.data.inputs
from icd.errors import Problems

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROJECT = os.path.dirname(TESTS)


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
    root = os.environ.get('ICD_PARITY_ROOT', os.path.join(TESTS, 'fixtures', 'original'))
    found = sorted(glob.glob(os.path.join(root, pattern)))
    return found or [os.path.join(root, pattern)]


def load_recording(path):
    """Arrays of one recording as a dict."""
    assert os.path.isfile(path), f'no recording {path}: ICD_PARITY_ROOT must hold at least one of each kind'
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_inputs(options, problems=None):
    """The inputs of a run; what is wrong with them goes to `problems`, or is raised."""
    found = Problems() if problems is None else problems
    inputs = icd.data.inputs.read_inputs(options.data_list, options.image_root, options.annotation_root,
                                         options.class_names, options.num_cls, found, options.labels,
                                         options.unlabelled, options.shard)
    if problems is None:
        found.raise_if_any()
    return inputs


def run_stage(stage, options):
    """Check and run one stage (a module of `icd.steps`), as `icd-run` does."""
    problems = Problems()
    inputs = read_inputs(options, problems)
    stage.check(options, inputs, problems)
    problems.raise_if_any()
    return stage.run(options, inputs)


def wait_until(condition, seconds=20):
    """Wait until `condition()` is true; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(.02)


def results(snapshot):
    """Contents of all parameter and state files of a training, by name."""
    found = {}
    for name in os.listdir(str(snapshot)) if os.path.isdir(str(snapshot)) else ():
        if name.endswith(('.params', '.states')):
            with open(os.path.join(str(snapshot), name), 'rb') as file:
                found[name] = file.read()
    return found


def log_lines(snapshot):
    """Rows of a training's table."""
    with open(os.path.join(str(snapshot), 'log.csv'), newline='') as file:
        return list(csv.DictReader(file))
