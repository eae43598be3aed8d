"""What a command shows on the terminal: errors and exit codes, progress, log lines."""
from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
from typing import Callable, Iterable

from tqdm import tqdm

from icd.errors import UserError

# Errors of the operating system that the user can do something about.
_USER_ERRNO = {
    errno.ENOSPC: 'the disk is full: free some space and run the same command again',
    errno.EDQUOT: 'the disk quota is used up: free some space and run the same command again',
    errno.EROFS: 'the file system is read-only: choose a folder that can be written',
    errno.EACCES: 'permission denied: choose another folder or change its permissions',
    errno.EPERM: 'permission denied: choose another folder or change its permissions',
    errno.EFBIG: 'the file is larger than the limit for files: raise the limit (ulimit -f)',
    errno.EIO: 'the device reports a read or write error: check the disk',
    errno.ESTALE: 'the network file system has lost the file: mount it again and run the same command again',
    errno.ENOENT: 'the file is gone: restore it and run the same command again',
    errno.ENOTDIR: 'a part of this path is a file, not a folder: choose another path',
    errno.EEXIST: 'this is a file, not a folder: choose another path',
    errno.EISDIR: 'this is a folder, not a file: choose another path',
    errno.EMFILE: 'too many open files: raise the limit (ulimit -n)',
    errno.ENFILE: 'too many open files on this machine: end other programs',
    errno.ENAMETOOLONG: 'the file name is too long: shorten it',
}
# Packages that a plain `pip install -e .` does not install.
_EXTRAS = {'mxnet': "pip install -e '.[cpu]' for the CPU, '.[cu117]' for GPUs"}


class _Bar(tqdm):
    """A progress bar that moves the `Overall` bar of the run it is part of."""

    def update(self, n=1):
        if Overall.current:
            Overall.current.advance(n)
        return super().update(n)


class Overall:
    """One bar over the stages of a run, in estimated seconds; the bars of the stages move it.

    Parameters
    ----------
    seconds : dict of str to float
        What each stage is expected to take.
    """

    current = None

    def __init__(self, seconds: dict):
        self._seconds, self._before = seconds, 0.
        self._bar = tqdm(total=sum(seconds.values()), desc='all', mininterval=1 if sys.stderr.isatty() else 60,
                         dynamic_ncols=True, smoothing=0,
                         bar_format='{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left')

    @contextlib.contextmanager
    def stage(self, name: str, updates: int):
        """While a stage runs, whose bars are updated about `updates` times in all."""
        self._done, self._updates, self._weight = 0, max(1, updates), self._seconds[name]
        Overall.current = self
        try:
            yield
        finally:
            Overall.current = None
        self._before += self._weight
        self._move(self._before)

    def advance(self, count: float):
        """A bar of the stage moves by `count`."""
        self._done += count
        self._move(self._before + self._weight * min(1, self._done / self._updates))

    def _move(self, seconds):
        self._bar.update(seconds - self._bar.n)

    def close(self):
        """Leave the bar as it is."""
        self._bar.close()


def progress(iterable: Iterable | None = None, total: int | None = None, desc: str | None = None,
             unit: str = 'image', initial: int = 0) -> tqdm:
    """A progress bar on standard error with rate and remaining time; where that is a file, a line every half minute."""
    return _Bar(iterable, total=total, desc=desc, unit=unit, initial=initial, dynamic_ncols=True,
                mininterval=.2 if sys.stderr.isatty() else 30)


def log(text: str):
    """Write a line to standard error, above the progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that raises `UserError`, so that its errors look like all others."""

    def error(self, message):
        raise UserError(f'{message} ({self.prog} --help lists the options)')


def run_command(main: Callable, arguments: list[str] | None = None) -> int:
    """Run a command; print errors that are caused by user input as one line, without a traceback.

    Parameters
    ----------
    main : callable
        Takes the list of command-line arguments.
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 2 caused by user input, 130 interrupted, 141 nobody reads the output any more, 143
        terminated.
    """
    _open_output()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(main, sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):         # flushing their buffers at exit would fail again
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 128 + signal.SIGPIPE


def _open_output():
    """Replace streams that the shell closed, and escape characters that the terminal's encoding lacks."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')


def _terminate(*_):
    raise SystemExit(143)


def _run(main, arguments):
    """Exit code of a command whose output can be written."""
    try:
        main(arguments)
    except UserError as error:
        _print_error(error)
        return 2
    except KeyboardInterrupt:
        _print_error('interrupted: what was finished is kept; run the same command again to continue')
        return 130
    except SystemExit as leaving:
        if leaving.code != 143:
            raise
        _print_error('terminated: what was finished is kept; run the same command again to continue')
        return 143
    except MemoryError:
        _print_error('out of memory: what was finished is kept; run the same command again where more is free, or with '
                     'a smaller --num-process')
        return 2
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        _print_error(f'the package {error.name} is not installed: {_EXTRAS[error.name]}')
        return 2
    except OSError as error:
        if error.errno not in _USER_ERRNO:
            raise
        _print_error(f'{error.filename or "output"}: {_USER_ERRNO[error.errno]}')
        return 2
    return 0


def _print_error(text):
    for line in str(text).splitlines():
        print(f'{os.path.basename(sys.argv[0])}: {line}', file=sys.stderr)
