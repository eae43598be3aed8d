"""Weights of a network: saving, loading and checking them.

Files hold the original release's names, `arg:NAME` for what is learned and `aux:NAME` for running statistics.
"""
from __future__ import annotations

import re

import numpy as np

from icd.errors import UserError
from icd.model.initial import initialize_missing, set_values
from icd.mxnet_setup import Block, mx
from icd.weights import formats, mxnet_params, vgg16

_NAMED = 4              # weights that a message names
# Ends of the names of what a network does not learn by gradients, `aux` in the format; Gluon's own layers say running.
_AUXILIARY = 'moving_mean', 'moving_var', 'running_mean', 'running_var'


def save(path: str, net: Block):
    """Write a network's weights as a `.params` file, whole or not at all.

    Running statistics, which differ between devices, are averaged over them.

    Parameters
    ----------
    path : str
    net : ICDNet
    """
    arrays = {}
    for name, parameter in net.collect_params().items():
        copies = parameter.list_data()
        if name.endswith(_AUXILIARY) and len(copies) > 1:
            value = sum(copy.as_in_context(mx.cpu()) for copy in copies) / len(copies)
        else:
            value = copies[0]
        arrays[('aux:' if name.endswith(_AUXILIARY) else 'arg:') + name] = value
    mxnet_params.write(path, arrays)


def read_trained(path: str, net: Block) -> dict:
    """Weights of a file that holds all of a network's and no others.

    Parameters
    ----------
    path : str
        A `.params` file of `save`, or of the original release.
    net : ICDNet
        Only the names and shapes of its weights count; it need not be initialised.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, read-only.

    Raises
    ------
    UserError
        When the file is damaged, or weights are missing, of another shape or unknown.
    """
    values, parameters = _without_prefix(path, mxnet_params.read(path)), net.collect_params()
    _check(path, parameters, values, list(parameters))
    unknown = sorted(set(values) - set(parameters))
    if unknown:
        raise UserError(f'holds weights this network does not have ({_some(unknown)})', path, 'give a file made for it')
    return values


def load_trained(path: str, net: Block, ctx: mx.Context | list | None = None):
    """Load the weights of a file that holds all of a network's.

    Parameters
    ----------
    path : str
    net : ICDNet
    ctx : mxnet.Context or list of them, optional
        Devices to put them on; by default where the network is, or the CPU.

    Raises
    ------
    UserError
        See `read_trained`.
    """
    set_values(net, read_trained(path, net), ctx)


def read_pretrained(path: str, net: Block) -> dict:
    """Weights that a file of pretrained ones gives a network.

    Parameters
    ----------
    path : str
        A file with at least conv1_1 to conv5_3; what else in it fits the network is used, too.
        'none' for a random start.
    net : ICDNet or VGG16
        A backbone alone needs only the convolutions. It need not be initialised.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, read-only.

    Raises
    ------
    UserError
        When the file is missing or damaged, or weights it must hold are missing or of another shape.
    """
    if path == 'none':
        return {}
    arrays = formats.read(path, 'see data/README.md for where to get pretrained weights, or give --pretrained none '
                                'for a random start')
    parameters, values = net.collect_params(), _without_prefix(path, arrays)
    _check(path, parameters, values, [name for name in parameters if name in vgg16.NAMES and
                                      (name.startswith('conv') or name in values)])
    return {name: value for name, value in values.items()
            if name in parameters and value.shape == parameters[name].shape}


def load_pretrained(path: str, net: Block, seed: int, ctx: mx.Context | list | None = None):
    """Start a network from ImageNet weights, or from nothing.

    Parameters
    ----------
    path, net : see `read_pretrained`
    seed : int
        Of the weights the file does not give, see `icd.model.initial.starting_values`.
    ctx : see `load_trained`

    Raises
    ------
    UserError
        See `read_pretrained`.
    """
    given = read_pretrained(path, net)
    set_values(net, initialize_missing(net, given, seed, he=path == 'none'), ctx)


def _without_prefix(path, arrays):
    """`arrays` without `arg:` and `aux:`, float32."""
    values = {}
    for name, array in arrays.items():
        name = re.sub('^(arg|aux):', '', name)
        if name in values:
            raise UserError(f'holds both arg:{name} and aux:{name}', path, 'give a file written by a training')
        values[name] = array.astype('float32', copy=False)
    return values


def _check(path, parameters, values, required):
    """Raise a `UserError` unless `values` hold all `required` parameters of a network, in its shapes and finite."""
    missing = [name for name in required if name not in values]
    if missing:
        count = 'all' if len(missing) == len(required) else len(missing)
        raise UserError(f'lacks {count} of the {len(required)} weights it must hold ({_some(missing)})', path,
                        'give a file made for this network')
    wrong = [f'{name} is {values[name].shape}, not {parameters[name].shape}' for name in required
             if values[name].shape != parameters[name].shape]
    if wrong:
        raise UserError(f"does not fit this network ({_some(wrong, '; ')})", path,
                        'give the --width and --num-cls it was made with')
    broken = [name for name in required if not np.isfinite(values[name]).all()]
    if broken:
        raise UserError(f'holds values that are not finite ({_some(broken)})', path,
                        'the training it comes from diverged; take an earlier checkpoint')


def _some(texts, separator=', '):
    """The first few of `texts` and how many more there are."""
    shown = separator.join(texts[:_NAMED])
    return shown if len(texts) <= _NAMED else f'{shown}{separator}and {len(texts) - _NAMED} more'
