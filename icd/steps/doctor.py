"""The command `icd-doctor`: does all of it work on this machine?

Every check is a line of a table: what was found, and what to do where something does not hold. The exit code is 0 when
all that is promised for this machine holds, else 1.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, Iterator

import cv2
import numpy as np

from icd import __version__, checks, cli, console, files, gpu
from icd.data import superpixel_map
from icd.doctor import machine, result
from icd.doctor.result import FAILED, NOTE, Failed, Result
from icd.doctor_options import DOCTOR
from icd.errors import Problems

_LONGEST = 600.             # seconds that the checks of a kind may take
_HANGS = 'see what else runs on the machine (nvidia-smi, top), or name other devices by --gpus'
_CHECKS = ('import importlib, sys; from icd import console; sys.exit(console.run_command('
           'lambda arguments: importlib.import_module("icd.doctor.device").main(arguments)))')
_COMMAND = 'import sys; from icd import commands; sys.exit(commands.start("icd.steps.{}"))'
# Of the checks of numbers: no tensor cores, whose convolutions round to 10 bits, and the same bits each time.
_EXACT = {'NVIDIA_TF32_OVERRIDE': '0', **gpu.DETERMINISTIC}
_CLASSES, _IMAGES, _SIDE = ('bright', 'dark'), 8, 72
_INPUTS = '--image-root images --data-list list.txt --pretrained none --width 0.0625 --num-process 1'.split()
_MERGE = [*_INPUTS, *'--superpixel-root raw --save-superpixel-root merged --image-size 73 '
          '--max-superpixel-num 8'.split()]
_RUN = [*_INPUTS, *('--labels labels.csv --class-names classes.txt --superpixel-root merged --snapshot snapshot '
                    '--image-size 65 --infer-size 73 --num-epoch 2 --batch-size 8 --num-workers 1').split()]


# ------------------------------------------------------------------------------------------- what is checked where
def of_machine(folder: str) -> Iterator[tuple[str, str, Callable]]:
    """Checks that need no MXNet: (device, name, check)."""
    yield 'machine', 'software', machine.software
    yield 'machine', 'processors', machine.processors
    yield 'machine', 'memory', machine.memory
    yield 'machine', 'shared memory', machine.shared_memory
    yield 'machine', 'disk', lambda: machine.disk(folder)
    yield 'machine', 'compiled parts', machine.compiled_parts


def of_devices(what: str, gpus: str | None, variables: dict | None = None, code: str = _CHECKS,
               patience: float = _LONGEST) -> Iterator[Result]:
    """Checks in a process of their own (`icd.doctor.device`), whose death is a finding, too.

    Parameters
    ----------
    what, gpus : see `icd.doctor.device.checks`
    variables : dict, optional
        Of its environment.
    code : str
        Python that it runs.
    patience : float
        Seconds after which it is ended.

    Yields
    ------
    Result
    """
    late = []
    with tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as messages:
        process = subprocess.Popen([sys.executable, '-c', code, what, gpus or ''], stdout=subprocess.PIPE,
                                   stderr=messages, encoding='utf-8', env=_environment(variables or {}))
        timer = threading.Timer(patience, lambda: (late.append(True), process.kill()))
        timer.start()
        try:
            for line in process.stdout:
                yield Result(**json.loads(line))
            process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        messages.seek(0)
        last = (messages.read().strip().splitlines() or ['without a message'])[-1]
    if late:
        yield Result('machine', f'all {what}', FAILED, f'no answer in {patience:.0f} s', _HANGS)
    elif process.returncode == 2:
        found, _, remedy = last.partition(': ')[2].rpartition(': ')      # the program's name comes first
        yield Result('machine', f'all {what}', FAILED, found, remedy)
    elif process.returncode:
        yield Result('machine', f'all {what}', FAILED, f'the process ended with exit code {process.returncode}: {last}',
                     result.REPORT)


def _environment(variables):
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path)), **variables}


# ---------------------------------------------------------------------------------------------------- a whole run
def whole_run(gpus: str | None) -> str:
    """Merged superpixels, two epochs of training, scores and seeds of a few drawn images, as commands."""
    with tempfile.TemporaryDirectory() as folder:
        _draw(folder)
        devices = ['--gpus', gpus] if gpus else []
        begun = time.monotonic()
        for command, arguments in (('merge_superpixels', _MERGE), ('run', _RUN)):
            typed = [sys.executable, '-c', _COMMAND.format(command), *arguments, *devices]
            try:
                done = subprocess.run(typed, cwd=folder, env=_environment({}), capture_output=True, encoding='utf-8',
                                      errors='replace', timeout=_LONGEST)
            except subprocess.TimeoutExpired:
                raise Failed(f'{command}: no answer in {_LONGEST:.0f} s', _HANGS) from None
            said = done.stderr.strip().splitlines() or ['without a message']
            if done.returncode:
                raise Failed(f'{command} ended with exit code {done.returncode}: {said[-1]}')
            if 'initialization error' in done.stderr:
                raise Failed(f'{command} worked, but CUDA was used after a fork')
        made = os.listdir(os.path.join(folder, 'snapshot', 'results', 'seeds', 'crf'))
        if len([name for name in made if name.endswith('.png')]) != _IMAGES:
            raise Failed(f'{len(made)} seeds for {_IMAGES} images')
        return f'{_IMAGES} images to seeds in {time.monotonic() - begun:.0f} s'


def _draw(folder):
    """Images of a bright or a dark disc, with labels and raw superpixels."""
    rng, lines = np.random.default_rng(0), []
    for number in range(_IMAGES):
        image = rng.integers(90, 130, (_SIDE, _SIDE + 8 * (number % 2), 3), dtype=np.uint8)
        centre = tuple(int(value) for value in rng.integers(24, 48, 2))
        cv2.circle(image, centre, 16, (230, 230, 230) if number % 2 else (20, 20, 20), cv2.FILLED)
        files.save_image(os.path.join(folder, 'images', f'{number}.png'), image)
        grid = np.arange(_SIDE)[:, None] // 12 * 8 + np.arange(image.shape[1]) // 12
        superpixel_map.write(os.path.join(folder, 'raw', f'{number}.png'), grid.astype(np.int32))
        lines.append(f'{number}.png,{_CLASSES[1 - number % 2]}')
    for name, text in (('labels.csv', ['image,label', *lines]), ('classes.txt', _CLASSES),
                       ('list.txt', map(str, range(_IMAGES)))):
        files.save_bytes(os.path.join(folder, name), '\n'.join(text).encode())


# ------------------------------------------------------------------------------------------------------ the table
def found(options: cli.Options) -> Iterator[Result]:
    """All that is found, one after the other."""
    for check in of_machine(options.folder):
        yield result.run(*check)
    yield from of_devices('numbers', options.gpus, _EXACT)
    console.log('a whole run of a few drawn images: half a minute, mostly')
    yield result.run('machine', 'a whole run', lambda: whole_run(options.gpus))
    if not options.no_speed:
        console.log('speed: some steps of training and inference at full width')
        yield from of_devices('speed', options.gpus)


def line(one: Result) -> str:
    """A result as a line of the table, and one for what to do."""
    text = f'{one.device:10} {one.name:21} {one.state:6} {one.seconds:6.1f} s  {one.found}'
    return text + (f"\n{'':47}-> {one.remedy}" if one.remedy else '')


def run(options: cli.Options) -> list[Result]:
    """Make all checks and print the table.

    Parameters
    ----------
    options : Options
        `icd.doctor_options.DOCTOR`.

    Returns
    -------
    list of Result

    Raises
    ------
    UserError
        When the file for `--json` cannot be written.
    """
    problems = Problems()
    if options.json:
        checks.check_folder(problems, os.path.dirname(options.json) or '.')
    problems.raise_if_any()
    begun, results = time.monotonic(), []
    print(f"{'device':10} {'check':21} {'':6} {'time':>8}  found", flush=True)
    for one in found(options):
        results.append(one)
        print(line(one), flush=True)
    seconds = time.monotonic() - begun
    failed, notes = (sum(one.state == state for one in results) for state in (FAILED, NOTE))
    outcome = f'{failed} failed' if failed else 'all that is promised holds'
    print(f'{len(results)} checks in {seconds:.0f} s: {outcome}' + (f', {notes} notes' if notes else ''))
    if options.json:
        files.save_json(options.json, {
            'icd': __version__, 'versions': machine.versions(), 'ok': not failed, 'seconds': round(seconds, 1),
            'results': [one.as_json() for one in results]})
    return results


def parse(arguments: list) -> cli.Options:
    """Read the command line."""
    return cli.parse(DOCTOR, 'icd-doctor', 'Check that everything works on this machine.', arguments)


def main(arguments: list):
    """Run the command with a list of command-line arguments; `SystemExit` with 1 where something does not hold."""
    if any(one.state == FAILED for one in run(parse(arguments))):
        raise SystemExit(1)
