"""Checkpoints: parameters in the original's format, and beside them what an exact resume needs.

`PREFIX-0007.params` holds the parameters after epoch 7; `PREFIX-0007.states` the momentum, the position in the
training and the settings it was trained with. `PREFIX-resume.*` is the newest checkpoint within an epoch. A pair
belongs together when the states hold the checksum of the parameters, so a run killed between the two files leaves
no pair that looks whole.
"""
import contextlib
import glob
import json
import os
import re
import zlib
from collections import namedtuple

import mxnet as mx
import numpy as np

from icd.errors import UserError
from icd.model import params
from icd.model.network import ICDNet
from icd.runtime import whole_file

Position = namedtuple('Position', 'epoch batch step')
Position.__doc__ = """Where a training stands: the epoch it is in, batches of it that are done, steps done in all."""
_HEADER = 'header'
_MOMENTUM = 'momentum:'


def path(options, epoch):
    """Parameter file of an epoch (int) or of 'resume'."""
    name = epoch if isinstance(epoch, str) else '%04d' % epoch
    return os.path.join(options.snapshot, '%s-%s.params' % (options.model, name))


def find_trained(options):
    """The parameter file of the last epoch.

    Raises
    ------
    UserError
        When it is missing: nothing else is taken in its place.
    """
    name = path(options, options.num_epoch - 1)
    if not os.path.isfile(name):
        raise UserError('%s: no such file: train to the last epoch first, or give the --num-epoch it was trained with'
                        % name)
    return name


def check_parameters(options, training):
    """Read the parameters a stage starts with, to see that they are there and fit the network.

    Parameters
    ----------
    options : Options
    training : bool
        What training starts with; otherwise what it ends with.

    Raises
    ------
    UserError
    """
    net = ICDNet(options.num_cls, options.width)
    if not training:
        params.read_trained(find_trained(options), net)
    elif options.begin_epoch:
        params.read_trained(find_start(options), net)
    else:
        params.read_pretrained(options.pretrained, net)


def find_start(options):
    """The parameter file of the epoch before `--begin-epoch`; `UserError` when it is missing."""
    name = path(options, options.begin_epoch - 1)
    if not os.path.isfile(name):
        raise UserError('%s: no such file, and --begin-epoch %d starts from it: train the epochs before, or give '
                        'another --begin-epoch' % (name, options.begin_epoch))
    return name


def _states(parameter_file):
    return os.path.splitext(parameter_file)[0] + '.states'


def _checksum(name):
    value = 0
    with open(name, 'rb') as file:
        for block in iter(lambda: file.read(1 << 24), b''):
            value = zlib.crc32(block, value)
    return value


def save(name, net, momentum, position, settings):
    """Write a checkpoint, each file whole.

    Parameters
    ----------
    name : str
        Parameter file, see `path`.
    net : ICDNet
    momentum : dict of str to NDArray
    position : Position
        Where the training goes on from here.
    settings : dict
        What a resumed run must share, see `icd.steps.train.settings`.
    """
    params.save(name, net)
    header = {'position': list(position), 'settings': settings, 'params_crc32': _checksum(name)}
    arrays = {_MOMENTUM + key: value for key, value in momentum.items()}
    arrays[_HEADER] = mx.nd.array(np.frombuffer(json.dumps(header).encode(), np.uint8), dtype='uint8')
    with whole_file(_states(name)) as partial:
        mx.nd.save(partial, arrays)


def read_states(name):
    """Header and momentum that belong to the parameter file `name`; None when they are missing or another's."""
    states = _states(name)
    if not (os.path.isfile(name) and os.path.isfile(states)):
        return None
    try:
        arrays = params.read(states)
        header = json.loads(arrays.pop(_HEADER).asnumpy().tobytes().decode())
    except (UserError, KeyError, ValueError):
        return None         # written by another program, or damaged: not a checkpoint to resume from
    if header.get('params_crc32') != _checksum(name):
        return None
    return header, {key[len(_MOMENTUM):]: value for key, value in arrays.items()}


def newest(options):
    """The whole checkpoint that is furthest in the training.

    Returns
    -------
    (str, dict, dict) or None
        Parameter file, header and momentum.
    """
    found = []
    for name in glob.glob(glob.escape(os.path.join(options.snapshot, options.model)) + '-*.params'):
        if re.search(r'-(\d{4,}|resume)\.params$', name):
            states = read_states(name)
            if states:
                found.append((states[0]['position'][2], name) + states)
    return max(found, key=lambda f: f[0])[1:] if found else None


def remove_older(options, epoch):
    """Keep the last `--num-save` checkpoints up to `epoch`, and none within an epoch."""
    for old in ['resume'] + list(range(epoch - options.num_save, -1, -1)):
        name = path(options, old)
        for file in (_states(name), name):
            with contextlib.suppress(FileNotFoundError):
                os.remove(file)
