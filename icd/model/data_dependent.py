"""Scales of drawn layers that fit the data: a start for networks whose weights file ends with the convolutions.

How large activations are depends on the weights drawn and on what they read, and conv5_3 of an ImageNet VGG16 is large.
Whether a training starts, stands still or diverges at a given learning rate depends on it. So a few training images go
through the network, and each drawn layer is divided by the size of what comes out of it, one after the other, as in
LSUV (Mishkin and Matas 2016, "All you need is a good init"). What differs is the size: at the end it is the squared
norm that the classifier reads, since its steps are its learning rate times that norm; in between it is such that fc6
and fc7 learn at one rate, relative to their weights, as Kraehenbuehl et al. ("Data-dependent initializations of
convolutional neural networks", 2016) want it. With 1 in between fc6, which reads values around 20, would change by half
of itself in ten steps and fc7 by a thousandth.
"""
from __future__ import annotations

from typing import Iterable, NamedTuple

import numpy as np

from icd.mxnet_setup import Block, mx, nd

SQUARED_NORM = 200.         # of the activations a classifier reads, mean over positions
HIDDEN = 20.                # mean square before ReLU of the layers in between
IMAGES = 16                 # that are enough to measure
_PART = 4                   # images that go through the network at once


class Layer(NamedTuple):
    """A convolution with ReLU: the name of its parameters without `_weight`, and its dilation."""

    name: str
    dilation: int = 1


def fit_scales(net: Block, given: Iterable[str], images: np.ndarray) -> dict:
    """Scale drawn layers so that what comes out of them is as large as a training needs it.

    Parameters
    ----------
    net : Block
        Initialised. Its method `chains(images)` gives, for images on a device, a list of pairs: what the first layer
        of a chain reads (N, c, h, w), and the chain, a list of `Layer`, the classifier left out. Weights are
        changed on all devices, and biases so that a chain gives what it gave, times the product of its factors.
    given : iterable of str
        Names of the weights that a file gave; only others are scaled.
    images : ndarray (N, 3, H, W) uint8
        RGB, from the training set. The same images give the same factors.

    Returns
    -------
    dict of str to float
        Factor of every scaled weight, by its name.
    """
    parameters, given, factors = net.collect_params(), set(given), {}
    device = next(iter(parameters.values())).list_ctx()[0]
    parts = [net.chains(mx.nd.array(images[i:i + _PART], device, np.uint8)) for i in range(0, len(images), _PART)]
    for pieces in zip(*parts):
        chain = pieces[0][1]
        inputs, product = [x for x, _ in pieces], 1.
        for number, layer in enumerate(chain, 1):
            weight, bias = (parameters[f'{layer.name}_{part}'] for part in ('weight', 'bias'))
            drawn = weight.name not in given
            if drawn:
                bias.set_data(bias.data(device) * product)
            outputs = [_convolve(x, weight.data(device), bias.data(device), layer.dilation) for x in inputs]
            last = number == len(chain)
            measured = _mean([nd.relu(y).square().sum(axis=1) if last else y.square() for y in outputs])
            if drawn and measured > 0:
                factor = float(np.sqrt((SQUARED_NORM if last else HIDDEN) / measured))
                weight.set_data(weight.data(device) * factor)
                bias.set_data(bias.data(device) * factor)
                product *= factor
                factors[weight.name] = factor
                outputs = [_convolve(x, weight.data(device), bias.data(device), layer.dilation) for x in inputs]
            inputs = [nd.relu(y) for y in outputs]
    return factors


def log_odds(labels: np.ndarray) -> np.ndarray:
    """Biases of a classifier that knows nothing but how frequent each class is.

    A training that starts with other ones spends its first steps on this, at the cost of all layers (Lin et al. 2017,
    "Focal loss for dense object detection", section 4.1).

    Parameters
    ----------
    labels : ndarray (images, classes) float32
        0 or 1.

    Returns
    -------
    ndarray (classes,) float32
        log(p / (1 - p)) of the fraction p of images with the class, as if one more image had half of each class.
    """
    frequency = (labels.sum(axis=0) + .5) / (len(labels) + 1)
    return np.log(frequency / (1 - frequency)).astype(np.float32)


def described(factors: dict) -> list:
    """What `fit_scales` did, as lines for the log."""
    if not factors:
        return []
    scaled = ', '.join(f"{name[:-len('_weight')]} x {factor:.4g}" for name, factor in factors.items())
    return [f'drawn layers scaled to what training images give: {scaled}']


def _convolve(x, weight, bias, dilation):
    filters, _, kernel, _ = weight.shape
    return nd.Convolution(x, weight, bias, kernel=(kernel, kernel), num_filter=filters, dilate=(dilation,) * 2,
                          pad=(dilation * (kernel // 2),) * 2)


def _mean(arrays):
    """Mean of all values of some arrays."""
    return sum(float(a.sum().asscalar()) for a in arrays) / sum(a.size for a in arrays)
