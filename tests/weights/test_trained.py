"""Checkpoints of a folder, and what they tell of their network."""
import json

import numpy as np
import pytest

from icd.data import voc
from icd.errors import UserError
from icd.model import deeplab
from icd.weights import mxnet_params, trained

ARRAYS = {'conv1_1_weight': np.zeros((4, 3, 3, 3), np.float32), 'fc7_weight': np.zeros((64, 64, 1, 1), np.float32)}


def checkpoint(path, classes=21, head='fc8_weight'):
    mxnet_params.write(str(path), {'arg:' + name: array for name, array in dict(
        ARRAYS, **{head: np.zeros((classes, 64, 1, 1), np.float32)}).items()})


def test_the_newest_checkpoint_is_that_of_the_last_epoch(tmp_path):
    for name in 'net-0000', 'net-0009', 'net-0010', 'net-resume-00000123':
        checkpoint(tmp_path / (name + '.params'))
    assert trained.newest(str(tmp_path)) == str(tmp_path / 'net-0010.params')
    assert trained.newest(str(tmp_path), 9) == str(tmp_path / 'net-0009.params')
    with pytest.raises(UserError, match='no checkpoint of epoch 3: give one of 0 to 10'):
        trained.newest(str(tmp_path), 3)
    checkpoint(tmp_path / 'other-0000.params')
    with pytest.raises(UserError, match='several trainings .net, other.: name one'):
        trained.newest(str(tmp_path))


@pytest.mark.parametrize('network', deeplab.NETWORKS)
def test_weights_tell_their_network(network):
    parameters = deeplab.create(network, 5, 1 / 16).collect_params()
    arrays = {name: np.empty(parameter.shape, np.float32) for name, parameter in parameters.items()}
    assert (trained.network_of(arrays), trained.number_of_classes(arrays), trained.width_of(arrays)) == (
        network, 5, 1 / 16)


@pytest.mark.parametrize('classes, recorded, expected', [
    (21, None, voc.CATEGORIES), (3, None, ('class 1', 'class 2')), (3, ['a', 'b'], ('a', 'b')),
    (3, ['background', 'a', 'b'], ('a', 'b')), (3, ['a'], ('class 1', 'class 2')), (3, 'ab', ('class 1', 'class 2'))])
def test_class_names_are_those_recorded(tmp_path, classes, recorded, expected):
    checkpoint(tmp_path / 'net-0000.params', classes)
    if recorded is not None:
        (tmp_path / 'net.json').write_text(json.dumps({'class_names': recorded}))
    assert trained.read(str(tmp_path / 'net-0000.params')).class_names == ('background', *expected)


@pytest.mark.parametrize('given, expected', [(.0627, .0627), (None, .0625), ('x', .0625), (.5, .0625)])
def test_a_width_is_the_one_recorded_where_the_weights_agree(tmp_path, given, expected):
    checkpoint(tmp_path / 'net-0000.params')
    (tmp_path / 'net.json').write_text(json.dumps({'width': given}))
    assert trained.read(str(tmp_path / 'net-0000.params')).width == expected


def test_class_names_that_are_given_must_fit(tmp_path):
    checkpoint(tmp_path / 'net-0000.params', 3)
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    read = trained.read(str(tmp_path / 'net-0000.params'), str(tmp_path / 'names.txt'))
    assert read.class_names == ('background', 'cat', 'dog') and read.network == 'vgg16_largefov'
    (tmp_path / 'names.txt').write_text('cat\n')
    with pytest.raises(UserError, match='names 1 classes, the network has 2'):
        trained.read(str(tmp_path / 'net-0000.params'), str(tmp_path / 'names.txt'))
