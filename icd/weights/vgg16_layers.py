"""The layers of a VGG16 among the arrays of a file, recognised by their shapes and order, whatever their names."""
from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from icd.weights import source_input
from icd.weights.converted import natural
from icd.weights.source_input import SourceInput

_BLOCKS = 2, 2, 3, 3, 3     # convolutions (Simonyan and Zisserman 2015)
CONVOLUTIONS = tuple(f'conv{block}_{layer}' for block, count in enumerate(_BLOCKS, 1) for layer in range(1, count + 1))
_POOLED = 7                 # side of pool5
# Transpositions that make (outputs, inputs, rows, columns), of PyTorch and MXNet, and of Keras and TensorFlow.
_LAYOUTS = {'OIHW': (0, 1, 2, 3), 'HWIO': (3, 2, 0, 1)}
# How the name of a bias differs from that of the weights it belongs to, at the last place where it does.
_SIBLINGS = (('weights', 'biases'), ('weight', 'bias'), ('kernel', 'bias'), ('filters', 'biases'), ('_W', '_b'),
             ('.w', '.b'), ('/0', '/1'))
# Ends of the names of the parts of a batch normalisation; Keras 3 numbers them.
_MEAN = re.compile(r'(running_mean|moving_mean|vars/2)(:0)?$')
_PARTS = (('weight', 'gamma', 'vars/0'), ('bias', 'beta', 'vars/1'), ('running_mean', 'moving_mean', 'vars/2'),
          ('running_var', 'moving_var', 'moving_variance', 'vars/3'))
_EPSILON, _KERAS_EPSILON = 1e-5, 1e-3


@dataclass(frozen=True)
class Recognised:
    """layers : list of (weight (outputs, inputs, 3, 3), bias), of conv1_1 to conv5_3
    norms : list of (gamma, beta, mean, variance), one a convolution, or empty
    epsilon : float, of the batch normalisation
    dense : list of (weight, bias), of fc6 (outputs, inputs, rows, columns) and fc7, or empty
    source : SourceInput, what names and layout say of the input
    """

    layers: list
    norms: list
    epsilon: float
    dense: list
    source: SourceInput


def recognise(arrays: dict) -> Recognised:
    """Find the layers of a VGG16.

    Parameters
    ----------
    arrays : dict of str to array
        Numbers in the names count the layers, or the arrays are in the order of the layers.

    Returns
    -------
    Recognised

    Raises
    ------
    ValueError
        When they are not those of a VGG16.
    """
    names, chain, layout = _convolutions(arrays)
    norms = _norms(arrays, names)[:len(chain)]
    if len(norms) < len(chain):         # those of a head: a VGG16 has one for every convolution, or none
        norms = []
    layers = []
    for name in chain:
        weight, bias = arrays[name].transpose(_LAYOUTS[layout]), _bias(arrays, name)
        if bias is None and not norms:
            raise ValueError(f'not the weights of a VGG16: {name} has no bias')
        layers.append((weight, np.zeros(len(weight), np.float32) if bias is None else bias))
    if norms and [len(norm[0]) for norm in norms] != [len(bias) for _, bias in layers]:
        raise ValueError('not the weights of a VGG16: batch normalisations that do not fit its convolutions')
    keras = layout == 'HWIO' or 'block1_conv1' in chain[0]
    channels = len(layers[-1][1])
    dense = _dense(arrays, [name for name in names if name not in chain], channels)
    return Recognised(layers, norms, _KERAS_EPSILON if keras else _EPSILON, dense, _guess(chain[0], layout))


# -------------------------------------------------------------------------------------------------- convolutions
def _convolutions(arrays):
    """Names in the order of the layers, those of the weights of the 13 convolutions, and their layout."""
    orders = sorted(arrays, key=natural), list(arrays)
    for names in orders:
        for layout, axes in _LAYOUTS.items():
            chain = _chain([(name, tuple(arrays[name].shape[axis] for axis in axes)) for name in names
                            if arrays[name].ndim == 4])
            if chain:
                return names, chain, layout
    raise ValueError('not the weights of a VGG16: no 13 convolutions of 3x3 that follow one another')


def _chain(shapes):
    """Names of the first 13 convolutions, if they are those of a VGG16: 3x3, each reads what the one before gives."""
    first = next((number for number, (_, shape) in enumerate(shapes) if shape[1:] == (3, 3, 3)), len(shapes))
    shapes, inputs, position = shapes[first:first + len(CONVOLUTIONS)], 3, 0
    if len(shapes) < len(CONVOLUTIONS):
        return None
    for count in _BLOCKS:
        outputs = shapes[position][1][0]
        for _, shape in shapes[position:position + count]:
            if shape != (outputs, inputs, 3, 3):
                return None
            inputs = outputs
        position += count
    return [name for name, _ in shapes]


def _bias(arrays, name):
    """The bias that belongs to the weights `name`, or None."""
    for weight, bias in _SIBLINGS:
        head, found, tail = name.rpartition(weight)
        other = arrays.get(head + bias + tail) if found else None
        if other is not None and other.ndim == 1 and len(other) in arrays[name].shape:
            return other
    return None


def _norms(arrays, names):
    """Gamma, beta, mean and variance of the batch normalisations, in their order."""
    norms = []
    for name in names:
        found = _MEAN.search(name)
        if not found:
            continue
        stem, end = name[:found.start()], found.group(2) or ''
        parts = [next((arrays[stem + part + end] for part in alternatives if stem + part + end in arrays), None)
                 for alternatives in _PARTS]
        if any(part is None or part.shape != arrays[name].shape or part.ndim != 1 for part in parts):
            raise ValueError(f'not the weights of a VGG16: the batch normalisation of {name} is not whole')
        norms.append(tuple(parts))
    return norms


# --------------------------------------------------------------------------------------------------------- fc6, fc7
def _dense(arrays, names, channels):
    """fc6 and fc7 as convolutions, (weight, bias) each; empty where there are none."""
    for position, name in enumerate(names):
        fc6, bias6 = _first_dense(arrays[name], channels), _bias(arrays, name)
        if fc6 is None or bias6 is None:
            continue
        columns_first = arrays[name].ndim == 4 or arrays[name].shape[1] == channels * _POOLED ** 2
        for other in names[position + 1:]:
            fc7, bias7 = _second_dense(arrays[other], len(fc6), columns_first), _bias(arrays, other)
            if fc7 is not None and bias7 is not None:
                return [(fc6, bias6), (fc7, bias7)]
    return []


def _first_dense(array, channels):
    """fc6 (outputs, channels, rows, columns) where `array` can be it.

    As a matrix it is (outputs, inputs) with the inputs by channel, row, column; Keras and TensorFlow store (inputs,
    outputs), the inputs by row, column, channel.
    """
    if array.ndim == 2 and array.shape[1] == channels * _POOLED ** 2:
        return array.reshape(-1, channels, _POOLED, _POOLED)
    if array.ndim == 2 and array.shape[0] == channels * _POOLED ** 2:
        return array.reshape(_POOLED, _POOLED, channels, -1).transpose(3, 2, 0, 1)
    for axes in _LAYOUTS.values() if array.ndim == 4 else ():
        turned = array.transpose(axes)
        if turned.shape[1] == channels and turned.shape[2:] in ((3, 3), (_POOLED, _POOLED)):
            return turned
    return None


def _second_dense(array, inputs, outputs_first):
    """fc7 (outputs, inputs, 1, 1) where `array` can be it."""
    if array.ndim == 2:
        array = array if outputs_first else array.T
        return array[:, :, None, None] if array.shape[1] == inputs else None
    for axes in _LAYOUTS.values() if array.ndim == 4 else ():
        turned = array.transpose(axes)
        if turned.shape[1:] == (inputs, 1, 1):
            return turned
    return None


# ------------------------------------------------------------------------------------------------------- the input
def _guess(first, layout):
    """The input of the network whose conv1_1 is called `first`.

    Keras' is a conversion of Caffe's and keeps its BGR; the conversions to TensorFlow (`conv1_1_W`,
    `vgg_16/conv1/conv1_1/weights`) and to MXNet (`conv1_1_weight`) turned the channels. PyTorch's conversions of Caffe
    name layers as Caffe does. Everything else was trained as torchvision's.
    """
    if 'conv1_1' in first and (layout == 'HWIO' or first == 'conv1_1_weight'):
        return source_input.CAFFE_RGB
    if layout == 'HWIO' or 'block1_conv1' in first or 'conv1_1' in first:
        return source_input.CAFFE
    return source_input.TORCHVISION
