"""Weights of a network: the original's names, both ways; files that do not fit it."""
import os
import struct

import mxnet as mx
import numpy as np
import pytest

from icd.errors import UserError
from icd.model.icd_net import AUXILIARY, ICDNet
from icd.model.initial import COPIED, initialize_missing, set_values, starting_values
from icd.model.vgg import VGG16
from icd.weights import load, mxnet_params, vgg16

WIDTH = 1 / 16


def network(devices=None, classes=3, width=WIDTH, seed=0):
    net = ICDNet(classes, width)
    values = initialize_missing(net, {}, seed, he=True)
    values.update({name: values[name] + np.arange(values[name].size, dtype=np.float32).reshape(values[name].shape)
                   for name in AUXILIARY})
    set_values(net, values, devices or mx.cpu())
    return net


def images():
    return mx.nd.array(np.random.default_rng(0).integers(0, 256, (2, 3, 65, 65)), dtype='uint8')


def pretrained_arrays(net):
    return {'arg:' + name: value for name, value in starting_values(net, 1, vgg16.NAMES, he=True).items()}


# ------------------------------------------------------------------------------------------------------ round trips
def test_mxnet_reads_saved_weights_under_the_original_names(tmp_path):
    net, path = network(), str(tmp_path / 'a b' / 'net.params')
    load.save(path, net)
    read = mx.nd.load(path)
    assert set(read) == {('aux:' if name in AUXILIARY else 'arg:') + name for name in net.collect_params()}
    for name, parameter in net.collect_params().items():
        assert (read[('aux:' if name in AUXILIARY else 'arg:') + name].asnumpy() == parameter.data().asnumpy()).all()
    assert os.listdir(os.path.dirname(path)) == ['net.params']


def test_reading_back_gives_the_same_outputs(tmp_path):
    net, path = network(), str(tmp_path / 'net.params')
    load.save(path, net)
    again = ICDNet(3, WIDTH)
    load.load_trained(path, again, [mx.cpu(0), mx.cpu(1)])
    for device in (mx.cpu(0), mx.cpu(1)):
        for one, other in zip(net(images()), again(images().as_in_context(device))):
            assert other.context == device and (one.asnumpy() == other.asnumpy()).all()


def test_running_statistics_of_devices_are_averaged(tmp_path):
    net, path = network([mx.cpu(0), mx.cpu(1)]), str(tmp_path / 'net.params')
    mean = net.collect_params()['feat_bn_moving_mean']
    mean.data(mx.cpu(0))[:], mean.data(mx.cpu(1))[:] = 1, 4
    load.save(path, net)
    assert (mx.nd.load(path)['aux:feat_bn_moving_mean'].asnumpy() == 2.5).all()


# ------------------------------------------------------------------------------------------------------ pretrained
def test_layers_missing_from_pretrained_start_from_the_seed(tmp_path):
    net, path = ICDNet(3, WIDTH), str(tmp_path / 'pre.params')
    arrays = pretrained_arrays(net)
    mxnet_params.write(path, arrays)
    load.load_pretrained(path, net, seed=4)
    values = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    assert all((values[name[4:]] == value).all() for name, value in arrays.items())
    assert all((values[name] == values[source]).all() for name, source in COPIED.items())
    assert (values['fc8_weight'] == starting_values(net, 4)['fc8_weight']).all()


def test_pretrained_file_may_hold_more(tmp_path):
    """A classifier of other classes is left out; a whole checkpoint is used as far as it fits."""
    other, path = network(classes=7, seed=9), str(tmp_path / 'whole.params')
    load.save(path, other)
    net = ICDNet(3, WIDTH)
    load.load_pretrained(path, net, 0)
    assert (net.collect_params()['fc6_ft_weight'].data().asnumpy()
            == other.collect_params()['fc6_ft_weight'].data().asnumpy()).all()
    assert net.collect_params()['fc8_weight'].shape[0] == 3


def test_backbone_alone_needs_only_its_convolutions(tmp_path):
    backbone, path = VGG16(WIDTH), str(tmp_path / 'pre.params')
    arrays = pretrained_arrays(ICDNet(3, WIDTH))
    mxnet_params.write(path, {name: value for name, value in arrays.items() if name.startswith('arg:conv')})
    load.load_pretrained(path, backbone, 0)
    assert (backbone.collect_params()['conv4_2_weight'].data().asnumpy() == arrays['arg:conv4_2_weight']).all()
    assert 'fc6' not in load.load_pretrained(path, ICDNet(3, WIDTH), 0).values


def test_random_start_lets_a_signal_through():
    net = ICDNet(3, .25)
    load.load_pretrained('none', net, 0)
    feature = net.layers.backbone(images()).asnumpy()
    assert .1 < feature.std() < 10


# ---------------------------------------------------------------------------------------------------- wrong files
def complaint(path, net=None):
    with pytest.raises(UserError) as caught:
        load.load_trained(str(path), net or ICDNet(3, WIDTH))
    text = str(caught.value)
    assert text.startswith(str(path)) and '\n' not in text
    return text


@pytest.mark.parametrize('change, parts', [
    (lambda a: a.pop('arg:conv3_1_bias'), ['lacks 1 of', 'conv3_1_bias']),
    (lambda a: a.update({'arg:extra': np.zeros(3, np.float32)}), ['does not have', 'extra']),
    (lambda a: a.update({'arg:fc8_bias': np.zeros(5, np.float32)}), ['fc8_bias is (5,), not (3,)', '--num-cls']),
    (lambda a: a.update({'arg:fc8_bias': np.full(3, np.nan, np.float32)}), ['fc8_bias', 'diverged']),
    (lambda a: a.update({'aux:fc8_bias': np.zeros(3, np.float32)}), ['arg:fc8_bias', 'aux:fc8_bias']),
    (lambda a: a.clear(), ['lacks all']),
])
def test_weights_that_do_not_fit_are_named(tmp_path, change, parts):
    path = str(tmp_path / 'net.params')
    load.save(path, network())
    arrays = mxnet_params.read(path)
    change(arrays)
    mxnet_params.write(path, arrays)
    text = complaint(path)
    assert all(part in text for part in parts), text


def test_weights_of_another_width_are_named(tmp_path):
    path = str(tmp_path / 'net.params')
    load.save(path, network(width=1 / 8))
    text = complaint(path)
    assert '--width' in text and 'conv1_1_weight is (8, 3, 3, 3), not (4, 3, 3, 3)' in text and 'more' in text


@pytest.mark.parametrize('content', [b'', b'\x12', b'<!DOCTYPE html><html>', b'\x89PNG\r\n\x1a\n' * 40, b'\0' * 4096, (
    struct.pack('<QQQ', 0x112, 0, 1 << 60)), struct.pack('<QQQIiIqq', 0x112, 0, 1, 0xF993FAC9, 0, 2, 1 << 40, 1 << 40),
    struct.pack('<QQQIiI', 0x112, 0, 1, 0xF993FAC9, 1, 2) + b'\0' * 64])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / 'net.params'
    path.write_bytes(content)
    assert 'not a whole MXNet .params file' in complaint(path)


def test_a_missing_file_is_named(tmp_path):
    assert 'no such' in complaint(tmp_path / 'net.params')
    with pytest.raises(UserError, match='--pretrained none'):
        load.load_pretrained(str(tmp_path / 'pre.params'), ICDNet(3, WIDTH), 0)
