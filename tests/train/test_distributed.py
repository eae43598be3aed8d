"""The watch over a distributed job: who is told what when a process is lost. (With MXNet: steps/test_train.py.)"""
import contextlib
import os
import socket
import threading
import time

import pytest

from icd.train import distributed
from icd.errors import UserError
from icd.train.launch import _free_ports


pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')


class Ended(BaseException):
    """In place of the end of a process."""


@pytest.fixture
def job(monkeypatch, capsys):
    """A job of a worker and a server, its processes played by threads; `job.ends` are the exit codes so far."""
    for name, value in dict(URI='127.0.0.1', PORT=_free_ports()).items():
        monkeypatch.setenv('DMLC_PS_ROOT_' + name, str(value))
    for name in ('WORKER', 'SERVER'):
        monkeypatch.setenv('DMLC_NUM_' + name, '1')
    for name, value in dict(BEAT=.05, SILENCE=.8, ARRIVAL=5., GRACE=.1).items():
        monkeypatch.setattr(distributed, name, value)
    ends, watches, before = [], [], set(threading.enumerate())

    def leave(code):
        ends.append(code)
        raise Ended
    monkeypatch.setattr(os, '_exit', leave)
    monkeypatch.setattr(distributed._thread, 'interrupt_main', lambda: None)
    monkeypatch.setattr(threading, 'excepthook', lambda args: None)
    monkeypatch.setattr(distributed.socketserver.BaseServer, 'handle_error', lambda *_: None)

    class Job:
        said = staticmethod(lambda: capsys.readouterr().err)

        @staticmethod
        def start(*roles):
            for role in roles:
                monkeypatch.setenv('DMLC_ROLE', role)
                watches.append(distributed.Hub() if role == 'scheduler' else distributed.Member())
            return watches[-len(roles):]

        @staticmethod
        def ended(count, seconds=5.):
            limit = time.monotonic() + seconds
            while len(ends) < count and time.monotonic() < limit:
                time.sleep(.02)
            return list(ends)
    yield Job
    for watch in watches:
        if isinstance(watch, distributed.Hub):
            watch._over.set()
        else:
            watch._over = True
    for watch in watches:
        with contextlib.suppress(OSError):
            watch.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5.)


def arrive(hub, count=2):
    while sum(hub._arrived.values()) < count:
        time.sleep(.02)


def test_a_lost_process_ends_all_others_with_its_name(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    server._over = True                     # a dead process says nothing
    server.close()
    assert job.ended(2) == [2, 2]
    assert job.said().count('lost the server on %s (process %d): its connection broke (killed?): what was finished is '
                            'kept' % (socket.gethostname(), os.getpid())) == 2


def test_a_failing_process_tells_all_others_why(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    worker.fail('a.jpg: not\nan image: restore it')
    assert job.ended(3) == [2, 2, 2]
    assert job.said().count('lost the worker on %s (process %d): a.jpg: not an image: restore it'
                            % (socket.gethostname(), os.getpid())) >= 2


def test_a_lost_scheduler_ends_workers_and_servers(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    hub._over.set()
    for connection in list(hub._members):
        connection.request.shutdown(socket.SHUT_RDWR)
    assert job.ended(2) == [2, 2]
    assert job.said().count('the scheduler at 127.0.0.1:%s is lost' % distributed._address()[1]) == 2


def test_a_silent_process_counts_as_lost(job, monkeypatch):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    monkeypatch.setattr(server, '_send', lambda line: None)
    job.ended(2)
    assert 'lost the server on' in job.said()


def test_signs_of_life_keep_a_job_going(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    assert job.ended(1, seconds=2 * distributed.SILENCE) == []


def test_an_orderly_end_is_no_loss(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    worker.leave()
    worker.close()
    limit = time.monotonic() + 5
    while not server._over and time.monotonic() < limit:        # the scheduler may go before the server
        time.sleep(.02)
    hub.leave()
    hub.close()
    for connection in list(hub._members):
        connection.request.shutdown(socket.SHUT_RDWR)
    assert job.ended(1, seconds=.5) == [] and job.said() == ''


def test_processes_that_never_come_end_the_job(job, monkeypatch):
    monkeypatch.setattr(distributed, 'ARRIVAL', .3)
    job.start('scheduler', 'worker')
    assert job.ended(2) == [2, 2]
    assert job.said().count('1 of 1 servers did not come within') == 2


def test_strangers_are_ignored(job):
    hub, worker, server = job.start('scheduler', 'worker', 'server')
    arrive(hub)
    for greeting in (b'GET / HTTP/1.1\r\n\r\n', b'\xff\xfe\n', b'icd admin a 1\n', b''):
        with socket.create_connection(distributed._address()) as stranger:
            stranger.sendall(greeting)
    assert job.ended(1, seconds=.5) == []


def test_a_port_that_is_taken_is_named(job, monkeypatch):
    monkeypatch.setattr(distributed.socketserver.ThreadingTCPServer, 'allow_reuse_address', False)
    with socket.socket() as taken:
        taken.bind(distributed._address())
        taken.listen()
        with pytest.raises(UserError, match='cannot be opened .*DMLC_PS_ROOT_PORT'):
            job.start('scheduler')


def test_a_scheduler_that_never_answers_is_named(job, monkeypatch):
    monkeypatch.setattr(distributed, 'ARRIVAL', .1)
    with pytest.raises(UserError, match='the scheduler does not answer'):
        job.start('worker')


COMPLETE = dict(DMLC_ROLE='worker', DMLC_PS_ROOT_URI='127.0.0.1', DMLC_PS_ROOT_PORT='9000', DMLC_NUM_WORKER='2',
                DMLC_NUM_SERVER='1')


@pytest.mark.parametrize('kvstore, changes, message', [
    ('dist_sync', dict(DMLC_ROLE=None), 'DMLC_ROLE not set: start the processes with'),
    ('dist_sync', dict(DMLC_NUM_SERVER=None, DMLC_NUM_WORKER=''), 'DMLC_NUM_WORKER, DMLC_NUM_SERVER not set'),
    ('dist_device_sync', dict(DMLC_ROLE='boss'), 'DMLC_ROLE=boss: must be'),
    ('dist_sync', dict(DMLC_PS_ROOT_PORT='high'), 'DMLC_PS_ROOT_PORT=high: must be a number'),
    ('device', {}, '--kvstore device, but DMLC_ROLE=worker: .*give --kvstore dist_sync'),
])
def test_roles_that_do_not_fit(monkeypatch, kvstore, changes, message):
    for name, value in dict(COMPLETE, **changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        distributed.check(kvstore)


def test_roles_that_fit(monkeypatch):
    for name in COMPLETE:
        monkeypatch.delenv(name, raising=False)
    distributed.check('device')
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    distributed.check('dist_sync')
