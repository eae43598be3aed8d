"""Starting values: those of a name depend on nothing but the seed, and on what pretrained weights give."""
import mxnet as mx
import pytest

from icd.model.icd_net import ICDNet
from icd.model.initial import COPIED, initialize_missing, set_values, starting_values

WIDTH = 1 / 16


def test_each_parameter_starts_from_its_own_generator():
    net = ICDNet(3, WIDTH)
    whole = starting_values(net, 5, he=True)
    alone = starting_values(net, 5, ['fc8_weight', 'conv3_2_weight'], he=True)
    for name, value in alone.items():
        assert (value == whole[name]).all()
    assert (whole['conv3_2_weight'] != whole['conv3_3_weight']).any()
    assert (starting_values(net, 6)['fc8_weight'] != starting_values(net, 5)['fc8_weight']).any()


def test_missing_weights_start_as_in_the_original():
    net = ICDNet(3, WIDTH)
    given = starting_values(net, 0, ['fc6_weight', 'fc6_bias', 'fc7_weight'])
    given['fc6_bias'] += 1
    values = initialize_missing(net, given, 0)
    assert set(values) == set(net.collect_params())
    assert all((values[name] == values[source]).all() for name, source in COPIED.items())
    assert values['conv_ft_weight'].std() == pytest.approx(.01, rel=.1)
    assert not values['fc8_bias'].any() and (values['feat_bn_gamma'] == 1).all()
    assert (initialize_missing(net, dict(given, fc6_ft_bias=given['fc6_bias'] + 1), 0)['fc6_ft_bias'] == 2).all()


def test_values_go_to_the_devices_asked_for_and_stay_there():
    net = ICDNet(3, WIDTH)
    values = initialize_missing(net, {}, 0)
    set_values(net, values, [mx.cpu(0), mx.cpu(1)])
    set_values(net, dict(values, fc8_bias=values['fc8_bias'] + 3))
    parameter = net.collect_params()['fc8_bias']
    assert parameter.list_ctx() == [mx.cpu(0), mx.cpu(1)]
    assert all((data.asnumpy() == 3).all() for data in parameter.list_data())


def test_running_variances_of_any_network_start_at_one():
    norm = mx.gluon.nn.BatchNorm(in_channels=3, prefix='bn_')
    values = starting_values(norm, 0)
    assert {name: float(value[0]) for name, value in values.items()} == {
        'bn_gamma': 1, 'bn_beta': 0, 'bn_running_mean': 0, 'bn_running_var': 1}
