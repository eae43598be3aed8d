"""Start the processes of a distributed training, or the shards of another stage, on one machine: `icd-launch`.

`icd-launch --workers 2 --servers 1 -- OPTIONS` runs `icd-run --kvstore dist_sync OPTIONS`, with `--segment` before the
two dashes `icd-segment train` with these: scheduler, servers and workers, all with the same command line.
`icd-launch --shards 4 -- COMMAND` runs `COMMAND --shard 1/4` and so on at the same time, then `COMMAND`. When a process
fails, the others are ended.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time

from icd import console
from icd.errors import UserError

COMMAND = 'import sys; from icd import commands; sys.argv[0] = "icd-run"; sys.exit(commands.run())'
SEGMENT = 'import sys; from icd import commands; sys.argv[0] = "icd-segment"; sys.exit(commands.segment())'
PATIENCE = 10.          # seconds a process gets to end by itself


def start(roles: list, command: list, environment: dict) -> list:
    """Start processes.

    Parameters
    ----------
    roles : list of str
        'scheduler', 'server' or 'worker', one a process.
    command : list of str
    environment : dict of str to str
        Of all processes, beside MXNet's variables.

    Returns
    -------
    list of subprocess.Popen
    """
    common = dict(environment, DMLC_PS_ROOT_URI='127.0.0.1', DMLC_PS_ROOT_PORT=str(free_ports()),
                  DMLC_NUM_WORKER=str(roles.count('worker')), DMLC_NUM_SERVER=str(roles.count('server')))
    return [subprocess.Popen(command, env=dict(common, DMLC_ROLE=role)) for role in roles]


def free_ports() -> int:
    """The first of two free ports in a row: the scheduler's, and that of the watch."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(('127.0.0.1', 0))
            with contextlib.suppress(OSError, OverflowError):
                second.bind(('127.0.0.1', first.getsockname()[1] + 1))
                return first.getsockname()[1]


def wait(processes: list, patience: float = PATIENCE) -> int:
    """Wait until all processes have ended, or one has failed; end the rest.

    Parameters
    ----------
    processes : list of subprocess.Popen
    patience : float
        Seconds a process gets to end by itself.

    Returns
    -------
    int
        The exit code of the first that failed, else 0.
    """
    failed = first_failed(processes, patience)
    return failed.returncode if failed else 0


def first_failed(processes: list, patience: float = PATIENCE) -> subprocess.Popen | None:
    """As `wait`: the first process that failed, or None."""
    try:
        while True:
            codes = [process.poll() for process in processes]
            failed = [process for process, code in zip(processes, codes) if code]
            if failed or None not in codes:
                return failed[0] if failed else None
            time.sleep(.1)
    except BaseException:
        end(processes, patience, (subprocess.Popen.terminate, subprocess.Popen.kill))
        raise
    finally:
        end(processes, patience)


def run_shards(command: list, count: int) -> int:
    """Run the shards of a command at the same time, then the command without `--shard`, and without `--force`.

    A line names the first shard that failed, below what it says itself; the others are ended and keep what they made.

    Parameters
    ----------
    command : list of str
    count : int
        Shards.

    Returns
    -------
    int
        The exit code of the first process that failed, else 0.

    Raises
    ------
    UserError
        When there is no command, or it cannot be started.
    """
    if not command:
        raise UserError('the command is missing', f'--shards {count}', 'give it behind -- as you would type it')
    shards = [_start([*command, '--shard', f'{number}/{count}']) for number in range(1, count + 1)]
    failed = first_failed(shards)
    if failed is None:
        return wait([_start([word for word in command if word != '--force'])])
    console.log(f'icd-launch: shard {shards.index(failed) + 1} of {count} {_ending(failed.returncode)}: the others '
                'were ended; run the same command again, what was finished is kept')
    return failed.returncode


def _start(command):
    try:
        return subprocess.Popen(command)
    except (FileNotFoundError, PermissionError):
        raise UserError('no such command', command[0], 'give it behind -- as you would type it') from None


def _ending(code):
    return f'ended with exit code {code}' if code > 0 else f'was killed by signal {-code}'


def end(processes: list, patience: float = PATIENCE,
        ways=(subprocess.Popen.poll, subprocess.Popen.terminate, subprocess.Popen.kill)):
    """End processes: after a failure each ends by itself in a moment, with its reason; then they are made to."""
    for stop in ways:
        for process in processes:
            if process.poll() is None:
                stop(process)
        limit = time.monotonic() + patience
        while time.monotonic() < limit and any(process.poll() is None for process in processes):
            time.sleep(.1)


def _train(given, arguments):
    if '--kvstore' not in arguments:
        arguments = ['--kvstore', 'dist_sync'] + arguments
    roles = ['scheduler'] + ['server'] * given.servers + ['worker'] * given.workers
    command = [SEGMENT, 'train'] if given.segment else [COMMAND]
    return wait(start(roles, [sys.executable, '-c', *command, *arguments], os.environ))


def main(arguments):
    """Start a distributed training, or the shards of another stage, as processes on this machine."""
    parser = console.ArgumentParser('icd-launch', description=main.__doc__, usage='icd-launch (--shards N -- COMMAND | '
                                    '[--workers N] [--servers N] [--segment] -- OPTIONS)')
    parser.add_argument('--shards', type=int, metavar='N', help='run COMMAND --shard 1/N to N/N at the same time, then '
                        'COMMAND; one that does not train')
    parser.add_argument('--workers', type=int, metavar='N', default=2, help='processes that train (default: 2)')
    parser.add_argument('--servers', type=int, metavar='N', default=1, help='processes that add up (default: 1)')
    parser.add_argument('--segment', action='store_true', help='train a segmentation network, not ICD')
    parser.add_argument('options', nargs=argparse.REMAINDER, metavar='-- OPTIONS',
                        help='of icd-run, or of icd-segment train; with --shards the whole command')
    given = parser.parse_args(arguments)
    if given.workers < 1 or given.servers < 1 or given.shards is not None and given.shards < 1:
        raise UserError('at least one of each is needed', '--workers, --servers and --shards')
    options = given.options[1:] if given.options[:1] == ['--'] else given.options
    code = run_shards(options, given.shards) if given.shards else _train(given, options)
    if code:
        raise SystemExit(code if code > 0 else 2)
