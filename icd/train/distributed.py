"""Several machines: MXNet's roles, and a watch that ends every process of a job when one is lost.

MXNet's parameter servers wait for ever for a process that has died. So beside them every worker and server keeps a
connection to the scheduler, one port above the scheduler's own, on which both sides show once a second that they
are alive. When a connection breaks or stays silent for half a minute, or a process reports why it has to end, the
scheduler tells all, and each says so in one line and ends with exit code 2.
"""
import _thread
import contextlib
import gc
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback

from icd import console
from icd.errors import UserError

SERVING = ('scheduler', 'server')
BEAT, SILENCE = 1., 30.         # seconds between signs of life, and without one until a process counts as lost
ARRIVAL = 600.                  # seconds until all processes of a job must have come
GRACE = 3.                      # seconds a worker gets to remove the files it is writing
_AGAIN = 'what was finished is kept; start all of them again to continue'
_VARIABLES = ('DMLC_ROLE', 'DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER')
_TOKEN_KEY = 1 << 20            # beyond those of parameters
_GREETING = 'icd'               # the first word of a process's first line; others are strangers


def role():
    """MXNet's role of this process: 'scheduler', 'server', 'worker', or None in an ordinary run."""
    return os.environ.get('DMLC_ROLE')


def check(kvstore):
    """Raise a UserError when `--kvstore` and the environment do not agree about several machines."""
    if not kvstore.startswith('dist'):
        if role() and int(os.environ.get('DMLC_NUM_WORKER', '1')) > 1:
            raise UserError('each worker would train alone', f'--kvstore {kvstore}, but DMLC_ROLE={role()}',
                            'give --kvstore dist_sync')
        return
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(f"{', '.join(missing)} not set", f'--kvstore {kvstore}',
                        "start the processes with python -m icd.train.launch, or set MXNet's variables as the README "
                        "shows")
    if role() not in SERVING + ('worker',):
        raise UserError('must be scheduler, server or worker', f'DMLC_ROLE={role()}')
    for name in _VARIABLES[2:]:
        if not os.environ[name].isdigit():
            raise UserError('must be a number', f'{name}={os.environ[name]}')


def _address():
    """Where the watch is: beside the scheduler."""
    return os.environ['DMLC_PS_ROOT_URI'], int(os.environ['DMLC_PS_ROOT_PORT']) + 1


def serve(kvstore):
    """Be the scheduler or a server until the training is over.

    Parameters
    ----------
    kvstore : str
        `--kvstore`, see `check`.
    """
    check(kvstore)
    for number in (signal.SIGTERM, signal.SIGINT):      # MXNet gives Python no chance to handle them
        signal.signal(number, signal.SIG_DFL)
    with contextlib.closing(Hub() if role() == 'scheduler' else Member()) as watch:
        # In these roles the import runs the whole service, and leaves by `sys.exit` when the workers are done.
        with contextlib.suppress(SystemExit):
            import icd.mxnet_setup  # noqa: F401
        watch.leave()


@contextlib.contextmanager
def watched(kvstore):
    """In a distributed training: end everything when one process is lost, and tell the others why this one ends.

    All references to the store must be gone when the block ends: closing it waits for the other workers.

    Parameters
    ----------
    kvstore : str
        `--kvstore`.
    """
    if not kvstore.startswith('dist'):
        yield
        return
    watch = Member()
    try:
        yield
    except BaseException as error:
        # An orderly way out would wait for the other workers, which wait for this one.
        code = 2 if watch.lost else _report(error)
        if not watch.lost:
            watch.fail(str(error) or type(error).__name__)
        sys.stderr.flush()
        os._exit(code)
    gc.collect()
    watch.leave()
    watch.close()


def _report(error):
    """Say what the command's door says of `error`; its exit code."""
    def again(_):
        raise error
    try:
        return console.run_command(again, [])
    except SystemExit as leaving:
        return leaving.code
    except Exception:
        traceback.print_exc()
        return 1


def same_everywhere(kvstore, token):
    """Whether all workers give the same `token`, as the first one sees it.

    Parameters
    ----------
    kvstore : mxnet.kvstore.KVStore
    token : bytes
        Of one length on all machines.

    Returns
    -------
    bool
        True on the first worker.
    """
    from icd.mxnet_setup import mx
    mine = mx.nd.array(list(token))
    first = mx.nd.zeros(mine.shape)
    kvstore.broadcast(_TOKEN_KEY, mine, first)
    return bool((first == mine).min().asscalar())


# ------------------------------------------------------------------------------------------- workers and servers
class Member:
    """The watch in a worker or server: a thread that ends the process when another one is lost.

    Attributes
    ----------
    lost : bool
        Whether the process is ending because another one was lost.

    Raises
    ------
    UserError
        When the scheduler cannot be reached.
    """

    def __init__(self):
        self.lost = self._over = False
        self._socket = self._connect()
        self._lock = threading.Lock()
        self._send('%s %s %s %d' % (_GREETING, role(), socket.gethostname(), os.getpid()))
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _connect():
        end, told = time.monotonic() + ARRIVAL, False
        while True:
            try:
                return socket.create_connection(_address(), timeout=SILENCE)
            except OSError as error:
                if time.monotonic() > end:
                    raise UserError(f'the scheduler does not answer ({error})', '%s:%d' % _address(),
                                    'start it with the same DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT, and open its port '
                                    'and the next one in the firewall') from None
            if not told:
                console.log('waiting for the scheduler at %s:%d' % _address())
                told = True
            time.sleep(BEAT / 2)

    def _send(self, line):
        with self._lock, contextlib.suppress(OSError):      # a broken connection shows when reading
            self._socket.sendall((' '.join(line.split()) + '\n').encode())

    def _watch(self):
        heard, rest = time.monotonic(), b''
        while True:
            ready = select.select([self._socket], [], [], BEAT)[0]
            self._send('.')
            if ready:
                with contextlib.suppress(OSError):
                    ready = self._socket.recv(4096)
                if not ready or not isinstance(ready, bytes):
                    self._end('the scheduler at %s:%d is lost (killed?)' % _address())
                    return
                heard = time.monotonic()
                *lines, rest = (rest + ready).split(b'\n')
                for line in lines:
                    if line == b'over':
                        self._over = True
                    elif line != b'.':
                        self._end(line.decode(errors='replace'))
            elif time.monotonic() - heard > SILENCE:
                self._end('the scheduler at %s:%d has been silent for %d s' % (_address() + (SILENCE,)))

    def _end(self, reason):
        if self._over:
            return
        self.lost = True
        console.log('%s: %s: %s' % (os.path.basename(sys.argv[0]), reason, _AGAIN))
        if role() == 'worker':
            _thread.interrupt_main()        # if it is not waiting inside MXNet, it can still clean up
            time.sleep(GRACE)
        os._exit(2)

    def fail(self, reason):
        """Tell the others why this process ends before its time."""
        self._send('failed ' + reason)

    def leave(self):
        """This process has done its part."""
        self._over = True
        self._send('bye')

    def close(self):
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


# --------------------------------------------------------------------------------------------------- the scheduler
class Hub:
    """The watch in the scheduler: hears all workers and servers, and ends them and itself when one is lost.

    Raises
    ------
    UserError
        When its port cannot be had.
    """

    def __init__(self):
        self._wanted = {kind: int(os.environ['DMLC_NUM_' + kind.upper()]) for kind in ('worker', 'server')}
        self._arrived = {kind: 0 for kind in self._wanted}
        self._members, self._lock = {}, threading.Lock()
        self._over, self._ending = threading.Event(), threading.Lock()
        hub = self

        class Connection(socketserver.StreamRequestHandler):
            timeout = SILENCE

            def handle(self):
                hub._hear(self)
        socketserver.ThreadingTCPServer.daemon_threads = True
        socketserver.ThreadingTCPServer.allow_reuse_address = True
        try:
            self._server = socketserver.ThreadingTCPServer(_address(), Connection)
        except OSError as error:
            raise UserError(f'cannot be opened ({error})', '%s:%d' % _address(),
                            'DMLC_PS_ROOT_URI must be an address of this machine, and DMLC_PS_ROOT_PORT and the next '
                            'port free') from None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def _hear(self, connection):
        """Life of one connection."""
        name, reason = None, 'its connection broke (killed?)'
        try:
            words = connection.rfile.readline(1000).decode(errors='replace').split()
            if len(words) != 4 or words[0] != _GREETING or words[1] not in self._wanted:
                return
            name = 'the %s on %s (process %s)' % tuple(words[1:])
            with self._lock:
                self._members[connection] = name
                self._arrived[words[1]] += 1
            for line in connection.rfile:
                line = line.decode(errors='replace').strip()
                if line == 'bye':
                    self._gone(connection)
                    return
                if line.startswith('failed '):
                    reason = line[len('failed '):]
                    break
        except socket.timeout:
            reason = 'silent for %d s' % SILENCE
        except OSError:
            pass
        if name:
            self._end('lost %s: %s' % (name, reason), connection)

    def _gone(self, connection):
        with self._lock:
            del self._members[connection]
            if not any(' worker ' in name for name in self._members.values()) and all(
                    self._arrived[kind] >= count for kind, count in self._wanted.items()):
                self._tell('over')
                self._over.set()

    def _tell(self, line):
        for connection in list(self._members):
            with contextlib.suppress(OSError):
                connection.request.sendall(line.encode() + b'\n')

    def _beat(self):
        start, told = time.monotonic(), 0
        while not self._over.is_set():
            time.sleep(BEAT)
            with self._lock:
                self._tell('.')
                missing = ['%d of %d %ss' % (count - self._arrived[kind], count, kind)
                           for kind, count in self._wanted.items() if self._arrived[kind] < count]
            waited = time.monotonic() - start
            if missing and waited > ARRIVAL:
                self._end('%s did not come within %d s' % (' and '.join(missing), ARRIVAL), None)
            elif missing and waited // SILENCE > told:
                told = waited // SILENCE
                console.log('%s: waiting for %s' % (os.path.basename(sys.argv[0]), ' and '.join(missing)))

    def _end(self, reason, connection):
        if self._over.is_set():
            return
        with self._ending:                      # the first reason is the one that is told
            with self._lock:
                self._members.pop(connection, None)
                self._tell(reason)
            console.log('%s: %s: %s' % (os.path.basename(sys.argv[0]), reason, _AGAIN))
            os._exit(2)

    def leave(self):
        """The training is over: wait until every process has said good-bye."""
        end = time.monotonic() + SILENCE
        while self._members and time.monotonic() < end:
            time.sleep(BEAT / 10)
        self._over.set()

    def close(self):
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
