"""Training: photographs, image labels and superpixels to parameters."""
import collections
import contextlib
import csv
import json
import os
import time

import mxnet as mx
import numpy as np

from icd import options as option_tables
from icd.data.loader import TrainingLoader, TrainingSet
from icd.errors import UserError
from icd.model import params
from icd.model.losses import warm_up
from icd.model.network import STATE, ICDNet
from icd.runtime import clear_partial, devices, number_of_cores, progress, save_image, say, whole_file
from icd.steps import checkpoint, preflight, sheets
from icd.steps.checkpoint import Position
from icd.steps.training_step import TrainingStep, create_kvstore

LOG_COLUMNS = ('epoch', 'batch', 'step', 'learning_rate', 'cam_loss', 'ranking', 'score_min', 'score_max', 'state_min',
               'state_max', 'flipped', 'images_per_second', 'input_s', 'compute_s', 'update_s')
_SHEET_IMAGES, _SHEET_LABELS = 2, 2     # a log step shows this many images with at most this many labels


def learning_rate(options, epoch, batch, batches):
    """Learning rate of a step: constant within an epoch, (1 - epoch / epochs)^0.9 over the epochs, after a ramp.

    Parameters
    ----------
    options : Options
    epoch, batch : int
        From 0.
    batches : int
        Batches an epoch.

    Returns
    -------
    float
    """
    rate = options.learning_rate * (1 - epoch / options.num_epoch) ** .9
    ramp = options.ramp_epochs * batches
    done = epoch * batches + batch
    return rate * (.1 + .9 * done / ramp) if done < ramp else rate


def settings(options, names):
    """What a resumed run must share with the one it continues: all that changes the numbers."""
    words = ('num_cls', 'width', 'no_superpixel', 'freeze_bn', 'sync_bn', 'image_size', 'batch_size', 'accumulate',
             'learning_rate', 'num_epoch', 'num_sample', 'augment', 'backbone_lr', 'clip_gradient', 'ramp_epochs',
             'seed')
    values = {word: getattr(options, word) for word in words}
    values['data_list'] = len(names)
    return json.loads(json.dumps(values))       # as they read back: lists, not tuples


def run(options, inputs=None):
    """Train, from `options.begin_epoch` or with `options.resume` from the newest checkpoint, to the last epoch.

    Writes `SNAPSHOT/MODEL-%04d.params` and `.states`, `log.txt`, `log.csv` and `MODEL_visdemo/`.

    Raises
    ------
    UserError
        When an input is missing or unusable.
    """
    inputs = inputs or preflight.check(options, ('train',))
    contexts = devices(options.gpus)
    kvstore = create_kvstore(options.kvstore, contexts)
    machines, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    if options.batch_size % (machines * len(contexts)):
        raise UserError('--batch-size %d cannot be dealt out evenly to %d devices: give a multiple of it' % (
            options.batch_size, machines * len(contexts)))
    images = TrainingSet(inputs.names, inputs.labels, options.image_root, options.superpixel_root,
                         options.image_size, options.num_cls, options.seed, scale='scale' in options.augment,
                         mirror='mirror' in options.augment, cache=options.cache,
                         superpixels=not options.no_superpixel)
    workers = min(8, number_of_cores()) if options.num_workers is None else options.num_workers
    loader = TrainingLoader(images, options.batch_size * options.accumulate, workers, options.num_sample, rank,
                            machines)
    clear_partial(options.snapshot)
    with contextlib.closing(loader):
        _train(options, loader, contexts, kvstore, settings(options, inputs.names))


def build_network(options, contexts):
    """A network with its starting parameters, and the position, momentum and step they belong to.

    Returns
    -------
    (ICDNet, Position, dict or None)
    """
    net = ICDNet(options.num_cls, options.width, freeze_bn=options.freeze_bn)
    net.initialize(ctx=contexts)
    for parameter in net.backbone.collect_params().values():
        parameter.lr_mult = options.backbone_lr
    if options.begin_epoch:
        name = checkpoint.find_start(options)
        params.load(name, net)
        states = checkpoint.read_states(name)
        return net, Position(options.begin_epoch, 0, None), states and states[1]
    params.load_pretrained(options.pretrained, net, options.seed)
    return net, Position(0, 0, 0), None


def _resume(options, net, wanted):
    """Load the newest whole checkpoint into `net`; None when there is none."""
    found = checkpoint.newest(options)
    if not found:
        return None
    name, header, momentum = found
    different = sorted(key for key in wanted if header['settings'].get(key) != wanted[key])
    if different:
        raise UserError('%s: was trained with another %s: give the same options, or continue from it with '
                        '--begin-epoch' % (name, ', '.join(
                            '--%s (%s)' % (key.replace('_', '-'), header['settings'].get(key))
                            for key in different)))
    params.load(name, net)
    return name, Position(*header['position']), momentum


def _train(options, loader, contexts, kvstore, shared):
    batches = len(loader)
    net, position, momentum = build_network(options, contexts)
    resumed = _resume(options, net, shared) if options.resume else None
    if resumed:
        _, position, momentum = resumed
    if position.step is None:
        position = position._replace(step=position.epoch * batches)
    step = TrainingStep(net, contexts, kvstore, options.accumulate, options.seed, options.no_superpixel,
                        options.sync_bn, options.clip_gradient)
    if momentum:
        step.set_momentum(momentum)
    writes = kvstore is None or kvstore.rank == 0
    log = Log(options, net, batches, position) if writes else Silence()
    log.say(option_tables.command_line(option_tables.RUN, options) or '(default options)')
    log.say('resumed from %s' % resumed[0] if resumed else 'starting at epoch %d' % position.epoch)

    done, number = position.step, position.batch
    for epoch in range(position.epoch, options.num_epoch):
        log.start_epoch(epoch, number)
        source = loader.epoch(epoch, skip=number)
        for number in range(number, batches):
            log.wait_for('input')
            images, labels, superpixels = next(source)[:3]
            log.wait_for('compute')
            rate = learning_rate(options, epoch, number, batches)
            outputs = step(images, labels, superpixels, rate, warm_up(done, 2 * batches), done)
            done += 1
            log.note(epoch, number, done, rate, outputs)
            if options.checkpoint_every and (number + 1) % options.checkpoint_every == 0 and number + 1 < batches:
                if writes:
                    checkpoint.save(checkpoint.path(options, 'resume'), net, step.momentum(),
                                    Position(epoch, number + 1, done), shared)
        number = 0
        log.end_epoch(epoch)
        if writes:
            checkpoint.save(checkpoint.path(options, epoch), net, step.momentum(), Position(epoch + 1, 0, done), shared)
            checkpoint.remove_older(options, epoch)
    log.close()


class Silence:
    """The log of the workers that write nothing."""

    def __getattr__(self, name):
        return lambda *words: None


class Log:
    """Progress bar, log file, CSV and the epoch's demo sheet. Values are read two steps late, never waited for."""

    def __init__(self, options, net, batches, position):
        self._options, self._net, self._batches = options, net, batches
        self._batch_size = options.batch_size * options.accumulate
        self._every = options.log_frequency or max(batches // 20, 5)
        os.makedirs(options.snapshot, exist_ok=True)
        self._text = open(os.path.join(options.snapshot, 'log.txt'), 'a', encoding='utf-8')
        self._table = _open_table(os.path.join(options.snapshot, 'log.csv'), position.step)
        self._waiting = collections.deque()
        self._seconds = collections.Counter()
        self._since = None

    def say(self, text):
        """A line in the log file, and on the screen above the bar."""
        say(text)
        self._text.write(time.strftime('%Y-%m-%d %H:%M:%S ') + text + '\n')
        self._text.flush()

    def start_epoch(self, epoch, done):
        self._rows, self._epoch_start, self._epoch_done = [], time.monotonic(), done
        self._bar = progress(total=self._batches, desc='epoch %d of %d' % (epoch + 1, self._options.num_epoch),
                             unit='batch')
        self._bar.update(done)
        self._since = None

    def wait_for(self, kind):
        """From now on time goes to `kind`: input, compute or update."""
        now = time.monotonic()
        if self._since:
            self._seconds[self._since[0]] += now - self._since[1]
        self._since = kind, now

    def note(self, epoch, batch, step, rate, outputs):
        """Take up a step's outputs; those of two steps before are read now."""
        self._waiting.append((epoch, batch, step, rate, outputs))
        if len(self._waiting) > 2:
            self._read()
        self._bar.update()

    def _read(self):
        epoch, batch, step, rate, outputs = self._waiting.popleft()
        figures = self._figures([o.losses for o in outputs])
        self.wait_for('update')
        if (batch + 1) % self._every:
            return
        spent = self._seconds
        seconds = sum(spent.values()) or 1e-9
        state = self._net.collect_params()[STATE].list_data()[0].asnumpy()
        line = dict(figures, epoch=epoch, batch=batch, step=step, learning_rate=rate,
                    images_per_second=self._every * self._batch_size / seconds,
                    state_min=state.min(), state_max=state.max(), flipped=(state[:, 0] < state[:, 1]).mean(),
                    **{kind + '_s': spent[kind] / self._every for kind in ('input', 'compute', 'update')})
        self._seconds = collections.Counter()
        self._table.writerow(line)
        self._bar.set_postfix_str('loss %(cam_loss).3f, ranking %(ranking).3f' % line)
        self._text.write(time.strftime('%Y-%m-%d %H:%M:%S ') + (
            'epoch %(epoch)d batch %(batch)d: loss %(cam_loss).4f, ranking %(ranking).4f, score %(score_min).3f to '
            '%(score_max).3f, flipped %(flipped).2f, %(images_per_second).1f images/s\n' % line))
        self._text.flush()
        self._rows += _sheet_rows(outputs[0])

    @staticmethod
    def _figures(losses):
        """Figures of a step over its parts."""
        def read(name):
            return np.array([float(getattr(loss, name).asscalar()) for loss in losses])
        figures = {'cam_loss': read('cam_loss').mean(), 'ranking': read('ranking_accuracy').mean(),
                   'score_min': read('score_min').min(), 'score_max': read('score_max').max()}
        if not all(map(np.isfinite, figures.values())):
            raise UserError('training diverged (loss %(cam_loss)g): give a smaller --learning-rate' % figures)
        return figures

    def end_epoch(self, epoch):
        while self._waiting:
            self._read()
        self._bar.close()
        seconds = time.monotonic() - self._epoch_start
        self.say('epoch %d done: %.1f images/s' % (
            epoch, (self._batches - self._epoch_done) * self._batch_size / seconds))
        if self._rows:
            save_image(os.path.join(self._options.snapshot, self._options.model + '_visdemo', '%s-%04d.jpg' % (
                self._options.model, epoch)), sheets.below(self._rows))

    def close(self):
        self._text.close()
        self._table.close()


def _sheet_rows(outputs):
    """Rows of the epoch's sheet: image, calibrated bottom-up and top-down score, a row per label."""
    labels = outputs.labels.asnumpy()
    shown = [i for i in range(len(labels)) if 0 < labels[i].sum() <= _SHEET_LABELS][:_SHEET_IMAGES]
    rows = []
    for i in shown:
        image = np.ascontiguousarray(outputs.images[i].asnumpy().transpose(1, 2, 0)[..., ::-1])
        calibrated, top_down = outputs.losses.calibrated[i].asnumpy(), outputs.top_down[i].asnumpy()
        rows += [sheets.row(image, [calibrated[c], top_down[c]]) for c in np.flatnonzero(labels[i])]
    return rows


class _Table:
    """The CSV of the run, a line a log step."""

    def __init__(self, path):
        self._file = open(path, 'a', encoding='utf-8', newline='')
        self._writer = csv.DictWriter(self._file, LOG_COLUMNS, lineterminator='\n')

    def writerow(self, line):
        self._writer.writerow({key: '%.6g' % value if isinstance(value, float) else value
                               for key, value in line.items()})
        self._file.flush()

    def close(self):
        self._file.close()


def _open_table(path, step):
    """Open the CSV; lines of steps that will be done again are dropped."""
    kept = [','.join(LOG_COLUMNS)]
    with contextlib.suppress(FileNotFoundError):
        with open(path, encoding='utf-8') as file:
            column = LOG_COLUMNS.index('step')
            for line in file.read().splitlines()[1:]:
                cells = line.split(',')
                if len(cells) == len(LOG_COLUMNS) and cells[column].isdigit() and int(cells[column]) <= step:
                    kept.append(line)
    with whole_file(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write('\n'.join(kept) + '\n')
    return _Table(path)
