"""A watch that ends every process of a distributed job when one of them is lost.

MXNet's parameter servers wait for ever for a process that has died. So beside them every worker and server keeps a
connection to the scheduler, one port above the scheduler's own, on which both sides show once a second that they
are alive. When a connection breaks or stays silent for half a minute, or a process reports why it has to end, the
scheduler passes that on to all, and each logs it in one line and ends with exit code 2.
"""
from __future__ import annotations

import _thread
import contextlib
import os
import select
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass

from icd import console
from icd.errors import UserError

GREETING = 'icd'                # the first word of a process's first line; others are strangers
_KEPT = 'what was finished is kept; start all of them again to continue'


@dataclass(frozen=True)
class Times:
    """Seconds.

    beat : float
        Between signs of life.
    silence : float
        Without one, until a process counts as lost.
    arrival : float
        Until all processes of a job must have come.
    grace : float
        What a worker gets to remove the files it is writing.
    """

    beat: float = 1.
    silence: float = 30.
    arrival: float = 600.
    grace: float = 3.


def address() -> tuple:
    """Host and port of the watch: beside the scheduler."""
    return os.environ['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT']) + 1


# ------------------------------------------------------------------------------------------- workers and servers
class Member:
    """The watch in a worker or server: a thread that ends the process when another one is lost.

    Parameters
    ----------
    role : {'worker', 'server'}
    times : Times
    leave : callable
        Ends the process with an exit code.
    interrupt : callable
        Interrupts the main thread of a worker: if it is not waiting inside MXNet, it can still clean up.

    Attributes
    ----------
    lost : bool
        Whether the process is ending because another one was lost.
    over : bool
        Whether the job, or this process's part in it, is done: then nothing counts as lost any more.

    Raises
    ------
    UserError
        When the scheduler cannot be reached.
    """

    def __init__(self, role: str, times: Times = Times(), leave=os._exit, interrupt=_thread.interrupt_main):
        self.lost = self.over = False
        self._role, self._times, self._leave, self._interrupt = role, times, leave, interrupt
        self._socket, self._lock = self._connect(), threading.Lock()
        self._send(f'{GREETING} {role} {socket.gethostname()} {os.getpid()}')
        threading.Thread(target=self._watch, daemon=True).start()

    def _connect(self):
        end, reported = time.monotonic() + self._times.arrival, False
        while True:
            try:
                return socket.create_connection(address(), timeout=self._times.silence)
            except OSError as error:
                if time.monotonic() > end:
                    raise UserError(f'the scheduler does not answer ({error})', _spelled(address()),
                                    'start it with the same DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT, and open its port '
                                    'and the next one in the firewall') from None
            if not reported:
                console.log(f'waiting for the scheduler at {_spelled(address())}')
                reported = True
            time.sleep(self._times.beat / 2)

    def _send(self, line):
        with self._lock, contextlib.suppress(OSError):      # a broken connection shows when reading
            self._socket.sendall((' '.join(line.split()) + '\n').encode())

    def _watch(self):
        heard, rest = time.monotonic(), b''
        while True:
            ready = select.select([self._socket], [], [], self._times.beat)[0]
            self._send('.')
            if ready:
                with contextlib.suppress(OSError):
                    ready = self._socket.recv(4096)
                if not ready or not isinstance(ready, bytes):
                    self._end(f'the scheduler at {_spelled(address())} is lost (killed?)')
                    return
                heard = time.monotonic()
                *lines, rest = (rest + ready).split(b'\n')
                for line in lines:
                    if line == b'over':
                        self.over = True
                    elif line != b'.':
                        self._end(line.decode(errors='replace'))
            elif time.monotonic() - heard > self._times.silence:
                self._end(f'the scheduler at {_spelled(address())} has been silent for {self._times.silence:.0f} s')

    def _end(self, reason):
        if self.over:
            return
        self.lost = True
        _report(reason)
        if self._role == 'worker':
            self._interrupt()
            time.sleep(self._times.grace)
        self._leave(2)

    def fail(self, reason: str):
        """Let the others know why this process ends before its time."""
        self._send('failed ' + reason)

    def depart(self):
        """This process has done its part."""
        self.over = True
        self._send('bye')

    def close(self):
        """Close the connection, without a word if this process has not done its part."""
        self.over = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


# --------------------------------------------------------------------------------------------------- the scheduler
class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


class Hub:
    """The watch in the scheduler: hears all workers and servers, and ends them and itself when one is lost.

    Parameters
    ----------
    times : Times
    leave : callable
        Ends the process with an exit code.

    Raises
    ------
    UserError
        When its port cannot be had.
    """

    def __init__(self, times: Times = Times(), leave=os._exit):
        self._times, self._leave = times, leave
        self._wanted = {kind: int(os.environ['DMLC_NUM_' + kind.upper()]) for kind in ('worker', 'server')}
        self._arrived = dict.fromkeys(self._wanted, 0)
        self._members, self._lock = {}, threading.Lock()
        self._over, self._ending = threading.Event(), threading.Lock()
        hub = self

        class Connection(socketserver.StreamRequestHandler):
            timeout = times.silence

            def handle(self):
                hub._hear(self)
        try:
            self._server = _Server(address(), Connection)
        except OSError as error:
            raise UserError(f'cannot be opened ({error})', _spelled(address()),
                            'DMLC_PS_ROOT_URI must be an address of this machine, and DMLC_PS_ROOT_PORT and the next '
                            'port free') from None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def missing(self) -> list:
        """Processes that have not come yet, as text: '1 of 2 workers'."""
        with self._lock:
            return [f'{count - self._arrived[kind]} of {count} {kind}s' for kind, count in self._wanted.items()
                    if self._arrived[kind] < count]

    def _hear(self, connection):
        """Life of one connection."""
        name, reason = None, 'its connection broke (killed?)'
        try:
            fields = connection.rfile.readline(1000).decode(errors='replace').split()
            if len(fields) != 4 or fields[0] != GREETING or fields[1] not in self._wanted:
                return
            _, kind, host, number = fields
            name = f'the {kind} on {host} (process {number})'
            with self._lock:
                self._members[connection] = name
                self._arrived[kind] += 1
            for line in connection.rfile:
                line = line.decode(errors='replace').strip()
                if line == 'bye':
                    self._departed(connection)
                    return
                if line.startswith('failed '):
                    reason = line[len('failed '):]
                    break
        except socket.timeout:
            reason = f'silent for {self._times.silence:.0f} s'
        except OSError:
            pass
        if name:
            self._end(f'lost {name}: {reason}', connection)

    def _departed(self, connection):
        with self._lock:
            del self._members[connection]
            if not any(' worker ' in name for name in self._members.values()) and all(
                    self._arrived[kind] >= count for kind, count in self._wanted.items()):
                self._broadcast('over')
                self._over.set()

    def _broadcast(self, line):
        for connection in list(self._members):
            with contextlib.suppress(OSError):
                connection.request.sendall(line.encode() + b'\n')

    def _beat(self):
        start, reports = time.monotonic(), 0
        while not self._over.is_set():
            time.sleep(self._times.beat)
            with self._lock:
                self._broadcast('.')
            missing, waited = ' and '.join(self.missing), time.monotonic() - start
            if missing and waited > self._times.arrival:
                self._end(f'{missing} did not come within {self._times.arrival:.0f} s', None)
            elif missing and waited // self._times.silence > reports:
                reports = waited // self._times.silence
                console.log(f'{os.path.basename(sys.argv[0])}: waiting for {missing}')

    def _end(self, reason, connection):
        if self._over.is_set():
            return
        with self._ending:                      # only the first reason is reported
            with self._lock:
                self._members.pop(connection, None)
                self._broadcast(reason)
            _report(reason)
            self._leave(2)

    def depart(self):
        """The training is over: wait until every process has said good-bye."""
        end = time.monotonic() + self._times.silence
        while self._members and time.monotonic() < end:
            time.sleep(self._times.beat / 10)
        self._over.set()

    def close(self):
        """Close the port and all connections."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._members):
            with contextlib.suppress(OSError):
                connection.request.shutdown(socket.SHUT_RDWR)


def _spelled(where):
    host, port = where
    return f'{host}:{port}'


def _report(reason):
    console.log(f'{os.path.basename(sys.argv[0])}: {reason}: {_KEPT}')
