"""What a training's folder shows while the training writes there: curves, position, time left, last lines."""
from __future__ import annotations

import functools
import glob
import json
import math
import os
import re

import numpy as np

from icd import files
from icd.errors import UserError
from icd.viz import curves

LOG_LINES = 12              # last ones of log.txt that are shown
_POINTS = 300               # of a curve; a longer log is averaged to so many
_START = re.compile(r'from epoch \d+, batch \d+(?:, of (\d+) epochs of (\d+) batches)?$')
_CHECKPOINT = re.compile(r'(?!.*-resume-).+-(\d{4,})\.params$')
_READ_AT_MOST = 4 << 20     # bytes of log.txt, from its end
_LOGS_KEPT = 32             # read and drawn once, until they change


def state(folder: str, now: float) -> dict:
    """What is to be seen of a training.

    Parameters
    ----------
    folder : str
        With a `log.txt` or `log.csv`, or neither yet.
    now : float
        Seconds since 1970.

    Returns
    -------
    dict
        JSON values. `network` ('' for ICD); `held`: whether a run holds the folder; `wrote`: when the log last grew,
        None before; `command`: options of the newest run; `epoch` (from 1), `epochs`, `step`, `steps`: position, None
        where unknown; `seconds_left`, None unless a run goes on; `last`: values of the newest line of the table by
        column; `panels`: see `_drawn`; `starts`: steps at which epochs begin; `log`: the last lines of `log.txt`.
    """
    text, table = (os.path.join(folder, name) for name in ('log.txt', 'log.csv'))
    held = files.is_held(folder)
    command, epochs, batches, lines = _read_text(text, changed(text))
    drawn = _drawn(table, changed(table))
    last, wrote = drawn['last'], max(filter(None, (_when(text), _when(table))), default=None)
    step, steps = last.get('step'), epochs * batches if epochs else None
    if steps:           # the last steps of an epoch may have no line, but a checkpoint ends it
        step = min(steps, max(int(step or 0), (_newest_epoch(folder) + 1) * batches))
    left = last.get('seconds_left')
    if not held or left is None or (steps and step >= steps):
        left = None
    else:
        left = max(0., left - max(0., now - (_when(table) or now)))
    epoch = last.get('epoch')
    return {'network': _network(folder), 'held': held, 'wrote': wrote, 'command': command,
            'epoch': None if epoch is None else int(epoch) + 1, 'epochs': epochs,
            'step': None if step is None else int(step), 'steps': steps, 'seconds_left': left,
            'last': last, 'panels': drawn['panels'], 'starts': drawn['starts'], 'log': lines}


def changed(path: str) -> tuple:
    """What differs when a file was written to: its time and size; (0, 0) when it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _when(path):
    """When a file was last written, seconds since 1970; None when there is none."""
    return changed(path)[0] / 1e9 or None


@functools.lru_cache(maxsize=_LOGS_KEPT)
def _read_text(path, _):
    """Options and length of the newest run in a `log.txt`, and its last lines: (str, epochs, batches, list)."""
    try:
        with open(path, 'rb') as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_AT_MOST))
            lines = file.read().decode('utf-8', 'replace').splitlines()
    except OSError:
        return '', None, None, ()
    for number in range(len(lines) - 1, -1, -1):
        start = _START.search(lines[number])
        if start:
            # The line before has the options, behind a date and a time.
            command = lines[number - 1].split(' ', 2)[-1] if number else ''
            epochs, batches = (part and int(part) for part in start.groups())
            return command, epochs, batches, tuple(lines[-LOG_LINES:])
    return '', None, None, tuple(lines[-LOG_LINES:])


@functools.lru_cache(maxsize=_LOGS_KEPT)
def _drawn(path, _):
    """Curves of a `log.csv`.

    Returns
    -------
    dict
        `panels`: dicts of `title` and `lines`, which are dicts of `name`, `steps`, `values` and, where they are means
        of several lines of the log, `low` and `high`; lists of at most 300 numbers or None. `starts`: list. `last`:
        dict of float, the newest line.
    """
    try:
        values = curves.read(path)
    except (UserError, OSError):
        values = {}
    if not values or not len(values['step']):
        return {'panels': [], 'starts': [], 'last': {}}
    panels = []
    for title, names in curves.panels(list(values)).items():
        lines = [_line(name, values['step'], values[name]) for name in names if np.isfinite(values[name]).any()]
        if lines:
            panels.append({'title': title, 'lines': lines})
    starts = curves.epoch_starts(values)
    return {'panels': panels, 'starts': _listed(starts) if len(starts) < _POINTS else [],
            'last': {name: float(column[-1]) for name, column in values.items() if name and math.isfinite(column[-1])}}


def _line(name, steps, values):
    found = {'name': name.replace('_', ' ')}
    if len(values) <= _POINTS:
        return dict(found, steps=_listed(steps), values=_listed(values))
    begins = np.linspace(0, len(values), _POINTS, endpoint=False).astype(int)
    known = np.isfinite(values)
    count = np.add.reduceat(known.astype(float), begins)
    mean = np.add.reduceat(np.where(known, values, 0), begins) / np.where(count, count, np.nan)
    return dict(found, steps=_listed(np.maximum.reduceat(steps, begins)), values=_listed(mean),
                low=_listed(np.minimum.reduceat(np.where(known, values, np.inf), begins)),
                high=_listed(np.maximum.reduceat(np.where(known, values, -np.inf), begins)))


def _listed(values):
    """Numbers as JSON has them: seven digits, None for what is none."""
    return [float(f'{value:.7g}') if math.isfinite(value) else None for value in values]


def _newest_epoch(folder):
    """The newest epoch with a checkpoint, from 0; -1 before the first."""
    try:
        found = [_CHECKPOINT.match(name) for name in os.listdir(folder)]
    except OSError:
        return -1
    return max((int(each.group(1)) for each in found if each), default=-1)


def _network(folder):
    """Name of the segmentation network that is trained here, as `PREFIX.json` has it; empty for ICD."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), '*.json'))):
        try:
            with open(path, encoding='utf-8') as file:
                found = json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and 'class_names' in found and isinstance(found.get('network'), str):
            return found['network']
    return ''
