"""C++ of the project for Clang, too: macOS has no other compiler."""
import glob
import os
import shutil
import subprocess
import sysconfig

import numpy as np
import pytest

from tests.helpers import PROJECT

CORE = os.path.join(PROJECT, 'external', 'superpixel')
SOURCES = sorted([*glob.glob(os.path.join(CORE, 'src', '*.cpp')), *glob.glob(os.path.join(CORE, 'python', '*.cpp')),
                  *glob.glob(os.path.join(PROJECT, 'icd', 'method', '*.cpp')),
                  *glob.glob(os.path.join(PROJECT, 'icd', 'method', 'mean_field', '*.cpp'))])
INCLUDES = [os.path.join(CORE, 'include'), sysconfig.get_paths()['include'], np.get_include()]


def test_sources_are_found():
    assert {'slic.cpp', 'mean_field.cpp', '_merging.cpp'} <= {os.path.basename(path) for path in SOURCES}


@pytest.mark.skipif(not shutil.which('clang++'), reason='no clang++ on this machine (apt-get install clang)')
@pytest.mark.parametrize('source', SOURCES, ids=lambda path: os.path.relpath(path, PROJECT))
def test_clang_takes_it(source):
    command = ['clang++', '-std=c++17', '-O1', '-ffp-contract=off', '-fsyntax-only', '-Wall', '-Wextra', '-Werror',
               *(option for folder in INCLUDES for option in ('-isystem', folder)), source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
