"""A whole training, from its folder and devices to the last epoch, for any task and data set."""
from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Callable

from icd import console, files, gpu_memory, mxnet_setup, precision
from icd.data.loader import BatchLoader, EpochSampler
from icd.errors import Problems, UserError
from icd.train import distributed, loop
from icd.train.log import TrainingLog, Watching, preview_folder
from icd.train.loop import Saving
from icd.train.loss_scaling import START, LossScaler
from icd.train.schedule import Schedule
from icd.train.task import SLOW
from icd.train.trainer import Sgd, Trainer, create_kvstore


@dataclass(frozen=True)
class Machine:
    """What a training runs on.

    gpus : str or None
        See `icd.mxnet_setup.devices`.
    kvstore : str
        See `icd.train.trainer.create_kvstore`.
    num_workers : int
        Processes that read images.
    precision : str
        Of the convolutions, one of `icd.precision.PRECISIONS`. The task's network has it already; float16 scales the
        loss.
    """

    gpus: str | None = None
    kvstore: str = 'device'
    num_workers: int = 0
    precision: str = precision.FLOAT32


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    make_dataset : callable
        () -> data set, see `icd.data.loader.BatchLoader`. Called once it is clear that there is something to do.
    make_task : callable
        (devices, path) -> `icd.train.task.Task`, its network initialised on `devices`: from the checkpoint `path`, or
        from the pretrained weights where that is None.
    schedule : icd.train.schedule.Schedule
    batch_size, accumulate : int
        Images a forward pass takes, over all devices and nodes, and passes a step; `schedule.batch` is their product.
    seed : int
        Of the order, the views and the dropout.
    sgd : icd.train.trainer.Sgd
    settings : dict
        All that changes the numbers, as JSON values by the names of options: a run is resumed only with the same.
    about : dict, optional
        What others must know to use the checkpoints, as JSON values: `PREFIX.json` beside them.
    """

    make_dataset: Callable
    make_task: Callable
    schedule: Schedule
    batch_size: int
    accumulate: int
    seed: int
    sgd: Sgd
    settings: dict
    about: dict | None = None


def check(schedule: Schedule, batch_size: int, machine: Machine, problems: Problems):
    """Record in `problems` what of these does not fit together; see `Recipe`."""
    try:
        distributed.check(machine.kvstore)
        devices = _devices(machine, batch_size)
        _check_divisible(batch_size, len(devices))
        precision.check(machine.precision, devices)
        if not schedule.batches:
            raise UserError(f'an epoch has only {schedule.images} images, a step takes {schedule.batch}',
                            f'--batch-size {batch_size}', 'use a smaller batch')
    except UserError as error:
        problems.add_error(error)


def _devices(machine, batch_size):
    nodes = distributed.nodes(machine.kvstore)
    return mxnet_setup.devices(machine.gpus, batch_size // nodes if batch_size % nodes == 0 else None)


def _check_divisible(batch_size, devices):
    if batch_size % devices:
        raise UserError(f'not divisible by {devices} devices', f'--batch-size {batch_size}',
                        f'use a multiple of {devices}, or name other devices by --gpus')


def run(recipe: Recipe, saving: Saving, machine: Machine, watching: Watching = Watching()) -> bool:
    """Train to the last epoch, from the newest checkpoint, from `saving.begin_epoch`, or from pretrained weights.

    Writes `PREFIX-0000.params` and so on, `.states`, `log.txt`, `log.csv` and `PREFIX_visdemo/` into the folder of
    `saving.checkpoints`.

    Returns
    -------
    bool
        Whether this process goes on with what follows: of several nodes only the first does.

    Raises
    ------
    UserError
        When an image is damaged, when the folder holds another training, when the training diverges, or a device runs
        out of memory.
    """
    with distributed.watched(machine.kvstore):
        devices = _devices(machine, recipe.batch_size)
        remedy = gpu_memory.smaller_step(recipe.batch_size, recipe.accumulate,
                                         len(devices) * distributed.nodes(machine.kvstore))
        with mxnet_setup.computing(devices, remedy):
            return _run(recipe, saving, machine, watching, devices)


def _run(recipe, saving, machine, watching, devices):
    """Take hold of the folder, and train; whether this is the first node."""
    kvstore = create_kvstore(machine.kvstore, devices)
    nodes, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    _check_divisible(recipe.batch_size, nodes * len(devices))
    with contextlib.ExitStack() as held:
        if rank == 0:
            held.enter_context(files.folder_lock(saving.checkpoints.folder, 'is training here',
                                                 'wait for it, or give another --snapshot'))
        start = saving.checkpoints.start(recipe.settings, recipe.schedule.batches, saving.begin_epoch, saving.resume)
        ahead = start.position.epoch < recipe.schedule.epochs
        # The loader's processes are forked before anything is on a GPU, be it a message to the other nodes.
        loader = held.enter_context(contextlib.closing(_loader(recipe, machine, nodes, rank))) if ahead else None
        if nodes > 1:
            _check_same(recipe.settings, kvstore, start)
        if rank == 0:
            _clear(saving)
            if recipe.about:
                saving.checkpoints.describe(recipe.about)
        if ahead:
            _train(recipe, saving, machine, watching, devices, kvstore, start, loader)
        else:
            console.log(f'training: all {recipe.schedule.epochs} epochs are done')
    return rank == 0


def _check_same(settings, kvstore, start):
    """Whether all nodes start from the same."""
    token = hashlib.sha256(json.dumps([start.path, start.position, settings]).encode()).digest()
    if not distributed.same_everywhere(kvstore, token):
        raise UserError('this worker would start with other options, names, annotations or checkpoints than the '
                        'first', remedy='give all the same command line, and folders that all share')


def _loader(recipe, machine, nodes, rank):
    dataset = recipe.make_dataset()
    sampler = EpochSampler(len(dataset), recipe.schedule.batch, recipe.seed, recipe.schedule.images, rank, nodes)
    return BatchLoader(dataset, sampler, machine.num_workers)


def _train(recipe, saving, machine, watching, devices, kvstore, start, loader):
    nodes, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    schedule, free = recipe.schedule, mxnet_setup.free_memory(devices)
    task = recipe.make_task(devices, start.path)
    if start.path:
        task.fit = start.fit
    warnings = gpu_memory.check(free, lambda images: task.least_memory(loader.layout(images)), recipe.batch_size,
                                recipe.accumulate, nodes * len(devices))
    scaling = (start.scaling or START) if machine.precision == 'float16' else None
    trainer = Trainer(task, devices, kvstore, recipe.accumulate, recipe.seed, recipe.sgd,
                      scaling and LossScaler(devices, scaling))
    if start.momentum:
        trainer.set_momentum(start.momentum)
    with contextlib.closing(TrainingLog(task, schedule, start.position, saving.checkpoints, rank == 0,
                                        watching, scaling)) as log:
        log.message(watching.title or '(default options)')
        log.message(f'from epoch {start.position.epoch}, batch {start.position.batch}, '
                    f'of {schedule.epochs} epochs of {schedule.batches} batches')
        notes = [] if machine.precision == precision.FLOAT32 else [f'convolutions in {machine.precision}']
        for note in (*task.notes, *notes, *warnings):
            log.message(note)
        if task.fit.slowed:
            log.message(f'what the weights file gave learns at {SLOW} of its rate')
        loop.train(trainer, loader, schedule, saving, recipe.settings, start.position, log)


def _clear(saving):
    """Remove what a killed run left half-written and, without `saving.resume`, the checkpoints of the one before."""
    checkpoints = saving.checkpoints
    for folder in (checkpoints.folder, preview_folder(checkpoints.folder, checkpoints.prefix)):
        files.clear_partial(folder)
    if not saving.resume:
        checkpoints.remove_epochs(lambda epoch: epoch >= saving.begin_epoch)
        checkpoints.remove_within()
