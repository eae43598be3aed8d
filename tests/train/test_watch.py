"""The watch over a distributed job: which process learns what when one is lost. (With MXNet: steps/test_train.py.)"""
import contextlib
import os
import socket
import socketserver
import threading
import time

import pytest

from icd.errors import UserError
from icd.train import watch
from icd.train.launch import free_ports

TIMES = watch.Times(beat=.05, silence=.8, arrival=5., grace=.1)
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')


class Ended(BaseException):
    """In place of the end of a process."""


class Job:
    """A job of a worker and a server, its processes played by threads; `ends` are the exit codes so far."""

    def __init__(self, errors):
        self._errors, self.ends, self._watches = errors, [], []

    def leave(self, code):
        self.ends.append(code)
        raise Ended

    def start(self, *roles, times=TIMES):
        """The watches of processes with these roles; waits until they have found each other."""
        made = [watch.Hub(times, self.leave) if role == 'scheduler' else
                watch.Member(role, times, self.leave, lambda: None) for role in roles]
        self._watches += made
        while len(roles) == 3 and made[0].missing:
            time.sleep(.02)
        return made

    def ended(self, count, seconds=5.):
        limit = time.monotonic() + seconds
        while len(self.ends) < count and time.monotonic() < limit:
            time.sleep(.02)
        return list(self.ends)

    def reported(self):
        return self._errors.readouterr().err

    def close(self):
        for each in self._watches:
            with contextlib.suppress(OSError):
                each.close()


@pytest.fixture
def job(monkeypatch, capsys):
    for name, value in dict(URI='127.0.0.1', PORT=free_ports()).items():
        monkeypatch.setenv('DMLC_PS_ROOT_' + name, str(value))
    for name in ('WORKER', 'SERVER'):
        monkeypatch.setenv('DMLC_NUM_' + name, '1')
    monkeypatch.setattr(threading, 'excepthook', lambda args: None)
    monkeypatch.setattr(socketserver.BaseServer, 'handle_error', lambda *_: None)
    made, before = Job(capsys), set(threading.enumerate())
    yield made
    made.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5.)


PROCESS = f'on {socket.gethostname()} (process {os.getpid()})'


def test_a_lost_process_ends_all_others_with_its_name(job):
    _, _, server = job.start('scheduler', 'worker', 'server')
    server.close()                          # a dead process sends nothing
    assert job.ended(2) == [2, 2]
    assert job.reported().count(
        f'lost the server {PROCESS}: its connection broke (killed?): what was finished is kept') == 2


def test_a_failing_process_gives_all_others_its_reason(job):
    _, worker, _ = job.start('scheduler', 'worker', 'server')
    worker.fail('a.jpg: not\nan image: restore it')
    assert job.ended(3) == [2, 2, 2]
    assert job.reported().count(f'lost the worker {PROCESS}: a.jpg: not an image: restore it') >= 2


def test_a_lost_scheduler_ends_workers_and_servers(job):
    hub, _, _ = job.start('scheduler', 'worker', 'server')
    hub.close()
    assert job.ended(2) == [2, 2]
    assert job.reported().count(f'the scheduler at 127.0.0.1:{watch.address()[1]} is lost') == 2


def test_a_silent_process_counts_as_lost(job):
    job.start('scheduler', 'worker')
    with socket.create_connection(watch.address()) as server:
        server.sendall(b'%s server elsewhere 7\n' % watch.GREETING.encode())
        job.ended(2)
    assert 'lost the server on elsewhere (process 7): silent for' in job.reported()


def test_signs_of_life_keep_a_job_going(job):
    job.start('scheduler', 'worker', 'server')
    assert job.ended(1, seconds=2 * TIMES.silence) == []


def test_an_orderly_end_is_no_loss(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    worker.depart()
    worker.close()
    limit = time.monotonic() + 5
    while not server.over and time.monotonic() < limit:         # the scheduler may go before the server
        time.sleep(.02)
    hub.depart()
    hub.close()
    assert job.ended(1, seconds=.5) == [] and job.reported() == ''


def test_processes_that_never_come_end_the_job(job):
    job.start('scheduler', 'worker', times=watch.Times(TIMES.beat, TIMES.silence, .3, TIMES.grace))
    assert job.ended(2) == [2, 2]
    assert job.reported().count('1 of 1 servers did not come within') == 2


def test_strangers_are_ignored(job):
    job.start('scheduler', 'worker', 'server')
    for greeting in (b'GET / HTTP/1.1\r\n\r\n', b'\xff\xfe\n', b'icd admin a 1\n', b''):
        with socket.create_connection(watch.address()) as stranger:
            stranger.sendall(greeting)
    assert job.ended(1, seconds=.5) == []


def test_a_port_that_is_taken_is_named(job):
    with socket.socket() as taken:
        taken.bind(watch.address())
        taken.listen()
        with pytest.raises(UserError, match='cannot be opened .*DMLC_PS_ROOT_PORT'):
            job.start('scheduler')


def test_a_scheduler_that_never_answers_is_named(job):
    with pytest.raises(UserError, match='the scheduler does not answer'):
        job.start('worker', times=watch.Times(arrival=.1))
