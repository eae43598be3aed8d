"""Training: photographs, image labels and superpixels to parameters."""
import contextlib
import hashlib
import json
import os
import zlib

import numpy as np

from icd import console, files, gpu, mxnet_setup, parallel
from icd.train import distributed
from icd import cli
from icd.data.loader import TrainingLoader, TrainingSet
from icd.errors import UserError
from icd.viz import curves
from icd.weights import params
from icd.model.losses import warm_up
from icd.model.icd_net import ICDNet
from icd.model.vgg import BLOCKS, scaled
from icd.train import checkpoint
from icd.data.inputs import check_superpixels
from icd.train.checkpoint import Checkpoint, Position
from icd.train.schedule import Schedule
from icd.train.log import TrainingLog, sheet_folder
from icd.train.trainer import TrainingStep, create_kvstore
from icd.mxnet_setup import mx


def settings(options, inputs):
    """What a resumed run must share with the one it continues: all that changes the numbers.

    Returns
    -------
    dict
        Of JSON values, by the names of options. Files stand as checksums of what they hold.
    """
    words = ('width', 'no_superpixel', 'freeze_bn', 'sync_bn', 'image_size', 'batch_size', 'accumulate',
             'learning_rate', 'num_epoch', 'begin_epoch', 'num_sample', 'augment', 'backbone_lr', 'clip_gradient',
             'ramp_epochs', 'seed')
    values = {word: getattr(options, word) for word in words}
    values['num_cls'] = inputs.num_classes
    values['data_list'] = '%08x' % zlib.crc32('\n'.join(inputs.names).encode())
    values['annotation_root'] = '%08x' % zlib.crc32(inputs.labels.tobytes())
    values['pretrained'] = options.pretrained
    if os.path.isfile(options.pretrained):
        values['pretrained'] = '%08x' % files.checksum(options.pretrained)
    return json.loads(json.dumps(values))       # as they read back: lists, not tuples


def check(options, inputs, problems, upcoming=()):
    """Record in `problems` what training lacks; see `icd.steps.run.run`."""
    if not options.no_superpixel:
        check_superpixels(options.superpixel_root, inputs, problems)
    try:
        distributed.check(options.kvstore)
        _check_batch(options, len(inputs.names), len(mxnet_setup.devices(options.gpus)))
    except UserError as error:
        problems.add_error(error)
    try:
        _read_start(options, ICDNet(inputs.num_classes, options.width))
    except UserError as error:
        problems.add_error(error)
    values = 40e6 * options.width ** 2 + 1e5            # float32 values of a VGG16 with all branches
    return max(0, 2 * 4 * values * (options.num_save + 2) - checkpoint.size(options))


def _check_batch(options, num_names, num_devices):
    if options.batch_size % num_devices:
        raise UserError(f'not divisible by {num_devices} devices', f'--batch-size {options.batch_size}',
                        f'use a multiple of {num_devices}')
    schedule = Schedule(options, num_names)
    if not schedule.batches:
        raise UserError(f'an epoch has only {schedule.images} images, a step takes {schedule.batch}',
                        f'--batch-size {options.batch_size}', 'use a smaller batch')


def _read_start(options, net):
    """Read the weights that training starts with, to see that they are there and fit the network."""
    if options.begin_epoch:
        params.read_trained(checkpoint.find_start(options), net)
    else:
        params.read_pretrained(options.pretrained, net)


def plan(options, inputs):
    """What training would do, as text."""
    return str(Schedule(options, len(inputs.names)))


def run(options, inputs):
    """Train to the last epoch: from the newest checkpoint, from `options.begin_epoch`, or from the pretrained weights.

    Writes `SNAPSHOT/MODEL-%04d.params` and `.states`, `log.txt`, `log.csv`, `curves.png` and `MODEL_visdemo/`.

    Parameters
    ----------
    options : Options
        `icd.cli.RUN`.
    inputs : Inputs

    Returns
    -------
    bool
        Whether this process goes on with what follows: of several nodes only the first does.

    Raises
    ------
    UserError
        When an image is damaged, when the snapshot folder holds a training with other settings, or when the training
        diverges.
    """
    with distributed.watched(options.kvstore), gpu.explain_out_of_memory():
        first = _run(options, inputs)
    if first:
        curves.draw(os.path.join(options.snapshot, 'log.csv'), os.path.join(options.snapshot, 'curves.png'))
    return first


def _run(options, inputs):
    contexts = mxnet_setup.devices(options.gpus)
    kvstore = create_kvstore(options.kvstore, contexts)
    machines, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    if options.batch_size % (machines * len(contexts)):
        raise UserError(f'not divisible by {machines * len(contexts)} devices', f'--batch-size {options.batch_size}',
                        f'use a multiple of {machines * len(contexts)}')
    with contextlib.ExitStack() as held:
        if rank == 0:
            held.enter_context(files.folder_lock(options.snapshot, 'is training here',
                                                  'wait for it, or give another --snapshot'))
        _go(options, inputs, contexts, kvstore, machines, rank)
    return rank == 0


def _go(options, inputs, contexts, kvstore, machines, rank):
    """Train on what was found of devices and machines."""
    schedule, shared = Schedule(options, len(inputs.names)), settings(options, inputs)
    start = choose_start(options, schedule, shared)
    if machines > 1:
        token = hashlib.sha256(json.dumps([start.path, start.position, shared]).encode()).digest()
        if not distributed.same_everywhere(kvstore, token):
            raise UserError('this worker would start with other options, names, annotations or checkpoints than the '
                            'first', remedy='give all the same command line, and folders that all share')
    if rank == 0:
        _clear(options)
    if start.position.epoch >= options.num_epoch:
        console.log('training: all %d epochs are done' % options.num_epoch)
        return
    # The loader's processes are forked before anything is on a GPU.
    with contextlib.closing(_loader(options, inputs, rank, machines)) as loader:
        net = _start_network(options, inputs.num_classes, start, contexts)
        _check_memory(net, contexts, options.batch_size // (machines * len(contexts)), options.image_size)
        step = TrainingStep(net, contexts, kvstore, options.accumulate, options.seed, options.no_superpixel,
                            options.sync_bn, options.clip_gradient)
        if start.momentum:
            step.set_momentum(start.momentum)
        train(options, schedule, start.position, loader, net, step, shared, writes=rank == 0)


def _clear(options):
    """Remove what a killed run left half-written and, with `--resume no`, the checkpoints of the one before."""
    for folder in (options.snapshot, sheet_folder(options)):
        files.clear_partial(folder)
    if options.resume == 'no':
        checkpoint.remove_epochs(options, lambda epoch: epoch >= options.begin_epoch)
        checkpoint.remove_within(options)


def least_memory(net, images, size):
    """Memory that training cannot do without: parameters, gradients, momentum, and what backward looks at again.

    Parameters
    ----------
    net : ICDNet
    images : int
        Images a device computes at once.
    size : int
        Side of the images.

    Returns
    -------
    int
        Bytes. A step really takes about twice as much.
    """
    layers, side = 0, size
    for count, channels, _, stride in BLOCKS:
        layers += count * scaled(channels, net.width) * side ** 2
        side = (side - 1) // (stride or 1) + 1
    layers += 4 * scaled(1024, net.width) * side ** 2       # fc6, fc7, fc6_ft, fc7_ft
    return 4 * (images * layers + 3 * sum(int(np.prod(p.shape)) for p in net.collect_params().values()))


def _check_memory(net, contexts, images, size):
    gpus = [context.device_id for context in contexts if context.device_type == 'gpu']
    if gpus:
        gpu.check_memory({i: mx.context.gpu_memory_info(i)[0] for i in gpus}, least_memory(net, images, size))


def _loader(options, inputs, part, parts):
    images = TrainingSet(inputs.names, inputs.labels, options.image_root, options.superpixel_root,
                         options.image_size, inputs.num_classes, options.seed, scale='scale' in options.augment,
                         mirror='mirror' in options.augment, cache=options.cache,
                         superpixels=not options.no_superpixel)
    workers = min(8, parallel.number_of_cores()) if options.num_workers is None else options.num_workers
    return TrainingLoader(images, options.batch_size * options.accumulate, workers, options.num_sample, part, parts)


def train(options, schedule, start, loader, net, step, shared, writes=True):
    """The training loop.

    Parameters
    ----------
    options : Options
    schedule : Schedule
    start : Position
    loader : icd.data.loader.TrainingLoader
    net : ICDNet
    step : TrainingStep
        Of `net`.
    shared : dict
        See `settings`.
    writes : bool
        Whether this process writes logs and checkpoints.
    """
    with contextlib.closing(TrainingLog(options, schedule, start, writes)) as log:
        log.say(cli.command_line(cli.RUN, options) or '(default options)')
        log.say('from epoch %d, batch %d' % start[:2])
        done, first = start.step, start.batch
        for epoch in range(start.epoch, schedule.epochs):
            log.start_epoch(epoch, first)
            batches = loader.epoch(epoch, skip=first)
            for number in range(first, schedule.batches):
                log.turn_to('input')
                batch = next(batches)
                log.turn_to('compute')
                rate, fade = schedule.learning_rate(epoch, number), warm_up(done, schedule.warm_up_steps)
                results = step(batch.image, batch.label, batch.superpixel, batch.regions, rate, fade, done)
                done += 1
                log.note(Position(epoch, number, done), rate, fade, results)
                last = number + 1 == schedule.batches
                if options.checkpoint_every and (number + 1) % options.checkpoint_every == 0 and not last:
                    log.catch_up()      # a step that diverged leaves no checkpoint
                    step.average_running_statistics()
                    if writes:
                        checkpoint.save(checkpoint.path_within(options, done), net, step.momentum(),
                                        Position(epoch, number + 1, done), shared)
                        checkpoint.remove_within(options, before=done)
            first = 0
            log.end_epoch(epoch)
            step.average_running_statistics()
            if writes:
                checkpoint.save(checkpoint.path(options, epoch), net, step.momentum(), Position(epoch + 1, 0, done),
                                shared)
                checkpoint.remove_within(options)
                checkpoint.remove_epochs(options, lambda old: old <= epoch - options.num_save and
                                         old != options.begin_epoch - 1)


# ----------------------------------------------------------------------------------------------------- the start
def choose_start(options, schedule, shared):
    """Where a training starts: the newest checkpoint, the epoch before `--begin-epoch`, or the pretrained weights.

    Parameters
    ----------
    options : Options
    schedule : Schedule
    shared : dict
        See `settings`.

    Returns
    -------
    Checkpoint
        Its path is None for pretrained weights, its momentum may be None.

    Raises
    ------
    UserError
        When the snapshot folder holds another training.
    """
    found = checkpoint.newest(options, shared) if options.resume == 'auto' else None
    if found:
        return found
    if options.begin_epoch:
        name = checkpoint.find_start(options)
        before = checkpoint.read(name)
        position = Position(options.begin_epoch, 0, options.begin_epoch * schedule.batches)
        return Checkpoint(name, position, shared, before and before.momentum)
    if options.resume == 'auto':
        _refuse_other(options, shared)
    return Checkpoint(None, Position(0, 0, 0), shared, None)


def _start_network(options, num_classes, start, contexts):
    net = ICDNet(num_classes, options.width, freeze_bn=options.freeze_bn)
    for parameter in net.backbone.collect_params().values():
        parameter.lr_mult = options.backbone_lr
    if start.path:
        params.load(start.path, net, contexts)
    else:
        params.load_pretrained(options.pretrained, net, options.seed, contexts)
    return net


def _refuse_other(options, shared):
    """Raise a UserError when a training from the start would write over another one."""
    other = checkpoint.newest(options)
    remedy = 'choose another --snapshot, or give --resume no to write over it'
    if other:
        differences = ', '.join('--%s (%s)' % (key.replace('_', '-'), other.settings.get(key))
                                for key in sorted(shared) if other.settings.get(key) != shared[key])
        raise UserError(f'comes from a training with another {differences}', other.path,
                        f'give the same options, {remedy}')
    for epoch in checkpoint.epochs(options)[:1]:
        raise UserError('comes from another program or is damaged', checkpoint.path(options, epoch), remedy)
