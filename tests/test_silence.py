"""No command is silent for a minute, however slow the disk and the processor are.

The clock is false: an hour passes in an instant. To open a file of an image takes some seconds, every batch of a
network and every fifty draws of the bootstrap take fifteen, and what is written to the terminal is noted. A stage that
reads a file of every image without a bar, be it only to see whether there is anything to do, is then silent for more
than a minute.
"""
import builtins
import contextlib
import importlib
import io
import os
import shutil
import traceback

import pytest
import tqdm.std

from icd import console
from icd.data.labels import json_files
from icd.method import metrics
from icd.model.multi_scale import MultiScale
from icd.model.padded_input import PaddedInference
from icd.train.trainer import Trainer
from tests.helpers import PROJECT, small_data

LIMIT, LOOK, READ, BATCH = 60, .25, 2.5, 15
IMAGES, PREVIEWED = 36, 10  # to read a file of each takes more than a minute, also without those in the preview
PACKAGE = os.path.join(PROJECT, 'icd') + os.sep
PER_IMAGE = '.jpg', '.xml', '.png', '.npy'


class Clock:
    """Seconds that work takes; `silent` has the functions that were at work when it had been silent for too long."""

    def __init__(self):
        self.now, self._said, self.silent = 0., 0., []

    def work(self, seconds):
        """Time passes."""
        self.now += seconds
        if self.now - self._said > LIMIT:
            # The next sign of life begins another stretch; this one is reported where it became too long.
            self.silent.append(' > '.join(f'{os.path.basename(frame.filename)[:-3]}.{frame.name}'
                                          for frame in traceback.extract_stack() if PACKAGE in frame.filename))
            self._said = self.now

    def say(self):
        """Something is on the terminal."""
        self._said = self.now

    def taking(self, seconds, function, counts=lambda *_: True):
        """A function whose calls take time."""
        def slow(*arguments, **kwargs):
            if counts(*arguments):
                self.work(seconds)
            return function(*arguments, **kwargs)
        return slow


class Terminal(io.StringIO):
    """Where a person looks."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def isatty(self):
        return True

    def write(self, text):
        if text.strip():
            self._clock.say()
        return super().write(text)


def of_image(path, *_):
    return isinstance(path, str) and path.endswith(PER_IMAGE)


@pytest.fixture(scope='module')
def many(valid, tmp_path_factory):
    """`small_data` with many images instead of four."""
    root = shutil.copytree(valid, str(tmp_path_factory.mktemp('many') / 'data'))
    names = [f'n{number:02d}' for number in range(IMAGES)]
    for folder, _, found in list(os.walk(root)):
        for file in found:
            stem, ending = os.path.splitext(file)
            if stem in ('b', 'c'):
                os.remove(os.path.join(folder, file))
            elif stem == 'a':
                for name in names:
                    shutil.copy(os.path.join(folder, file), os.path.join(folder, name + ending))
                os.remove(os.path.join(folder, file))
    for folder in ('annotations', 'truth'):             # nothing else is there
        shutil.rmtree(os.path.join(root, folder, 'sub'))
    with open(os.path.join(root, 'list.txt'), 'w') as file:
        file.write('\n'.join(names))
    return root


@pytest.fixture
def clock(many, tmp_path, monkeypatch):
    """The current folder is a copy of `many`, and time is that of the returned clock."""
    monkeypatch.chdir(shutil.copytree(many, str(tmp_path / 'data')))
    found = Clock()
    monkeypatch.setattr(tqdm.std, 'time', lambda: found.now)
    for owner, name, seconds in ((builtins, 'open', READ), (os, 'open', READ), (os, 'stat', LOOK)):
        monkeypatch.setattr(owner, name, found.taking(seconds, getattr(owner, name), of_image))
    for owner, name in ((Trainer, 'step'), (PaddedInference, '__call__'), (MultiScale, '__call__'),
                        (metrics, 'mean_iou')):
        monkeypatch.setattr(owner, name, found.taking(BATCH, getattr(owner, name)))
    return found


def assert_heard(clock, command, *arguments):
    """A command ends well, takes more than a minute, and is never silent for one."""
    terminal, began = Terminal(clock), clock.now
    clock.silent.clear()
    clock.say()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        code = command(*arguments)
    assert code == 0, terminal.getvalue()
    assert clock.now - began > LIMIT
    assert not clock.silent, 'silent for a minute:\n' + '\n'.join(dict.fromkeys(clock.silent))


COMMANDS = {
    'merge': ['--batch-size', '1'], 'train': '--resume no --snapshot new --batch-size 4'.split(),
    'infer': ['--infer-batch-size', '1', '--force'], 'seeds': ['--seeds', 'crf,sal', '--colour'],
    'evaluate': '--versus truth --scores snap/results/scores_icd --annotation-root annotations --infer-size 49 '
                '--resamples 1000 --html page.html --image-root images'.split(),
}


@pytest.fixture
def few_previews(clock):
    """Previews of a class are of images that show no other: three of them here."""
    for number in range(3, IMAGES):
        with open(f'annotations/n{number:02d}.xml', 'w') as file:
            file.write((small_data.ANNOTATION % 'dog').replace('</annotation>', (small_data.ANNOTATION % 'cat')[12:]))


@pytest.mark.parametrize('stage', COMMANDS)
def test_no_stage_is_silent_for_a_minute(clock, stage, request):
    if stage == 'infer':
        request.getfixturevalue('few_previews')
    assert_heard(clock, small_data.run, stage, COMMANDS[stage])
    if stage in ('merge', 'infer', 'seeds'):            # nor when there is nothing to do but to see that there is not
        for number in range(PREVIEWED, IMAGES):
            os.utime(f'images/n{number:02d}.jpg', (1, 1))
        again = [one for one in COMMANDS[stage] if one != '--force']
        assert_heard(clock, small_data.run, stage, again)


IMAGES_OF = '--image-root images --data-list list.txt'.split()
OTHERS = {
    'audit': ('icd.steps.audit', [*IMAGES_OF, *'--annotation-root annotations --superpixel-root superpixels --snapshot '
                                  'snap --infer-size 49 --html page.html --num-process 1'.split()]),
    'labels': ('icd.steps.labels', ['show', 'annotations']),
    'seeds of maps': ('icd.steps.seeds_command', [
        *IMAGES_OF, *'--annotation-root annotations --from-maps snap/results/scores_cam --seeds raw,crf --out out '
                     '--threshold 0.2 --num-process 1'.split()]),
    'submit': ('icd.steps.submit', [*IMAGES_OF, '--pred', 'pred']),
    'shard': ('icd.steps.evaluate', small_data.COMMANDS['evaluate'][1] + '--json out.json --shard 1/1'.split()),
}


@pytest.fixture
def seeds_are_there():
    """The masks of `small_data` as seeds of a run."""
    shutil.copytree('pred', 'snap/results/seeds/crf')


@pytest.mark.parametrize('command', OTHERS)
def test_no_other_command_is_silent_for_a_minute(clock, seeds_are_there, command):
    module, arguments = OTHERS[command]
    assert_heard(clock, lambda: console.run_command(importlib.import_module(module).main, arguments))


def test_a_large_file_of_labels_says_how_long_it_takes(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'labels.json'
    path.write_text('{"a": ["dog"]}')
    json_files.read(str(path))
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(json_files, 'SPEED', 5.)
    json_files.read(str(path))
    assert capsys.readouterr().err == f'{path}: reading 0 MB of JSON, about 3 s\n'
