"""A checkpoint is whole or it is none, and the one before stays until it is whole."""
import os

import mxnet as mx
import numpy as np
import pytest

from icd import cli
from icd.weights import params
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.train import checkpoint
from icd.train.checkpoint import Position

SETTINGS = {'seed': 3, 'augment': ['scale']}


@pytest.fixture
def options(tmp_path):
    return cli.defaults(cli.RUN, snapshot=str(tmp_path / 'snap'), num_cls=3)


@pytest.fixture(scope='module')
def net():
    made = ICDNet(3, 1 / 64)
    set_values(made, initialize_missing(made, {}, 0), mx.cpu())
    return made


def momentum_of(net, scale=1.):
    return {name: scale * p.data() for name, p in net.collect_params().items() if p.grad_req != 'null'}


def save(options, net, epoch, step=None, settings=SETTINGS, name=None, scale=1.):
    step = 10 * (epoch + 1) if step is None else step
    name = name or checkpoint.path(options, epoch)
    checkpoint.save(name, net, momentum_of(net, scale), Position(epoch + 1, 0, step), settings)
    return name


def test_what_is_saved_is_read_back(options, net):
    name = save(options, net, 4)
    found = checkpoint.read(name)
    assert (found.path, found.position, found.settings) == (name, (5, 0, 50), SETTINGS)
    assert set(found.momentum) == set(momentum_of(net))
    for key, value in momentum_of(net).items():
        assert (found.momentum[key].asnumpy() == value.asnumpy()).all()
    assert set(mx.nd.load(name)) == set(params.read(name))
    again = ICDNet(3, 1 / 64)
    params.load(name, again, mx.cpu())
    for key, value in net.collect_params().items():
        assert (again.collect_params()[key].data().asnumpy() == value.data().asnumpy()).all()


@pytest.mark.parametrize('damage', ['no states', 'short states', 'other states', 'other parameters', 'short parameters',
                                    'pickled states', 'states without header'])
def test_a_damaged_pair_is_no_checkpoint(options, net, damage):
    name = save(options, net, 4)
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
        os.replace(save(options, other, 5).replace('.params', '.states'), states)
    elif damage == 'other parameters':
        with open(name, 'r+b') as file:
            file.seek(5000)
            file.write(b'\1\2\3\4')
    elif damage == 'short parameters':
        os.truncate(name, 1000)
    elif damage == 'pickled states':
        with open(states, 'wb') as file:
            file.write(b'\x80\x03}q\x00.')      # what the original writes
    else:
        params.write(states, {'momentum:x': np.zeros(3, np.float32)})
    assert checkpoint.read(name) is None
    before = save(options, net, 2)
    assert checkpoint.newest(options).path == before


def test_the_furthest_is_found(options, net):
    assert checkpoint.newest(options) is None
    first, second = save(options, net, 0), save(options, net, 1)
    assert checkpoint.newest(options).path == second
    within = save(options, net, 1, step=25, name=checkpoint.path_within(options, 25))
    assert checkpoint.newest(options).path == within
    third = save(options, net, 2)
    assert checkpoint.newest(options).path == third
    os.truncate(third, 100)
    os.truncate(within, 100)
    assert checkpoint.newest(options).path == second
    # A file's age does not matter: clocks jump.
    os.utime(first)
    assert checkpoint.newest(options).path == second


def test_other_settings_and_other_models_are_left_out(options, net):
    ours, theirs = save(options, net, 1), save(options, net, 2, settings={'seed': 4})
    save(cli.defaults(cli.RUN, snapshot=options.snapshot, model='vgg16_icd-b'), net, 7)
    save(cli.defaults(cli.RUN, snapshot=options.snapshot, model='icd'), net, 8)
    assert checkpoint.newest(options).path == theirs
    assert checkpoint.newest(options, SETTINGS).path == ours
    assert checkpoint.newest(options, {}) is None
    assert checkpoint.epochs(options) == [2, 1]


def test_names_with_special_characters(tmp_path, net):
    options = cli.defaults(cli.RUN, snapshot=str(tmp_path / 'a[1]*'), model='m(+).')
    name = save(options, net, 0)
    assert checkpoint.newest(options).path == name


@pytest.mark.parametrize('fault', range(6))
def test_a_save_cut_short_leaves_the_one_before(options, net, monkeypatch, fault):
    """Every rename and every sync may be the last thing that happens."""
    before = save(options, net, 0)
    calls = []

    def stop(function):
        def stopped(*words):
            calls.append(words)
            if len(calls) > fault:
                raise OSError('killed')
            return function(*words)
        return stopped
    monkeypatch.setattr(os, 'replace', stop(os.replace))
    monkeypatch.setattr(os, 'fsync', stop(os.fsync))
    with pytest.raises(OSError, match='killed'):
        save(options, net, 1, scale=2.)
    monkeypatch.undo()
    assert checkpoint.newest(options).path == before
    # Parameters never stand there alone, which would look like somebody else's.
    assert checkpoint.epochs(options) == [0]


def test_what_is_removed(options, net):
    for epoch in range(4):
        save(options, net, epoch)
    for step in (25, 26, 27):
        save(options, net, 1, step=step, name=checkpoint.path_within(options, step))
    checkpoint.remove_within(options, before=27)
    assert checkpoint.newest(options).path == checkpoint.path(options, 3)
    checkpoint.remove_epochs(options, lambda epoch: epoch in (0, 3))
    assert checkpoint.epochs(options) == [2, 1] and not os.path.exists(checkpoint.path_within(options, 26))
    assert os.path.exists(checkpoint.path_within(options, 27))
    checkpoint.remove_within(options)
    assert sorted(os.listdir(options.snapshot)) == ['vgg16_icd-000%d.%s' % (epoch, kind) for epoch in (1, 2)
                                                    for kind in ('params', 'states')]
