"""What every stage needs from the machine: devices, whole files, worker processes, progress, the way out."""
import argparse
import concurrent.futures
import contextlib
import errno
import fcntl
import functools
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import zlib
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np
from tqdm import tqdm

from icd import gpu
from icd.errors import UserError

# What the operating system refuses for reasons that are the user's to mend.
_USER_ERRNO = {
    errno.ENOSPC: 'the disk is full: free some space and run the same command again',
    errno.EDQUOT: 'the disk quota is used up: free some space and run the same command again',
    errno.EROFS: 'the file system is read-only: choose a folder that can be written',
    errno.EACCES: 'permission denied: choose another folder or change its permissions',
    errno.EPERM: 'permission denied: choose another folder or change its permissions',
    errno.EIO: 'the device reports a read or write error: check the disk',
    errno.ENOENT: 'the file is gone: restore it and run the same command again',
    errno.ENOTDIR: 'a part of this path is a file, not a folder: choose another path',
    errno.EEXIST: 'this is a file, not a folder: choose another path',
    errno.EISDIR: 'this is a folder, not a file: choose another path',
    errno.EMFILE: 'too many open files: raise the limit (ulimit -n)',
    errno.ENAMETOOLONG: 'the file name is too long: shorten it',
}
# Packages that a plain `pip install -e .` does not bring.
_EXTRAS = {'mxnet': "pip install -e '.[cpu]' for the CPU, '.[cu117]' for GPUs"}
PARTIAL = '.part'
_KEPT = 1 << 25         # bytes of freed memory that a process which computes images keeps
_PATIENCE = 5.          # seconds a worker gets to remove what it is writing


# ------------------------------------------------------------------------------------------------ whole files
@contextlib.contextmanager
def whole_file(path):
    """Give the name of a file beside `path` to write to; on success it becomes `path` in one step.

    The file is synced before the rename, so `path` is either absent, what it was, or complete, also after a
    crash. On an exception nothing is left. The file is locked meanwhile: what is left of a killed process has no lock.

    Parameters
    ----------
    path : str
        The file to make. Its folder is created when missing.

    Yields
    ------
    str
        Name to write to: `.NAME.part` in the same folder, with the ending of `path` kept out of the way.

    Raises
    ------
    UserError
        When another process is writing the same file.
    """
    folder, name = os.path.split(path)
    os.makedirs(folder or '.', exist_ok=True)
    partial = os.path.join(folder, '.' + name + PARTIAL)
    try:
        with _locked_file(partial, path) as file:
            yield partial
            os.fsync(file)
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_unlocked(partial)
        raise


@contextlib.contextmanager
def _locked_file(partial, path):
    """The descriptor of the file `partial`, new and locked, in which `path` is going to be written."""
    while True:
        file = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                raise UserError('%s: another run is writing this file: wait for it, then run the same command again' %
                                path)
            # Between opening and locking, its last owner may have moved or removed it.
            if _is_at(file, partial):
                os.ftruncate(file, 0)
                yield file
                return
        finally:
            os.close(file)


def _lock(file):
    """Lock an open file or folder; False when another process has it. File systems without locks have no others."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(file, path):
    """Whether the open file is the one that `path` names."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def alone_in(folder, what):
    """Hold a folder that only one run may change.

    Parameters
    ----------
    folder : str
        Created when missing.
    what : str
        What another run may not do here meanwhile, and what the user can do, for the message.

    Raises
    ------
    UserError
        When another process holds it, and a moment later still does: the children of a killed one need that to end.
    """
    os.makedirs(folder, exist_ok=True)
    file, deadline = os.open(folder, os.O_RDONLY), time.monotonic() + _PATIENCE
    try:
        while not _lock(file):
            if time.monotonic() > deadline:
                raise UserError('%s: another run %s' % (folder, what))
            time.sleep(.05)
        yield
    finally:
        os.close(file)


def save_bytes(path, data):
    """Write `data` (bytes) to `path`, whole or not at all."""
    with whole_file(path) as partial, open(partial, 'wb') as file:
        file.write(data)


def save_json(path, value):
    """Write `value` as indented JSON to `path`, whole or not at all."""
    save_bytes(path, (json.dumps(value, indent=2) + '\n').encode())


def save_npy(path, array):
    """Write `array` as a `.npy` file (no pickles), whole or not at all."""
    with whole_file(path) as partial, open(partial, 'wb') as file:
        np.save(file, array, allow_pickle=False)


def save_image(path, image, *parameters):
    """Encode `image` (H, W) or (H, W, 3 BGR) uint8 by the ending of `path` and write it, whole or not at all."""
    done, data = cv2.imencode(os.path.splitext(path)[1], image, list(parameters))
    if not done:
        raise ValueError('%s: OpenCV could not encode a %s image of %s' % (path, image.dtype, image.shape))
    save_bytes(path, data.tobytes())


def clear_partial(folder):
    """Remove what a killed run left half-written in `folder` (no error when the folder does not exist).

    What another process is writing at the moment stays.
    """
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            stale = [e.path for e in entries if e.name.startswith('.') and e.name.endswith(PARTIAL)]
        for path in stale:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                _remove_unlocked(path)


def _remove_unlocked(path):
    """Remove a file unless another process is writing it."""
    file = os.open(path, os.O_RDWR)
    try:
        if _lock(file) and _is_at(file, path):
            os.remove(path)
    finally:
        os.close(file)


@contextlib.contextmanager
def nothing_partial(folders, names=()):
    """Remove what was left half-written before, and after whatever happens meanwhile (a worker killed, say).

    Parameters
    ----------
    folders : iterable of str
        Output folders.
    names : iterable of str
        Names of their files; `a/b` stands for a file in the sub-folder `a`.
    """
    parts = {''} | {os.path.dirname(name) for name in names}
    places = [os.path.join(folder, part) for folder in folders for part in parts]
    for place in places:
        clear_partial(place)
    try:
        yield
    finally:
        for place in places:
            clear_partial(place)


def up_to_date(output, *inputs):
    """True when `output` exists and is no older than any of `inputs` (missing inputs do not count)."""
    def stamp(path):
        try:
            return os.stat(path).st_mtime_ns
        except FileNotFoundError:
            return None
    made = stamp(output)
    return made is not None and all(made >= (stamp(path) or 0) for path in inputs)


def checksum(name):
    """CRC-32 of a file's content."""
    value = 0
    with open(name, 'rb') as file:
        for block in iter(lambda: file.read(1 << 24), b''):
            value = zlib.crc32(block, value)
    return value


def place(path, folder):
    """How the settings of the outputs in `folder` note an input: moving both together is no change."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def settings_path(folder):
    """The file in an output folder that says what its files were made with."""
    return os.path.join(folder, 'settings.json')


def same_settings(folder, settings):
    """True when `stage_settings` noted these settings in `folder`; writes nothing."""
    return _noted_settings(folder) == settings


def _noted_settings(folder):
    try:
        with open(settings_path(folder), encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def stage_settings(folder, settings):
    """Note in `folder/settings.json` what a stage's outputs were made with.

    The file is rewritten only when the settings changed, so outputs older than it are out of date
    (`up_to_date(output, ..., settings_file)`).

    Parameters
    ----------
    folder : str
        The stage's output folder; created when missing.
    settings : dict
        JSON-serialisable values that change the outputs.

    Returns
    -------
    str
        The path of `settings.json`.
    """
    path, noted = settings_path(folder), _noted_settings(folder)
    if noted != settings:
        if isinstance(noted, dict):
            say('%s: what is there is made again, for it was made with another %s' % (folder, ', '.join(
                sorted(word for word in set(noted) | set(settings) if noted.get(word) != settings.get(word)))))
        save_json(path, settings)
    return path


# ---------------------------------------------------------------------------------------------- worker processes
def progress(iterable=None, total=None, desc=None, unit='image', initial=0):
    """A progress bar on standard error with rate and time left; a line every half minute when that is a file."""
    return tqdm(iterable, total=total, desc=desc, unit=unit, initial=initial, dynamic_ncols=True,
                mininterval=.2 if sys.stderr.isatty() else 30)


def say(text):
    """A line on standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


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
    bar = progress(total=total, desc=desc) if desc else contextlib.nullcontext()
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
            raise UserError('a worker process was killed (out of memory?): what was finished is kept; run the same '
                            'command again, with a smaller --num-process if memory is short') from None
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


def _usable_processors():
    return os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else range(os.cpu_count())


def number_of_cores():
    """Processors this process may use."""
    return len(_usable_processors())


def _physical_cores():
    """Cores this process may use, hyper-threads of a core counted once where the system tells them apart."""
    cores = set()
    for cpu in _usable_processors():
        try:
            with open('/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list' % cpu, encoding='ascii') as file:
                cores.add(file.read())
        except OSError:
            cores.add(cpu)
    return len(cores)


def use_all_cores():
    """Let MXNet compute on every core, unless OMP_NUM_THREADS says otherwise. Call before MXNet is imported.

    By itself MXNet takes half of the processors it sees for hyper-threads, and leaves half of a virtual machine idle.
    """
    os.environ.setdefault('OMP_NUM_THREADS', str(_physical_cores()))


# -------------------------------------------------------------------------------------------------- devices
def devices(spec):
    """MXNet contexts named by `--gpus`.

    Parameters
    ----------
    spec : str or None
        `'0,1'` for GPUs, `'cpu'`, `'cpu:2'` for two CPU devices, None for all GPUs or, without any, the CPU
        (which is said on standard error).

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    UserError
        When the text cannot be read, or a GPU does not exist or cannot be used (`icd.gpu.check`).
    """
    kind, _, count = (spec or '').partition(':')
    indices = None if spec is None else spec.split(',')
    if kind == 'cpu' and (spec == 'cpu' or _is_number(count) and int(count) > 0):
        import mxnet as mx
        return [mx.cpu(i) for i in range(int(count or 1))]
    if indices and (not all(map(_is_number, indices)) or len(set(indices)) < len(indices)):
        raise UserError("--gpus %s: give different GPU indices like 0,1, or 'cpu', or 'cpu:2'" % spec)
    usable = gpu.check(indices and [int(i) for i in indices])
    import mxnet as mx
    if spec is None:
        _say_once('no --gpus: computing on %s' % ('GPU ' + ','.join(map(str, usable)) if usable else 'the CPU'))
    return [mx.gpu(i) for i in usable] or [mx.cpu()]


def _is_number(text):
    return text.isascii() and text.isdigit()


@functools.lru_cache(maxsize=None)
def _say_once(text):
    say(text)


# ---------------------------------------------------------------------------------------------------- the way out
class CommandLine(argparse.ArgumentParser):
    """An argument parser of which the complaints are `UserError`s: one line each, like those of the rest."""

    def error(self, message):
        raise UserError('%s (%s --help lists the options)' % (message, self.prog))


def door(run, arguments=None):
    """Run a command and turn what is the user's to mend into one line and exit code 2.

    Parameters
    ----------
    run : callable
        Takes the list of command-line arguments.
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 2 the user's mistake, 130 interrupted, 141 nobody reads the output any more, 143 terminated.
    """
    _open_output()
    signal.signal(signal.SIGTERM, _terminate)
    use_all_cores()
    try:
        return _outcome(run, sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):         # what is left in their buffers would fail again at the exit
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 128 + signal.SIGPIPE


def _open_output():
    """Have something to write to where the shell closed it, and text that the terminal's encoding lacks written out."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')


def _terminate(*_):
    raise SystemExit(143)


def _complain(text):
    for line in str(text).splitlines():
        print('%s: %s' % (os.path.basename(sys.argv[0]), line), file=sys.stderr)


def _outcome(run, arguments):
    """Exit code of a command; what is the user's to mend is said."""
    try:
        run(arguments)
    except UserError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _complain('interrupted: what was finished is kept; run the same command again to continue')
        return 130
    except SystemExit as leaving:
        if leaving.code != 143:
            raise
        _complain('terminated: what was finished is kept; run the same command again to continue')
        return 143
    except MemoryError:
        _complain('out of memory: what was finished is kept; run the same command again where more is free, or with a '
                  'smaller --num-process')
        return 2
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        _complain('the package %s is not installed: %s' % (error.name, _EXTRAS[error.name]))
        return 2
    except OSError as error:
        if error.errno not in _USER_ERRNO:
            raise
        _complain('%s: %s' % (error.filename or 'output', _USER_ERRNO[error.errno]))
        return 2
    return 0
