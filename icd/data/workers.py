"""Processes that fill batches ahead of the one that uses them, in order, in memory both sides see."""
from __future__ import annotations

import collections
import gc
import itertools
import mmap
import multiprocessing
import multiprocessing.connection
import signal
import traceback
import weakref
from typing import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from icd import parallel
from icd.errors import UserError

AHEAD = 2                   # batches a worker may finish before they are asked for
_ENDING = {signal.SIGINT, signal.SIGTERM}


class Workers:
    """Computes `fill(task, *arrays)` for one task after another in forked processes.

    Gluon's own pool starts a new process in place of a killed one, from the middle of a run, and waits two minutes
    for the lost batch; it also needs a /dev/shm that containers often lack. Here every worker has a pipe of its own,
    so nothing that a dead one held can block the others, and writes into memory that was shared when it was forked:
    there is never more of it than `AHEAD` batches a worker. The processes end with their parent, however it ends.

    Parameters
    ----------
    fill : callable
        `fill(task, *arrays)` writes a batch into `arrays` and returns something small that pickles. It and the
        tasks decide the outcome: nothing may depend on the process or on earlier tasks. It must not use MXNet.
    layout : sequence of (shape, dtype)
        Of the arrays.
    count : int
        Number of processes; 0 computes in the calling process. They are forked at once: before MXNet gets busy.

    Attributes
    ----------
    processes : list of multiprocessing.Process
    """

    def __init__(self, fill: Callable, layout: Sequence[tuple], count: int):
        self._fill, self._turn = fill, 0
        self._connections, self.processes, self._slots = [], [], []
        self._owed = [0] * count                        # tasks a worker has been given and not answered
        if count == 0:
            self._slots = [[[np.zeros(shape, dtype) for shape, dtype in layout]]]
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)                            # also in the children: OpenCV's threads do not survive a fork
        try:
            for _ in range(count):
                self._start(layout)
        except BaseException:
            _close(self._connections, self.processes)
            raise
        finally:
            cv2.setNumThreads(threads)
        self._close = weakref.finalize(self, _close, self._connections, self.processes)

    def _start(self, layout):
        context = multiprocessing.get_context('fork')
        slots = [[_shared(shape, dtype) for shape, dtype in layout] for _ in range(AHEAD)]
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._fill, slots, theirs, self._connections + [ours]),
                                  daemon=True)
        # A signal in the child's first moments would run the parent's handler there, and with it the rest of the
        # parent's program. `_serve` lets them through when it has handlers of its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            process.start()
        except OSError as error:
            raise UserError(f'a process that reads images could not be started ({error.strerror})',
                            remedy='raise the limits of processes and memory (ulimit -u, ulimit -v), or use a smaller '
                                   '--num-workers: 0 starts none') from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._slots.append(slots)
        self._connections.append(ours)
        self.processes.append(process)

    def map(self, tasks: Iterable) -> Iterator[tuple]:
        """Compute tasks, which are taken a bounded number ahead; yield the outcomes in their order.

        Parameters
        ----------
        tasks : iterable

        Yields
        ------
        answer : object
            What `fill` returned.
        arrays : list of ndarray
            To be copied at once: they are overwritten later.

        Raises
        ------
        UserError
            As `fill`, or when a worker was killed.
        """
        self._turn += 1
        if not self.processes:
            for task in tasks:
                yield self._fill(task, *self._slots[0][0]), self._slots[0][0]
            return
        self._forget()
        yield from self._map(iter(tasks), self._turn)

    def _map(self, tasks, turn):
        count = len(self.processes)
        given, waiting = 0, collections.deque()
        for asked in itertools.count():
            for task in itertools.islice(tasks, AHEAD * count - len(waiting)):
                self._give(given % count, (task, given // count % AHEAD))
                waiting.append(given)
                given += 1
            if not waiting:
                return
            number = waiting.popleft() % count
            answer = self._answer(number)
            yield answer, self._slots[number][asked // count % AHEAD]
            if turn != self._turn:
                raise RuntimeError('another pass over the data has begun')

    def _give(self, number, task):
        self._owed[number] += 1
        try:
            self._connections[number].send(task)
        except OSError:
            raise _lost() from None

    def _answer(self, number):
        """The next answer of a worker, or the error it ran into; watches over the others meanwhile."""
        connection = self._connections[number]
        ready = multiprocessing.connection.wait([connection] + [p.sentinel for p in self.processes])
        if connection not in ready:
            raise _lost()
        try:
            error, answer = connection.recv()
        except (EOFError, OSError):
            raise _lost() from None
        self._owed[number] -= 1
        if error is not None:
            raise error
        return answer

    def _forget(self):
        """Take in what an unfinished pass has left under way."""
        for number in range(len(self._owed)):
            while self._owed[number]:
                try:
                    self._answer(number)
                except (UserError, RuntimeError, OSError):
                    if not self.processes[number].is_alive():
                        raise

    def close(self):
        """End the processes. Also done when the object is dropped."""
        self._close()


def _lost():
    return UserError('a process that reads images was killed (out of memory?)',
                     remedy='what was finished is kept; run the same command again, with fewer --num-workers if '
                            'memory is short')


def _shared(shape, dtype):
    """An array that forked processes share. Anonymous: containers limit /dev/shm to less than a few batches."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, int(np.prod(shape))).reshape(shape)


def _serve(fill, slots, connection, inherited):
    """Life of a worker: until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    gc.freeze()                                         # MXNet's arrays that were forked along are not ours to free
    for other in inherited:                             # else nobody would see the parent's end of a pipe close
        other.close()
    while True:
        try:
            task, slot = connection.recv()
            connection.send(_attempt(fill, task, slots[slot]))
        except (EOFError, OSError):
            return


def _attempt(fill, task, arrays):
    try:
        return None, fill(task, *arrays)
    except (UserError, OSError) as error:
        return error, None
    except Exception:                                   # a bug: its traceback is worth more than its type
        return RuntimeError('in a worker process:\n' + traceback.format_exc()), None


def _close(connections, processes):
    for connection in connections:
        connection.close()
    parallel.end_processes(processes)
