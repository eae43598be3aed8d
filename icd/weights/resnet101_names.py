"""The names that files give the layers of a ResNet-101, and what a layout says of the network."""
from __future__ import annotations

import re
from typing import Callable, Iterable, NamedTuple

from icd.weights.source_input import CAFFE, DEEPLAB, TORCHVISION, SourceInput

# Ends of the names of parameters: as files have them, and here. Those of Keras 3 are numbered.
_PARTS = {'weight': 'weight', 'bias': 'bias', 'kernel': 'weight', 'gamma': 'gamma', 'beta': 'beta',
          'running_mean': 'running_mean', 'running_var': 'running_var', 'moving_mean': 'running_mean',
          'moving_var': 'running_var', 'moving_variance': 'running_var'}
_NUMBERED = {'conv': ('weight', 'bias'), 'batchnorm': ('gamma', 'beta', 'running_mean', 'running_var')}
_PART = '(?P<part>' + '|'.join(_PARTS) + ')'
_ASPP = 6, 12, 18, 24           # dilations, as in icd.model.deeplab, which needs MXNet


class Layout(NamedTuple):
    """How a group of files names its layers.

    name : str
    patterns : tuple of (pattern, layer)
        What matches a whole name, and a function of the match that gives what is before the parameter's own name here:
        (layer, 'conv' or 'bn', number).
    variant_of : callable
        Of the network, 'v1b' or 'v1' (`icd.model.resnet.ResNet101`), by the file's names and the network's input.
    source : SourceInput
        What it was trained with.
    axes : tuple of int
        Of a convolution's weights, in the order outputs, inputs, rows, columns.
    """

    name: str
    patterns: tuple
    variant_of: Callable
    source: SourceInput
    axes: tuple = (0, 1, 2, 3)


def variant_of(names: Iterable[str]) -> str:
    """Which `icd.model.resnet.ResNet101` weights belong to, 'v1b' or 'v1', by their names in the network."""
    return 'v1' if any(name.startswith('layer2_0v1_') for name in names) else 'v1b'


def _by_names(names, source):
    return variant_of(names)


def _by_input(names, source):
    """Caffe's weights under torchvision's names: of networks with these names, only they read such an input."""
    return 'v1' if (source.largest, source.std) == (CAFFE.largest, CAFFE.std) else 'v1b'


def _v1b(names, source):
    return 'v1b'


def _v1(names, source):
    return 'v1'


def _caffe_layer(m):
    """Units are called 2a, 2b, 2c, or 4a, 4b1, 4b2 where there are more than three."""
    unit = int(m['number'] or 'abc'.index(m['unit']))
    layer, kind = f"layer{int(m['stage']) - 1}_{unit}", 'conv' if m['kind'] == 'res' else 'bn'
    return (layer + '_down', kind, 0) if m['branch'] == '1' else (layer, kind, 'abc'.index(m['branch'][1]))


def _deeplab_pytorch_layer(m):
    layer, what = f"layer{int(m['stage']) - 1}_{int(m['unit']) - 1}", m['what']
    return (layer + '_down', m['kind'], 0) if what in ('proj', 'shortcut') else \
        (layer, m['kind'], ('reduce', 'conv3x3', 'increase').index(what))


def _gluon_layer(m):
    """Layers of a stage are counted; the first unit has a fourth, its shortcut."""
    stage, number = m['stage'], int(m['number'])
    if number < 4:
        return (f'layer{stage}_0', m['kind'], number) if number < 3 else (f'layer{stage}_0_down', m['kind'], 0)
    return f'layer{stage}_{(number - 1) // 3}', m['kind'], (number - 1) % 3


def _keras_layer(m):
    layer, number = f"layer{int(m['stage']) - 1}_{int(m['unit']) - 1}", int(m['number'])
    return (layer, m['kind'], number - 1) if number else (layer + '_down', m['kind'], 0)


def _stem(m):
    return 'stem', m['kind'], 0


_KERAS_END = r'/(?:.*/)?' + f'(?:{_PART}|vars/' + r'(?P<index>\d))(?::0)?'
LAYOUTS = (
    Layout("this project", (
        (r'(?P<layer>stem|layer\d_\d+(?:v1)?(?:_down)?)_(?P<kind>conv|batchnorm)(?P<number>\d)_' + _PART,
         lambda m: (m['layer'].replace('v1', ''), m['kind'], int(m['number']))),), _by_names, TORCHVISION),
    Layout("torchvision or GluonCV", (
        (r'(?:.*\.)?layer(?P<stage>\d)\.(?P<unit>\d+)\.(?P<kind>conv|bn)(?P<number>\d)\.' + _PART,
         lambda m: (f"layer{m['stage']}_{m['unit']}", m['kind'], int(m['number']) - 1)),
        (r'(?:.*\.)?layer(?P<stage>\d)\.(?P<unit>\d+)\.downsample\.(?P<number>[01])\.' + _PART,
         lambda m: (f"layer{m['stage']}_{m['unit']}_down", ('conv', 'bn')[int(m['number'])], 0)),
        (r'(?:.*\.)?(?P<kind>conv|bn)1\.' + _PART, _stem)), _by_input, TORCHVISION),
    Layout("GluonCV's networks", (
        (r'(?:.*_)?layers(?P<stage>\d)_(?P<kind>conv|batchnorm)(?P<number>\d+)_' + _PART,
         lambda m: (f"layer{m['stage']}_{int(m['number']) // 3}", m['kind'], int(m['number']) % 3)),
        (r'(?:.*_)?down(?P<stage>\d)_(?P<kind>conv|batchnorm)0_' + _PART,
         lambda m: (f"layer{m['stage']}_0_down", m['kind'], 0)),
        (r'resnetv1[a-z0-9]*_(?P<kind>conv|batchnorm)0_' + _PART, _stem)), _v1b, TORCHVISION),
    Layout("Gluon's networks", (
        (r'(?:.*_)?stage(?P<stage>\d)_(?P<kind>conv|batchnorm)(?P<number>\d+)_' + _PART, _gluon_layer),
        (r'resnetv1\d*_(?P<kind>conv|batchnorm)0_' + _PART, _stem)), _v1, TORCHVISION),
    Layout("Gluon", (
        (r'features\.(?P<stage>[4-7])\.(?P<unit>\d+)\.body\.(?P<number>[013467])\.' + _PART,
         lambda m: (f"layer{int(m['stage']) - 3}_{m['unit']}", ('conv', 'bn')[int(m['number']) % 3],
                    int(m['number']) // 3)),
        (r'features\.(?P<stage>[4-7])\.(?P<unit>\d+)\.downsample\.(?P<number>[01])\.' + _PART,
         lambda m: (f"layer{int(m['stage']) - 3}_{m['unit']}_down", ('conv', 'bn')[int(m['number'])], 0)),
        (r'features\.(?P<number>[01])\.' + _PART, lambda m: ('stem', ('conv', 'bn')[int(m['number'])], 0))),
        _v1, TORCHVISION),
    Layout("Caffe", (
        (r'(?:.*[./])?(?P<kind>res|bn|scale)(?P<stage>[2-5])(?P<unit>[abc])(?P<number>\d*)_branch'
         r'(?P<branch>1|2[abc])[._/]' + _PART, _caffe_layer),
        (r'(?:.*[./])?(?P<kind>conv1|bn_conv1|scale_conv1)[._/]' + _PART,
         lambda m: ('stem', 'conv' if m['kind'] == 'conv1' else 'bn', 0))), _v1, CAFFE),
    Layout("deeplab-pytorch", (
        (r'(?:.*\.)?layer(?P<stage>[2-5])\.block(?P<unit>\d+)\.(?P<what>reduce|conv3x3|increase|proj|shortcut)\.'
         r'(?P<kind>conv|bn)\.' + _PART, _deeplab_pytorch_layer),
        (r'(?:.*\.)?layer1\.conv1\.(?P<kind>conv|bn)\.' + _PART, _stem)), _v1, DEEPLAB),
    Layout("Keras", (
        (r'(?:.*/)?conv(?P<stage>[2-5])_block(?P<unit>\d+)_(?P<number>[0-3])_(?P<kind>conv|bn)' + _KERAS_END,
         _keras_layer),
        (r'(?:.*/)?conv1_(?P<kind>conv|bn)' + _KERAS_END, _stem)), _v1, CAFFE, (3, 2, 0, 1)))
# Names of networks that compute something else.
_OTHERS = (
    (r'(?:.*\.)?conv1\.[0-9]\.weight|resnetv1[a-z0-9]*_conv[1-9]_weight|(?:.*\.)?stem\.\d.*',
     'a ResNet with a deep stem, of three 3x3 convolutions (v1c, v1d, v1s)'),
    (r'.*resnetv2\w*_stage\d_.*|features\.\d\.\d+\.bn1\..*|(?:.*/)?conv2_block1_preact_bn/.*',
     'a ResNet with the normalisation before its convolutions (v2)'))
# A classifier in this project's names, or in those of deeplab-pytorch.
_HEAD = re.compile(r'(?P<own>fc1(?:_aspp\d+)?_(?:weight|bias))|'
                   r'(?:.*\.)?aspp\.(?:stages\.)?c(?P<branch>[0-3])\.(?P<part>weight|bias)')


def layout_of(names: list) -> Layout:
    """The layout that has the most of some names.

    Raises
    ------
    ValueError
        When they are those of another sort of ResNet, or of none.
    """
    for pattern, what in _OTHERS:
        if any(re.fullmatch(pattern, name) for name in names):
            raise ValueError(what)
    found = max(LAYOUTS, key=lambda layout: sum(own_name(layout, name) is not None for name in names))
    if not any(own_name(found, name) for name in names):
        raise ValueError('not the weights of a ResNet-101')
    return found


def own_name(layout: Layout, name: str) -> str | None:
    """This project's name of a parameter of the backbone, as of variant v1b; None when it is something else."""
    for pattern, layer_of in layout.patterns:
        match = re.fullmatch(pattern, name)
        if match:
            layer, kind, number = layer_of(match)
            kind = 'conv' if kind == 'conv' else 'batchnorm'
            if match['part']:
                part = _PARTS[match['part']]
                if kind != 'conv':
                    part = {'weight': 'gamma', 'bias': 'beta'}.get(part, part)
            else:
                part = dict(enumerate(_NUMBERED[kind])).get(int(match['index']))
            return part and f'{layer}_{kind}{number}_{part}'
    return None


def head_name(name: str) -> str | None:
    """This project's name of a parameter of a segmentation network's classifier, or None."""
    match = _HEAD.fullmatch(name)
    return match and (match['own'] or f"fc1_aspp{_ASPP[int(match['branch'])]}_{match['part']}")
