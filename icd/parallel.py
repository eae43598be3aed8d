"""Worker processes that compute on items, and the processors they may use."""
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np

from icd import console
from icd.errors import UserError

_KEPT = 1 << 25         # bytes of freed memory that a process which computes images keeps
_PATIENCE = 5.          # seconds a worker gets to remove what it is writing


def _follow_parent():
    """End when the parent is gone: the worker would wait for ever, or write beside the next run."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def keep_freed_memory():
    """Have the C library hand freed memory out again, not back to the system.

    glibc keeps twice the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD), so one large block that is
    never touched does it. Otherwise every image costs hundreds or thousands of page faults: a third of the time of
    judging a seed, a tenth of that of its CRF.
    """
    np.empty(_KEPT // 2, np.uint8)
_working = False        # in a worker: whether it is at an item


def _start_worker():
    def leave(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)   # the pool sends more while this process removes its files
        # Between items the pool's own code runs, which an exception could leave with a lock taken.
        if not _working:
            os._exit(143)
        raise SystemExit(143)
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    cv2.setNumThreads(1)
    keep_freed_memory()


def _work(function, item):
    """Call `function` in a worker; when the worker is terminated, files under way are removed first."""
    global _working
    try:
        _working = True
        try:
            return function(item)
        finally:
            _working = False
    except SystemExit as leaving:
        code = leaving.code
    # The exception is gone by now, and with it context managers that it met while they were being entered: they have
    # cleaned up, too. Returning it would make the pool take it for a result and go on.
    os._exit(code)


@contextlib.contextmanager
def _one_thread_each():
    """Children started meanwhile keep BLAS and OpenMP to one thread: the processes are the parallelism."""
    names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: '1' for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def process_map(function, items, num_process, total=None, desc=None):
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
        When a worker process is killed.
    """
    if total is None and hasattr(items, '__len__'):
        total = len(items)
    if num_process <= 1:
        keep_freed_memory()
    bar = console.progress(total=total, desc=desc) if desc else contextlib.nullcontext()
    with bar:
        if num_process <= 1:
            results = map(function, items)
        else:
            results = _pool_map(function, items, num_process if total is None else max(1, min(num_process, total)))
        with contextlib.closing(results) if num_process > 1 else contextlib.nullcontext():
            for result in results:
                if desc:
                    bar.update()
                yield result


def _pool_map(function, items, num_process):
    with _one_thread_each():
        pool = concurrent.futures.ProcessPoolExecutor(
            num_process, multiprocessing.get_context('spawn'), _start_worker)
        # All workers start with the first item, before the thread that watches them. Otherwise a pool starts them as
        # items come, and when one is killed meanwhile, that thread closes the pipes the next is being given.
        pool._safe_to_dynamically_spawn_children = False
        waiting = set()
        try:
            for item in items:
                waiting.add(_submit(pool, item, function))
                if len(waiting) >= 3 * num_process:
                    done, waiting = concurrent.futures.wait(
                        waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            for future in concurrent.futures.as_completed(waiting):
                yield future.result()
            pool.shutdown()
        except BrokenProcessPool:
            raise UserError('a worker process was killed (out of memory?)',
                            remedy='what was finished is kept; run the same command again, with a smaller '
                                   '--num-process if memory is short') from None
        finally:
            end_processes(list((pool._processes or {}).values()))
            pool.shutdown(wait=True)


def _submit(pool, item, function):
    try:
        return pool.submit(_work, function, item)
    except Exception:
        # While the pool closes itself, because a worker was killed, an item finds one thing or another already gone.
        if pool._broken:
            raise BrokenProcessPool from None
        raise


def end_processes(processes):
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


def usable_processors():
    return os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else range(os.cpu_count())


def number_of_cores():
    """Processors this process may use."""
    return len(usable_processors())


def physical_cores():
    """Cores this process may use, hyper-threads of a core counted once where the system tells them apart."""
    cores = set()
    for cpu in usable_processors():
        try:
            with open('/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list' % cpu, encoding='ascii') as file:
                cores.add(file.read())
        except OSError:
            cores.add(cpu)
    return len(cores)
