"""Stages in processes of their own: on GPUs, where a process should not fork once it has computed.

CUDA's state does not survive a fork, and memory of a GPU is only sure to be free when the process that took it has
ended. On the CPU stages run one after the other in the same process.
"""
from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import shlex
import subprocess
import sys
from typing import Any, Callable

from icd import cli
from icd.train import launch

_COMMAND = 'import sys; from icd import commands; sys.argv[0] = {1!r}; sys.exit(commands.start({0!r}))'


def needed(gpus: str | None) -> bool:
    """Whether any of the devices that `--gpus` names is a GPU."""
    from icd import mxnet_setup
    return any(device.device_type == 'gpu' for device in mxnet_setup.devices(gpus))


def run(module: str, arguments: list):
    """Run a command in a process of its own.

    Parameters
    ----------
    module : str
        It has a function `command`, as every command of the project.
    arguments : list of str

    Raises
    ------
    SystemExit
        When it fails, with its exit code: it has said why.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith('DMLC_')}
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
    code = _COMMAND.format(module, os.path.basename(sys.argv[0]))
    code = launch.wait([subprocess.Popen([sys.executable, '-c', code, *arguments], env=environment)])
    if code:
        raise SystemExit(code if code > 0 else 2)


def stage(module: str, groups: dict, options: cli.Options, here: Callable, *words: str):
    """Run a stage here; on GPUs in a process of its own.

    Parameters
    ----------
    module : str
        See `run`.
    groups : dict
        Its table of options.
    options : Options
    here : callable
        Runs it here, given `options`.
    words : str
        What comes before the options on the command line.
    """
    if needed(options.gpus):
        run(module, [*words, *shlex.split(cli.command_line(groups, options))])
    else:
        here(options)


def call(function: Callable, *arguments: Any) -> Any:
    """What a function of a module returns, or raises, in a process of its own."""
    context = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(1, context) as process:
        return process.submit(function, *arguments).result()
