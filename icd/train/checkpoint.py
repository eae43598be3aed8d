"""Checkpoints: parameters in the original's format, and beside them what an exact resume needs.

`MODEL-0007.params` holds the parameters after epoch 7, `MODEL-0007.states` the momentum, the position in the training
and the settings it was trained with. `MODEL-resume-00001234.*` is a checkpoint within an epoch, after so many steps.
A pair belongs together when the states hold the checksum of the parameters. The states are written first: a run that
is killed between the two leaves no parameters that look like a checkpoint, and the one before is removed only later.
"""
import contextlib
import json
import os
import re
from collections import namedtuple

import numpy as np

from icd import files
from icd.errors import UserError
from icd.weights import params

Position = namedtuple('Position', 'epoch batch step')
Position.__doc__ = """Where a training stands: the epoch it is in, batches of it that are done, steps done in all."""
Checkpoint = namedtuple('Checkpoint', 'path position settings momentum')
Checkpoint.__doc__ = """A checkpoint that was read: parameter file (str), Position, settings (dict), momentum (dict of
str to NDArray)."""
_HEADER = 'header'
_MOMENTUM = 'momentum:'


def path(options, epoch):
    """Parameter file of an epoch (int)."""
    return os.path.join(options.snapshot, '%s-%04d.params' % (options.model, epoch))


def path_within(options, step):
    """Parameter file of a checkpoint within an epoch, after `step` steps in all."""
    return os.path.join(options.snapshot, '%s-resume-%08d.params' % (options.model, step))


def find_trained(options):
    """The parameter file of the last epoch.

    Raises
    ------
    UserError
        When it is missing: nothing else is taken in its place.
    """
    name = path(options, options.num_epoch - 1)
    if not os.path.isfile(name):
        raise UserError('no such file', name,
                        'train to the last epoch first, or give the --num-epoch it was trained with')
    return name


def find_start(options):
    """The parameter file of the epoch before `--begin-epoch`; `UserError` when it is missing."""
    name = path(options, options.begin_epoch - 1)
    if not os.path.isfile(name):
        raise UserError(f'no such file, and --begin-epoch {options.begin_epoch} starts from it', name,
                        'train the epochs before, or give another --begin-epoch')
    return name


def _states(parameter_file):
    return os.path.splitext(parameter_file)[0] + '.states'


def save(name, net, momentum, position, settings):
    """Write a checkpoint, each file whole.

    Parameters
    ----------
    name : str
        Parameter file, see `path` and `path_within`.
    net : ICDNet
    momentum : dict of str to NDArray
    position : Position
        Where the training goes on from here.
    settings : dict
        What a resumed run must share, see `icd.steps.train.settings`.

    Raises
    ------
    UserError
        When the training has diverged; nothing is written then.
    """
    for parameter in net.collect_params().values():
        if not np.isfinite(parameter.list_data()[0].asnumpy()).all():
            raise UserError(f'training diverged ({parameter.name} is not finite)',
                            remedy='give a smaller --learning-rate')
    with files.write_atomic(name) as partial:
        params.save(partial, net)
        header = {'position': list(position), 'settings': settings, 'params_crc32': files.checksum(partial)}
        arrays = {_HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}
        arrays.update((_MOMENTUM + key, value) for key, value in momentum.items())
        params.write(_states(name), arrays)


def read(name):
    """The checkpoint of the parameter file `name`, or None when it is not whole or not one of this program."""
    if not (os.path.isfile(name) and os.path.isfile(_states(name))):
        return None
    try:
        arrays = params.read(_states(name))
        header = json.loads(arrays.pop(_HEADER).asnumpy().tobytes().decode())
        if header['params_crc32'] != files.checksum(name):
            return None
        return Checkpoint(name, Position(*header['position']), header['settings'],
                          {key[len(_MOMENTUM):]: value for key, value in arrays.items()})
    except (UserError, KeyError, ValueError, TypeError):
        return None


def _numbers(options, pattern):
    """Numbers in the names of this model's parameter files that match `pattern`, the highest first."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = [re.fullmatch(re.escape(options.model) + pattern, name) for name in os.listdir(options.snapshot)]
        return sorted((int(match.group(1)) for match in found if match), reverse=True)
    return []


def epochs(options):
    """Epochs that have a parameter file, the last first."""
    return _numbers(options, r'-(\d{4,})\.params')


def newest(options, settings=None):
    """The whole checkpoint furthest in the training.

    Parameters
    ----------
    options : Options
    settings : dict, optional
        Only of a training with these.

    Returns
    -------
    Checkpoint or None
    """
    names = [path_within(options, step) for step in _numbers(options, r'-resume-(\d{8,})\.params')]
    groups = names, [path(options, epoch) for epoch in epochs(options)]
    found = []
    for group in groups:
        whole = (checkpoint for checkpoint in map(read, group) if checkpoint)
        found += [next((c for c in whole if settings is None or c.settings == settings), None)]
    return max(filter(None, found), key=lambda checkpoint: checkpoint.position.step, default=None)


def remove_within(options, before=None):
    """Remove checkpoints within an epoch, all or those of steps before `before`."""
    for step in _numbers(options, r'-resume-(\d{8,})\.(?:params|states)'):
        if before is None or step < before:
            _remove(path_within(options, step))


def remove_epochs(options, wanted):
    """Remove the checkpoints of the epochs for which `wanted(epoch)` is true."""
    for epoch in filter(wanted, _numbers(options, r'-(\d{4,})\.(?:params|states)')):
        _remove(path(options, epoch))


def _remove(name):
    for file in (_states(name), name):
        with contextlib.suppress(FileNotFoundError):
            os.remove(file)


def size(options):
    """Bytes of this model's checkpoints, which newer ones replace."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        with os.scandir(options.snapshot) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.startswith(options.model + '-') and
                       entry.name.endswith(('.params', '.states')))
    return 0
