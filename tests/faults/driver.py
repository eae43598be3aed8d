"""Runs commands one after another in this process, each with one failing call, and reports what became of them.

Called by `tests/faults/injection.py` with `failing_calls.c` preloaded: JSON of the faults on standard input, a line of
JSON for each on standard output. A command that hangs ends this process by SIGALRM.
"""
import ctypes
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

NAMES = 'open', 'read', 'write', 'fsync', 'rename', 'mkdir', 'fork'
CALLS = {}          # how often the last command called each
LIMIT = 60          # seconds a command may take
RESULTS = r'\.(params|states|npy|png|json)$'
TRAIN = ['--snapshot', 'new', '--num-workers', '1']
# The folder that a stage writes; its command; what redoes its work; what goes on with it.
STAGES = {
    'train': ('new', 'train', [*TRAIN, '--resume', 'no'], [*TRAIN, '--resume', 'auto']),
    'infer': ('snap/results', 'infer', ['--force'], []),
    'seeds': ('snap/results/seeds', 'seeds', ['--force', '--seeds', 'raw'], ['--seeds', 'raw']),
    'merge': ('merged', 'merge', ['--force'], []),
    'evaluate': ('figures', 'evaluate', ['--json', 'figures/a.json'], ['--json', 'figures/a.json']),
    'superpixels': ('maps', None, ['--force'], []),
}


def results(root):
    """Contents of the files of a folder that count, by name, and the names of those that nobody should find."""
    found, left = {}, []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith('.part'):
                left.append(path)
            elif re.search(RESULTS, name) and not re.search('demo|curves', path):
                with open(path, 'rb') as file:
                    found[path] = file.read()
    return found, left


def run(stage, extra, program, fault=None):
    """Exit code and lines of a stage's command; with a fault (call, number, code), that call fails."""
    if stage == 'superpixels':
        environment = dict(os.environ, FAIL_CALL=':'.join(map(str, fault))) if fault else os.environ
        done = subprocess.run([program, 'list.txt', 'images', 'maps', '5', '--threads', '1', *extra], env=environment,
                              capture_output=True, text=True)
        return done.returncode, done.stderr
    from tests.helpers import small_data
    shim, before = ctypes.CDLL(None), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        if fault:
            shim.fail_call(fault[0].encode(), *fault[1:])
        code = small_data.run(STAGES[stage][1], extra)
    except Exception as error:
        code, sys.stderr = -1, io.StringIO(f'Traceback {error!r}')
    finally:
        CALLS.update((name, shim.calls_of(name.encode())) for name in NAMES)
        shim.fail_call(b'', 0, 0)
        printed = sys.stderr
        sys.stdout, sys.stderr = before
    return code, printed.getvalue()


def undisturbed(stage, program):
    """Results of a stage, and how often it calls each function."""
    os.environ['COUNT_CALLS'] = os.path.abspath('counts')
    code, printed = run(stage, STAGES[stage][2], program, ('', 0, 0))
    del os.environ['COUNT_CALLS']
    assert code == 0, printed
    if STAGES[stage][1]:
        calls = {name: CALLS.pop(name) for name in NAMES}
    else:
        with open('counts') as file:
            calls = {name: int(number) for name, number in (line.split() for line in file)}
    return results(STAGES[stage][0])[0], calls


def attempt(stage, program, fault, wanted):
    """Run a stage with a fault, then without: what is to be reported of it."""
    folder, _, redo, again = STAGES[stage]
    if stage in ('superpixels', 'evaluate'):
        shutil.rmtree(folder, ignore_errors=True)
    signal.alarm(LIMIT)
    begin = time.monotonic()
    code, printed = run(stage, redo, program, fault)
    seconds = time.monotonic() - begin
    left = results(folder)[1]
    if code == 0 and results(folder)[0] == wanted:
        equal = True
    else:
        second, said = run(stage, again, program)
        equal = second == 0 and results(folder)[0] == wanted
        printed += '' if equal else f'\n(again: {second} {said})'
    signal.alarm(0)
    return {'code': code, 'printed': printed, 'seconds': seconds, 'left': left, 'equal': equal}


def main():
    """Read the work from standard input."""
    work, found = json.load(sys.stdin), {}
    os.chdir(work['folder'])
    for stage, call, fraction, code in work['faults']:
        if stage not in found:
            found[stage] = undisturbed(stage, work['program'])
            gc.freeze()         # what the stage imported need not be looked at again and again
        wanted, calls = found[stage]
        fault = call, 1 + int(fraction * calls[call]), code
        print(json.dumps([stage, *fault]), end='\t', flush=True)
        print(json.dumps(attempt(stage, work['program'], fault, wanted)), flush=True)


if __name__ == '__main__':
    main()
