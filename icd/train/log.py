"""Watching a training: progress bar, log file, table, TensorBoard, profile and the epoch's preview.

Values are read two steps after they were asked for, so the devices always have work while somebody looks.
"""
from __future__ import annotations

import collections
import contextlib
import csv
import datetime
import os
import time
from dataclasses import dataclass

import numpy as np

from icd import console, files
from icd.errors import UserError
from icd.mxnet_setup import mx
from icd.train import loss_scaling
from icd.train.checkpoint import Checkpoints, Position
from icd.train.loss_scaling import Scaling
from icd.train.mxnet_profile import Profile
from icd.train.schedule import Schedule
from icd.train.task import Task
from icd.train.trainer import StepResult
from icd.viz import previews

POSITION = ('epoch', 'batch', 'step', 'learning_rate')
TIMING = ('images_per_second', 'seconds_left', 'input_s', 'compute_s', 'update_s')
_TIMES = ('{images_per_second:.1f} images/s, input {input_s:.3f} s, compute {compute_s:.3f} s, '
          'update {update_s:.3f} s, {left} left')
LATE = 2                                # steps whose values are not yet read


@dataclass(frozen=True)
class Watching:
    """What is written beside the log.

    tensorboard : bool
        Events in `SNAPSHOT/tensorboard`.
    profile : bool
        MXNet's profile of ten steps, `SNAPSHOT/profile.json`.
    title : str
        First line of the log of a run: its command line.
    """

    tensorboard: bool = False
    profile: bool = False
    title: str = ''


def columns(figures: tuple) -> tuple:
    """Columns of `log.csv` for a task with these figures."""
    return POSITION + tuple(figures) + TIMING


def preview_folder(folder: str, prefix: str) -> str:
    """Where the epochs' previews are."""
    return os.path.join(folder, prefix + '_visdemo')


class Stopwatch:
    """Seconds the main thread has spent on each of several kinds of work; `clock` gives the time."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._seconds, self._kind, self._since = collections.Counter(), None, None

    def turn_to(self, kind: str | None):
        """From now on time counts for `kind`; None for nothing."""
        now = self._clock()
        if self._kind:
            self._seconds[self._kind] += now - self._since
        self._kind, self._since = kind, now

    def take(self) -> dict:
        """Seconds by kind since the last call."""
        self.turn_to(self._kind)
        seconds, self._seconds = self._seconds, collections.Counter()
        return seconds


class TrainingLog:
    """What a training shows and writes while it runs.

    Of the time of a step, *input* is waiting for images; *compute* is forward and backward, and *update* is adding up
    over devices and SGD, as far as the main thread had to wait for them.

    Parameters
    ----------
    task : Task
        Its figures are columns of the table, its preview is drawn each epoch.
    schedule : Schedule
    start : Position
    checkpoints : Checkpoints
        Their folder and prefix are those of the log's files, too.
    writes : bool
        False on all nodes but the first: these only look whether the numbers are still finite.
    watching : Watching
    scaling : icd.train.loss_scaling.Scaling, optional
        Where the loss scaler starts, if there is one.
    """

    def __init__(self, task: Task, schedule: Schedule, start: Position, checkpoints: Checkpoints, writes: bool = True,
                 watching: Watching = Watching(), scaling: Scaling | None = None):
        self._task, self._schedule, self._start = task, schedule, start
        self._folder, self._prefix, self._writes = checkpoints.folder, checkpoints.prefix, writes
        self._figures = task.figures + (loss_scaling.FIGURES if scaling else ())
        self._line = ', '.join([task.line, *([loss_scaling.LINE] if scaling else []), _TIMES])
        self._columns, self._skipped = columns(self._figures), scaling.skipped if scaling else 0
        self._waiting, self._watch, self._begun = collections.deque(), Stopwatch(), time.monotonic()
        self._files, self._bar, self._rows = contextlib.ExitStack(), None, []
        self._text = self._table = self._events = self._profile = None
        if writes:
            self._open(watching)

    def _open(self, watching):
        os.makedirs(self._folder, exist_ok=True)
        text, table, events, profile = (
            os.path.join(self._folder, name) for name in ('log.txt', 'log.csv', 'tensorboard', 'profile.json'))
        self._text = self._files.enter_context(open(text, 'a', encoding='utf-8'))
        _drop_lines(table, self._columns, self._start.step)
        file = self._files.enter_context(open(table, 'a', encoding='utf-8', newline='', buffering=1))
        self._table = csv.DictWriter(file, self._columns, lineterminator='\n', extrasaction='ignore')
        if watching.tensorboard:
            self._events = self._files.enter_context(tensorboard_writer(events))
        if watching.profile:
            self._profile = self._files.enter_context(Profile(profile, self._schedule.steps - self._start.step))

    def close(self):
        """Close the files, also after an error."""
        if self._bar:
            self._bar.close()
        with files.named(os.path.join(self._folder, 'log.txt')):
            self._files.close()

    def message(self, text: str):
        """A line on the screen, above the bar, and in the log file."""
        if self._writes:
            console.log(text)
            self._write(text)

    def _write(self, text):
        with files.named(self._text.name):
            self._text.write(time.strftime('%Y-%m-%d %H:%M:%S ') + text + '\n')
            self._text.flush()

    def turn_to(self, kind: str):
        """The training turns to 'input', 'compute' or 'update'."""
        self._watch.turn_to(kind)

    def start_epoch(self, epoch: int, batches: int):
        """An epoch begins, of which `batches` are done already."""
        self._rows = []
        if self._writes:
            self._bar = console.progress(total=self._schedule.batches, initial=batches, unit='batch',
                                         desc=f'epoch {epoch + 1} of {self._schedule.epochs}')

    def record(self, position: Position, learning_rate: float, result: StepResult):
        """Take up a step.

        Parameters
        ----------
        position : Position
            Epoch and batch of the step, and the steps done with it.
        learning_rate : float
        result : StepResult
        """
        self._waiting.append((position, learning_rate, result))
        if len(self._waiting) > LATE:
            self._read()
        if self._writes:
            self._bar.update()
        if self._profile:
            self._profile.step()

    def catch_up(self):
        """Read the values of all steps so far; waits for the devices."""
        while self._waiting:
            self._read()

    def _read(self):
        position, learning_rate, result = self._waiting.popleft()
        figures = _combined(self._figures, result.figures)
        self._watch_scaling(position, **{name: figures[name] for name in loss_scaling.FIGURES if name in figures})
        result.forward_backward.wait_to_read()
        self._watch.turn_to('update')
        result.update.wait_to_read()
        self._watch.turn_to('compute')
        if result.finite is not None and not result.finite.asscalar():
            raise _diverged('weights that are not finite')
        if not self._writes or not self._schedule.is_logged(position.batch):
            return
        self._show(dict(position._asdict(), learning_rate=learning_rate, **figures, **self._rates(position.step)))
        self._rows += self._task.preview(result.shown)

    def _watch_scaling(self, position, loss_scale=1., skipped_steps=0):
        """Write a line about a skipped step; end a training that has no finite gradients at any scale."""
        if loss_scale < loss_scaling.LEAST:
            raise _diverged(f'gradients that are not finite, down to a loss scale of {loss_scale:g}')
        if skipped_steps > self._skipped and self._writes:
            self._write(f'epoch {position.epoch} batch {position.batch}: skipped, for gradients that are not finite; '
                        f'loss scale {loss_scale:g}')
        self._skipped = skipped_steps

    def _rates(self, step):
        spent, steps = self._watch.take(), self._schedule.log_every
        left = (time.monotonic() - self._begun) / (step - self._start.step) * (self._schedule.steps - step)
        rates = {kind + '_s': spent[kind] / steps for kind in ('input', 'compute', 'update')}
        return dict(rates, images_per_second=steps * self._schedule.batch / max(sum(spent.values()), 1e-9),
                    seconds_left=left, left=str(datetime.timedelta(seconds=round(left))))

    def _show(self, row):
        with files.named(os.path.join(self._folder, 'log.csv')):
            self._table.writerow({key: f'{value:.7g}' if isinstance(value, float) else value
                                  for key, value in row.items()})
        self._write(f"epoch {row['epoch']} batch {row['batch']}: " + self._line.format(**row))
        self._bar.set_postfix_str((self._task.bar + ', {images_per_second:.1f} images/s, {left} left in all').format(
            **row))
        if self._events:
            with console.ornament('what TensorBoard shows'):
                for key in self._columns[POSITION.index('learning_rate'):]:
                    self._events.add_scalar(key, row[key], row['step'])

    def end_epoch(self, epoch: int):
        """All steps of an epoch are done: its preview is written."""
        self.catch_up()
        self._watch.turn_to(None)
        if not self._writes:
            return
        self._bar.close()
        if self._rows:
            path = os.path.join(preview_folder(self._folder, self._prefix), f'{self._prefix}-{epoch:04d}.jpg')
            with console.ornament(f'the preview of epoch {epoch + 1}'):
                files.save_image(path, previews.vstack(self._rows))


def _combined(names, parts):
    """Figures of a step from those of its parts, which are of one size; `UserError` unless all are finite."""
    figures = {}
    for name in names:
        values = [np.asarray(v.asnumpy() if isinstance(v, mx.nd.NDArray) else v, np.float64)
                  for v in (part[name] for part in parts)]
        ending = name.rpartition('_')[2]
        figures[name] = float(min(map(np.min, values)) if ending == 'min' else max(map(np.max, values))
                              if ending == 'max' else np.mean([v.mean() for v in values]))
    broken = [f'{name} {value:g}' for name, value in figures.items() if not np.isfinite(value)]
    if broken:
        raise _diverged(', '.join(broken))
    return figures


def _diverged(what):
    return UserError(f'training diverged ({what})', remedy='give a smaller --learning-rate')


def _drop_lines(path, names, step):
    """Leave in the table only lines of steps up to `step`, as the others will be done again, and none of a table with
    other columns."""
    kept = [','.join(names)]
    with contextlib.suppress(FileNotFoundError):
        with files.named(path), open(path, encoding='utf-8', errors='replace') as file:
            header, *lines = file.read().splitlines() or ['']
        for line in lines if header == kept[0] else ():
            cells = line.split(',')
            done = cells[names.index('step')] if len(cells) == len(names) else ''
            if done.isdigit() and int(done) <= step:
                kept.append(line)
    with files.write_atomic(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write('\n'.join(kept) + '\n')


def tensorboard_writer(folder: str):
    """A writer of TensorBoard events; a context manager.

    Raises
    ------
    UserError
        When the package that writes them is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError('needs the package tensorboardX', '--tensorboard', 'pip install tensorboardX') from None
    return SummaryWriter(folder)
