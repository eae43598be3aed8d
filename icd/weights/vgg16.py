"""ImageNet weights of a VGG16 from anywhere, converted to those of this project's network.

Sources differ in names, in the input they expect and in how they store the two fully connected layers.
`icd.weights.vgg16_layers` recognises the network by shapes and order; here `fold_input` makes conv1_1 read this
project's input, `decimate` turns the fully connected layers into convolutions, and `convert` does everything.
"""
from __future__ import annotations

import numpy as np

from icd.data.geometry import GREY
from icd.weights import source_input, vgg16_layers
from icd.weights.converted import Converted, without_prefix
from icd.weights.source_input import SourceInput
from icd.weights.vgg16_layers import CONVOLUTIONS

_KEPT = 4                   # of the outputs of fc6 and fc7, every fourth is kept
LAYERS = (*CONVOLUTIONS, 'fc6', 'fc7')


def _names(layers):
    return tuple(f'{layer}_{part}' for layer in layers for part in ('weight', 'bias'))


NAMES = _names(LAYERS)
_BACKBONE, _DENSE = _names(CONVOLUTIONS), _names(('fc6', 'fc7'))


def required(parameters: list, values: dict) -> list:
    """The names of a network's parameters that pretrained weights must hold: of fc6 and fc7, all or none."""
    wanted = NAMES if any(name in values for name in _DENSE) else _BACKBONE
    return [name for name in parameters if name in wanted]


def fold_input(weight: np.ndarray, bias: np.ndarray, source: SourceInput) -> tuple:
    """Make a first convolution that reads another input read this project's: RGB - 127 of pixels 0 to 255.

    Both inputs are affine in the pixels, so the convolution absorbs the difference: the scale goes into the weights,
    and what 127 grey would have given goes into the bias. This is exact wherever the convolution sees only the image.
    On the outermost row and column it sees padding, which is the mean colour for the source and 127 grey here; no
    weights can undo that, since the bias is the same everywhere. Grey is the colour the input pipeline pads with, too.

    Parameters
    ----------
    weight : (channels, 3, k, k)
        It reads the input `source` describes.
    bias : (channels,)
    source : SourceInput

    Returns
    -------
    weight, bias
        Of the same shapes, float64; the weights' input channels are RGB.
    """
    mean, std, divisor = np.asarray(source.mean), np.asarray(source.std), 255 / source.largest
    weight = np.asarray(weight, np.float64)
    bias = bias + (weight.sum(axis=(2, 3)) * ((GREY / divisor - mean) / std)).sum(axis=1)
    weight = weight * (1 / (divisor * std))[:, None, None]
    return weight[:, ::{'RGB': 1, 'BGR': -1}[source.channel_order]], bias


def fold_normalisation(weight: np.ndarray, bias: np.ndarray, norm: tuple, epsilon: float) -> tuple:
    """Put a batch normalisation by running statistics into the convolution before it, which is exact.

    Parameters
    ----------
    weight, bias : (channels, inputs, k, k), (channels,)
    norm : gamma, beta, mean, variance
        (channels,) each.
    epsilon : float

    Returns
    -------
    weight, bias
        Of the same shapes, float64.
    """
    gamma, beta, mean, variance = (np.asarray(part, np.float64) for part in norm)
    if (variance < 0).any():
        raise ValueError('a batch normalisation of negative variance')
    gain = gamma / np.sqrt(variance + epsilon)
    return np.asarray(weight, np.float64) * gain[:, None, None, None], (bias - mean) * gain + beta


def decimate(fc6: tuple, fc7: tuple) -> tuple:
    """Turn the fully connected layers into convolutions as in DeepLab-LargeFOV (Chen et al. 2015).

    Every fourth output stays, of every fourth input; of the 7 x 7 positions that fc6 sees, rows and columns 0, 3, 6.

    Parameters
    ----------
    fc6, fc7 : (weight, bias)
        Weights (4096, 512, 7, 7) and (4096, 4096, 1, 1).

    Returns
    -------
    fc6, fc7 : (weight, bias)
        Weights (1024, 512, 3, 3) and (1024, 1024, 1, 1).
    """
    (weight6, bias6), (weight7, bias7) = fc6, fc7
    return (weight6[::_KEPT, :, ::3, ::3], bias6[::_KEPT]), (weight7[::_KEPT, ::_KEPT], bias7[::_KEPT])


def convert(arrays: dict, source: SourceInput | None = None) -> Converted:
    """This project's pretrained weights from those of a VGG16.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        By the names in a file. Of any width.
    source : SourceInput, optional
        The input they were trained with; by default what names and layout say.

    Returns
    -------
    Converted
        conv1_1 to conv5_3, and fc6 and fc7 where they are of this project's shape, or can be decimated to it. Of
        files with this project's names, everything else, too.

    Raises
    ------
    ValueError
        When they are not those of a VGG16.
    """
    arrays = without_prefix(arrays)
    if _own(arrays):
        return _convert_own(arrays, source)
    found = vgg16_layers.recognise(arrays)
    layers, said = list(found.layers), ['VGG16']
    if found.norms:
        layers = [fold_normalisation(*layer, norm, found.epsilon) for layer, norm in zip(layers, found.norms)]
        said.append('batch normalisation folded into the convolutions')
    layers[0] = fold_input(*layers[0], source or found.source)
    dense, text = _dense(found.dense, channels=len(layers[-1][1]))
    said += [text, _said_input(source, found.source)]
    values = (value for layer in layers + dense for value in layer)
    return Converted({name: np.ascontiguousarray(value, np.float32) for name, value in zip(NAMES, values)},
                     ', '.join(said))


def _said_input(source, guessed):
    return f'input {source or guessed} ({"given" if source else "guessed"})'


def _dense(dense, channels):
    """fc6 and fc7 as this project has them, or none; and a text on them."""
    if not dense:
        return [], 'no fc6 and fc7'
    shapes = tuple(layer[0].shape for layer in dense)
    kept = 2 * channels
    if shapes == ((kept, channels, 3, 3), (kept, kept, 1, 1)):
        return list(dense), 'fc6 and fc7'
    full = _KEPT * kept
    if shapes == ((full, channels, 7, 7), (full, full, 1, 1)):
        return list(decimate(*dense)), 'fc6 and fc7 decimated'
    return [], f"fc6 and fc7 left out (of shapes {' and '.join('x'.join(map(str, shape)) for shape in shapes)})"


# -------------------------------------------------------------------------------------------- this project's names
def _own(arrays):
    """Whether these are weights under the original release's names, for its input: some may be missing.

    MXNet's conversion of Caffe's VGG16 has the same names and dense layers.
    """
    weights = [name for name in _BACKBONE if name.endswith('weight')]
    there = [name for name in weights if name in arrays and arrays[name].shape[2:] == (3, 3)]
    return 2 * len(there) > len(weights) and ('fc6_weight' not in arrays or arrays['fc6_weight'].ndim == 4)


def _convert_own(arrays, source):
    values, said = dict(arrays), ["VGG16 by the original release's names"]
    if source and {'conv1_1_weight', 'conv1_1_bias'} <= set(values):
        values['conv1_1_weight'], values['conv1_1_bias'] = fold_input(
            values['conv1_1_weight'], values['conv1_1_bias'], source)
    there = [name for name in _DENSE if name in values]
    if len(there) == len(_DENSE) and 'conv5_3_weight' in values:
        dense, text = _dense([(values['fc6_weight'], values['fc6_bias']), (values['fc7_weight'], values['fc7_bias'])],
                             len(values['conv5_3_weight']))
        for name in there:
            del values[name]
        values.update(zip(_DENSE, (value for layer in dense for value in layer)))
        said.append(text)
    elif not there:
        said.append('no fc6 and fc7')
    said.append(_said_input(source, source_input.ICD))
    return Converted({name: np.asarray(value, np.float32) for name, value in values.items()}, ', '.join(said))
