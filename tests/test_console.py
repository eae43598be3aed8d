"""Errors become one line and an exit code, whatever the output is connected to."""
import errno
import os
import re
import subprocess
import sys

import pytest

from icd import console
from icd.errors import UserError


@pytest.mark.parametrize('raised, code, text', [
    (UserError('empty', 'list.txt', 'give names'), 2, 'list.txt: empty: give names'),
    (UserError('a: wrong\nb: wrong'), 2, 'a: wrong'),
    (KeyboardInterrupt(), 130, 'interrupted: what was finished is kept; run the same command again to continue'),
    (SystemExit(143), 143, 'terminated: what was finished is kept; run the same command again to continue'),
    (OSError(errno.ENOSPC, 'No space left', 'out/a.png'), 2, 'out/a.png: the disk is full'),
    (OSError(errno.EFBIG, 'File too large', 'out/a.png'), 2, 'out/a.png: the file is larger than files may be'),
    (OSError(errno.ESTALE, 'Stale file handle', 'a.jpg'), 2, 'a.jpg: the network file system has lost the file'),
    (OSError(errno.ENFILE, 'Too many open files in system'), 2, 'too many open files on this machine'),
    (PermissionError(errno.EACCES, 'no', '/etc/x'), 2, '/etc/x: permission denied'),
    (OSError(errno.EBUSY, 'busy', '.a.part', None, 'a.png'), 2, 'a.png: another program is using it'),
    (BlockingIOError(errno.EAGAIN, 'no'), 2, 'no more processes or threads can be started'),
    (OSError(errno.ECHILD, 'No child processes', 'a.png'), 2, 'a.png: No child processes: run the same command again'),
    (RuntimeError("can't start new thread"), 2, 'no more processes or threads can be started'),
    (ImportError('libGL.so.1: cannot open shared object file: No such file or directory'), 2,
     'libGL.so.1: cannot open shared object file: No such file or directory: install it (Debian: apt-get install'),
    (OSError('/x/libmxnet.so: failed to map segment from shared object'), 2,
     '/x/libmxnet.so: failed to map segment from shared object: install it, or raise the memory limit'),
    (ModuleNotFoundError("No module named 'mxnet'", name='mxnet'), 2,
     'the package mxnet is not installed: pip install'),
    (MemoryError(), 2, 'out of memory: what was finished is kept')])
def test_errors_caused_by_user_input_are_one_line(capsys, raised, code, text):
    def main(_):
        raise raised
    assert console.run_command(main, []) == code
    printed = capsys.readouterr().err
    assert f'{os.path.basename(sys.argv[0])}: {text}' in printed
    assert printed.count('\n') == 1 + str(raised).count('\n')


@pytest.mark.parametrize('raised', [ZeroDivisionError(), OSError('of a library'), SystemExit(3), RuntimeError('x'),
                                    ModuleNotFoundError("No module named 'icd.typo'", name='icd.typo')])
def test_other_errors_keep_their_traceback(raised):
    def main(_):
        raise raised
    with pytest.raises(type(raised)):
        console.run_command(main, [])


@pytest.mark.parametrize('code', sorted(errno.errorcode))
def test_every_error_of_the_system_is_one_line_that_names_the_file(capsys, code):
    def main(_):
        raise OSError(code, os.strerror(code), 'out/a.png')
    assert console.run_command(main, []) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.fullmatch(r'[^:]+: out/a\.png: [^:]+: .+', lines[0]), lines


def test_an_ornament_that_fails_is_left_out(capsys):
    with console.ornament('the picture'):
        raise OSError(errno.EROFS, 'x', 'a.png')
    with console.ornament('the page'):
        raise ZeroDivisionError('division\nby zero')
    lines = capsys.readouterr().err.splitlines()
    assert lines == ['the picture is left out: a.png: the file system is read-only: choose a folder that can be '
                     'written',
                     'the page is left out: ZeroDivisionError: division by zero']
    for kept in (KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(kept)), console.ornament('the page'):
            raise kept


def test_unusable_arguments_are_a_user_error():
    parser = console.ArgumentParser('icd-x')
    parser.add_argument('--number', type=int)
    with pytest.raises(UserError, match=r"argument --number: invalid int value: 'a' "
                                        r"\(icd-x --help lists the options\)"):
        parser.parse_args(['--number', 'a'])


def run_in_shell(code, tail):
    """Exit code and terminal output of the shell's `python -c ... TAIL`."""
    program = f'import sys; from icd import console\ndef run(_):\n    {code}\nsys.exit(console.run_command(run, []))'
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', '"$0" -c "$1" ' + tail, sys.executable, program],
                          capture_output=True, env=dict(os.environ, PYTHONIOENCODING='ascii'))
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.parametrize('code, tail, expected, text', [
    ('for _ in range(99999): console.log("a line")', '2>&1 | head -1', 141, 'a line'),
    ('for _ in range(99999): print("a line")', '| head -1', 141, 'a line'),
    ('import time; time.sleep(.5); raise console.UserError("wrong")', '2>&1 | true', 141, ''),
    ('console.log("done"); print("out")', '2>&-', 0, 'out'),
    ('print("out"); console.log("done")', '>&-', 0, 'done'),
    ('raise type("MXNetError", (RuntimeError,), {})("Resource temporarily unavailable")', '', 2, 'no more processes'),
    ('print("d\\xf6g")', '', 0, '\\xf6g')])
def test_closed_or_unread_output_ends_with_its_exit_code(code, tail, expected, text):
    returned, shown = run_in_shell(code, tail)
    assert returned == expected and text in shown and 'Traceback' not in shown and 'Error' not in shown


def test_the_bar_of_a_run_follows_those_of_its_stages(capsys):
    overall = console.Overall({'first': 30, 'second': 10})
    seen = []
    with overall.stage('first', 4):
        for _ in console.progress(range(2)):
            pass
        with console.progress(total=2) as bar:
            bar.update(1)
            seen.append(overall._bar.n)
    assert 7.5 <= seen[0] <= 22.5 and overall._bar.n == 30
    with console.progress(total=1) as bar:              # no part of the run
        bar.update()
    with overall.stage('second', 1), console.progress(total=5) as bar:
        bar.update(5)
        assert overall._bar.n == 40
    assert overall._bar.n == 40
    overall.close()
    assert '100%' in capsys.readouterr().err
