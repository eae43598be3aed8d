"""The training loop."""
from __future__ import annotations

from dataclasses import dataclass

from icd.data.loader import BatchLoader
from icd.train.checkpoint import Checkpoints, Position
from icd.train.log import TrainingLog
from icd.train.schedule import Schedule
from icd.train.trainer import Trainer


@dataclass(frozen=True)
class Saving:
    """Where checkpoints go, which are made and which stay.

    checkpoints : Checkpoints
    every : int
        Batches between checkpoints within an epoch; 0: none. Those go when the epoch's own is written.
    keep : int
        Epochs of which checkpoints stay: the newest ones.
    begin_epoch : int
        First epoch; the checkpoint it starts from stays, too.
    resume : bool
        Whether to go on from the newest checkpoint; if not, those of this training are removed at its start.
    """

    checkpoints: Checkpoints
    every: int = 0
    keep: int = 5
    begin_epoch: int = 0
    resume: bool = True


def train(trainer: Trainer, loader: BatchLoader, schedule: Schedule, saving: Saving, settings: dict, start: Position,
          log: TrainingLog):
    """Train from `start` to the last epoch.

    Parameters
    ----------
    trainer : Trainer
    loader : BatchLoader
    schedule : Schedule
    saving : Saving
    settings : dict
        Written into the checkpoints: what a resumed run must share.
    start : Position
    log : TrainingLog
    """
    done, first = start.step, start.batch
    for epoch in range(start.epoch, schedule.epochs):
        log.start_epoch(epoch, first)
        batches = loader.epoch(epoch, skip=first)
        for number in range(first, schedule.batches):
            log.turn_to('input')
            batch = next(batches)
            log.turn_to('compute')
            rate = schedule.learning_rate(epoch, number)
            result = trainer.step(batch, rate, done, check=schedule.is_logged(number))
            done += 1
            log.record(Position(epoch, number, done), rate, result)
            if saving.every and (number + 1) % saving.every == 0 and number + 1 < schedule.batches:
                log.catch_up()          # a step that diverged leaves no checkpoint
                _save(trainer, saving.checkpoints, Position(epoch, number + 1, done), settings)
        first = 0
        log.end_epoch(epoch)
        _save(trainer, saving.checkpoints, Position(epoch + 1, 0, done), settings)
        if trainer.rank == 0:
            saving.checkpoints.remove_epochs(
                lambda old, epoch=epoch: old <= epoch - saving.keep and old != saving.begin_epoch - 1)
            for line in trainer.task.after_epoch(epoch):
                log.message(line)


def _save(trainer, checkpoints, position, settings):
    """Write a checkpoint on the first node, and remove those within an epoch that it replaces."""
    trainer.average_running_statistics()
    if trainer.rank == 0:
        checkpoints.save(trainer.task.net, trainer.momentum(), position, settings, trainer.task.fit,
                         trainer.scaler and trainer.scaler.state())
        checkpoints.remove_within(before=position.step if position.batch else None)
