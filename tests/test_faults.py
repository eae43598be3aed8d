"""What turns bad during a run ends it with one line; the rerun gives what an undisturbed run gives.

A fault is injected at the n-th file that is read or written, in this process, so that the commands run as they do
for a user but for that one system call. Each case: fault, one line and the right exit code, no file half-written,
then the same command again, with results equal byte by byte to those of a run without a fault.
"""
import errno
import multiprocessing.context
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from icd import console, files
from icd.data import datasets, images
from tests.helpers.small_data import COMMANDS, list_files, run

TRAIN = ['--resume', 'auto', '--snapshot', 'new', '--checkpoint-every', '1', '--num-epoch', '2']
STAGES = {
    'train': ('train', TRAIN, 'new', r'\.(params|states)$'),
    'infer': ('infer', ['--force', '--infer-batch-size', '1'], 'snap/results', r'scores_(cam|icd)/.*\.npy$'),
    'seeds': ('seeds', ['--seeds', 'crf,sal,raw'], 'snap/results/seeds', r'\.png$'),
    'merge': ('merge', ['--batch-size', '1'], 'merged', r'(?<!demo)\.png$'),
}


def results(stage):
    """Contents of the files that count, by name."""
    _, _, folder, pattern = STAGES[stage]
    found = {}
    for path in list_files(folder):
        if re.search(pattern, path):
            with open(path, 'rb') as file:
                found[path] = file.read()
    return found


def go(stage, extra=()):
    command, arguments, _, _ = STAGES[stage]
    return run(command, arguments + list(extra))


@pytest.fixture(scope='module')
def undisturbed(valid, tmp_path_factory):
    """Results of every stage without a fault."""
    before, found = os.getcwd(), {}
    for stage in STAGES:
        root = str(tmp_path_factory.mktemp('undisturbed') / 'data')
        shutil.copytree(valid, root)
        os.chdir(root)
        assert go(stage) == 0
        found[stage] = results(stage)
        assert found[stage]
    os.chdir(before)
    return found


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C interrupts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# -------------------------------------------------------------------------------------------------------- faults
def at(number, act):
    """Wrap a function of which the first argument is a path: `act(path)` before its `number`-th call."""
    def wrap(function):
        calls = []

        def wrapped(path, *arguments):
            calls.append(path)
            if len(calls) == number:
                act(path)
            return function(path, *arguments)
        return wrapped
    return wrap


def refuse(code):
    def act(path):
        raise OSError(code, os.strerror(code), path)
    return act


def send(number):
    return lambda path: os.kill(os.getpid(), number)


def take_away(path):
    os.rename(path, path + '.kept')


def shorten(path):
    shutil.copy(path, path + '.kept')
    os.truncate(path, os.path.getsize(path) // 2)


def give_back():
    for path in list_files('.'):
        if path.endswith('.kept'):
            os.replace(path, path[:-len('.kept')])


READ, SAMPLE, WRITE = (images, 'read_bytes'), (datasets.Disk, 'read'), (os, 'replace')
# id: (stage, what is hit, at which call, fault, exit code, what is printed)
FAULTS = {
    'disk full while training': ('train', WRITE, 3, refuse(errno.ENOSPC), 2, 'the disk is full'),
    'disk full while inferring': ('infer', WRITE, 4, refuse(errno.ENOSPC), 2, 'the disk is full'),
    'disk full while making seeds': ('seeds', WRITE, 6, refuse(errno.ENOSPC), 2, 'the disk is full'),
    'disk full while merging': ('merge', WRITE, 3, refuse(errno.ENOSPC), 2, 'the disk is full'),
    'quota used up': ('seeds', WRITE, 6, refuse(errno.EDQUOT), 2, 'quota'),
    'output becomes read-only': ('seeds', WRITE, 6, refuse(errno.EROFS), 2, 'read-only'),
    'output loses its permissions': ('infer', WRITE, 4, refuse(errno.EACCES), 2, 'permission denied'),
    'write error': ('train', WRITE, 2, refuse(errno.EIO), 2, 'read or write error'),
    'read error while training': ('train', SAMPLE, 5, refuse(errno.EIO), 2, 'read or write error'),
    'read error while making seeds': ('seeds', READ, 11, refuse(errno.EIO), 2, 'read or write error'),
    'image removed while training': ('train', SAMPLE, 5, take_away, 2, 'no such file'),
    'image removed while inferring': ('infer', READ, 10, take_away, 2, 'no such file'),
    'image cut short while making seeds': ('seeds', READ, 11, shorten, 2, 'cut short|not an image'),
    'file cut short while training': ('train', SAMPLE, 5, shorten, 2, '.'),
    'interrupted while training': ('train', WRITE, 3, send(signal.SIGINT), 130, 'interrupted'),
    'interrupted while inferring': ('infer', WRITE, 4, send(signal.SIGINT), 130, 'interrupted'),
    'interrupted while making seeds': ('seeds', READ, 11, send(signal.SIGINT), 130, 'interrupted'),
    'interrupted while merging': ('merge', WRITE, 3, send(signal.SIGINT), 130, 'interrupted'),
    'terminated while training': ('train', SAMPLE, 5, send(signal.SIGTERM), 143, 'terminated'),
    'terminated while making seeds': ('seeds', WRITE, 6, send(signal.SIGTERM), 143, 'terminated'),
}


def one_line(printed, message):
    """True when the last line matches `message` and nothing is a traceback."""
    lines = [line for line in printed.replace('\r', '\n').splitlines() if line.strip()]
    return 'Traceback' not in printed and re.search(message, lines[-1])


@pytest.mark.parametrize('fault', FAULTS)
def test_fault_is_reported_and_repaired_by_the_next_run(fault, in_valid, undisturbed, monkeypatch, capfd):
    stage, (owner, name), number, act, code, message = FAULTS[fault]
    calls = at(number, act)(getattr(owner, name))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, calls)
        start = time.monotonic()
        ended = go(stage)
        assert time.monotonic() - start < 60
    printed = capfd.readouterr().err
    assert ended == code, printed
    assert one_line(printed, message), printed
    assert not [path for path in list_files('.') if path.endswith(files.PARTIAL)]
    give_back()
    assert go(stage) == 0
    assert results(stage) == undisturbed[stage]


def test_a_reader_is_killed_while_training(in_valid, undisturbed, monkeypatch, capfd):
    main, read = os.getpid(), datasets.Disk.read

    def killed(path, remedy):
        if os.getpid() != main and path.endswith('c.jpg'):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, remedy)
    with monkeypatch.context() as patch:
        patch.setattr(datasets.Disk, 'read', killed)
        start = time.monotonic()
        assert go('train', ['--num-workers', '1']) == 2
        assert time.monotonic() - start < 30
    assert one_line(capfd.readouterr().err, 'killed')
    assert go('train') == 0 and results('train') == undisturbed['train']


def test_a_worker_is_killed_while_making_seeds(in_valid, undisturbed, monkeypatch, capfd):
    start = multiprocessing.context.SpawnProcess.start

    def start_and_kill(process):
        start(process)
        process.kill()
    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing.context.SpawnProcess, 'start', start_and_kill)
        assert go('seeds', ['--num-process', '2']) == 2
    assert one_line(capfd.readouterr().err, 'killed')
    assert go('seeds') == 0 and results('seeds') == undisturbed['seeds']


def test_the_disk_is_really_full(in_valid, undisturbed, capfd):
    """A file system of a few pages instead of an injected error."""
    os.makedirs('small')
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=48k', 'tmpfs', 'small'],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if mounted.returncode:
        pytest.skip(f'may not mount a small file system here: {mounted.stdout.decode().strip()}')
    try:
        from icd.steps import merge_superpixels
        arguments = [value if value != 'merged' else 'small/merged' for value in COMMANDS['merge'][1]]
        with open('small/filler', 'wb', buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b'0' * 4096)
        assert console.run_command(merge_superpixels.main, arguments) == 2
        assert one_line(capfd.readouterr().err, 'disk is full|free some space')
        assert [path for path in list_files('small') if path.endswith('.part')] == []
    finally:
        subprocess.run(['umount', 'small'], check=True)
    assert go('merge') == 0 and results('merge') == undisturbed['merge']


@pytest.mark.parametrize('year', [2000, 2100])
@pytest.mark.parametrize('stage', ['infer', 'seeds', 'merge'])
def test_the_clock_jumps(stage, year, in_valid, undisturbed, monkeypatch):
    """Outputs of the first part of a run carry a date far away; the rerun still ends with the right results."""
    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', at(5, send(signal.SIGINT))(os.replace))
        assert go(stage) == 130
    stamp = (year - 1970) * 365.25 * 86400
    for path in list_files(STAGES[stage][2]):
        os.utime(path, (stamp, stamp))
    assert go(stage) == 0
    assert results(stage) == undisturbed[stage]


@pytest.mark.parametrize('stage, seconds', [('merge', 2), ('infer', 3)])
def test_the_main_process_is_killed(stage, seconds, in_valid, undisturbed):
    command, arguments, _, _ = STAGES[stage]
    module, common = COMMANDS[command]
    code = f'import sys, {module} as m; from icd import console; sys.exit(console.run_command(m.main))'
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen([sys.executable, '-c', code] + common + arguments, stderr=subprocess.DEVNULL,
                               env=dict(os.environ, PYTHONPATH=root))
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert go(stage) == 0
    assert results(stage) == undisturbed[stage]
    assert not [path for path in list_files('.') if path.endswith(files.PARTIAL)]
