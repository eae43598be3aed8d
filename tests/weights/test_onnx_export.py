"""ONNX exports: equal to MXNet, of any batch and size, and refused when the weights are not whole."""
import functools
import json

import numpy as np
import onnx
import onnxruntime
import pytest

from icd.model import deeplab
from icd.model.icd_blocks import apply_sign
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.mxnet_setup import mx
from icd.weights import onnx_export, trained

NETWORKS = (trained.ICD, *deeplab.NETWORKS)
NAMES = 'background', 'cat', 'dog'
WIDTH = 1 / 32


@functools.lru_cache(maxsize=None)
def network(name, seed=0):
    """A network with random weights, running statistics and biases among them, and its weights by name."""
    name, _, variant = name.partition(' ')
    net = ICDNet(len(NAMES), WIDTH) if name == trained.ICD else deeplab.create(
        name, len(NAMES), WIDTH, resnet_variant=variant or 'v1b')
    rng, values = np.random.RandomState(seed), initialize_missing(net, {}, seed, he=True)
    for key, value in values.items():
        if key.endswith(('_mean', '_beta', '_bias')):
            values[key] = value + .1 * rng.randn(*value.shape).astype(np.float32)
        elif key.endswith(('_var', '_gamma')):
            values[key] = value * (.5 + rng.rand(*value.shape)).astype(np.float32)
    set_values(net, values, mx.cpu())
    return net, {key: parameter.data().asnumpy() for key, parameter in net.collect_params().items()}


def scores_by_mxnet(net, image):
    found = net(mx.nd.array(image, dtype='uint8'))
    if isinstance(net, ICDNet):
        cam, bottom_up, top_down, _ = found
        found = cam, apply_sign(bottom_up, net.icd_accum_resign_moving_mean.data()), top_down
    return [one.asnumpy() for one in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize('name', [*NETWORKS, 'resnet101_largefov v1'])
def test_scores_are_those_of_mxnet(name):
    net, arrays = network(name)
    model = onnx_export.model(arrays, NAMES)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    outputs = ['cam', 'bottom_up', 'top_down'] if name == trained.ICD else ['logits']
    assert [output.name for output in session.get_outputs()] == outputs
    for shape in [(2, 3, 33, 41), (1, 3, 65, 33)][:1 if name.startswith('resnet') else 2]:
        image = np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)
        for found, expected in zip(session.run(None, {'image': image}), scores_by_mxnet(net, image)):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())


def test_the_calibrated_score_is_turned_where_the_state_says_so():
    arrays, image, found = dict(network(trained.ICD)[1]), np.zeros((1, 3, 33, 33), np.uint8), []
    for side in (1, 0), (0, 1):
        arrays['icd_accum_resign_moving_mean'] = np.tile(np.float32(side), (len(NAMES), 1))
        session = onnxruntime.InferenceSession(onnx_export.model(arrays, NAMES).SerializeToString())
        found.append(session.run(['bottom_up'], {'image': image})[0])
    assert (found[0] == -found[1]).all() and abs(found[0]).max() > 0


def test_a_file_tells_what_it_is(tmp_path):
    arrays = network('vgg16_aspp')[1]
    for number in 1, 2:
        onnx_export.write(str(tmp_path / f'{number}.onnx'), arrays, NAMES, 0xabc)
    assert (tmp_path / '1.onnx').read_bytes() == (tmp_path / '2.onnx').read_bytes()
    model = onnx.load(str(tmp_path / '1.onnx'))
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert (found['network'], json.loads(found['class_names'])) == ('vgg16_aspp', list(NAMES))
    assert (found['weights_crc32'], float(found['width'])) == ('00000abc', WIDTH)
    assert model.opset_import[0].version == 13 and model.producer_name == 'icd'


@pytest.mark.parametrize('name', deeplab.NETWORKS)
def test_padding_is_that_of_the_network(name):
    assert trained.padding_of(name) == list(deeplab.create(name, 3, WIDTH).padding)


def without(name):
    return lambda arrays: arrays.pop(name)


def put(name, value):
    return lambda arrays: arrays.update({name: np.asarray(value, np.float32)})


@pytest.mark.parametrize('name, change, message', [
    ('vgg16_largefov', without('conv3_2_bias'), 'lacks conv3_2_bias'),
    ('vgg16_largefov', put('conv9_9_weight', [1]), 'does not have .*conv9_9_weight'),
    ('vgg16_largefov', put('conv3_1_weight', np.zeros((8, 3, 3, 3))), 'conv3_1_weight has the shape'),
    ('vgg16_largefov', put('conv1_1_bias', [np.nan, 0]), 'conv1_1_bias is not finite'),
    ('resnet101_aspp', without('layer3_7_batchnorm1_running_var'), 'lacks layer3_7_batchnorm1_running_var'),
    ('resnet101_aspp', put('layer3_7_batchnorm1_gamma', [1]), 'layer3_7_batchnorm1_gamma has 1 values'),
    ('resnet101_aspp', without('layer1_0_conv0_weight'), 'not the weights'),
    ('vgg16_icd', without('icd_accum_resign_moving_mean'), 'lacks icd_accum'),
    ('vgg16_icd', put('fc8_ft_weight', [1]), 'does not have .*fc8_ft_weight')])
def test_weights_that_are_not_whole_are_refused(name, change, message):
    arrays = dict(network(name)[1])
    change(arrays)
    with pytest.raises(ValueError, match=message):
        onnx_export.model(arrays, NAMES)
