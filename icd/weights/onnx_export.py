"""Trained networks as ONNX files, which other programs run: images in, scores out, nothing else to know.

Input is `image` (N, 3, H, W) uint8, RGB; H and W of the form 8k + 1, any N. Outputs are float32 at every eighth pixel:
`cam`, `bottom_up` (calibrated) and `top_down` of ICD, `logits` of a segmentation network. The graph is written layer by
layer from the weights alone, without MXNet.
"""
from __future__ import annotations

import json
from typing import Mapping, Sequence

import numpy as np

from icd import __version__, files
from icd.data.geometry import GREY
from icd.errors import UserError
from icd.weights import resnet101_names, trained

OPSET, IR_VERSION = 13, 7       # of 2020: every runtime in use reads them
# As in icd.model.vgg and icd.model.resnet, which need MXNet: blocks of convolutions with their dilation and the stride
# of the pooling after; stages of units with stride and dilation.
_VGG = ((2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, None))
_RESNET = ((3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4))
_MEAN, _DEVIATION = trained.MEAN, (.229, .224, .225)
_LARGE_FOV, _ASPP = 12, (6, 12, 18, 24)


class _Graph:
    """Nodes of a graph, the weights it is made of, and the names of those it took."""

    def __init__(self, onnx, arrays):
        self._onnx, self.arrays = onnx, arrays
        self.nodes, self.initializers, self.taken, self.channels = [], [], set(), {}

    def weight(self, name):
        if name not in self.arrays:
            raise ValueError(f'lacks {name}')
        if not np.isfinite(self.arrays[name]).all():
            raise ValueError(f'{name} is not finite: the training diverged')
        self.taken.add(name)
        return self.arrays[name]

    def constant(self, name, value):
        self.initializers.append(self._onnx.numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, kind, inputs, name, channels=None, **attributes):
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.channels[name] = self.channels.get(inputs[0]) if channels is None else channels
        return name

    def convolution(self, x, name, output, weight=None, bias=True, stride=1, dilation=1):
        """A convolution with the weights NAME_weight and NAME_bias that keeps the size, or divides it by the stride."""
        weight = self.weight(name + '_weight') if weight is None else weight
        if weight.ndim != 4 or weight.shape[1] != self.channels[x]:
            raise ValueError(f'{name}_weight has the shape {weight.shape}, and its input {self.channels[x]} channels')
        inputs, kernel = [x, self.constant(output + '/weight', weight)], weight.shape[2]
        if bias:
            inputs.append(self.constant(output + '/bias', self.weight(name + '_bias')))
        return self.node('Conv', inputs, output, len(weight), kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[kernel // 2 * dilation] * 4, dilations=[dilation] * 2)

    def activated(self, x, name, **kwargs):
        return self.node('Relu', [self.convolution(x, name, name, **kwargs)], name + '/relu')

    def normalised(self, x, name, running='running', fixed_scale=False):
        """Batch normalisation with its running statistics."""
        scale = self.weight(name + '_gamma')
        values = {'scale': np.ones_like(scale) if fixed_scale else scale, 'beta': self.weight(name + '_beta'),
                  'mean': self.weight(f'{name}_{running}_mean'), 'var': self.weight(f'{name}_{running}_var')}
        if len(scale) != self.channels[x]:
            raise ValueError(f'{name}_gamma has {len(scale)} values for {self.channels[x]} channels')
        constants = [self.constant(f'{name}/{key}', value) for key, value in values.items()]
        return self.node('BatchNormalization', [x, *constants], name, epsilon=1e-5)

    def pooled(self, x, name, stride, average=False):
        kwargs = {'count_include_pad': 1} if average else {}
        return self.node('AveragePool' if average else 'MaxPool', [x], name, kernel_shape=[3, 3], strides=[stride] * 2,
                         pads=[1] * 4, **kwargs)

    def total(self, parts, name):
        return self.node('Sum', parts, name) if len(parts) > 1 else self.node('Identity', parts, name)


# -------------------------------------------------------------------------------------------------------- networks
def _vgg(graph):
    x = graph.node('Cast', ['image'], 'image/float', 3, to=1)
    x = graph.node('Sub', [x, graph.constant('image/mean', GREY)], 'image/normalised')
    for block, (count, dilation, stride) in enumerate(_VGG, 1):
        for number in range(1, count + 1):
            x = graph.activated(x, f'conv{block}_{number}', dilation=dilation)
        if stride:
            x = graph.pooled(x, f'pool{block}', stride)
    return x


def _resnet(graph, variant):
    x = graph.node('Cast', ['image'], 'image/float', 3, to=1)
    x = graph.node('Div', [x, graph.constant('image/largest', 255)], 'image/unit')
    for kind, name, value in (('Sub', 'mean', _MEAN), ('Div', 'deviation', _DEVIATION)):
        x = graph.node(kind, [x, graph.constant('image/' + name, np.reshape(value, (1, 3, 1, 1)))], 'image/by_' + name)
    x = _convolution_norm(graph, x, 'stem_conv0', 'stem_batchnorm0', stride=2)
    x = graph.pooled(graph.node('Relu', [x], 'stem_conv0/relu'), 'pool0', 2)
    for stage, (count, stride, dilation) in enumerate(_RESNET, 1):
        first = f'layer{stage}_0_'
        if stride > 1 and variant == 'v1':
            x = graph.node('MaxPool', [x], f'layer{stage}_0v1_subsampled', kernel_shape=[1, 1], strides=[stride] * 2)
            stride, first = 1, f'layer{stage}_0v1_'
        for unit in range(count):
            x = _bottleneck(graph, x, f'layer{stage}_{unit}_' if unit else first, 1 if unit else stride, dilation,
                            unit == 0)
    return x


def _convolution_norm(graph, x, convolution, norm, **kwargs):
    return graph.normalised(graph.convolution(x, convolution, convolution, bias=False, **kwargs), norm)


def _bottleneck(graph, x, prefix, stride, dilation, projects):
    y = x
    for number, kwargs in enumerate(({}, {'stride': stride, 'dilation': dilation}, {})):
        y = _convolution_norm(graph, y, f'{prefix}conv{number}', f'{prefix}batchnorm{number}', **kwargs)
        if number < 2:
            y = graph.node('Relu', [y], f'{prefix}relu{number}')
    if projects:
        x = _convolution_norm(graph, x, prefix + 'down_conv0', prefix + 'down_batchnorm0', stride=stride)
    return graph.node('Relu', [graph.node('Add', [y, x], prefix + 'sum')], prefix + 'relu2')


def _classifier(graph, x, ending='', dilation=1):
    x = graph.activated(x, 'fc6' + ending, dilation=dilation)
    x = graph.activated(x, 'fc7' + ending)
    return graph.convolution(x, 'fc8' + ending, 'fc8' + ending)


def _double_pooled(graph, x):
    return graph.pooled(graph.pooled(x, 'pool5', 1), 'pool5a', 1, average=True)


def _icd_net(graph):
    conv5_3 = _vgg(graph)
    cam = _classifier(graph, _double_pooled(graph, conv5_3))
    feature = graph.normalised(conv5_3, 'feat_bn', 'moving', fixed_scale=True)
    weight, state = graph.weight('icd_bu_weight'), graph.weight('icd_accum_resign_moving_mean')
    sign = np.where(state[:, :1] < state[:, 1:], -1, 1).astype(np.float32)
    direction = sign * weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-20)
    bottom_up = graph.convolution(feature, 'icd_bu', 'icd_bu', direction[..., None, None], bias=False)
    first = graph.activated(feature, 'fc6_ft')
    features, parts, begin = (feature, first, graph.activated(first, 'fc7_ft')), [], 0
    for number, x in enumerate(features):                   # the convolution of their concatenation
        end = begin + graph.channels[x]
        parts.append(graph.convolution(x, 'conv_ft', f'conv_ft{number}', graph.weight('conv_ft_weight')[:, begin:end],
                                       bias=False))
        begin = end
    return {'cam': [cam], 'bottom_up': [bottom_up], 'top_down': parts}


def _deeplab(graph, network):
    backbone, _, head = network.partition('_')
    branches = [(f'_aspp{rate}', rate) for rate in _ASPP] if head == 'aspp' else [('', _LARGE_FOV)]
    if backbone == 'vgg16':
        x = _double_pooled(graph, _vgg(graph))
        return {'logits': [_classifier(graph, x, ending, rate) for ending, rate in branches]}
    x = _resnet(graph, resnet101_names.variant_of(graph.arrays))
    heads = [('fc1' + ending, rate) for ending, rate in branches]
    return {'logits': [graph.convolution(x, name, name, dilation=rate) for name, rate in heads]}


# ------------------------------------------------------------------------------------------------------------ files
def model(arrays: Mapping, class_names: Sequence[str], checksum: int = 0, width: float | None = None):
    """A trained network as an ONNX model.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        All its weights by their names in the network, and no others.
    class_names : sequence of str
        A name an output channel: of ICD without background, of segmentation networks background first.
    checksum : int
        CRC-32 of the checkpoint: what was made with it through MXNet is up to date for this model, too.
    width : float, optional
        Multiplier of the channels; by default that of the layers with the most.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    UserError
        Where onnx is not installed.
    ValueError
        When the weights are not those of one network.
    """
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise UserError('onnx is not installed', remedy='pip install -e .[onnx]') from None
    network = trained.network_of(arrays)
    graph = _Graph(onnx, arrays)
    outputs = _icd_net(graph) if network == trained.ICD else _deeplab(graph, network)
    unknown = sorted(set(arrays) - graph.taken)
    if unknown:
        raise ValueError(f'holds weights that {network} does not have ({unknown[0]})')
    if len(class_names) != trained.number_of_classes(arrays):
        raise ValueError(f'gives {trained.number_of_classes(arrays)} scores, there are {len(class_names)} classes')
    infos = []
    for name, parts in outputs.items():
        graph.total(parts, name)
        infos.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT,
                                                        ['batch', len(class_names), 'rows', 'columns']))
    image = onnx.helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, ['batch', 3, 'height', 'width'])
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, network, [image], infos, graph.initializers), producer_name='icd',
        producer_version=__version__, opset_imports=[onnx.helper.make_opsetid('', OPSET)], ir_version=IR_VERSION)
    onnx.helper.set_model_props(made, {
        'network': network, 'class_names': json.dumps(list(class_names)), 'icd_version': __version__,
        'width': repr(width or trained.width_of(arrays)), 'weights_crc32': f'{checksum:08x}',
        'padding': json.dumps(trained.padding_of(network))})
    return made


def write(path: str, arrays: Mapping, class_names: Sequence[str], checksum: int = 0, width: float | None = None):
    """Write `model` to a file, whole or not at all; the same weights give the same bytes."""
    files.save_bytes(path, model(arrays, class_names, checksum, width).SerializeToString(deterministic=True))
