"""Training: images, image labels and superpixels to weights."""
from __future__ import annotations

import functools
import json
import os
import zlib

from icd import cli, console, files, parallel
from icd.data.datasets import IcdTrainingSet
from icd.data.inputs import Inputs, check_superpixels
from icd.errors import Problems, UserError
from icd.model import half
from icd.model.icd_net import ICDNet
from icd.model.initial import set_values
from icd.train import head_start, session
from icd.train.checkpoint import Checkpoints
from icd.train.icd_task import IcdTask, warm_up_steps
from icd.train.log import Watching
from icd.train.loop import Saving
from icd.train.margins import Margins
from icd.train.schedule import Schedule
from icd.train.session import Machine, Recipe
from icd.train.task import UNFITTED, Fit
from icd.train.trainer import Sgd
from icd.viz import curves
from icd.weights import load, source_input

# Options that were not there at first, and what they are where they change nothing.
_LATER = {'pretrained_input': None, 'no_sign_calibration': False, 'precision': half.FLOAT32}


def chosen(table: dict, options: cli.Options, later: dict) -> dict:
    """Values of the options of a table that change a training's numbers, by name.

    Those of `later` came later, and are left out where they have these values, which change nothing: a training from
    before can be resumed.
    """
    values = {name: getattr(options, name) for name in cli.names_of(table, changes='train')}
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def settings(options: cli.Options, inputs: Inputs) -> dict:
    """What a resumed run must share with the one it continues: all that changes the numbers.

    Returns
    -------
    dict
        Of JSON values, by the names of options. Files stand as checksums of what they hold.
    """
    values = chosen(cli.RUN, options, _LATER)
    values['num_cls'] = inputs.num_classes
    names = '\n'.join(inputs.names).encode()
    values['data_list'] = f'{zlib.crc32(names):08x}'
    values['annotation_root'] = f'{inputs.labels.checksum():08x}'
    if os.path.isfile(options.pretrained):
        values['pretrained'] = f'{files.checksum(options.pretrained):08x}'
    return json.loads(json.dumps(values))       # as they read back: lists, not tuples


def check(options: cli.Options, inputs: Inputs, problems: Problems, upcoming: tuple = ()) -> int:
    """Record in `problems` what training lacks; see `icd.steps`."""
    if not options.no_superpixel:
        check_superpixels(options.superpixel_root, inputs, problems)
    session.check(_schedule(options, inputs), options.batch_size, _machine(options), problems)
    checkpoints = _saving(options).checkpoints
    try:
        net = ICDNet(inputs.num_classes, options.width)
        if options.begin_epoch:
            load.read_trained(checkpoints.before(options.begin_epoch), net)
        else:
            load.read_pretrained(options.pretrained, net, _source(options))
    except UserError as error:
        problems.add_error(error)
    values = 40e6 * options.width ** 2 + 1e5            # float32 values of a VGG16 with all branches
    return max(0, 2 * 4 * values * (options.num_save + 2) - checkpoints.size())


def plan(options: cli.Options, inputs: Inputs) -> str:
    """What training would do, as text."""
    schedule = _schedule(options, inputs)
    steps = warm_up_steps(schedule.images, schedule.batch)
    return '\n'.join([str(schedule), f'warm-up of the top-down branch: {steps} steps',
                      *([] if options.no_sign_calibration else _margins(options, inputs).before())])


def run(options: cli.Options, inputs: Inputs) -> bool:
    """Train to the last epoch: from the newest checkpoint, from `options.begin_epoch`, or from the pretrained weights.

    Writes into `SNAPSHOT` what `icd.train.session.run` does, `margins.csv` (`icd.train.margins`) and `curves.png`.
    """
    watching = Watching(options.tensorboard, options.profile, cli.command_line(cli.RUN, options))
    first = session.run(_recipe(options, inputs), _saving(options), _machine(options), watching)
    if first:
        with console.ornament('curves.png'):
            curves.draw(os.path.join(options.snapshot, 'log.csv'), os.path.join(options.snapshot, 'curves.png'))
    return first


# ------------------------------------------------------------------------------- options as training takes them
def _schedule(options, inputs):
    return Schedule(options.num_sample or len(inputs.names), options.batch_size * options.accumulate,
                    options.num_epoch, options.learning_rate, options.ramp_epochs, options.log_frequency)


def _saving(options):
    return Saving(Checkpoints(options.snapshot, options.model), options.checkpoint_every, options.num_save,
                  options.begin_epoch, options.resume == 'auto')


def _machine(options):
    return Machine(options.gpus, options.kvstore, parallel.number_of_readers(options.num_workers), options.precision)


def _recipe(options, inputs):
    dataset = functools.partial(_dataset, options, inputs, options.cache)
    return Recipe(dataset, functools.partial(_task, options, inputs), _schedule(options, inputs), options.batch_size,
                  options.accumulate, options.seed, Sgd(clip_gradient=options.clip_gradient),
                  settings(options, inputs))


def _dataset(options, inputs, cache):
    return IcdTrainingSet(
        inputs.names, inputs.labels, options.image_root, None if options.no_superpixel else options.superpixel_root,
        options.image_size, options.seed, scale='scale' in options.augment, mirror='mirror' in options.augment,
        cache=cache)


def _margins(options, inputs):
    return Margins(os.path.join(options.snapshot, 'margins.csv'), inputs.class_names, inputs.labels, options.num_epoch)


def _source(options):
    return source_input.parse(options.pretrained_input) if options.pretrained_input else None


def _network(options, inputs, precision):
    net = ICDNet(inputs.num_classes, options.width, freeze_bn=options.freeze_bn, precision=precision)
    for parameter in net.layers.backbone.collect_params().values():
        parameter.lr_mult = options.backbone_lr
        if not options.backbone_lr:
            parameter.grad_req = 'null'         # no gradients, which halves the time of a step
    return net


def _task(options, inputs, devices, path):
    """The network on its devices, from the checkpoint `path` or pretrained, and how it is trained."""
    net, notes, fit = _network(options, inputs, options.precision), [f'weights from {path}'], UNFITTED
    if path:
        load.load_trained(path, net, devices)
    else:
        notes, fit = _begin(options, inputs, devices, net)
    schedule, margins = _schedule(options, inputs), _margins(options, inputs)
    steps = warm_up_steps(schedule.images, schedule.batch)
    if options.no_sign_calibration:
        return IcdTask(net, steps, options.no_superpixel, options.sync_bn, notes, fit, calibrated=False)
    return IcdTask(net, steps, options.no_superpixel, options.sync_bn, notes + margins.before(), fit, margins)


def _begin(options, inputs, devices, net):
    """Give the network the values that a training begins with; notes for the log, and the fit."""
    # What is learned before the first step has no loss scaler, and is the same in every precision.
    first = net if options.precision == half.FLOAT32 else _network(options, inputs, half.FLOAT32)
    start = load.load_pretrained(options.pretrained, first, options.seed, devices, _source(options))
    notes, fit = [start.description], UNFITTED
    if start.values and 'fc6_weight' not in start.values:
        lines, factors = head_start.from_convolutions(first, start.values, _dataset(options, inputs, 'none'),
                                                      inputs.labels, options.seed)
        notes, fit = notes + lines, Fit(tuple(start.values), factors)
    if first is not net:
        set_values(net, {name: p.list_data()[0].asnumpy() for name, p in first.collect_params().items()}, devices)
    return notes, fit
