"""ImageNet weights of a ResNet-101 from anywhere, converted to those of this project's network.

What fits is the ResNet with strides in the 3x3 convolutions and a 7x7 stem: `resnet101_v1b` of GluonCV's model zoo, in
its file's names or in those of the network, torchvision's `resnet101`, and checkpoints of this project. Layers are
recognised by name, whatever comes before it (`module.`, `backbone.`). Variants that compute something else are refused:
a layout of Caffe's or of Gluon's `resnet101_v1` strides in 1x1 convolutions, where other pixels are dropped.
"""
from __future__ import annotations

import re

import numpy as np

from icd.weights.converted import Converted, without_prefix
from icd.weights.source_input import TORCHVISION, SourceInput

_UNITS = (3, 4, 23, 3)                  # bottlenecks of each stage (He et al. 2016)
_DEPTHS = {(3, 4, 6, 3): 'ResNet-50 or -34', (3, 8, 36, 3): 'ResNet-152', (2, 2, 2, 2): 'ResNet-18'}
_TAKEN = "take resnet101_v1b of GluonCV or torchvision's resnet101"
_PART = '(weight|bias|gamma|beta|running_mean|running_var)'
# Pattern of a name, and what is before the layer's kind in the project's own.
_PATTERNS = (
    (r'(stem|layer\d_\d+(?:_down)?)_(conv|batchnorm)(\d)_' + _PART, lambda m: (m[1], m[2], int(m[3]), m[4])),
    (r'(?:.*\.)?layer(\d)\.(\d+)\.(conv|bn)(\d)\.' + _PART,
     lambda m: (f'layer{m[1]}_{m[2]}', m[3], int(m[4]) - 1, m[5])),
    (r'(?:.*\.)?layer(\d)\.(\d+)\.downsample\.([01])\.' + _PART,
     lambda m: (f'layer{m[1]}_{m[2]}_down', ('conv', 'bn')[int(m[3])], 0, m[4])),
    (r'(?:.*\.)?(conv|bn)1\.' + _PART, lambda m: ('stem', m[1], 0, m[2])),
    (r'(?:.*_)?layers(\d)_(conv|batchnorm)(\d+)_' + _PART,
     lambda m: (f'layer{m[1]}_{int(m[3]) // 3}', m[2], int(m[3]) % 3, m[4])),
    (r'(?:.*_)?down(\d)_(conv|batchnorm)(0)_' + _PART, lambda m: (f'layer{m[1]}_0_down', m[2], 0, m[4])),
    (r'resnetv1[a-z0-9]*_(conv|batchnorm)(0)_' + _PART, lambda m: ('stem', m[1], 0, m[3])))
_REFUSED = (
    (r'(?:.*\.)?conv1\.[0-9]\.weight|resnetv1[a-z0-9]*_conv[1-9]_weight|(?:.*\.)?stem\.\d.*',
     'a ResNet with a deep stem, of three 3x3 convolutions (v1c, v1d, v1s)'),
    (r'res[2-5][a-z]\d*_branch.*', 'a ResNet in the layout of Caffe, with its strides in the 1x1 convolutions'),
    (r'.*resnetv1\w*_stage\d_.*|features\.\d\.\d+\.body\..*',
     "a ResNet of Gluon's own zoo (resnet101_v1 or v2), with its strides in the 1x1 convolutions"),
    (r'.*resnetv2\w*_stage\d_.*', 'a ResNet with the normalisation before its convolutions (v2)'))


def required(parameters: list, values: dict) -> list:
    """The names of a network's parameters that pretrained weights must hold: all of the backbone."""
    return [name for name in parameters if name.startswith(('stem_', 'layer'))]


def _own_name(name):
    """The project's name of a parameter, or None."""
    for pattern, parts in _PATTERNS:
        match = re.fullmatch(pattern, name)
        if match:
            layer, kind, number, part = parts(match)
            if kind != 'conv':
                kind, part = 'batchnorm', {'weight': 'gamma', 'bias': 'beta'}.get(part, part)
            return f'{layer}_{kind}{number}_{part}'
    return None


def _check(names, values):
    """Raise a `ValueError` unless `values`, by own names, are those of a ResNet-101; `names` are the file's."""
    for pattern, what in _REFUSED:
        if any(re.fullmatch(pattern, name) for name in names):
            raise ValueError(f'{what}: {_TAKEN}')
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
    biased = sorted(name for name in values if re.search('conv._bias$', name))
    if biased:
        raise ValueError(f'a ResNet whose convolutions have biases ({biased[0]}): {_TAKEN}')


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
        The input they were trained with; by default that of GluonCV and torchvision, which is the network's own.

    Returns
    -------
    Converted
        The backbone, and what else has a name of this project's networks (`fc1_weight`).

    Raises
    ------
    ValueError
        When they are not those of a ResNet-101, or of a variant of it that computes something else.
    """
    arrays = without_prefix(arrays)
    values, left = {}, []
    for name, array in arrays.items():
        own = _own_name(name) or (name if re.fullmatch(r'fc1(_aspp\d+)?_(weight|bias)', name) else None)
        if own:
            values[own] = np.asarray(array, np.float32)
        elif not name.endswith('num_batches_tracked'):
            left.append(name)
    _check(arrays, values)
    said = 'ResNet-101 with strides in the 3x3 convolutions'
    if source and source != TORCHVISION:
        lacking = {'stem_batchnorm0_running_mean'} - set(values)
        if lacking:
            raise ValueError(f'lacks {lacking.pop()}')
        folded = fold_input(values['stem_conv0_weight'], values['stem_batchnorm0_running_mean'], source)
        for name, value in zip(('stem_conv0_weight', 'stem_batchnorm0_running_mean'), folded):
            values[name] = np.ascontiguousarray(value, np.float32)
    said += f", input {source or TORCHVISION} ({'given' if source else 'guessed'})"
    return Converted(values, said + (f", left out: {', '.join(left[:4])}" if left else ''))
