"""ImageNet weights of a ResNet-101 from anywhere, converted to those of this project's network.

Layers are recognised by name, whatever comes before it (`module.`, `backbone.`): those of torchvision, of GluonCV's and
Gluon's model zoos (in their files' names or in those of the networks), of Caffe and what was converted from it, of
deeplab-pytorch, of Keras, and of this project. The layout tells which variant of the network they belong to: strides
in the 3x3 convolutions (v1b) or in the 1x1 convolutions (v1). Other ResNets are refused by name.

Caffe pools the stem's output without padding, this project (as deeplab-pytorch) with one position of it: features lie
a position of the stem elsewhere, which weights do not know of.
"""
from __future__ import annotations

import re

import numpy as np

from icd.weights.converted import Converted, without_prefix
from icd.weights.resnet101_names import head_name, layout_of, own_name
from icd.weights.source_input import TORCHVISION, SourceInput

_UNITS = (3, 4, 23, 3)                  # bottlenecks of each stage (He et al. 2016)
_DEPTHS = {(3, 4, 6, 3): 'ResNet-50 or -34', (3, 8, 36, 3): 'ResNet-152', (2, 2, 2, 2): 'ResNet-18'}
_TAKEN = "take torchvision's resnet101, or resnet101_v1b or resnet101_v1 of GluonCV"
_SAID = {'v1b': 'strides in the 3x3 convolutions (v1b)', 'v1': 'strides in the 1x1 convolutions (v1)'}


def required(parameters: list, values: dict) -> list:
    """The names of a network's parameters that pretrained weights must hold: all of the backbone."""
    return [name for name in parameters if name.startswith(('stem_', 'layer'))]


def _check(values):
    """Raise a `ValueError` unless `values`, by own names, are those of a ResNet-101."""
    units = tuple(len({name.split('_')[1] for name in values if name.startswith(f'layer{stage}_')})
                  for stage in range(1, 5))
    if 'stem_conv0_weight' not in values or not all(units):
        raise ValueError('not the weights of a ResNet-101')
    if units != _UNITS:
        raise ValueError(f"{_DEPTHS.get(units, 'another ResNet')}, with {units} units in its stages, not {_UNITS}: "
                         f'{_TAKEN}')
    if values['stem_conv0_weight'].shape[2:] != (7, 7):
        raise ValueError(f"a ResNet whose first kernel is {'x'.join(map(str, values['stem_conv0_weight'].shape[2:]))}, "
                         f'not 7x7: {_TAKEN}')


def _fold_biases(values):
    """Take the biases of convolutions away: what follows them subtracts a mean, which moves by as much."""
    biases = [name for name in values if re.search(r'_conv\d_bias$', name)]
    for name in biases:
        mean = re.sub(r'conv(\d)_bias$', r'batchnorm\1_running_mean', name)
        if mean not in values or values[mean].shape != values[name].shape:
            raise ValueError(f'a ResNet with a bias that no normalisation follows ({name}): {_TAKEN}')
        values[mean] = values[mean] - values.pop(name)


def fold_input(weight: np.ndarray, mean: np.ndarray, source: SourceInput) -> tuple:
    """Make a first convolution, and the normalisation after it, read this project's input for ResNet-101.

    Both inputs are affine in the pixels. The scale goes into the weights; what is left is a constant a channel, by
    which the running mean moves. As for VGG16, this is exact wherever the convolution sees only the image.

    Parameters
    ----------
    weight : (channels, 3, k, k)
        It reads the input `source` describes.
    mean : (channels,)
        Running mean of the normalisation.
    source : SourceInput

    Returns
    -------
    weight, mean
        Of the same shapes, float64; the weights read `icd.weights.source_input.TORCHVISION`.
    """
    order = {'RGB': 1, 'BGR': -1}[source.channel_order]
    theirs_mean, theirs_std = np.asarray(source.mean)[::order], np.asarray(source.std)[::order]
    weight = np.asarray(weight, np.float64)[:, ::order]
    ours_mean, ours_std = np.asarray(TORCHVISION.mean), np.asarray(TORCHVISION.std)
    constant = (weight.sum(axis=(2, 3)) * ((source.largest * ours_mean - theirs_mean) / theirs_std)).sum(axis=1)
    return weight * (source.largest * ours_std / theirs_std)[:, None, None], mean - constant


def convert(arrays: dict, source: SourceInput | None = None) -> Converted:
    """This project's pretrained weights from those of a ResNet-101.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        By the names in a file. Of any width.
    source : SourceInput, optional
        The input they were trained with; by default what the layout says. torchvision's names with an input that is
        Caffe's (values to 255, standard deviations of 1) are taken for a conversion of Caffe's weights: v1.

    Returns
    -------
    Converted
        The backbone, and classifiers of a DeepLab-v2 where there are some. Names are those of the network's variant,
        which `icd.weights.resnet101_names.variant_of` reads.

    Raises
    ------
    ValueError
        When they are not those of a ResNet-101, or of a variant of it that computes something else.
    """
    arrays = without_prefix(arrays)
    try:
        layout = layout_of(list(arrays))
    except ValueError as error:
        raise ValueError(f'{error}: {_TAKEN}') from None
    values, left = {}, []
    for name, array in arrays.items():
        own = own_name(layout, name) or head_name(name)
        if own:
            values[own] = np.asarray(array.transpose(layout.axes) if array.ndim == 4 else array, np.float32)
        elif not name.endswith('num_batches_tracked'):
            left.append(name)
    _check(values)
    _fold_biases(values)
    read = source or layout.source
    if read != TORCHVISION:
        lacking = {'stem_batchnorm0_running_mean'} - set(values)
        if lacking:
            raise ValueError(f'lacks {lacking.pop()}')
        folded = fold_input(values['stem_conv0_weight'], values['stem_batchnorm0_running_mean'], read)
        for name, value in zip(('stem_conv0_weight', 'stem_batchnorm0_running_mean'), folded):
            values[name] = np.ascontiguousarray(value, np.float32)
    variant = layout.variant_of(arrays, read)
    if variant == 'v1':
        values = {re.sub('^layer2_0_', 'layer2_0v1_', name): value for name, value in values.items()}
    said = [f'ResNet-101 with {_SAID[variant]}', f'in the names of {layout.name}',
            f"input {read} ({'given' if source else 'guessed'})"]
    return Converted(values, ', '.join(said + ([f"left out: {', '.join(left[:4])}"] if left else [])))
