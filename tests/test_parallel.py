"""Worker processes: every result, nothing half-written, no way to hang or to linger, whatever is killed and when."""
import errno
import multiprocessing
import multiprocessing.context
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from icd import files, parallel
from icd.errors import UserError
from tests.helpers import PROJECT, wait_until

SpawnProcess = multiprocessing.context.SpawnProcess


def square(x):
    return x * x


def kill_worker_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def mistake_at_three(x):
    if x == 3:
        raise UserError('is three', 'three.png', 'use another')


def bug_at_three(x):
    return 1 / (x - 3)


def fail_with(error):
    raise error


def not_to_be_pickled(_):
    return threading.Lock()


def first_of(array):
    return array[:1], array


def threads(_):
    return os.environ['OMP_NUM_THREADS']


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


# ----- results
@pytest.mark.parametrize('processes', [1, 2])
def test_every_result_is_given(processes):
    assert sorted(parallel.process_map(square, range(20), processes)) == [x * x for x in range(20)]


@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('items', [[], iter(())])
def test_no_items_give_no_results(items, processes, monkeypatch):
    monkeypatch.setattr(SpawnProcess, 'start', None)
    assert list(parallel.process_map(square, items, processes)) == []


def test_large_items_and_results_pass():
    arrays = [np.full(1 << 20, i, np.float64) for i in range(9)]
    for first, array in parallel.process_map(first_of, arrays, 2):
        assert (array == first).all() and array.shape == (1 << 20,)


@pytest.mark.parametrize('items, processes, started', [(8, 3, 3), (2, 9, 2)])
def test_no_more_processes_are_started_than_there_are_items(items, processes, started, monkeypatch):
    start, starts = SpawnProcess.start, []
    monkeypatch.setattr(SpawnProcess, 'start', lambda process: (starts.append(process), start(process)))
    assert sorted(parallel.process_map(square, range(items), processes)) == [x * x for x in range(items)]
    assert len(starts) == started


def test_all_processes_get_items():
    assert len(set(parallel.process_map(pid_after, [2, 2], 2)) - {os.getpid()}) == 2


def test_items_are_taken_lazily():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i
    results = parallel.process_map(square, items(), 2)
    next(results)
    assert len(taken) < 20
    results.close()
    assert multiprocessing.active_children() == []


def page_faults(_):
    """Faults of the last of some calls that take and free 24 MB as four arrays."""
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(6 << 20, np.uint8) for _ in range(4)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_workers_keep_the_memory_of_the_image_before():
    pages = (24 << 20) // resource.getpagesize()
    assert max(parallel.process_map(page_faults, range(4), 2)) < pages / 10


def test_workers_compute_on_one_thread_each():
    before = dict(os.environ)
    assert set(parallel.process_map(threads, range(4), 2)) == {'1'}
    assert dict(os.environ) == before


# ----- errors
@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('function, error, text', [
    (mistake_at_three, UserError, '^three.png: is three: use another$'),
    (bug_at_three, (ZeroDivisionError, RuntimeError), 'division by zero')])
def test_an_error_of_the_function_ends_the_map(processes, function, error, text):
    with pytest.raises(error, match=text):
        list(parallel.process_map(function, range(50), processes))


@pytest.mark.parametrize('error', [OSError(errno.EIO, 'Input/output error', 'a.jpg'), MemoryError('no'),
                                   ModuleNotFoundError('no', name='mxnet')])
def test_errors_with_an_exit_code_keep_their_type(error):
    with pytest.raises(type(error)) as caught:
        list(parallel.process_map(fail_with, [error] * 2, 2))
    assert vars(caught.value) == vars(error) and caught.value.args == error.args
    assert getattr(caught.value, 'filename', None) == getattr(error, 'filename', None)


def test_a_bug_in_a_worker_shows_its_traceback():
    with pytest.raises(RuntimeError, match='(?s)in a worker process:.*in bug_at_three'):
        list(parallel.process_map(bug_at_three, range(50), 2))


def test_results_that_cannot_be_sent_are_a_bug():
    with pytest.raises(RuntimeError, match="cannot pickle '_thread.lock'"):
        list(parallel.process_map(not_to_be_pickled, range(2), 2))


# ----- killed, and not to be started
def test_a_killed_worker_is_an_error_at_once():
    start = time.monotonic()
    with pytest.raises(UserError, match='killed.*--num-process'):
        list(parallel.process_map(kill_worker_at_three, range(50), 2))
    assert time.monotonic() - start < 20
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize('victim', [0, 1])
def test_a_worker_that_is_killed_while_others_start(victim, monkeypatch):
    start, started = SpawnProcess.start, []

    def start_and_kill(process):
        start(process)
        started.append(process)
        if len(started) == 2:
            started[victim].kill()
            started[victim].join()
    monkeypatch.setattr(SpawnProcess, 'start', start_and_kill)
    with pytest.raises(UserError, match='a worker process was killed'):
        list(parallel.process_map(pid_after, [.1] * 50, 3))
    assert len(started) == 3 and not any(process.is_alive() for process in started)


def test_processes_that_cannot_be_started_are_an_error(monkeypatch):
    start, started = SpawnProcess.start, []

    def start_two(process):
        if len(started) == 2:
            raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')
        start(process)
        started.append(process)
    monkeypatch.setattr(SpawnProcess, 'start', start_two)
    with pytest.raises(UserError, match=r'worker process could not be started \(Resource temporarily.*smaller --num'):
        list(parallel.process_map(square, range(9), 4))
    assert not any(process.is_alive() for process in started)


def test_threads_that_cannot_be_started_are_an_error(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, 'start', refuse)
    with pytest.raises(UserError, match="worker process could not be started .can't start new thread"):
        list(parallel.process_map(square, range(9), 2))
    assert multiprocessing.active_children() == []


def test_no_semaphores_are_needed(monkeypatch):
    """Containers without a /dev/shm, or with a full one, have none."""
    def refuse(*_, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr('multiprocessing.synchronize.SemLock.__init__', refuse)
    assert sorted(parallel.process_map(square, range(9), 2)) == [x * x for x in range(9)]


def write_slowly(folder):
    with files.write_atomic(os.path.join(folder, 'a')) as partial, open(partial, 'w') as file:
        file.write('half')
        file.flush()
        time.sleep(60)


def test_an_error_ends_all_workers_and_leaves_no_partial_file(tmp_path):
    def items():
        yield str(tmp_path)
        wait_until(lambda: os.listdir(str(tmp_path)))
        raise UserError('wrong', 'b')
    with pytest.raises(UserError, match='b: wrong'):
        list(parallel.process_map(write_slowly, items(), 2))
    assert os.listdir(str(tmp_path)) == []


class Interrupted:
    """A context manager during whose start the process is terminated, when the one inside has already begun."""

    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        self.inner.__enter__()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def __exit__(self, *error):
        raise AssertionError('was never entered')


def terminated_while_entering(folder):
    with Interrupted(files.write_atomic(os.path.join(folder, 'a'))):
        pass


def terminated_twice(folder):
    remove = os.remove
    os.remove = lambda path: (os.kill(os.getpid(), signal.SIGTERM), remove(path))
    with files.write_atomic(os.path.join(folder, 'a')):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


@pytest.mark.parametrize('function', [terminated_while_entering, terminated_twice])
def test_a_worker_terminated_at_any_time_removes_its_partial_file(tmp_path, function):
    folders = [str(tmp_path / name) for name in 'ab']
    with pytest.raises(UserError, match='a worker process was killed'):
        list(parallel.process_map(function, folders, 2))
    assert [os.listdir(folder) for folder in folders if os.path.exists(folder)] in ([[]], [[], []])


def ignore_signals(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    files.save_bytes(path, b'')
    time.sleep(60)


def test_a_worker_that_ignores_signals_is_killed(tmp_path):
    path = str(tmp_path / 'begun')

    def items():
        yield path
        wait_until(lambda: os.path.exists(path))
        raise UserError('wrong')
    start = time.monotonic()
    with pytest.raises(UserError, match='wrong'):
        list(parallel.process_map(ignore_signals, items(), 2))
    assert time.monotonic() - start < 40
    wait_until(lambda: not multiprocessing.active_children())


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='counts processes under /proc')
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = ('from icd import parallel; from tests import test_parallel\n'
            'if __name__ == "__main__": list(parallel.process_map(test_parallel.write_slowly, [%r], 2))')
    script = tmp_path / 'main.py'
    script.write_text(code % str(tmp_path / 'out'))
    parent = subprocess.Popen([sys.executable, str(script)], env=dict(os.environ, PYTHONPATH=PROJECT))
    wait_until(lambda: list(tmp_path.glob('out/.a.*part')))
    with open(f'/proc/{parent.pid}/task/{parent.pid}/children') as file:
        children = ['/proc/' + pid for pid in file.read().split()]
    assert children
    parent.kill()
    parent.wait()

    def gone(process):
        try:
            with open(process + '/stat') as file:
                return file.read().rpartition(')')[2].split()[0] == 'Z'
        except (FileNotFoundError, ProcessLookupError):
            return True
    wait_until(lambda: all(map(gone, children)))
