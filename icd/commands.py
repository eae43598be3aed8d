"""The commands, as console scripts and the scripts of the original release call them.

A command's code is imported when it is called: what goes wrong meanwhile, Ctrl-C or a package that is missing, ends in
one line, too. `python -m icd.commands NAME` is `icd-NAME` where the console scripts are not installed.
"""
from __future__ import annotations

import functools
import importlib
import os
import signal
import sys


def start(module: str, *first: str) -> int:
    """Run a command of the project.

    Parameters
    ----------
    module : str
        It has a function `main`, which takes a list of arguments.
    *first : str
        Arguments before those of the process.

    Returns
    -------
    int
        Exit code, see `icd.console.run_command`.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        main, run_command = (getattr(importlib.import_module(name), function)
                             for name, function in ((module, 'main'), ('icd.console', 'run_command')))
    except ModuleNotFoundError as error:
        if not error.name or error.name.split('.')[0] == 'icd':
            raise
        _print(f'the package {error.name} is not installed: `make env`, then `. .venv/bin/activate`')
        return 2
    finally:
        signal.signal(signal.SIGINT, before)
    return run_command(main, [*first, *sys.argv[1:]])


def _interrupted(*_):
    """Leave at once: an exception in the middle of an import can come out as another one."""
    _print('interrupted before anything was done')
    os._exit(130)


def _print(message):
    print(f'{os.path.basename(sys.argv[0])}: {message}', file=sys.stderr, flush=True)


pipeline = functools.partial(start, 'icd.steps.pipeline')
run = functools.partial(start, 'icd.steps.run')
superpixel = functools.partial(start, 'icd.steps.merge_superpixels')
seeds = functools.partial(start, 'icd.steps.seeds_command')
evaluate = functools.partial(start, 'icd.steps.evaluate')
audit = functools.partial(start, 'icd.steps.audit')
watch = functools.partial(start, 'icd.steps.watch')
weights = functools.partial(start, 'icd.steps.weights')
labels = functools.partial(start, 'icd.steps.labels')
masks = functools.partial(start, 'icd.steps.masks')
segment = functools.partial(start, 'icd.steps.segment')
deeplab = functools.partial(start, 'icd.steps.segment', 'train')
export = functools.partial(start, 'icd.steps.export_onnx')
doctor = functools.partial(start, 'icd.steps.doctor')
launch = functools.partial(start, 'icd.train.launch')

if __name__ == '__main__':
    command = globals()[sys.argv[1]]
    sys.argv[:2] = ['icd-' + sys.argv[1]]
    sys.exit(command())
