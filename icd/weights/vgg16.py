"""ImageNet weights of a VGG16 from anywhere, converted to those of this project's network.

Sources differ in names, in the input they expect and in how they store the two fully connected layers. So there is a
function for each: `layers` recognises the network by shapes and order, `fold_input` makes conv1_1 read this project's
input, `decimate` turns the fully connected layers into convolutions. `convert` does all three.
"""
from __future__ import annotations

import re

import numpy as np

from icd.data.geometry import GREY

_CONVOLUTIONS = {           # layers and channels of every block of the full network (Simonyan and Zisserman 2015)
    f'conv{block}_{layer}': channels
    for block, (count, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1)
    for layer in range(1, count + 1)}
_POOLED, _DENSE, _KEPT = 7, 4096, 4         # side of pool5; outputs of fc6 and fc7, of which every fourth is kept
LAYERS = (*_CONVOLUTIONS, 'fc6', 'fc7')
NAMES = tuple(f'{layer}_{part}' for layer in LAYERS for part in ('weight', 'bias'))

# What torchvision and the Gluon model zoo feed their networks: RGB / 255, normalised with these.
IMAGENET_MEAN, IMAGENET_STD = np.array([.485, .456, .406]), np.array([.229, .224, .225])


def _shapes():
    shapes, inputs = [], 3
    for channels in _CONVOLUTIONS.values():
        shapes.append((channels, inputs, 3, 3))
        inputs = channels
    return shapes + [(_DENSE, inputs * _POOLED ** 2), (_DENSE, _DENSE)]


def layers(arrays: dict) -> list:
    """Recognise the layers of a VGG16, whatever their names: by their order and shapes.

    Parameters
    ----------
    arrays : dict of str to array
        Names end with `weight` or `bias`; numbers in them count the layers. The classifier may be among them.

    Returns
    -------
    list of (weight, bias)
        Of conv1_1 to conv5_3, fc6 (4096, 25088) and fc7 (4096, 4096), in the order of `LAYERS`.

    Raises
    ------
    ValueError
        When they are not those of a VGG16 without batch normalisation.
    """
    def order(name):            # conv10 follows conv9
        return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]
    shapes = _shapes()
    weights = sorted((name for name in arrays if name.endswith('weight')), key=order)[:len(shapes)]
    found = [(name, name[:-len('weight')] + 'bias') for name in weights]
    if [arrays[name].shape for name in weights] != shapes or not all(bias in arrays for _, bias in found) or any(
            not name.endswith(('weight', 'bias')) for name in arrays):
        raise ValueError('not the weights of a VGG16 without batch normalisation')
    return [(arrays[weight], arrays[bias]) for weight, bias in found]


def fold_input(weight: np.ndarray, bias: np.ndarray, channel_order: str, mean, std, largest: float) -> tuple:
    """Make a first convolution that reads another input read this project's: RGB - 127 of pixels 0 to 255.

    Both inputs are affine in the pixels, so the convolution absorbs the difference: the scale goes into the weights,
    and what 127 grey would have given goes into the bias. This is exact wherever the convolution sees only the image.
    On the outermost row and column it sees padding, which is the mean colour for the source and 127 grey here; no
    weights can undo that, since the bias is the same everywhere. Grey is the colour the input pipeline pads with, too.

    Parameters
    ----------
    weight : (channels, 3, k, k)
        It reads `(pixel * largest / 255 - mean) / std`.
    bias : (channels,)
    channel_order : str
        'RGB' or 'BGR': order of the source's input channels, and of `mean` and `std`.
    mean, std : array_like (3,)
        In units of `largest`.
    largest : float
        What the source makes of a pixel of 255: 1 or 255, mostly.

    Returns
    -------
    weight, bias
        Of the same shapes, float64; the weights' input channels are RGB.
    """
    mean, std, divisor = np.asarray(mean), np.asarray(std), 255 / largest
    weight = np.asarray(weight, np.float64)
    bias = bias + (weight.sum(axis=(2, 3)) * ((GREY / divisor - mean) / std)).sum(axis=1)
    weight = weight * (1 / (divisor * std))[:, None, None]
    return weight[:, ::{'RGB': 1, 'BGR': -1}[channel_order]], bias


def decimate(fc6: tuple, fc7: tuple) -> tuple:
    """Turn the fully connected layers into convolutions as in DeepLab-LargeFOV (Chen et al. 2015).

    Every fourth output stays, of every fourth input; of the 7 x 7 positions that fc6 sees, rows and columns 0, 3, 6.

    Parameters
    ----------
    fc6, fc7 : (weight, bias)
        Weights (4096, 25088), the inputs by channel, row and column; and (4096, 4096).

    Returns
    -------
    fc6, fc7 : (weight, bias)
        Weights (1024, 512, 3, 3) and (1024, 1024, 1, 1).
    """
    (weight6, bias6), (weight7, bias7) = fc6, fc7
    weight6 = weight6.reshape(_DENSE, -1, _POOLED, _POOLED)[::_KEPT, :, ::3, ::3]
    return (weight6, bias6[::_KEPT]), (weight7[::_KEPT, ::_KEPT, None, None], bias7[::_KEPT])


def convert(arrays: dict, channel_order: str = 'RGB', mean=IMAGENET_MEAN, std=IMAGENET_STD,
            largest: float = 1.) -> dict:
    """This project's pretrained weights from those of a VGG16; by default of the Gluon model zoo.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        See `layers`.
    channel_order, mean, std, largest
        The input they were trained with, see `fold_input`.

    Returns
    -------
    dict of str to numpy.ndarray
        `NAMES`, float32.

    Raises
    ------
    ValueError
        See `layers`.
    """
    first, *rest, fc6, fc7 = layers(arrays)
    converted = [fold_input(*first, channel_order, mean, std, largest), *rest, *decimate(fc6, fc7)]
    values = (value for layer in converted for value in layer)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in zip(NAMES, values)}
