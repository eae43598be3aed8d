"""In half precision every convolution of a network computes in it, and nothing else does but ReLU and pooling.

The graphs are looked at as MXNet would run them, with the types it infers: no device needs to know float16 for that.
What bfloat16 gives is computed, where the processor knows it.
"""
import json
import re

import numpy as np
import pytest

from icd.model import deeplab, half
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.losses import ICDLoss
from icd.model.padded_input import Features, PaddedInference, ScoreMaps
from icd.model.sync_bn import forward_synchronised
from icd.model.vgg import VGG16
from icd.mxnet_setup import autograd, mx
from icd.precision import PRECISIONS

CLASSES, WIDTH = 3, 1 / 16
HALVES = PRECISIONS[1:]
BETWEEN = {'amp_cast', 'Activation', 'Pooling'}             # what may give halves beside convolutions
MOVES = {'slice', 'Concat', 'broadcast_like'}               # of inference on padded inputs: they compute nothing
FLOAT, BYTE = np.dtype('float32'), np.dtype('uint8')


def graph_of(block, *others, training=False, data='uint8', **types):
    """Nodes of a block's graph, and last its outputs: (operator, name, types of the inputs, types of the outputs)."""
    with autograd.train_mode() if training else autograd.predict_mode():
        outputs = block(mx.sym.var('data'), *others)
    graph = mx.sym.Group(list(outputs) if isinstance(outputs, (list, tuple)) else [outputs])
    internals = graph.get_internals()
    left, of_node = list(zip(internals.list_outputs(), internals.infer_type(data=data, **types)[1])), []
    nodes = json.loads(graph.tojson(remove_amp_cast=False))
    for node in nodes['nodes']:         # in the order of `left`
        name = re.escape(node['name']) + ('' if node['op'] == 'null' else r'_(output\d*|mean|var)')
        of_node.append([])
        while left and re.fullmatch(name, left[0][0]) and not (of_node[-1] and left[0][0].endswith('_output')):
            of_node[-1].append(np.dtype(left.pop(0)[1]))
    assert not left and all(of_node)
    nodes['nodes'].append({'op': 'outputs', 'name': '', 'inputs': nodes['heads']})
    return [(node['op'], node['name'], [of_node[i][k] for i, k, *_ in node['inputs']], outputs)
            for node, outputs in zip(nodes['nodes'], [*of_node, []])]


def half_type(name):
    return np.dtype([('bfloat16', np.uint16)]) if name == 'bfloat16' else np.dtype(name)


def count_cast(nodes, kind, but=(), also=()):
    """How many convolutions there are, all but `but` in half precision; fails unless all else is in float32."""
    low, convolutions = half_type(kind), 0
    for op, name, inputs, outputs in nodes:
        if op == 'Convolution' and name not in but:
            convolutions += 1
            assert {*inputs, *outputs} == {low}, name
        elif not (op in BETWEEN | set(also) or name.startswith('grey')):
            assert {*inputs, *outputs} <= {FLOAT, BYTE}, (op, name)
    return convolutions


# --------------------------------------------------------------------------------------------------------- graphs
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('kind', HALVES)
def test_of_icd_every_convolution_is_cast_but_the_bottom_up_score(kind, training):
    layers = ICDNet(CLASSES, WIDTH, precision=kind).layers
    nodes = graph_of(layers, training=training)
    (bottom_up,) = [name for op, name, inputs, _ in nodes if op == 'Convolution' and set(inputs) == {FLOAT}]
    assert count_cast(nodes, kind, but={bottom_up}) == 13 + 3 + 5
    others = graph_of(lambda data: [one for i, one in enumerate(layers(data)) if i != 1], training=training)
    assert count_cast(others, kind) == 13 + 3 + 5


@pytest.mark.parametrize('kind', HALVES)
@pytest.mark.parametrize('network, count', [('vgg16_largefov', 16), ('vgg16_aspp', 25), ('resnet101_aspp', 108)])
def test_of_segmentation_networks_every_convolution_is_cast(network, count, kind):
    if network.startswith('resnet'):
        pytest.importorskip('gluoncv')
    made = deeplab.create(network, CLASSES, WIDTH, precision=kind)
    assert count_cast(graph_of(made.layers, training=True), kind) == count


@pytest.mark.parametrize('kind', HALVES)
def test_on_padded_inputs_every_convolution_is_cast(kind):
    for wanted, block, count in ((ScoreMaps, ICDNet(CLASSES, WIDTH, precision=kind), 13 + 3 + 5),
                                 (Features, VGG16(WIDTH, precision=kind), 13)):
        block = wanted(block, 129, (8, 16))
        grey = block.backbone.needed([mx.sym.var('grey0'), mx.sym.var('grey1')])
        nodes = graph_of(block, *grey, **{one.name: half_type(kind) for one in grey})
        assert grey and count_cast(nodes, kind, also=MOVES) == count


def test_the_losses_are_computed_in_float32():
    """They cast nothing, and all that the network gives them is float32: see `graph_of`, whose last node that is."""
    names = 'bottom_up top_down feature weight label superpixel numbers state warm_up'.split()
    symbols = [mx.sym.var(name) for name in names]
    loss = ICDLoss(CLASSES)
    loss_inputs = [symbols[i] for i in (0, 1, 2, 3, 4, 7, 8, 5, 6)]
    nodes = graph_of(super(ICDLoss, loss).__call__, *loss_inputs, training=True, data='float32',
                     **dict.fromkeys(names, 'float32'))
    assert len(nodes) > 100 and {kind for *_, inputs, outputs in nodes for kind in (*inputs, *outputs)} == {FLOAT}


@pytest.mark.parametrize('training', [False, True])
def test_in_float32_nothing_is_cast(training):
    for net in (ICDNet(CLASSES, WIDTH), deeplab.create('vgg16_aspp', CLASSES, WIDTH)):
        for op, name, inputs, outputs in graph_of(net.layers, training=training):
            assert op != 'amp_cast' and {*inputs, *outputs} <= {FLOAT, BYTE}, name


@pytest.mark.parametrize('kind', PRECISIONS)
def test_parameters_are_float32_under_the_same_names(kind):
    found, plain = (ICDNet(CLASSES, WIDTH, precision=one).collect_params() for one in (kind, half.FLOAT32))
    assert list(found) == list(plain) and {p.dtype for p in found.values()} == {np.float32}


# --------------------------------------------------------------------------------------------------------- values
def network(kind, devices=None):
    net = ICDNet(CLASSES, WIDTH, dropout=0, precision=kind)
    set_values(net, initialize_missing(net, {}, 0, he=True), devices)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def images(side=65):
    return mx.nd.array(np.random.default_rng(0).integers(0, 256, (2, 3, side, side)), dtype='uint8')


def assert_close(ours, theirs, limit=.06):
    for a, b in zip(ours, theirs):
        assert a.dtype == np.float32
        a, b = a.asnumpy(), b.asnumpy()
        assert 0 < np.abs(a - b).max() < limit * np.abs(b).max()


def test_bfloat16_gives_what_float32_does_but_for_its_rounding(bfloat16):
    found = {}
    for kind in ('float32', bfloat16):
        net = network(kind)
        with autograd.record():
            outputs = net(images())
            loss = sum((one ** 2).mean() for one in outputs)
        loss.backward()
        gradients = {name: p.grad() for name, p in net.collect_params().items() if p.grad_req != 'null'}
        found[kind] = outputs, gradients
    assert_close(found[bfloat16][0], found['float32'][0])
    for name, ours in found[bfloat16][1].items():
        theirs = found['float32'][1][name].asnumpy().astype(np.float64)
        ours = ours.asnumpy()
        assert ours.dtype == np.float32 and name == 'icd_bu_weight' or (ours * theirs).sum() > .9 * np.sqrt(
            (ours.astype(np.float64) ** 2).sum() * (theirs ** 2).sum()), name


def test_bfloat16_on_padded_inputs_is_the_whole_input(bfloat16):
    """Of one precision both are the same numbers, but for the order of sums."""
    net, x, fitted = network(bfloat16), images(129), (60, 100)
    x[:, :, fitted[0]:] = 127
    x[:, :, :, fitted[1]:] = 127
    whole = net(x)[::2]
    for part, other in zip(PaddedInference(ScoreMaps, net, 129)(x, [fitted] * 2), whole):
        rows, columns = 8, 13
        np.testing.assert_allclose(part[:, :, :rows, :columns].asnumpy(), other[:, :, :rows, :columns].asnumpy(),
                                   atol=.01 * float(other.abs().max().asscalar()))


def test_common_statistics_in_bfloat16_are_those_of_float32(bfloat16):
    devices = [mx.cpu(0), mx.cpu(1)]
    x = images()
    parts = [x[i:i + 1].as_in_context(device) for i, device in enumerate(devices)]
    net = network(bfloat16, devices)
    with autograd.train_mode():
        split = [one.as_in_context(devices[0]) for one in (outputs[3] for outputs in forward_synchronised(net, parts))]
        whole = net(x)[3]
    np.testing.assert_allclose(mx.nd.concat(*split, dim=0).asnumpy(), whole.asnumpy(), atol=1e-4)
