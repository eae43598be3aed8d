"""Faults of the operating system, any errno at any call: which there are, and what becomes of a command."""
import errno
import json
import os
import random
import subprocess
import sys

from tests.faults.driver import NAMES, STAGES
from tests.helpers import PROJECT

FOLDER = os.path.dirname(os.path.abspath(__file__))
# What no call reports of a regular file: Python tries again or takes it for "nothing there yet".
NEVER = {'read': {errno.EAGAIN, errno.EINTR}, 'write': {errno.EAGAIN, errno.EINTR}, 'fork': {errno.EINTR},
         'open': {errno.EINTR}, 'fsync': {errno.EINTR}, 'rename': {errno.EINTR}, 'mkdir': {errno.EINTR}}


def every_fault(stages=tuple(STAGES)):
    """(stage, call, errno) of all combinations; only a training forks."""
    return [(stage, call, code) for stage in stages for call in NAMES for code in sorted(errno.errorcode)
            if code not in NEVER[call] and (call != 'fork' or stage == 'train')]


def sample(count, seed, stages=tuple(STAGES)):
    """Some of `every_fault`, each with the fraction of the calls that are done before."""
    rng, faults = random.Random(seed), every_fault(stages)
    chosen = faults if count >= len(faults) else rng.sample(faults, count)
    return sorted((stage, call, rng.random(), code) for stage, call, code in chosen)


def build(folder):
    """The library that is preloaded."""
    path = os.path.join(str(folder), 'failing_calls.so')
    subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', path, os.path.join(FOLDER, 'failing_calls.c'), '-ldl'],
                   check=True)
    return path


def inject(folder, faults, library, program):
    """Run the commands with these faults in a copy of `small_data`'s folder.

    Yields
    ------
    fault : list
        Stage, call, its number, errno.
    outcome : dict
        See `tests.faults.driver.attempt`; None when the command did not end.
    """
    work = json.dumps({'folder': str(folder), 'faults': faults, 'program': program})
    environment = dict(os.environ, LD_PRELOAD=library, PYTHONPATH=PROJECT)
    with subprocess.Popen([sys.executable, '-m', 'tests.faults.driver'], stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE, env=environment) as process:
        process.stdin.write(work)
        process.stdin.close()
        for line in process.stdout:
            fault, _, outcome = line.partition('\t')
            yield json.loads(fault), json.loads(outcome) if outcome.strip() else None
    assert process.returncode in (0, -14), process.returncode


def wrong(fault, outcome):
    """What is wrong with an outcome, or None."""
    if outcome is None:
        return 'it hung'
    lines = [line for line in outcome['printed'].replace('\r', '\n').splitlines() if line.strip()]
    last = lines[-1] if lines else ''
    if 'Traceback' in outcome['printed'] or outcome['code'] not in ((0, 1, 2) if fault[0] == 'superpixels' else (0, 2)):
        return f"exit code {outcome['code']}: {outcome['printed'][-2000:]}"
    if outcome['code'] == 2 and last.count(': ') < 2 + (fault[1] != 'fork'):          # all but fork name the file
        return f'no line of what is wrong and what to do: {last}'
    if outcome['left']:
        return f"left half-written: {outcome['left']}"
    return None if outcome['equal'] else f"other results: {outcome['printed'][-600:]}"
