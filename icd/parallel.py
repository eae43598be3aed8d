"""Worker processes that compute on items, and the processors they may use.

Written by hand because joblib's loky (1.6 was tried on the same tests) kills the workers of a run that fails before
they have removed what they were writing, and leaves those of a killed run at work: 20 seconds later they still wrote.
With our own code for both around it, it is no shorter; and it needs semaphores, which containers without a writable
/dev/shm lack, as `concurrent.futures` does.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import time
import traceback
from multiprocessing.reduction import ForkingPickler
from typing import Callable, Iterable, Iterator

import cv2
import numpy as np

from icd import console, cpu_quota
from icd.errors import UserError

_KEPT = 1 << 25         # bytes of freed memory that a process which computes images keeps
_PATIENCE = 5.          # seconds a worker gets to remove what it is writing


def process_map(function: Callable, items: Iterable, num_process: int, total: int | None = None,
                desc: str | None = None) -> Iterator:
    """Call `function` on every item in worker processes; yield results in the order they finish.

    `items` is consumed lazily, at most a few items ahead of the workers, so memory stays flat and the caller can
    compute the next item (a batch of the network, say) while the workers are busy. Processes are spawned, not
    forked: they share no state with MXNet or CUDA, and `function` and items must pickle.

    Parameters
    ----------
    function : callable
        A module-level function (or `functools.partial` of one) of one argument.
    items : iterable
    num_process : int
        1 computes in the calling process.
    total : int, optional
        Number of items for the progress bar; by default `len(items)` where it has one.
    desc : str, optional
        Title of the progress bar; no bar without.

    Yields
    ------
    object
        Results of `function`.

    Raises
    ------
    UserError
        When a worker process is killed or cannot be started.
    """
    if total is None and hasattr(items, '__len__'):
        total = len(items)
    keep_freed_memory()
    if num_process <= 1:
        results = map(function, items)
    else:
        results = _pool_map(function, items, num_process if total is None else max(1, min(num_process, total)))
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(console.progress(total=total, desc=desc)) if desc else None
        if num_process > 1:
            stack.enter_context(contextlib.closing(results))
        for result in results:
            if bar is not None:
                bar.update()
            yield result


def _pool_map(function, items, num_process):
    """A thread for each worker process hands it one item after another: a killed one holds nothing that is shared."""
    threads = concurrent.futures.ThreadPoolExecutor(num_process)
    idle, processes, waiting = queue.SimpleQueue(), [], set()
    try:
        for item in items:
            if not processes:
                _start_workers(function, num_process, idle, processes)
            try:
                waiting.add(threads.submit(_compute, idle, item))
            except RuntimeError as error:
                raise _not_started(error) from None
            if len(waiting) >= 3 * num_process:
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        for future in concurrent.futures.as_completed(waiting):
            yield future.result()
    finally:
        for future in waiting:
            future.cancel()
        end_processes(processes)        # the threads that wait for them see their pipes close
        threads.shutdown()


def _start_workers(function, count, idle, processes):
    """Start worker processes; put the pipes to them into `idle`."""
    context = multiprocessing.get_context('spawn')
    try:
        with _one_thread_each():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(function, theirs), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                idle.put(ours)
    except OSError as error:
        raise _not_started(error.strerror) from None


def _not_started(reason):
    return UserError(f'a worker process could not be started ({reason})',
                     remedy='use a smaller --num-process: 1 starts none')


def _compute(idle, item):
    """Have a worker compute an item."""
    connection = idle.get()
    try:
        connection.send(item)
        error, result = connection.recv()
    except (EOFError, OSError):
        raise UserError('a worker process was killed (out of memory?)',
                        remedy='what was finished is kept; run the same command again, with a smaller --num-process '
                               'if memory or processes are short') from None
    finally:
        idle.put(connection)
    if error is not None:
        raise error
    return result


def _serve(function, connection):
    """Life of a worker process. Terminated, it removes the files it is writing first."""
    def leave(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)   # another one must not interrupt the removal
        raise SystemExit(143)
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, leave)
    try:
        threading.Thread(target=_follow_parent, daemon=True).start()
    except RuntimeError:                                # too many processes and threads: the parent reports it
        os._exit(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    code = 0
    try:
        while True:
            connection.send_bytes(_answer(function, connection.recv()))
    except (EOFError, OSError):                         # the parent does not listen any more
        pass
    except SystemExit as leaving:
        code = leaving.code
    # The exception is gone by now, and with it context managers that it met while they were being entered: they have
    # cleaned up, too.
    os._exit(code)


def _answer(function, item):
    """The pickle of (error, result)."""
    try:
        return ForkingPickler.dumps((None, function(item)))
    except (UserError, OSError, MemoryError, ImportError) as error:
        return ForkingPickler.dumps((error, None))
    except Exception:                                   # a bug: its traceback is worth more than its type
        return ForkingPickler.dumps((RuntimeError('in a worker process:\n' + traceback.format_exc()), None))


def _follow_parent():
    """End when the parent is gone: the worker would wait for ever, or write beside the next run."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@contextlib.contextmanager
def _one_thread_each():
    """Children started meanwhile keep BLAS and OpenMP to one thread: the processes are the parallelism."""
    names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, '1'))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_processes(processes: list):
    """End worker processes, whatever they are at: nobody wants to wait for it.

    Parameters
    ----------
    processes : list of multiprocessing.Process
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


def keep_freed_memory():
    """Have the C library hand freed memory out again, not back to the system.

    glibc keeps twice the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD), so one large block that is
    never touched does it. Otherwise every image costs hundreds or thousands of page faults: a third of the time of
    evaluating a seed, a tenth of that of its CRF.
    """
    np.empty(_KEPT // 2, np.uint8)


def number_of_cores(root: str = '/') -> int:
    """Processors this process may use: by its affinity and by the CPU time of its container (`icd.cpu_quota`).

    Parameters
    ----------
    root : str, optional
        Folder below which the system's `proc` and `sys` are found.
    """
    return _within_quota(len(_visible_processors()), root)


def number_of_readers(asked: int | None = None) -> int:
    """Processes that read images for a network: as many as `asked` for, by default one a core, at most 8."""
    return min(8, number_of_cores()) if asked is None else asked


def physical_cores(root: str = '/') -> int:
    """Cores this process may use, hyper-threads of a core counted once where the system tells them apart.

    Parameters
    ----------
    root : str, optional
        As for `number_of_cores`.
    """
    cores = set()
    for cpu in _visible_processors():
        try:
            name = os.path.join(root, f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list')
            with open(name, encoding='ascii') as file:
                cores.add(file.read())
        except OSError:
            cores.add(cpu)
    return _within_quota(len(cores), root)


def _within_quota(count, root):
    # Sandboxes that intercept system calls may report a mask of more processors than run.
    return min(count, os.cpu_count() or count, cpu_quota.cpu_quota(root) or count)


def _visible_processors():
    return os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else range(os.cpu_count())
