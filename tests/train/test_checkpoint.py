"""A checkpoint is whole or it is none, and the one before stays until it is whole."""
import os

import mxnet as mx
import numpy as np
import pytest

from icd.errors import UserError
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.train import checkpoint
from icd.train.checkpoint import Checkpoints, Position
from icd.train.task import UNFITTED, Fit
from icd.weights import load, mxnet_params

SETTINGS = {'seed': 3, 'augment': ['scale']}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(str(tmp_path / 'snap'), 'vgg16_icd')


@pytest.fixture(scope='module')
def net():
    made = ICDNet(3, 1 / 64)
    set_values(made, initialize_missing(made, {}, 0), mx.cpu())
    return made


def momentum_of(net, scale=1.):
    return {name: scale * p.data() for name, p in net.collect_params().items() if p.grad_req != 'null'}


def save(checkpoints, net, epoch, settings=SETTINGS, scale=1.):
    """The checkpoint of an epoch, of ten steps each."""
    return checkpoints.save(net, momentum_of(net, scale), Position(epoch + 1, 0, 10 * (epoch + 1)), settings)


def save_within(checkpoints, net, step):
    return checkpoints.save(net, momentum_of(net), Position(step // 10, step % 10, step), SETTINGS)


def test_a_checkpoint_remembers_how_its_start_was_fitted(checkpoints, net):
    fit = Fit(['conv1_1_weight'], {'fc6_weight': .0848333})
    name = checkpoints.save(net, momentum_of(net), Position(1, 0, 10), SETTINGS, fit)
    assert checkpoint.read(name).fit == fit
    assert checkpoint.read(checkpoints.save(net, momentum_of(net), Position(2, 0, 20), SETTINGS)).fit == ([], {})
    assert checkpoints.start(SETTINGS, 10, begin_epoch=1, resume=False).fit == fit


def test_saved_checkpoints_read_back(checkpoints, net):
    name = save(checkpoints, net, 4)
    found = checkpoint.read(name)
    assert (found.path, found.position, found.settings) == (name, (5, 0, 50), SETTINGS)
    assert set(found.momentum) == set(momentum_of(net))
    for key, value in momentum_of(net).items():
        assert (found.momentum[key].asnumpy() == value.asnumpy()).all()
    assert set(mx.nd.load(name)) == set(mxnet_params.read(name))
    again = ICDNet(3, 1 / 64)
    load.load_trained(name, again, mx.cpu())
    for key, value in net.collect_params().items():
        assert (again.collect_params()[key].data().asnumpy() == value.data().asnumpy()).all()


@pytest.mark.parametrize('damage', ['no states', 'short states', 'other states', 'other weights', 'short weights',
                                    'pickled states', 'states without header'])
def test_a_damaged_pair_is_no_checkpoint(checkpoints, net, damage):
    name = save(checkpoints, net, 4)
    states = name.replace('.params', '.states')
    with open(states, 'rb') as file:
        content = file.read()
    if damage == 'no states':
        os.remove(states)
    elif damage == 'short states':
        os.truncate(states, len(content) - 1)
    elif damage == 'other states':
        other = ICDNet(3, 1 / 64)
        set_values(other, initialize_missing(other, {}, 1), mx.cpu())
        os.replace(save(checkpoints, other, 5).replace('.params', '.states'), states)
    elif damage == 'other weights':
        with open(name, 'r+b') as file:
            file.seek(5000)
            file.write(b'\1\2\3\4')
    elif damage == 'short weights':
        os.truncate(name, 1000)
    elif damage == 'pickled states':
        with open(states, 'wb') as file:
            file.write(b'\x80\x03}q\x00.')      # what the original writes
    else:
        mxnet_params.write(states, {'momentum:x': np.zeros(3, np.float32)})
    assert checkpoint.read(name) is None
    before = save(checkpoints, net, 2)
    assert checkpoints.newest().path == before


def test_the_newest_checkpoint_is_the_furthest(checkpoints, net):
    assert checkpoints.newest() is None
    first, second = save(checkpoints, net, 0), save(checkpoints, net, 1)
    assert checkpoints.newest().path == second
    within = save_within(checkpoints, net, 25)
    assert checkpoints.newest().path == within
    third = save(checkpoints, net, 2)
    assert checkpoints.newest().path == third
    os.truncate(third, 100)
    os.truncate(within, 100)
    assert checkpoints.newest().path == second
    # A file's age does not matter: clocks jump.
    os.utime(first)
    assert checkpoints.newest().path == second


def test_other_settings_and_other_models_are_left_out(checkpoints, net):
    ours, theirs = save(checkpoints, net, 1), save(checkpoints, net, 2, settings={'seed': 4})
    save(Checkpoints(checkpoints.folder, 'vgg16_icd-b'), net, 7)
    save(Checkpoints(checkpoints.folder, 'icd'), net, 8)
    assert checkpoints.newest().path == theirs
    assert checkpoints.newest(SETTINGS).path == ours
    assert checkpoints.newest({}) is None
    assert checkpoints.epochs() == [2, 1]


def test_model_names_may_hold_special_characters(tmp_path, net):
    checkpoints = Checkpoints(str(tmp_path / 'a[1]*'), 'm(+).')
    name = save(checkpoints, net, 0)
    assert checkpoints.newest().path == name


@pytest.mark.parametrize('fault', range(6))
def test_a_save_cut_short_leaves_the_one_before(checkpoints, net, monkeypatch, fault):
    """Every rename and every sync may be the last thing that happens."""
    before = save(checkpoints, net, 0)
    calls = []

    def stop(function):
        def stopped(*arguments):
            calls.append(arguments)
            if len(calls) > fault:
                raise OSError('killed')
            return function(*arguments)
        return stopped
    monkeypatch.setattr(os, 'replace', stop(os.replace))
    monkeypatch.setattr(os, 'fsync', stop(os.fsync))
    with pytest.raises(OSError, match='killed'):
        save(checkpoints, net, 1, scale=2.)
    monkeypatch.undo()
    assert checkpoints.newest().path == before
    # Weights never stand there alone, which would look like somebody else's.
    assert checkpoints.epochs() == [0]


def test_only_checkpoints_asked_for_are_removed(checkpoints, net):
    for epoch in range(4):
        save(checkpoints, net, epoch)
    for step in (25, 26, 27):
        save_within(checkpoints, net, step)
    checkpoints.remove_within(before=27)
    assert checkpoints.newest().path == checkpoints.path(3)
    checkpoints.remove_epochs(lambda epoch: epoch in (0, 3))
    assert checkpoints.epochs() == [2, 1] and not os.path.exists(checkpoints.path_within(26))
    assert os.path.exists(checkpoints.path_within(27))
    checkpoints.remove_within()
    assert sorted(os.listdir(checkpoints.folder)) == [f'vgg16_icd-000{epoch}.{kind}' for epoch in (1, 2)
                                                    for kind in ('params', 'states')]
    checkpoints.remove_epochs()
    assert not os.listdir(checkpoints.folder)


def test_a_missing_epoch_is_named(checkpoints, net):
    save(checkpoints, net, 1)
    assert checkpoints.existing(1, 'train') == checkpoints.path(1)
    with pytest.raises(UserError, match='vgg16_icd-0002.params: no such file: train first$'):
        checkpoints.existing(2, 'train first')


# ------------------------------------------------------------------------------------------------------ the start
def test_a_training_resumes_from_its_newest_checkpoint(checkpoints, net):
    assert checkpoints.start(SETTINGS, 10) == (None, (0, 0, 0), SETTINGS, None, UNFITTED, None)
    save(checkpoints, net, 0)
    within = save_within(checkpoints, net, 14)
    found = checkpoints.start(SETTINGS, 10)
    assert (found.path, found.position) == (within, (1, 4, 14)) and found.momentum
    assert checkpoints.start(SETTINGS, 10, resume=False) == (None, (0, 0, 0), SETTINGS, None, UNFITTED, None)


def test_begin_epoch_starts_from_the_epoch_before(checkpoints, net):
    save(checkpoints, net, 1, settings={'seed': 4})
    found = checkpoints.start(SETTINGS, 7, begin_epoch=2)
    assert (found.path, found.position, found.settings) == (checkpoints.path(1), (2, 0, 14), SETTINGS)
    assert found.momentum
    os.remove(checkpoints.path(1).replace('.params', '.states'))        # weights of another program
    assert checkpoints.start(SETTINGS, 7, begin_epoch=2).momentum is None
    with pytest.raises(UserError, match='0004.params: no such file, and --begin-epoch 5 starts from it: train the'):
        checkpoints.start(SETTINGS, 7, begin_epoch=5)


def test_checkpoints_of_another_training_are_not_overwritten(checkpoints, net):
    save(checkpoints, net, 1, settings={'seed': 4})
    with pytest.raises(UserError, match=r'with another --augment \(the default\), --seed \(4\): give the same options'):
        checkpoints.start(SETTINGS, 10)
    os.remove(checkpoints.path(1).replace('.params', '.states'))
    with pytest.raises(UserError, match='0001.params: comes from another program'):
        checkpoints.start(SETTINGS, 10)
    assert checkpoints.start(SETTINGS, 10, resume=False).path is None
