import concurrent.futures
import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from icd import console, files, mxnet_setup, outputs, parallel
from icd.errors import UserError


def square(x):
    return x * x


def kill_worker_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def mistake_at_three(x):
    if x == 3:
        raise UserError('three.png: is three: take another')
    return x


def threads(_):
    return os.environ['OMP_NUM_THREADS']


def test_whole_file_appears_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / 'deep' / 'a.txt')
    files.save_bytes(path, b'old')
    with pytest.raises(ZeroDivisionError):
        with files.write_atomic(path) as partial, open(partial, 'w') as file:
            file.write('half')
            assert 1 / 0
    assert os.listdir(os.path.dirname(path)) == ['a.txt']
    with open(path, 'rb') as file:
        assert file.read() == b'old'


def test_clear_partial_removes_only_what_was_left_behind(tmp_path):
    (tmp_path / '.a.png.part').write_bytes(b'half')
    (tmp_path / 'b.part').write_bytes(b'mine')
    files.clear_partial(str(tmp_path))
    files.clear_partial(str(tmp_path / 'absent'))
    assert os.listdir(str(tmp_path)) == ['b.part']


def test_up_to_date_follows_times(tmp_path):
    made, source = str(tmp_path / 'made'), str(tmp_path / 'source')
    assert not outputs.up_to_date(made)
    for path, stamp in ((source, 100), (made, 100)):
        files.save_bytes(path, b'')
        os.utime(path, (stamp, stamp))
    assert outputs.up_to_date(made, source, str(tmp_path / 'absent'))
    os.utime(source, (101, 101))
    assert not outputs.up_to_date(made, source)


def test_stage_settings_is_touched_only_by_a_change(tmp_path):
    path = outputs.stage_settings(str(tmp_path), {'a': 1})
    os.utime(path, (100, 100))
    outputs.stage_settings(str(tmp_path), {'a': 1})
    assert os.stat(path).st_mtime == 100
    outputs.stage_settings(str(tmp_path), {'a': 2})
    assert os.stat(path).st_mtime > 100


@pytest.mark.parametrize('items, processes, started', [(8, 3, 3), (2, 9, 2)])
def test_workers_all_start_before_the_thread_that_closes_their_pipes(items, processes, started, monkeypatch):
    start, watchers, before = multiprocessing.context.SpawnProcess.start, [], threading.active_count()

    def watched(process):
        watchers.append(threading.active_count() - before)
        start(process)
    monkeypatch.setattr(multiprocessing.context.SpawnProcess, 'start', watched)
    assert sorted(parallel.process_map(square, range(items), processes)) == [x * x for x in range(items)]
    assert watchers == [0] * started


@pytest.mark.parametrize('killed, error, text', [(True, UserError, 'process was killed'), (False, OSError, 'closed')])
def test_a_pool_that_closes_itself_while_it_starts_a_process_says_why(monkeypatch, killed, error, text):
    submit = concurrent.futures.ProcessPoolExecutor.submit

    def late(pool, *words):
        future = submit(pool, *words)
        if killed:
            for process in multiprocessing.active_children():
                process.kill()
            concurrent.futures.wait([future])
        raise OSError('handle is closed')
    monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, 'submit', late)
    with pytest.raises(error, match=text):
        list(parallel.process_map(square, range(4), 2))


def hold(path):
    """Write a file for ever."""
    with files.write_atomic(path) as partial:
        files.save_bytes(path + '.begun', b'')
        with open(partial, 'wb') as file:
            file.write(b'theirs')
            file.flush()
            time.sleep(60)


@pytest.fixture
def other_run(tmp_path):
    """Another process, which is writing the file `a`."""
    process = multiprocessing.get_context('fork').Process(target=hold, args=(str(tmp_path / 'a'),))
    process.start()
    wait_until((tmp_path / 'a.begun').exists)
    yield process
    process.kill()
    process.join()


def test_a_file_that_another_run_writes_is_left_to_it(other_run, tmp_path):
    path, partial = str(tmp_path / 'a'), str(tmp_path / '.a.part')
    with pytest.raises(UserError, match='a: another run is writing this file: wait for it'):
        files.save_bytes(path, b'ours')
    files.clear_partial(str(tmp_path))
    wait_until(lambda: open(partial, 'rb').read() == b'theirs')
    other_run.kill()
    other_run.join()
    assert os.path.exists(partial) and not os.path.exists(path)
    files.save_bytes(path, b'ours')
    assert open(path, 'rb').read() == b'ours' and not os.path.exists(partial)


def test_what_another_run_left_is_removed_once_it_is_gone(other_run, tmp_path):
    other_run.kill()
    other_run.join()
    files.clear_partial(str(tmp_path))
    assert sorted(os.listdir(str(tmp_path))) == ['a.begun']


def taken_over(monkeypatch, action):
    """Have another process act between the opening and the locking of a file."""
    lock, late = files._lock, [action]

    def locked(file):
        while late:
            late.pop()()
        return lock(file)
    monkeypatch.setattr(files, '_lock', locked)


def test_a_file_that_its_last_owner_finishes_meanwhile_is_not_written_into(tmp_path, monkeypatch):
    path, partial = str(tmp_path / 'a'), str(tmp_path / '.a.part')
    with open(partial, 'wb') as file:
        file.write(b'theirs')
    taken_over(monkeypatch, lambda: os.replace(partial, path))
    with files.write_atomic(path) as ours:
        assert open(path, 'rb').read() == b'theirs'
        with open(ours, 'wb') as file:
            file.write(b'ours')
    assert open(path, 'rb').read() == b'ours' and os.listdir(str(tmp_path)) == ['a']


def test_a_file_that_is_begun_meanwhile_is_not_cleared_away(tmp_path, monkeypatch):
    partial = tmp_path / '.a.part'
    partial.write_bytes(b'old')

    def begin():
        os.replace(str(partial), str(tmp_path / 'a'))
        partial.write_bytes(b'new')
    taken_over(monkeypatch, begin)
    files.clear_partial(str(tmp_path))
    assert partial.read_bytes() == b'new' and (tmp_path / 'a').read_bytes() == b'old'


def be_alone(folder):
    with files.folder_lock(folder, 'is here'):
        files.save_bytes(os.path.join(folder, 'begun'), b'')
        time.sleep(60)


def test_one_run_alone_holds_a_folder(tmp_path, monkeypatch):
    folder = str(tmp_path / 'held')
    process = multiprocessing.get_context('fork').Process(target=be_alone, args=(folder,))
    process.start()
    wait_until((tmp_path / 'held' / 'begun').exists)
    monkeypatch.setattr(files, '_PATIENCE', .2)
    with pytest.raises(UserError, match='held: another run is here'):
        with files.folder_lock(folder, 'is here'):
            pass
    process.kill()
    process.join()
    with files.folder_lock(folder, 'is here'):
        pass
    assert os.listdir(folder) == ['begun']


@pytest.mark.parametrize('processes', [1, 2])
def test_process_map_gives_every_result(processes):
    assert sorted(parallel.process_map(square, range(20), processes)) == [x * x for x in range(20)]


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


def test_process_map_reads_items_as_they_are_needed():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i
    results = parallel.process_map(square, items(), 2)
    next(results)
    assert len(taken) < 20
    results.close()


def test_workers_compute_on_one_thread_each():
    before = os.environ.get('OMP_NUM_THREADS')
    assert set(parallel.process_map(threads, range(4), 2)) == {'1'}
    assert os.environ.get('OMP_NUM_THREADS') == before


def test_a_killed_worker_is_an_error_at_once():
    start = time.monotonic()
    with pytest.raises(UserError, match='killed'):
        list(parallel.process_map(kill_worker_at_three, range(50), 2))
    assert time.monotonic() - start < 20


@pytest.mark.parametrize('processes', [1, 2])
def test_a_users_mistake_crosses_processes(processes):
    with pytest.raises(UserError, match='three.png: is three'):
        list(parallel.process_map(mistake_at_three, range(50), processes))


@pytest.mark.parametrize('raised, code, said', [
    (UserError('list.txt: empty:\ngive names'), 2, 'list.txt: empty:\n'),
    (KeyboardInterrupt(), 130, 'interrupted'),
    (OSError(errno.ENOSPC, 'No space left', 'out/a.png'), 2, 'out/a.png: the disk is full'),
    (PermissionError(errno.EACCES, 'no', '/etc/x'), 2, '/etc/x: permission denied'),
    (MemoryError(), 2, 'out of memory: what was finished is kept')])
def test_door_turns_mistakes_into_lines(capsys, raised, code, said):
    def run(_):
        raise raised
    assert console.run_command(run, []) == code
    assert said.strip() in capsys.readouterr().err


def command(code, tail):
    """Exit code and what is left on the screen of a command of the shell: `python -c ... TAIL`."""
    program = 'import sys; from icd import console\ndef run(_):\n    %s\nsys.exit(console.run_command(run, []))' % code
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', '"$0" -c "$1" ' + tail, sys.executable, program],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING='ascii'))
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.parametrize('code, tail, expected, said', [
    ('for _ in range(99999): console.log("a line")', '2>&1 | head -1', 141, 'a line'),
    ('for _ in range(99999): print("a line")', '| head -1', 141, 'a line'),
    ('import time; time.sleep(.5); raise console.UserError("mend it")', '2>&1 | true', 141, ''),
    ('console.log("done"); print("out")', '2>&-', 0, 'out'),
    ('print("out"); console.log("done")', '>&-', 0, 'done'),
    ('print("d\\xf6g")', '', 0, '\\xf6g')])
def test_the_door_when_nobody_reads(code, tail, expected, said):
    returned, shown = command(code, tail)
    assert returned == expected and said in shown and 'Traceback' not in shown and 'Error' not in shown


def test_door_leaves_bugs_their_traceback():
    with pytest.raises(ZeroDivisionError):
        console.run_command(lambda _: 1 / 0, [])


@pytest.mark.parametrize('spec, count', [('cpu', 1), ('cpu:3', 3)])
def test_devices_on_the_cpu(spec, count):
    assert [str(d) for d in mxnet_setup.devices(spec)] == ['cpu(%d)' % i for i in range(count)]


def test_without_gpus_the_choice_is_said_aloud(capsys):
    mxnet_setup._log_once.cache_clear()
    found = mxnet_setup.devices(None)
    assert found and ('CPU' in capsys.readouterr().err) == (found[0].device_type == 'cpu')


@pytest.mark.parametrize('spec', ['cpu:0', 'cpu:', '0,0', '0,', 'gpu', '99', ''])
def test_devices_that_do_not_exist(spec):
    with pytest.raises(UserError, match='--gpus'):
        mxnet_setup.devices(spec)


def test_importing_icd_makes_mxnet_work():
    code = 'import sys; from icd.mxnet_setup import mx; import mxnet; print(mxnet.nd.ones(2).sum().asscalar())'
    done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0 and done.stdout.strip() == b'2.0', done.stderr
    assert np.__dict__['bool'] in (bool, np.bool_)


def write_slowly(folder):
    with files.write_atomic(os.path.join(folder, 'a')) as partial, open(partial, 'w') as file:
        file.write('half')
        file.flush()
        time.sleep(60)


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(.02)


def test_a_mistake_ends_the_other_workers_and_leaves_nothing_half_written(tmp_path):
    def items():
        yield str(tmp_path)
        wait_until(lambda: os.listdir(str(tmp_path)))
        raise UserError('b: wrong: mend it')
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
def test_a_terminated_worker_removes_its_file_whenever_it_happens(tmp_path, function):
    folders = [str(tmp_path / name) for name in 'ab']
    with pytest.raises(UserError, match='a worker process was killed'):
        list(parallel.process_map(function, folders, 2))
    assert [os.listdir(folder) for folder in folders if os.path.exists(folder)] in ([[]], [[], []])


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='counts processes under /proc')
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = ('import sys; sys.path.insert(0, %r); from icd import parallel; from tests import test_runtime\n'
            'if __name__ == "__main__": list(parallel.process_map(test_runtime.write_slowly, [%r], 2))')
    script = tmp_path / 'main.py'
    script.write_text(code % (os.path.dirname(os.path.abspath(__file__)), str(tmp_path / 'out')))
    parent = subprocess.Popen([sys.executable, str(script)], env=dict(os.environ, PYTHONPATH=os.getcwd()))
    wait_until((tmp_path / 'out' / '.a.part').exists)
    with open('/proc/%d/task/%d/children' % (parent.pid, parent.pid)) as file:
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
