"""Watching a training: progress bar, log file, table, TensorBoard, profile and the epoch's demo sheet.

Values are read two steps after they were asked for, so the devices always have work while somebody looks.
"""
import collections
import contextlib
import csv
import datetime
import os
import time

import numpy as np

from icd import console, files
from icd.errors import UserError
from icd.viz import previews
from icd.mxnet_setup import mx

COLUMNS = ('epoch', 'batch', 'step', 'learning_rate', 'warm_up', 'loss', 'ranking', 'score_min', 'score_max',
           'state_min', 'state_max', 'flipped', 'images_per_second', 'seconds_left', 'input_s', 'compute_s', 'update_s')
_LINE = ('epoch %(epoch)d batch %(batch)d: loss %(loss).4f, ranking %(ranking).4f, score %(score_min).3f to '
         '%(score_max).3f, flipped %(flipped).2f, %(images_per_second).1f images/s, input %(input_s).3f s, compute '
         '%(compute_s).3f s, update %(update_s).3f s, %(left)s left')
LATE = 2                                # steps whose values are not yet read
_SHEET_IMAGES, _SHEET_LABELS = 2, 2     # a log step shows this many images with at most this many labels
PROFILED = 10                           # steps of a profile, after as many that are not


class Stopwatch:
    """Seconds the main thread has spent on each of several kinds of work."""

    def __init__(self):
        self._seconds, self._kind, self._since = collections.Counter(), None, None

    def turn_to(self, kind):
        """From now on time counts for `kind`; None for nothing."""
        now = time.monotonic()
        if self._kind:
            self._seconds[self._kind] += now - self._since
        self._kind, self._since = kind, now

    def take(self):
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
    options : Options
    schedule : icd.train.schedule.Schedule
    start : icd.train.checkpoint.Position
    writes : bool
        False on all machines but the first: these only look whether the numbers are still finite.
    """

    def __init__(self, options, schedule, start, writes):
        self._options, self._schedule, self._writes = options, schedule, writes
        self._waiting, self._watch = collections.deque(), Stopwatch()
        self._begun, self._start = time.monotonic(), start
        self._files, self._bar, self._rows = contextlib.ExitStack(), None, []
        self._text = self._table = self._events = self._profile = None
        if writes:
            self._open(options.snapshot)

    def _open(self, folder):
        os.makedirs(folder, exist_ok=True)
        self._text = self._files.enter_context(open(os.path.join(folder, 'log.txt'), 'a', encoding='utf-8'))
        path = os.path.join(folder, 'log.csv')
        _drop_lines(path, self._start.step)
        table = self._files.enter_context(open(path, 'a', encoding='utf-8', newline='', buffering=1))
        self._table = csv.DictWriter(table, COLUMNS, lineterminator='\n', extrasaction='ignore')
        if self._options.tensorboard:
            self._events = self._files.enter_context(tensorboard_writer(os.path.join(folder, 'tensorboard')))
        if self._options.profile:
            self._profile = self._files.enter_context(
                Profile(os.path.join(folder, 'profile.json'), self._schedule.steps - self._start.step))

    def close(self):
        """Close the files, also after an error."""
        if self._bar:
            self._bar.close()
        self._files.close()

    def say(self, text):
        """A line on the screen, above the bar, and in the log file."""
        if self._writes:
            console.log(text)
            self._write(text)

    def _write(self, text):
        self._text.write(time.strftime('%Y-%m-%d %H:%M:%S ') + text + '\n')
        self._text.flush()

    def turn_to(self, kind):
        """The training turns to 'input', 'compute' or 'update'."""
        self._watch.turn_to(kind)

    def start_epoch(self, epoch, batches):
        """An epoch begins, of which `batches` are done already."""
        self._rows = []
        if self._writes:
            self._bar = console.progress(total=self._schedule.batches, initial=batches, unit='batch',
                                 desc='epoch %d of %d' % (epoch + 1, self._schedule.epochs))

    def note(self, position, learning_rate, warm_up, done):
        """Take up a step.

        Parameters
        ----------
        position : icd.train.checkpoint.Position
            Epoch and batch of the step, and the steps done with it.
        learning_rate, warm_up : float
        done : icd.train.trainer.Done
        """
        self._waiting.append((position, learning_rate, warm_up, done))
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
        position, learning_rate, warm_up, done = self._waiting.popleft()
        line = _figures([part.losses for part in done.parts])
        done.forward_backward.wait_to_read()
        self._watch.turn_to('update')
        done.update.wait_to_read()
        self._watch.turn_to('compute')
        if not self._writes or (position.batch + 1) % self._schedule.log_every:
            return
        state = done.state.asnumpy()
        line.update(position._asdict(), learning_rate=learning_rate, warm_up=warm_up, state_min=state.min(),
                    state_max=state.max(), flipped=(state[:, 0] < state[:, 1]).mean(), **self._rates(position.step))
        self._show(line)
        self._rows += _sheet_rows(done.parts[0])

    def _rates(self, step):
        spent, steps = self._watch.take(), self._schedule.log_every
        left = (time.monotonic() - self._begun) / (step - self._start.step) * (self._schedule.steps - step)
        rates = {kind + '_s': spent[kind] / steps for kind in ('input', 'compute', 'update')}
        return dict(rates, images_per_second=steps * self._schedule.batch / max(sum(spent.values()), 1e-9),
                    seconds_left=left, left=str(datetime.timedelta(seconds=round(left))))

    def _show(self, line):
        self._table.writerow({key: '%.7g' % value if isinstance(value, (float, np.floating)) else value
                              for key, value in line.items()})
        self._write(_LINE % line)
        self._bar.set_postfix_str('loss %(loss).3f, ranking %(ranking).3f, %(images_per_second).1f images/s, %(left)s '
                                  'left in all' % line)
        if self._events:
            for key in COLUMNS[3:]:
                self._events.add_scalar(key, line[key], line['step'])

    def end_epoch(self, epoch):
        """All steps of an epoch are done: its sheet is written."""
        self.catch_up()
        self._watch.turn_to(None)
        if not self._writes:
            return
        self._bar.close()
        if self._rows:
            files.save_image(os.path.join(sheet_folder(self._options), '%s-%04d.jpg' % (self._options.model, epoch)),
                       previews.vstack(self._rows))


def sheet_folder(options):
    """Where the epochs' demo sheets are."""
    return os.path.join(options.snapshot, options.model + '_visdemo')


def _figures(losses):
    """Figures of a step from those of its parts, which are of one size."""
    def read(name):
        return np.array([float(getattr(loss, name).asscalar()) for loss in losses])
    figures = {'loss': read('cam_loss').mean(), 'ranking': read('ranking_accuracy').mean(),
               'score_min': read('score_min').min(), 'score_max': read('score_max').max()}
    if not all(map(np.isfinite, figures.values())):
        raise UserError('training diverged (loss %(loss)g, score %(score_min)g to %(score_max)g)' % figures,
                        remedy='give a smaller --learning-rate')
    return figures


def _sheet_rows(part):
    """Rows of the epoch's sheet: image, calibrated bottom-up and top-down score, a row a label."""
    labels = part.labels.asnumpy()
    shown = [i for i in range(len(labels)) if 0 < labels[i].sum() <= _SHEET_LABELS][:_SHEET_IMAGES]
    rows = []
    for i in shown:
        image = np.ascontiguousarray(part.images[i].asnumpy().transpose(1, 2, 0)[..., ::-1])
        calibrated, top_down = part.losses.calibrated[i].asnumpy(), part.top_down[i].asnumpy()
        rows += [previews.row(image, [calibrated[c], top_down[c]]) for c in np.flatnonzero(labels[i])]
    return rows


def _drop_lines(path, step):
    """Leave in the table only lines of steps up to `step`: the others will be done again."""
    kept = [','.join(COLUMNS)]
    with contextlib.suppress(FileNotFoundError):
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in file.read().splitlines()[1:]:
                cells = line.split(',')
                done = cells[COLUMNS.index('step')] if len(cells) == len(COLUMNS) else ''
                if done.isdigit() and int(done) <= step:
                    kept.append(line)
    with files.write_atomic(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write('\n'.join(kept) + '\n')


def tensorboard_writer(folder):
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


class Profile:
    """MXNet's profile of ten steps, once the first ten are over; a context manager.

    Parameters
    ----------
    path : str
        File for chrome://tracing.
    steps : int
        Steps the training will do; when they are few, the last ones are profiled.
    """

    def __init__(self, path, steps):
        self._path, self._done = path, 0
        self._first = max(0, min(PROFILED, steps - PROFILED))
        self._last = min(self._first + PROFILED, steps)

    def __enter__(self):
        self._file = contextlib.ExitStack()
        self._turn()
        return self

    def step(self):
        """A step was given to the devices."""
        self._done += 1
        self._turn()

    def _turn(self):
        if self._done == self._first < self._last:
            mx.nd.waitall()
            partial = self._file.enter_context(files.write_atomic(self._path))
            mx.profiler.set_config(profile_symbolic=True, profile_imperative=True, profile_memory=False,
                                   profile_api=False, filename=partial)
            mx.profiler.set_state('run')
        elif self._done == self._last > self._first:
            mx.nd.waitall()
            mx.profiler.set_state('stop')
            mx.profiler.dump()
            self._file.close()

    def __exit__(self, *error):
        return self._file.__exit__(*error)
