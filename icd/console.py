"""How a command talks: arguments, progress, log lines, exit codes."""
import argparse
import contextlib
import errno
import os
import signal
import sys

from tqdm import tqdm

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


def progress(iterable=None, total=None, desc=None, unit='image', initial=0):
    """A progress bar on standard error with rate and time left; a line every half minute when that is a file."""
    return tqdm(iterable, total=total, desc=desc, unit=unit, initial=initial, dynamic_ncols=True,
                mininterval=.2 if sys.stderr.isatty() else 30)


def log(text):
    """A line on standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser of which the complaints are `UserError`s: one line each, like those of the rest."""

    def error(self, message):
        raise UserError(f'{message} ({self.prog} --help lists the options)')


def run_command(run, arguments=None):
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
