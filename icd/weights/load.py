"""Weights of a network: saving, loading and checking them.

Files hold the original release's names, `arg:NAME` for what is learned and `aux:NAME` for running statistics.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.errors import UserError
from icd.model.initial import initialize_missing, set_values
from icd.mxnet_setup import Block, mx
from icd.weights import mxnet_params, pretrained
from icd.weights.converted import without_prefix
from icd.weights.source_input import SourceInput

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
    values, parameters = _trained_values(path, mxnet_params.read(path)), net.collect_params()
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


@dataclass(frozen=True)
class Pretrained:
    """What a file of pretrained weights gives a network.

    values : dict of str to numpy.ndarray
        By the names of the network's parameters, float32.
    description : str
        The file, its checksum, what was recognised and taken, and what the file does not give: a line for the log.
    """

    values: dict
    description: str


def pretrained_for(path: str, net: Block, source: SourceInput | None = None) -> Pretrained:
    """Weights that a file of pretrained ones gives a network, and what they are.

    Parameters
    ----------
    path, net, source : see `read_pretrained`

    Returns
    -------
    Pretrained

    Raises
    ------
    UserError
        See `read_pretrained`.
    """
    if path == 'none':
        return Pretrained({}, 'no pretrained weights: a random start')
    architecture = getattr(net, 'architecture', 'vgg16')
    converted, parameters = pretrained.read(path, architecture, source), net.collect_params()
    values = converted.values
    _check(path, parameters, values, pretrained.CONVERTERS[architecture].required(list(parameters), values))
    taken = {name: value for name, value in values.items()
             if name in parameters and value.shape == parameters[name].shape}
    drawn = [name for name in parameters if name.endswith('_weight') and name not in taken]
    text = f"; not in it: {', '.join(name[:-len('_weight')] for name in drawn)}" if drawn else ''
    return Pretrained(taken, converted.description + text)


def read_pretrained(path: str, net: Block, source: SourceInput | None = None) -> dict:
    """Weights that a file of pretrained ones gives a network.

    Parameters
    ----------
    path : str
        A file of any format `icd.weights.formats` reads. For VGG networks it holds at least conv1_1 to conv5_3; what
        else in it fits the network is used, too. 'none' for a random start.
    net : ICDNet, VGG16 or another
        `net.architecture` says which of `icd.weights.pretrained.CONVERTERS` it takes, VGG16's by default. It need not
        be initialised.
    source : SourceInput, optional
        The input the weights were trained with; by default what the file's layout says.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, read-only.

    Raises
    ------
    UserError
        When the file is missing or damaged, or weights it must hold are missing or of another shape.
    """
    return pretrained_for(path, net, source).values


def load_pretrained(path: str, net: Block, seed: int, ctx: mx.Context | list | None = None,
                    source: SourceInput | None = None) -> Pretrained:
    """Start a network from ImageNet weights, or from nothing.

    Parameters
    ----------
    path, net, source : see `read_pretrained`
    seed : int
        Of the weights the file does not give, see `icd.model.initial.starting_values`.
    ctx : see `load_trained`

    Returns
    -------
    Pretrained
        What the file gave.

    Raises
    ------
    UserError
        See `read_pretrained`.
    """
    given = pretrained_for(path, net, source)
    set_values(net, initialize_missing(net, given.values, seed, he=path == 'none'), ctx)
    return given


def _trained_values(path, arrays):
    """`arrays` without `arg:` and `aux:`, float32."""
    try:
        return {name: array.astype('float32', copy=False) for name, array in without_prefix(arrays).items()}
    except ValueError as error:
        raise UserError(str(error), path, 'give a file written by a training') from None


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
