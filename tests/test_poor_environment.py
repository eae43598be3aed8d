"""The commands where an environment lacks what developers have: home, locale, temporary files, libraries."""
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import PROJECT
from tests.helpers.small_data import RUN, list_files

BARE = {'PATH': os.environ['PATH'], 'PYTHONPATH': PROJECT, 'OMP_NUM_THREADS': '1'}
# No HOME; no locale; no folder for temporary files; no assertions; a shell of an earlier training.
POOR = dict(BARE, LC_ALL='C', TMPDIR='/nowhere', MPLCONFIGDIR='/dev/null/none',
            PYTHONOPTIMIZE='1', DMLC_ROLE='server', DMLC_NUM_WORKER='1')


def call(arguments, environment, **kwargs):
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=300, **kwargs)
    return done.returncode, done.stderr.decode('utf-8', 'replace')


@pytest.mark.skipif(sys.flags.optimize > 0, reason='compares with a Python that asserts')
def test_a_whole_run_in_a_poor_environment(valid, tmp_path):
    root = shutil.copytree(valid, str(tmp_path / 'data'))
    for folder, ending in (('images', '.jpg'), ('annotations', '.xml'), ('superpixels', '.png')):
        os.rename(f'{root}/{folder}/a{ending}', f'{root}/{folder}/d\xf6g{ending}')
    with open(f'{root}/list.txt', 'w', encoding='utf-8') as file:
        file.write('d\xf6g\nb\nc\nsub/d\n')
    # A folder in place of the picture: an ornament that cannot be made.
    os.makedirs(f'{root}/new/curves.png')
    arguments = [{'snap': 'new'}.get(value, value) for value in RUN]
    code, printed = call([os.path.join(PROJECT, 'run_icd.py'), *arguments], POOR, cwd=root)
    assert code == 0 and 'Traceback' not in printed, printed
    assert printed.count('curves.png is left out') == 1 and 'DMLC_ROLE=server is ignored' in printed
    made = [os.fsencode(path) for path in list_files(f'{root}/new/results/seeds')]
    assert len([path for path in made if path.endswith(b'.png')]) == 4
    assert any(path.endswith('/d\xf6g.png'.encode()) for path in made)


@pytest.mark.parametrize('module', ['icd.steps.evaluate', 'icd.steps.weights', 'icd.steps.submit'])
def test_help_without_docstrings(module):
    arguments = ['show'] if module.endswith('weights') else []
    assert call(['-m', module, *arguments, '--help'], dict(POOR, PYTHONOPTIMIZE='2')) == (0, '')


def test_a_locale_without_the_letters_of_a_name_is_told_of():
    code = 'import os, sys; from icd import console; sys.exit(console.run_command(lambda _: os.stat("d\\xf6g")))'
    returned, printed = call(['-c', code], dict(POOR, PYTHONCOERCECLOCALE='0', PYTHONUTF8='0'))
    assert returned == 2 and 'file names in ascii' in printed and 'set PYTHONUTF8=1' in printed, printed


def test_mxnet_needs_docstrings():
    code = 'import sys; from icd import console; sys.exit(console.run_command(lambda _: __import__("icd.mxnet_setup")))'
    returned, printed = call(['-OO', '-c', code], BARE)
    assert returned == 2 and 'PYTHONOPTIMIZE=2 (python -OO): MXNet cannot be imported without docstrings' in printed


@pytest.mark.parametrize('script', ['run_icd.py', 'run_deeplab.py', 'generate_superpixel.py'])
def test_a_library_that_opencv_lacks_is_named(script, tmp_path):
    (tmp_path / 'cv2.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file: No such file")')
    environment = dict(BARE, PYTHONPATH=os.pathsep.join([str(tmp_path), PROJECT]))
    code, printed = call([os.path.join(PROJECT, script), '--help'], environment)
    assert code == 2 and printed.splitlines() == [
        f'{script}: libGL.so.1: cannot open shared object file: No such file: install it (Debian: apt-get install '
        'libgl1), or opencv-python-headless in place of opencv-python']
