"""Checkpoints: weights in the original's format, and beside them what an exact resume needs.

`PREFIX-0007.params` holds the weights after epoch 7, `PREFIX-0007.states` the momentum, the position in the training
and the settings it was trained with. `PREFIX-resume-00001234.*` is a checkpoint within an epoch, after so many steps.
A pair belongs together when the states hold the checksum of the weights. The states are written first: a run that
is killed between the two leaves no weights that look like a checkpoint, and the one before is removed only later.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Callable, NamedTuple

import numpy as np

from icd import files
from icd.errors import UserError
from icd.mxnet_setup import Block, mx
from icd.train.loss_scaling import Scaling
from icd.train.task import UNFITTED, Fit
from icd.weights import load, mxnet_params

_HEADER = 'header'
_MOMENTUM = 'momentum:'
_EPOCH, _WITHIN = r'-(\d{4,})', r'-resume-(\d{8,})'
_REMEDY = 'choose another --snapshot, or give --resume no to write over it'


class Position(NamedTuple):
    """Where a training stands: the epoch it is in, batches of it that are done, steps done in all."""

    epoch: int
    batch: int
    step: int


class Checkpoint(NamedTuple):
    """A checkpoint that was read, or the start of a training.

    path : str or None
        File of the weights; None for a training that begins from pretrained ones.
    position : Position
        Where the training goes on.
    settings : dict
        What a resumed run must share: JSON values by the names of options.
    momentum : dict of str to NDArray, or None
    fit : icd.train.task.Fit
    scaling : icd.train.loss_scaling.Scaling or None
    """

    path: str | None
    position: Position
    settings: dict
    momentum: dict | None
    fit: Fit = UNFITTED
    scaling: Scaling | None = None


class Checkpoints:
    """The checkpoints of one training.

    Parameters
    ----------
    folder : str
    prefix : str
        First part of their names, `--model`.
    """

    def __init__(self, folder: str, prefix: str):
        self.folder, self.prefix = folder, prefix

    # ------------------------------------------------------------------------------------------------------ names
    def path(self, epoch: int) -> str:
        """File of the weights after an epoch."""
        return os.path.join(self.folder, f'{self.prefix}-{epoch:04d}.params')

    def path_within(self, step: int) -> str:
        """File of the weights of a checkpoint within an epoch, after `step` steps in all."""
        return os.path.join(self.folder, f'{self.prefix}-resume-{step:08d}.params')

    def existing(self, epoch: int, remedy: str, why: str = '') -> str:
        """File of the weights after an epoch; `UserError` when it is missing: nothing else is taken in its place."""
        path = self.path(epoch)
        if not os.path.isfile(path):
            raise UserError('no such file' + why, path, remedy)
        return path

    def epochs(self) -> list:
        """Epochs that have a file of weights, the last first."""
        return self._numbers(_EPOCH + r'\.params')

    def _numbers(self, pattern):
        """Numbers in the names of this training's files that match `pattern`, the highest first."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = [re.fullmatch(re.escape(self.prefix) + pattern, name) for name in os.listdir(self.folder)]
            return sorted({int(match.group(1)) for match in found if match}, reverse=True)
        return []

    def size(self) -> int:
        """Bytes of all checkpoints there, which newer ones replace."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.startswith(self.prefix + '-') and
                       entry.name.endswith(('.params', '.states')))
        return 0

    # -------------------------------------------------------------------------------------------- writing, reading
    def save(self, net: Block, momentum: dict, position: Position, settings: dict, fit: Fit = UNFITTED,
             scaling: Scaling | None = None) -> str:
        """Write a checkpoint, each file whole.

        Parameters
        ----------
        net : gluon.Block
        momentum : dict of str to NDArray
            `Trainer.momentum`.
        position : Position
            Where the training goes on from here. At batch 0 this is the checkpoint of the epoch before.
        settings : dict
        fit : icd.train.task.Fit
        scaling : icd.train.loss_scaling.Scaling, optional
            Of a training with a loss scaler.

        Returns
        -------
        str
            File of the weights.

        Raises
        ------
        UserError
            When the training has diverged; nothing is written then.
        """
        path = self.path_within(position.step) if position.batch else self.path(position.epoch - 1)
        for parameter in net.collect_params().values():
            if not np.isfinite(parameter.list_data()[0].asnumpy()).all():
                raise UserError(f'training diverged ({parameter.name} is not finite)',
                                remedy='give a smaller --learning-rate')
        with files.write_atomic(path) as partial:
            load.save(partial, net)
            header = {'position': list(position), 'settings': settings, 'slowed': list(fit.slowed),
                      'factors': fit.factors, 'params_crc32': files.checksum(partial)}
            if scaling:
                header['loss_scaling'] = scaling._asdict()
            arrays = {_HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}
            arrays.update((_MOMENTUM + name, value) for name, value in momentum.items())
            mxnet_params.write(_states(path), arrays)
        return path

    def newest(self, settings: dict | None = None) -> Checkpoint | None:
        """The whole checkpoint furthest in the training, with `settings` only of a training with these."""
        groups = (map(self.path_within, self._numbers(_WITHIN + r'\.params')), map(self.path, self.epochs()))
        found = []
        for paths in groups:
            whole = (checkpoint for checkpoint in map(read, paths) if checkpoint)
            found += [next((c for c in whole if settings is None or c.settings == settings), None)]
        return max(filter(None, found), key=lambda checkpoint: checkpoint.position.step, default=None)

    def describe(self, about: dict):
        """Write what others must know to use the checkpoints into `PREFIX.json`."""
        files.save_json(os.path.join(self.folder, self.prefix + '.json'), about)

    # --------------------------------------------------------------------------------------------------- removing
    def remove_within(self, before: int | None = None):
        """Remove checkpoints within an epoch, all or those of steps before `before`."""
        for step in self._numbers(_WITHIN + r'\.(?:params|states)'):
            if before is None or step < before:
                _remove(self.path_within(step))

    def remove_epochs(self, wanted: Callable = lambda epoch: True):
        """Remove the checkpoints of the epochs for which `wanted(epoch)` is true."""
        for epoch in filter(wanted, self._numbers(_EPOCH + r'\.(?:params|states)')):
            _remove(self.path(epoch))

    # -------------------------------------------------------------------------------------------------- the start
    def start(self, settings: dict, batches: int, begin_epoch: int = 0, resume: bool = True) -> Checkpoint:
        """Where a training starts: the newest checkpoint, the epoch before `begin_epoch`, or pretrained weights.

        Parameters
        ----------
        settings : dict
            See `Checkpoint`.
        batches : int
            Steps an epoch.
        begin_epoch : int
        resume : bool
            Whether to go on from the newest checkpoint.

        Raises
        ------
        UserError
            When the folder holds another training, which this one would write over.
        """
        found = self.newest(settings) if resume else None
        if found:
            return found
        if begin_epoch:
            path = self.before(begin_epoch)
            other = read(path)
            return Checkpoint(path, Position(begin_epoch, 0, begin_epoch * batches), settings,
                              other and other.momentum, other.fit if other else UNFITTED, other and other.scaling)
        if resume:
            self._refuse_other(settings)
        return Checkpoint(None, Position(0, 0, 0), settings, None)

    def before(self, begin_epoch: int) -> str:
        """File of the weights that `--begin-epoch` starts from; `UserError` when it is missing."""
        return self.existing(begin_epoch - 1, 'train the epochs before, or give another --begin-epoch',
                             f', and --begin-epoch {begin_epoch} starts from it')

    def _refuse_other(self, settings):
        other = self.newest()
        if other:
            differences = ', '.join(f"--{key.replace('_', '-')} ({other.settings.get(key, 'the default')})"
                                    for key in sorted({**settings, **other.settings})
                                    if other.settings.get(key) != settings.get(key))
            raise UserError(f'comes from a training with another {differences}', other.path,
                            _longer(other, settings) or f'give the same options, {_REMEDY}')
        for epoch in self.epochs()[:1]:
            raise UserError('comes from another program or is damaged', self.path(epoch), _REMEDY)


def _longer(other, settings):
    """How a training goes on that was to end earlier: its learning rates were made for fewer epochs. None of others."""
    before, after, done = other.settings.get('num_epoch'), settings.get('num_epoch'), other.position.epoch
    if before is None or after is None or dict(other.settings, num_epoch=after) != settings or not 0 < done < after:
        return None
    return (f'the learning rates depend on the number of epochs: to go on from epoch {done} with those of {after} '
            f'epochs give --begin-epoch {done}, too, or choose another --snapshot')


def read(path: str) -> Checkpoint | None:
    """The checkpoint of a file of weights, or None when it is not whole or not one of this program."""
    if not (os.path.isfile(path) and os.path.isfile(_states(path))):
        return None
    try:
        arrays = mxnet_params.read(_states(path))
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
        if header['params_crc32'] != files.checksum(path):
            return None
        scaling = header.get('loss_scaling')
        return Checkpoint(path, Position(*header['position']), header['settings'],
                          {name[len(_MOMENTUM):]: mx.nd.array(value) for name, value in arrays.items()},
                          Fit(header.get('slowed', ()), header.get('factors', {})), scaling and Scaling(**scaling))
    except (UserError, KeyError, ValueError, TypeError):
        return None


def _states(path):
    return os.path.splitext(path)[0] + '.states'


def _remove(path):
    for file in (_states(path), path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(file)
