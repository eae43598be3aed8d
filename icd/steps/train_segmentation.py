"""Training of a segmentation network: images and seeds to weights."""
from __future__ import annotations

import functools
import json
import math
import os
import zlib
from dataclasses import dataclass

from icd import checks, cli, console, files, gpu, parallel
from icd.data import seed_check, voc
from icd.data.datasets import samples
from icd.data.segmentation_set import SegmentationTrainingSet
from icd.errors import Problems, UserError
from icd.model import data_dependent, deeplab, half
from icd.model.initial import set_values
from icd.model.segmentation_loss import PERIOD
from icd.segment_options import SEGMENT_TRAIN
from icd.steps.train import chosen
from icd.steps.validation import Validation
from icd.train import distributed, session
from icd.train.checkpoint import Checkpoints
from icd.train.log import Watching
from icd.train.loop import Saving
from icd.train.schedule import Schedule
from icd.train.segmentation_task import SegmentationTask
from icd.train.session import Machine, Recipe
from icd.train.task import UNFITTED, Fit
from icd.train.trainer import Sgd
from icd.viz import curves
from icd.weights import load, source_input, trained
from icd.weights.start import read_start, resnet_variant, segmentation_start

_RATES = {'vgg16': 1e-3, 'resnet101': 2.5e-4}
_FILES = {'vgg16': './data/pretrained/vgg16_20M.params', 'resnet101': './data/pretrained/resnet101_v1b.params'}
_PAPER_STEPS, _PAPER_BIAS_RATE = 20000, 2.


@dataclass(frozen=True)
class Inputs:
    """What a training reads.

    names : list of str
    class_names : tuple of str
        Background first.
    seeds : seed_check.MaskCounts
    validation : Validation or None
    """

    names: list
    class_names: tuple
    seeds: seed_check.MaskCounts
    validation: Validation | None


def resolved(options: cli.Options, images: int) -> cli.Options:
    """The options with what recipe and network decide in place of None; `images` of the list."""
    made = cli.Options(**vars(options))
    architecture = options.network.partition('_')[0]
    paper = options.recipe == 'deeplab'

    def default(name, value):
        if getattr(made, name) is None:
            setattr(made, name, value)
    default('pretrained', _FILES[architecture])
    default('learning_rate', _RATES[architecture])
    default('batch_size', 10 if paper else 16)
    steps = max((options.num_sample or images) // (made.batch_size * made.accumulate), 1)
    default('num_epoch', math.ceil(_PAPER_STEPS / steps) if paper else 20)
    default('loss', 'multi-scale' if paper and architecture == 'resnet101' else 'single')
    return made


def read_inputs(options: cli.Options, problems: Problems) -> Inputs | None:
    """Read names, classes and sizes, and look at every seed; None, and problems, when anything is wrong.

    Raises
    ------
    UserError
        When the list or the class names cannot be read.
    """
    class_names = ('background',) + voc.read_class_names(options.class_names)
    names, processes = voc.read_list(options.data_list), options.num_process or parallel.number_of_cores()
    sizes = seed_check.read_sizes(options.image_root, names, problems)
    seeds = seed_check.check_masks('--seed-root', options.seed_root, names, sizes, class_names, processes, problems)
    if seeds is not None:
        seed_check.check_taught(seeds, '--seed-root', options.seed_root, problems)
    validation = _read_validation(options, class_names, processes, problems)
    return None if seeds is None else Inputs(names, class_names, seeds, validation)


def _read_validation(options, class_names, processes, problems):
    if not (options.val_list or options.val_root):
        return None
    if not (options.val_list and options.val_root):
        problems.add('one is nothing without the other', '--val-list and --val-root', 'give both or neither')
        return None
    names = voc.read_list(options.val_list)
    sizes = seed_check.read_sizes(options.image_root, names, problems)
    counts = seed_check.check_masks('--val-root', options.val_root, names, sizes, class_names, processes, problems)
    return counts and Validation(names, sizes, options.image_root, options.val_root, class_names)


def check(options: cli.Options, inputs: Inputs, problems: Problems):
    """Record in `problems` what the training lacks beside its images and seeds."""
    session.check(_schedule(options, inputs), options.batch_size, _machine(options), problems)
    if options.loss == 'multi-scale' and options.image_size % PERIOD != 1:
        below = options.image_size - (options.image_size - 1) % PERIOD
        problems.add('not 32k+1, which the multi-scale loss needs', f'--image-size {options.image_size}',
                     f'use {max(below, PERIOD + 1)} or {below + PERIOD}')
    if options.init_from_icd and not options.network.startswith('vgg16'):
        problems.add('ICD has the convolutions of a VGG16', f'--init-from-icd {options.init_from_icd}',
                     'leave it out, or give a --network on VGG16')
        return
    try:
        net = _network(options, inputs, options.pretrained, _source(options))
        read_start(net, options.pretrained, options.init_from_icd, _source(options))
        values = sum(math.prod(parameter.shape) for parameter in net.collect_params().values())
        present = _saving(options).checkpoints.size()
        checks.check_folder(problems, options.snapshot, max(0, 2 * 4 * values * (options.num_save + 2) - present))
    except UserError as error:
        problems.add_error(error)


def settings(options: cli.Options, inputs: Inputs) -> dict:
    """What a resumed run must share with the one it continues, as `icd.steps.train.settings` gives it for ICD."""
    values = chosen(SEGMENT_TRAIN, options, {'precision': half.FLOAT32})
    values['data_list'] = f"{zlib.crc32(chr(10).join(inputs.names).encode()):08x}"
    values['class_names'] = ','.join(inputs.class_names[1:])
    values['seed_root'] = inputs.seeds.checksum
    for name in ('pretrained', 'init_from_icd'):
        if values[name] and os.path.isfile(values[name]):
            values[name] = f'{files.checksum(values[name]):08x}'
    return json.loads(json.dumps(values))


def plan(options: cli.Options, inputs: Inputs) -> str:
    """What the training would do, as text."""
    return '\n'.join(['options: ' + (cli.command_line(SEGMENT_TRAIN, options) or '(the defaults)'),
                      f'{options.network} on {options.seed_root}, in {options.snapshot}',
                      *inputs.seeds.lines(inputs.class_names), str(_schedule(options, inputs))])


def run(options: cli.Options) -> bool:
    """Check everything, then train to the last epoch, from the newest checkpoint or from pretrained weights.

    Writes into `SNAPSHOT` what `icd.train.session.run` does, `PREFIX.json` (the network, its classes and its width)
    and `curves.png`.

    Parameters
    ----------
    options : Options
        `icd.segment_options.SEGMENT_TRAIN`.

    Returns
    -------
    bool
        Whether this is the first node.

    Raises
    ------
    UserError
        With all that is wrong with the inputs; later, when an image is damaged or the training diverges.
    """
    if options.deterministic:
        gpu.make_deterministic()
    if distributed.serves(options.kvstore):
        distributed.serve(options.kvstore)
        return False
    problems = Problems()
    inputs = read_inputs(options, problems)
    if inputs is None:
        problems.raise_if_any()
    options = resolved(options, len(inputs.names))
    check(options, inputs, problems)
    problems.raise_if_any()
    if options.dry_run:
        print(plan(options, inputs))
        return True
    watching = Watching(options.tensorboard, options.profile, cli.command_line(SEGMENT_TRAIN, options))
    first = session.run(_recipe(options, inputs), _saving(options), _machine(options), watching)
    if first:
        with console.ornament('curves.png'):
            curves.draw(os.path.join(options.snapshot, 'log.csv'), os.path.join(options.snapshot, 'curves.png'))
    return first


def main(arguments: list):
    """Train as the command line asks for."""
    run(cli.parse(SEGMENT_TRAIN, 'icd-segment train', 'Train DeepLab-v2 on seeds.', arguments))


# ------------------------------------------------------------------------------- options as training takes them
def _source(options):
    return source_input.parse(options.pretrained_input) if options.pretrained_input else None


def _network(options, inputs, path, source=None):
    """The network for the weights in a file."""
    return deeplab.create(options.network, len(inputs.class_names), options.width,
                          resnet_variant=resnet_variant(options.network, path, source), precision=options.precision)


def _schedule(options, inputs):
    return Schedule(options.num_sample or len(inputs.names), options.batch_size * options.accumulate,
                    options.num_epoch, options.learning_rate, options.ramp_epochs, options.log_frequency,
                    per_step=options.recipe == 'deeplab')


def _saving(options):
    return Saving(Checkpoints(options.snapshot, options.model), options.checkpoint_every, options.num_save,
                  resume=options.resume == 'auto')


def _machine(options):
    return Machine(options.gpus, options.kvstore, parallel.number_of_readers(options.num_workers), options.precision)


def _dataset(options, inputs, cache):
    return SegmentationTrainingSet(
        inputs.names, options.image_root, options.seed_root, options.image_size, options.seed,
        scale='scale' in options.augment, mirror='mirror' in options.augment,
        padding=tuple(trained.padding_of(options.network)), cache=cache)


def _recipe(options, inputs):
    about = {'network': options.network, 'class_names': list(inputs.class_names[1:]), 'width': options.width}
    dataset = functools.partial(_dataset, options, inputs, options.cache)
    return Recipe(dataset, functools.partial(_task, options, inputs), _schedule(options, inputs), options.batch_size,
                  options.accumulate, options.seed, Sgd(clip_gradient=options.clip_gradient),
                  settings(options, inputs), about)


def _task(options, inputs, devices, path):
    """The network on its devices, from the checkpoint `path` or pretrained, and how it is trained."""
    net = _network(options, inputs, path) if path else _network(options, inputs, options.pretrained, _source(options))
    for parameter in net.layers.backbone.collect_params().values():
        parameter.lr_mult *= options.backbone_lr
        if not options.backbone_lr:
            parameter.grad_req = 'null'         # no gradients, which halves the time of a step
    if options.recipe == 'deeplab':
        for name, parameter in net.collect_params().items():
            parameter.lr_mult *= _PAPER_BIAS_RATE if name.endswith('_bias') else 1.
    fit = UNFITTED
    if path:
        load.load_trained(path, net, devices)
        notes = [f'weights from {path}']
    else:
        given, notes = read_start(net, options.pretrained, options.init_from_icd, _source(options))
        values, drawn = segmentation_start(net, given, options.seed)
        set_values(net, values, devices)
        notes += drawn
        if given:
            images = samples(_dataset(options, inputs, 'none'), options.seed, data_dependent.IMAGES)[0]
            factors = data_dependent.fit_scales(net, given, images)
            notes += data_dependent.described(factors)
            fit = Fit(tuple(given), factors) if factors else fit
    validate = inputs.validation and inputs.validation.of(net, devices)
    notes += inputs.seeds.lines(inputs.class_names)
    return SegmentationTask(net, options.class_balance,
                            options.image_size if options.loss == 'multi-scale' else None, notes, validate,
                            fit)
