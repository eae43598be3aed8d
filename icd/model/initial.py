"""Starting values: of what pretrained weights do not give, and how a network gets its values."""
from __future__ import annotations

import re
import zlib
from typing import Iterable

import numpy as np

from icd.model.resnet import STAGES
from icd.mxnet_setup import Block, init, mx

_BACKBONE = 'conv', 'stem', 'layer', 'fc6', 'fc7'
INPUT_DEVIATION = 64.       # standard deviation of an image's values, about
COPIED = {'fc6_ft_weight': 'fc6_weight', 'fc6_ft_bias': 'fc6_bias',
          'fc7_ft_weight': 'fc7_weight', 'fc7_ft_bias': 'fc7_bias'}


def starting_values(net: Block, seed: int, names: Iterable[str] | None = None, he: bool = False) -> dict:
    """Values of parameters that pretrained weights do not give.

    Each parameter has a generator of its own, seeded by its name and `seed`: values depend neither on the order
    nor on which others are drawn.

    Parameters
    ----------
    net : gluon.Block
    seed : int
    names : iterable of str, optional
        Parameters wanted; by default all.
    he : bool
        Draw backbone, fc6 and fc7 with standard deviation sqrt(2 / fan in) (He et al. 2015), with which ReLU
        networks train from nothing, in place of the original's 0.01. conv1_1 also brings its input, whose
        values are around 64, to the order of 1. Of a ResNet, whose batch normalisation is frozen, the last
        convolution of each unit gets less, so that their sum does not explode.

    Returns
    -------
    dict of str to numpy.ndarray
        float32: weights N(0, 0.01), biases and running means 0, gamma and running variance 1.
        `fc6_ft`, `fc7_ft` are not copied from `fc6`, `fc7` here, see `initialize_missing`.
    """
    parameters = net.collect_params()
    values = {}
    for name in parameters if names is None else names:
        shape = parameters[name].shape
        if name.endswith('_weight'):
            generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) & 0xffffffff)
            deviation = np.sqrt(2. / np.prod(shape[1:])) if he and name.startswith(_BACKBONE) \
                and name != 'conv_ft_weight' else .01
            if he and name == 'conv1_1_weight':
                deviation /= INPUT_DEVIATION
            elif he and re.fullmatch(r'layer\d_\d+(v1)?_conv2_weight', name):
                deviation *= sum(stage[0] for stage in STAGES) ** -.5
            values[name] = (deviation * generator.standard_normal(shape)).astype(np.float32)
        else:
            one = name.endswith(('_gamma', '_moving_var', '_running_var'))
            values[name] = np.full(shape, 1 if one else 0, np.float32)
    return values


def initialize_missing(net: Block, given: dict, seed: int, he: bool = False) -> dict:
    """Complete `given` values of some parameters to those of all, as the original starts.

    Parameters
    ----------
    net : ICDNet or VGG16
    given : dict of str to array
        What pretrained weights hold. Not changed.
    seed, he : see `starting_values`

    Returns
    -------
    dict of str to array
        `fc6_ft` and `fc7_ft` are copies of `fc6` and `fc7` unless `given`.
    """
    copied = {name: source for name, source in COPIED.items() if name in net.collect_params() and name not in given}
    values = dict(given)
    values.update(starting_values(net, seed, [name for name in net.collect_params()
                                              if name not in given and name not in copied], he))
    values.update({name: values[source] for name, source in copied.items()})
    return values


def set_values(net: Block, values: dict, ctx: mx.Context | list | None = None) -> None:
    """Give a network the values of its parameters.

    Parameters
    ----------
    net : ICDNet or VGG16
    values : dict of str to array
        Of all names, NumPy or NDArray.
    ctx : mxnet.Context or list of them, optional
        Devices to put them on; by default where the network is, or the CPU.
    """
    parameters = net.collect_params()
    try:
        present = next(iter(parameters.values())).list_ctx()
    except RuntimeError:                # not initialised
        present = None
    wanted = [ctx] if isinstance(ctx, mx.Context) else ctx or present or [mx.cpu()]
    if wanted != present:
        net.initialize(init.Zero(), ctx=wanted, force_reinit=True)
    for name, parameter in parameters.items():
        parameter.set_data(mx.nd.array(values[name]))
