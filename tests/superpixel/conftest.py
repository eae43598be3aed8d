"""Folders that `makeSuperpixel` has been in."""
import os
import pathlib
import shutil

import pytest

from tests.superpixel.superpixel_program import NAMES, PATHS, build, make, summary, write


@pytest.fixture(scope='session')
def made(tmp_path_factory):
    """A folder with three images, their list, and their maps."""
    build()
    root = tmp_path_factory.mktemp('made')
    os.makedirs(str(root / 'images/sub'))
    for seed, path in enumerate(PATHS.values()):
        write(root / path, seed)
    (root / 'list.txt').write_text('\n'.join(NAMES))
    assert make(root) == (0, [summary(3, 0)])
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, in which the next run has no reason to read an image."""
    copy = pathlib.Path(shutil.copytree(str(made), str(tmp_path / 'root')))
    assert make(copy) == (0, [summary(0, 3)])
    return copy
