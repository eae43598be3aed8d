"""Worker processes: same outcomes for any number of them, and no way to hang, linger or fail in silence."""
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from icd.data.workers import AHEAD, Workers
from icd.errors import UserError

LAYOUT = [((3, 2), np.int64), ((), np.float32)]


def fill(task, whole, number):
    """Stand-in for reading a batch: waits, fails, dies or answers, as the task asks."""
    kind, value = task
    if kind == 'wait':
        time.sleep(value)
    elif kind == 'user':
        raise UserError('a.jpg: wrong: correct it')
    elif kind == 'disk':
        raise OSError(errno.EIO, os.strerror(errno.EIO), 'a.jpg')
    elif kind == 'bug':
        raise ZeroDivisionError('the bug')
    elif kind == 'deaf':
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(value, 'w').close()
        time.sleep(60)
    elif kind == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        whole[:], number[...] = value, value / 2
    return kind, value, os.getpid()


def outcomes(workers, tasks):
    return [(answer[:2], whole.copy().tolist(), float(number)) for answer, (whole, number) in workers.map(tasks)]


@pytest.fixture
def pool():
    made = []

    def make(count):
        made.append(Workers(fill, LAYOUT, count))
        return made[-1]
    yield make
    for workers in made:
        workers.close()


@pytest.mark.parametrize('count', [0, 1, 2, 3])
@pytest.mark.parametrize('number', [0, 1, 5, 23])
def test_outcomes_come_in_order_for_any_number_of_workers(pool, count, number):
    workers = pool(count)
    expected = [(('give', i), [[i, i]] * 3, i / 2) for i in range(number)]
    for _ in range(2):                                                      # the processes stay for the next pass
        assert outcomes(workers, (('give', i) for i in range(number))) == expected


def test_tasks_run_in_several_other_processes(pool):
    pids = {answer[2] for answer, _ in pool(2).map([('give', i) for i in range(8)])}
    assert len(pids) == 2 and os.getpid() not in pids


def test_tasks_are_taken_a_bounded_number_ahead(pool):
    taken = []

    def tasks():
        for i in range(50):
            taken.append(i)
            yield 'give', i
    for asked, _ in enumerate(pool(2).map(tasks())):
        assert len(taken) <= asked + 2 * AHEAD


def test_results_stay_valid_until_the_next_is_requested(pool):
    for answer, (whole, _) in pool(2).map([('give', i) for i in range(30)]):
        time.sleep(.005)
        assert (whole == answer[1]).all()


@pytest.mark.parametrize('count', [0, 2])
@pytest.mark.parametrize('kind, error, text', [
    ('user', UserError, '^a.jpg: wrong: correct it$'), ('disk', OSError, 'a.jpg')])
def test_errors_of_workers_keep_type_and_text(pool, count, kind, error, text):
    workers = pool(count)
    with pytest.raises(error, match=text) as caught:
        outcomes(workers, [('give', 1), (kind, 0), ('give', 2)])
    if kind == 'disk':
        assert caught.value.errno == errno.EIO and caught.value.filename == 'a.jpg'
    assert len(outcomes(workers, [('give', 1)])) == 1                       # and another pass is possible


def test_bugs_keep_their_traceback(pool):
    with pytest.raises(RuntimeError, match='(?s)in fill.*ZeroDivisionError: the bug'):
        outcomes(pool(1), [('bug', 0)])


def test_a_worker_that_dies_ends_the_pass(pool):
    workers, start = pool(2), time.monotonic()
    with pytest.raises(UserError, match='was killed.*--num-workers'):
        outcomes(workers, [('give', 0), ('die', 0), ('give', 1)])
    with pytest.raises(UserError, match='was killed'):
        outcomes(workers, [('give', 0)] * 4)
    workers.close()
    assert time.monotonic() - start < 2


def test_a_worker_killed_while_another_is_slow_ends_the_pass(pool):
    workers = pool(2)
    pids = [process.pid for process in workers.processes]
    answers = workers.map([('give', 0), ('give', 1), ('wait', 30), ('give', 2)])
    next(answers), next(answers)
    os.kill(pids[1], signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(UserError, match='was killed'):
        list(answers)
    workers.close()
    assert time.monotonic() - start < 2


def test_a_pass_may_be_left_unfinished(pool):
    workers = pool(2)
    left = workers.map([('give', i) for i in range(20)])
    next(left)
    assert outcomes(workers, [('give', 7)]) == [(('give', 7), [[7, 7]] * 3, 3.5)]
    with pytest.raises(RuntimeError, match='another pass'):
        next(left)


def test_an_error_left_behind_does_not_reach_the_next_pass(pool):
    workers = pool(1)
    next(workers.map([('give', 0), ('user', 0)]))
    assert len(outcomes(workers, [('give', 1)])) == 1


def test_workers_ignore_ctrl_c(pool):
    workers = pool(1)
    answers = workers.map([('give', 0), ('wait', .3), ('give', 1)])
    next(answers)
    os.kill(workers.processes[0].pid, signal.SIGINT)
    assert [answer[0] for answer, _ in answers] == ['wait', 'give']


def test_a_worker_that_ignores_its_end_is_killed(pool, monkeypatch, tmp_path):
    monkeypatch.setattr('icd.parallel._PATIENCE', .2)
    workers = pool(1)
    process, deaf = workers.processes[0], tmp_path / 'deaf'
    next(workers.map([('give', 0), ('deaf', str(deaf))]))
    while not deaf.exists():
        time.sleep(.01)
    workers.close()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL


def gone(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except FileNotFoundError:
        return True


@pytest.mark.parametrize('end', ['kill', 'drop'])
def test_workers_end_with_their_parent(end):
    """Two pools, one with finished batches nobody takes: neither outlives the process that made it."""
    program = f'''if 1:
        import sys, time, numpy as np
        from icd.data.workers import Workers
        def fill(task, big):
            big[:] = task
            return 'x' * 1000000
        pools = [Workers(fill, [((1000,), np.uint8)], 2) for _ in range(2)]
        passes = [pool.map(range(100)) for pool in pools]
        for each in passes:
            next(each)
        print(*[process.pid for pool in pools for process in pool.processes], flush=True)
        if {end!r} == 'kill':
            time.sleep(60)
    '''
    process = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 4
    if end == 'kill':
        assert not any(gone(pid) for pid in pids)
        process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(.02)
    assert all(gone(pid) for pid in pids)
    assert process.returncode == (-signal.SIGKILL if end == 'kill' else 0)


@pytest.mark.parametrize('sent', [signal.SIGTERM, signal.SIGINT])
def test_a_worker_signalled_at_its_start_runs_no_parent_code(sent):
    """Terminated before it has a handler of its own, a worker ends; Ctrl-C it leaves to the parent."""
    program = '''if 1:
        import os, signal, sys
        from icd.data.workers import Workers
        number, fork = int(sys.argv[1]), os.fork
        def struck():
            pid = fork()
            if not pid:
                os.kill(os.getpid(), number)
            return pid
        os.fork = struck
        def handler(*_):
            raise SystemExit(143)
        signal.signal(signal.SIGTERM, handler)
        try:
            workers = Workers(lambda task, *arrays: task, [], 1)
            if number == signal.SIGINT:
                print(next(workers.map('a'))[0], flush=True)
            workers.processes[0].join(None if number == signal.SIGTERM else 0)
            print(workers.processes[0].exitcode, flush=True)
        except BaseException as error:
            print(repr(error), flush=True)
    '''
    printed = subprocess.run([sys.executable, '-c', program, str(int(sent))], stdout=subprocess.PIPE, timeout=60).stdout
    assert printed.decode().split() == (['-15'] if sent == signal.SIGTERM else ['a', 'None'])
