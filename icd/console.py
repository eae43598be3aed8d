"""What a command shows on the terminal: errors and exit codes, progress, log lines."""
from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import re
import signal
import sys
from typing import Callable, Iterable

from tqdm import tqdm

from icd import system_errors
from icd.errors import UserError, printable

# Packages that a plain `pip install -e .` does not install.
_EXTRAS = {'mxnet': "pip install -e '.[cpu]' for the CPU, '.[cu117]' for GPUs"}
# What the dynamic linker says of a library: of the one that is missing, then why.
_LIBRARY = re.compile(r'[^ :]*\.(?:so|dylib|dll)[0-9.]*: .*', re.DOTALL)
_LIBRARIES = {'libGL.so': 'install it (Debian: apt-get install libgl1), or opencv-python-headless in place of '
                          'opencv-python'}
_NO_THREAD = re.compile("can't start new thread|Resource temporarily unavailable")
PATIENCE = 2.               # seconds that are no reason for a bar


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


def patient_progress(iterable: Iterable, desc: str, total: int | None = None, unit: str = 'image') -> tqdm:
    """`progress` of what is mostly done in an instant: the bar shows when two seconds have passed, and is no part of
    what a stage is expected to take."""
    return tqdm(iterable, total=total, desc=desc, unit=unit, dynamic_ncols=True, delay=PATIENCE, leave=False,
                mininterval=.2 if sys.stderr.isatty() else 30)


def say_written(*paths: str | None):
    """Print which files a command has written; None is one that was not asked for."""
    for path in filter(None, paths):
        print(f'written: {path}')


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
    except (OSError, ImportError, RuntimeError, UnicodeEncodeError) as error:
        found = system_line(error)
        if found is None or isinstance(error, BrokenPipeError) and error.filename is None:
            raise
        _print_error(found)
        if type(error).__name__ == 'MXNetError':        # threads that could not be started are waited for at exit
            _flush()
            os._exit(2)
        return 2
    return 0


def system_line(error: Exception) -> str | None:
    """What an exception that the system caused means for the user, in a line; None of any other.

    Besides errors that have a code these are libraries that cannot be loaded and threads that cannot be started, for
    which Python and MXNet raise exceptions of several types, and names of files that the locale has no letters for.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return system_errors.line(error)
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding() != 'utf-8':
        return (f'{printable(ascii(error.object))}: the locale has file names in {error.encoding}, which lacks a '
                'letter of this one: set PYTHONUTF8=1')
    library = _LIBRARY.search(str(error))
    if isinstance(error, (OSError, ImportError)) and library:
        remedy = next((remedy for name, remedy in _LIBRARIES.items() if name in library.group()),
                      'install it, or raise the memory limit (ulimit -v)')
        return f'{printable(library.group())}: {remedy}'
    return system_errors.text(errno.EAGAIN) if _NO_THREAD.search(str(error)) else None


def require_opencv():
    """End the process with one line where OpenCV cannot be imported: it needs libraries of a desktop."""
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        found = system_line(error)
        if found is None:
            raise
        _print_error(found)
        raise SystemExit(2) from None


@contextlib.contextmanager
def ornament(what: str):
    """Something for the eye is made, which is no reason to end a run: when it fails, a line says so.

    Parameters
    ----------
    what : str
        What is made, for the line.
    """
    try:
        yield
    except UserError as error:
        log(f'{what} is left out: {error}')
    except Exception as error:
        log(f'{what} is left out: {system_line(error) or printable(f"{type(error).__name__}: {error}")}')


def _program():
    """Name of the command; `python -m` sets it only when the packages around a module are imported."""
    return 'icd' if sys.argv[0] == '-m' else os.path.basename(sys.argv[0])


def _print_error(text):
    try:
        for line in str(text).splitlines():
            print(f'{_program()}: {line}', file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:                                     # standard error goes to a full disk, say
        pass


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
