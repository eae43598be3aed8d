"""The package away from its repository: what a source distribution and its wheel hold, and that they work."""
import glob
import os
import re
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from tests.helpers import PROJECT

ANNOTATION = '<annotation><object><name>dog</name></object></annotation>'
COMMANDS = '''
import runpy, sys
from importlib.metadata import distribution
for entry in distribution('icd-seeds').entry_points:
    sys.argv = [entry.name, '--help']
    try:
        assert entry.load()() == 0
    except SystemExit as leaving:
        assert not leaving.code
sys.argv = ['icd.demo', '--help']
runpy.run_module('icd.demo', run_name='__main__')
'''
SUPERPIXELS = '''
import numpy as np
from icd.superpixels import felzenszwalb, slic
image = np.zeros((60, 80, 3), np.uint8)
image[:, 40:] = 200, 120, 40
print(slic(image, min_size=100).max() + 1, felzenszwalb(image).max() + 1)
'''


def call(arguments, folder, **environment):
    """Run Python; its standard output. What it cannot do fails with all it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=dict(os.environ, **environment),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The source distribution of the repository, unpacked."""
    folder = tmp_path_factory.mktemp('source')
    call(['setup.py', '-q', 'egg_info', '--egg-base', folder, 'sdist', '--formats', 'zip', '--dist-dir', folder],
         PROJECT, PYTHONPATH='')
    archive, = folder.glob('*.zip')
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return str(archive)[:-len('.zip')]


@pytest.fixture(scope='module')
def installed(source, tmp_path_factory):
    """A folder with what the wheel of the source distribution holds, and nothing else."""
    folder, built = tmp_path_factory.mktemp('installed'), tmp_path_factory.mktemp('built')
    with open(os.path.join(source, 'setup.cfg'), 'w') as file:
        file.write('[build_ext]\nparallel = 2\n')
    with open(os.path.join(source, 'setup.py'), 'r+', encoding='utf-8') as file:
        text = file.read().replace("'-O3'", "'-O0'")        # how fast it computes does not matter here
        file.seek(0)
        file.write(text)
    call(['-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check', '--no-index', '--no-deps',
          '--no-build-isolation', '--wheel-dir', built, source], built, PYTHONPATH='')
    wheel, = built.glob('*.whl')
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return str(folder)


@pytest.fixture
def away(installed, tmp_path):
    """Runs Python where only the wheel is found."""
    def run(*arguments):
        return call(arguments, tmp_path, PYTHONPATH=installed)
    assert run('-c', 'import icd; print(icd.__file__)').startswith(installed)
    return run


def test_sdist_holds_what_is_compiled_tested_and_read(source):
    def listing(root):
        return {os.path.relpath(path, root) for pattern in ('icd', 'tests', 'docs', 'external')
                for path in glob.glob(os.path.join(root, pattern, '**', '*'), recursive=True)
                if path.endswith(('.py', '.cpp', '.h', '.html', '.css', '.js', '.md', '.jpg', '.npz', '.json',
                                  '.sbatch', 'Makefile'))}
    assert listing(PROJECT) - listing(source) == set()
    for name in ('LICENSE', 'README.md', 'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'Makefile',
                 'pyproject.toml', 'pytest.ini', 'run_icd.py', 'run_deeplab.py', 'generate_superpixel.py', '.ci/run',
                 'data/README.md'):
        assert os.path.isfile(os.path.join(source, name)), name


@pytest.mark.slow
def test_wheel_holds_the_extensions_and_no_sources(installed):
    found = {os.path.relpath(path, installed) for path in glob.glob(os.path.join(installed, '**', '*'), recursive=True)}
    with open(os.path.join(PROJECT, 'setup.py'), encoding='utf-8') as file:
        extensions = re.findall(r"Extension\(\s*'([\w.]+)'", file.read())
    assert extensions
    for name in extensions:
        stem = name.replace('.', '/') + '.'
        assert [path for path in found if path.startswith(stem) and path.endswith('.so')], f'{name} was not compiled'
    assert [path for path in found if path.endswith(('.cpp', '.h'))] == []
    assert {path.split('/')[0].split('-')[0] for path in found} == {'icd', 'icd_seeds'}


@pytest.mark.slow
def test_every_command_starts(away):
    printed = away('-c', COMMANDS)
    for name in ('icd-run', 'icd-superpixel', 'icd-evaluate', 'demo'):
        assert re.search(rf'^usage: .*{name}', printed, re.M), name


@pytest.mark.slow
def test_installed_superpixels_work_from_another_folder(away):
    assert away('-c', SUPERPIXELS) == '12 2\n'


@pytest.mark.slow
def test_installed_commands_make_and_evaluate_seeds(away, tmp_path):
    image, truth = np.full((36, 44, 3), 90, np.uint8), np.zeros((36, 44), np.uint8)
    cv2.circle(image, (20, 18), 10, (40, 80, 200), -1)
    cv2.circle(truth, (20, 18), 10, 12, -1)
    score = np.where(truth[::8, ::8] > 0, 5, -5).astype(np.float32)[None]
    for folder in ('images', 'annotations', 'truth', 'snap/results/scores_icd', 'snap/results/scores_cam'):
        os.makedirs(tmp_path / folder)
    for name in 'ab':
        cv2.imwrite(str(tmp_path / f'images/{name}.jpg'), image)
        cv2.imwrite(str(tmp_path / f'truth/{name}.png'), truth)
        (tmp_path / f'annotations/{name}.xml').write_text(ANNOTATION)
        for kind in ('icd', 'cam'):
            np.save(tmp_path / f'snap/results/scores_{kind}/{name}.npy', np.pad(score, ((0, 0), (0, 2), (0, 1))))
    (tmp_path / 'list.txt').write_text('a\nb\n')
    shutil.copy(os.path.join(PROJECT, 'run_icd.py'), tmp_path)

    away('run_icd.py', *'--only-gen-seeds --data-list list.txt --image-root images --annotation-root annotations '
         '--snapshot snap --infer-size 49 --num-process 1'.split())
    away('-c', 'import sys; from icd import commands; sys.exit(commands.evaluate())',
         *'--pred snap/results/seeds/crf --truth truth --list list.txt --num-process 1 --html report.html '
         '--image-root images'.split())
    assert set(np.unique(cv2.imread(str(tmp_path / 'snap/results/seeds/crf/a.png'), -1))) >= {0, 12}
    assert '</html>' in (tmp_path / 'report.html').read_text(encoding='utf-8')
