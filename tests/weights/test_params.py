"""Parameter files: the original's names, both ways; damaged and foreign files; conversion from the model zoo."""
import os
import struct

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet.gluon.model_zoo import vision

from icd.errors import UserError
from icd.weights import params
from icd.model.icd_net import AUXILIARY, ICDNet
from icd.model.initial import COPIED, initialize_missing, set_values, starting_values
from icd.model.vgg import VGG16

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
    return {'arg:' + name: value for name, value in starting_values(net, 1, he=True).items()
            if name[:3] in ('con', 'fc6', 'fc7') and '_ft_' not in name}


# ------------------------------------------------------------------------------------------------------ round trips
def test_mxnet_reads_what_is_written_under_the_original_names(tmp_path):
    net, path = network(), str(tmp_path / 'a b' / 'net.params')
    params.save(path, net)
    read = mx.nd.load(path)
    assert set(read) == {('aux:' if name in AUXILIARY else 'arg:') + name for name in net.collect_params()}
    for name, parameter in net.collect_params().items():
        assert (read[('aux:' if name in AUXILIARY else 'arg:') + name].asnumpy() == parameter.data().asnumpy()).all()
    assert os.listdir(os.path.dirname(path)) == ['net.params']


def test_reading_back_gives_the_same_outputs(tmp_path):
    net, path = network(), str(tmp_path / 'net.params')
    params.save(path, net)
    again = ICDNet(3, WIDTH)
    params.load(path, again, [mx.cpu(0), mx.cpu(1)])
    for device in (mx.cpu(0), mx.cpu(1)):
        for one, other in zip(net(images()), again(images().as_in_context(device))):
            assert other.context == device and (one.asnumpy() == other.asnumpy()).all()


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64'])
def test_reads_what_mxnet_writes(tmp_path, dtype):
    path = str(tmp_path / 'x.params')
    arrays = {'x': mx.nd.array([[1, 2, 3], [4, 5, 6]], dtype=dtype), 'ä y': mx.nd.zeros((1, 2, 1, 4), dtype=dtype)}
    mx.nd.save(path, arrays)
    read = params.read(path)
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and (read[name].asnumpy() == array.asnumpy()).all()
    params.write(path + '2', arrays)
    assert open(path, 'rb').read() == open(path + '2', 'rb').read()


def test_reads_the_older_formats(tmp_path):
    """MXNet before 1.0 wrote no storage type, and before 0.12 the shape as 32-bit numbers behind its rank."""
    values = struct.pack('<iii6f', 1, 0, 0, *range(6))
    names = struct.pack('<QQ', 1, 5) + b'arg:x'
    for head in (struct.pack('<IIqq', 0xF993FAC8, 2, 2, 3), struct.pack('<III', 2, 2, 3)):
        (tmp_path / 'old').write_bytes(struct.pack('<QQQ', 0x112, 0, 1) + head + values + names)
        for read in (params.read, mx.nd.load):
            assert read(str(tmp_path / 'old'))['arg:x'].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_running_statistics_of_devices_are_averaged(tmp_path):
    net, path = network([mx.cpu(0), mx.cpu(1)]), str(tmp_path / 'net.params')
    mean = net.collect_params()['feat_bn_moving_mean']
    mean.data(mx.cpu(0))[:], mean.data(mx.cpu(1))[:] = 1, 4
    params.save(path, net)
    assert (mx.nd.load(path)['aux:feat_bn_moving_mean'].asnumpy() == 2.5).all()


# ------------------------------------------------------------------------------------------------------ pretrained
def test_pretrained_file_gives_what_it_has_and_the_seed_the_rest(tmp_path):
    net, path = ICDNet(3, WIDTH), str(tmp_path / 'pre.params')
    arrays = pretrained_arrays(net)
    params.write(path, arrays)
    params.load_pretrained(path, net, seed=4)
    values = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    assert all((values[name[4:]] == value).all() for name, value in arrays.items())
    assert all((values[name] == values[source]).all() for name, source in COPIED.items())
    assert (values['fc8_weight'] == starting_values(net, 4)['fc8_weight']).all()


def test_pretrained_file_may_hold_more(tmp_path):
    """A classifier of other classes is left out; a whole checkpoint is used as far as it fits."""
    other, path = network(classes=7, seed=9), str(tmp_path / 'whole.params')
    params.save(path, other)
    net = ICDNet(3, WIDTH)
    params.load_pretrained(path, net, 0)
    assert (net.collect_params()['fc6_ft_weight'].data().asnumpy()
            == other.collect_params()['fc6_ft_weight'].data().asnumpy()).all()
    assert net.collect_params()['fc8_weight'].shape[0] == 3


def test_backbone_alone_needs_only_its_convolutions(tmp_path):
    backbone, path = VGG16(WIDTH), str(tmp_path / 'pre.params')
    arrays = pretrained_arrays(ICDNet(3, WIDTH))
    params.write(path, {name: value for name, value in arrays.items() if name.startswith('arg:conv')})
    params.load_pretrained(path, backbone, 0)
    assert (backbone.collect_params()['conv4_2_weight'].data().asnumpy() == arrays['arg:conv4_2_weight']).all()
    with pytest.raises(UserError, match='lacks 4 of the 30'):
        params.load_pretrained(path, ICDNet(3, WIDTH), 0)


def test_random_start_lets_a_signal_through():
    net = ICDNet(3, .25)
    params.load_pretrained('none', net, 0)
    feature = net.layers.backbone(images()).asnumpy()
    assert .1 < feature.std() < 10


# ---------------------------------------------------------------------------------------------------- wrong files
def complaint(path, net=None):
    with pytest.raises(UserError) as caught:
        params.load(str(path), net or ICDNet(3, WIDTH))
    text = str(caught.value)
    assert text.startswith(str(path)) and '\n' not in text
    return text


@pytest.mark.parametrize('change, words', [
    (lambda a: a.pop('arg:conv3_1_bias'), ['lacks 1 of', 'conv3_1_bias']),
    (lambda a: a.update({'arg:extra': np.zeros(3, np.float32)}), ['does not have', 'extra']),
    (lambda a: a.update({'arg:fc8_bias': np.zeros(5, np.float32)}), ['fc8_bias is (5,), not (3,)', '--num-cls']),
    (lambda a: a.update({'arg:fc8_bias': np.full(3, np.nan, np.float32)}), ['fc8_bias', 'diverged']),
    (lambda a: a.update({'aux:fc8_bias': np.zeros(3, np.float32)}), ['arg:fc8_bias', 'aux:fc8_bias']),
    (lambda a: a.clear(), ['lacks all']),
])
def test_unfitting_parameters_are_named(tmp_path, change, words):
    path = str(tmp_path / 'net.params')
    params.save(path, network())
    arrays = {name: value.asnumpy() for name, value in params.read(path).items()}
    change(arrays)
    params.write(path, arrays)
    text = complaint(path)
    assert all(word in text for word in words), text


def test_other_width_is_named(tmp_path):
    path = str(tmp_path / 'net.params')
    params.save(path, network(width=1 / 8))
    text = complaint(path)
    assert '--width' in text and 'conv1_1_weight is (8, 3, 3, 3), not (4, 3, 3, 3)' in text and 'more' in text


@pytest.mark.parametrize('content', [b'', b'\x12', b'<!DOCTYPE html><html>', b'\x89PNG\r\n\x1a\n' * 40, b'\0' * 4096, (
    struct.pack('<QQQ', 0x112, 0, 1 << 60)), struct.pack('<QQQIiIqq', 0x112, 0, 1, 0xF993FAC9, 0, 2, 1 << 40, 1 << 40),
    struct.pack('<QQQIiI', 0x112, 0, 1, 0xF993FAC9, 1, 2) + b'\0' * 64])
def test_what_is_no_parameter_file_is_said(tmp_path, content):
    path = tmp_path / 'net.params'
    path.write_bytes(content)
    assert 'not a whole MXNet parameter file' in complaint(path)


def test_missing_file_is_said(tmp_path):
    assert 'no such' in complaint(tmp_path / 'net.params')
    with pytest.raises(UserError, match='--pretrained none'):
        params.load_pretrained(str(tmp_path / 'pre.params'), ICDNet(3, WIDTH), 0)


def small_file(path):
    params.write(path, {'arg:a': np.arange(12, dtype=np.float32).reshape(3, 4), 'aux:b': np.ones(5, np.float32)})
    return open(path, 'rb').read()


def test_every_cut_and_what_follows_is_noticed(tmp_path):
    path = str(tmp_path / 'net.params')
    whole = small_file(path)
    for content in [whole[:cut] for cut in range(len(whole))] + [whole + b'x']:
        with open(path, 'wb') as file:
            file.write(content)
        with pytest.raises(UserError):
            params.read(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_never_crash(tmp_path_factory, changes):
    path = str(tmp_path_factory.getbasetemp() / 'damaged.params')
    data = bytearray(small_file(path))
    for position, value in changes:
        data[position % len(data)] = value
    with open(path, 'wb') as file:
        file.write(data)
    try:
        assert all(array.size <= len(data) for array in params.read(path).values())
    except UserError as error:
        assert str(error).startswith(path)


# ------------------------------------------------------------------------------------------------------- model zoo
@pytest.fixture(scope='module')
def zoo():
    """A VGG16 of the zoo with random weights; the dense layers' values tell their row, or their column."""
    net = vision.VGG([2, 2, 3, 3, 3], [64, 128, 256, 512, 512])
    convolutions = net.features[:-4]
    convolutions.initialize(mx.init.Xavier(magnitude=3))
    convolutions(mx.nd.zeros((1, 3, 32, 32)))
    source = {name: p.data() + .01 for name, p in convolutions.collect_params().items()}
    for name, array in source.items():
        convolutions.collect_params()[name].set_data(array)

    def dense(number, shape, axis):
        along = np.arange(shape[axis], dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        return {'vgg0_dense%d_weight' % number: np.broadcast_to(along, shape),
                'vgg0_dense%d_bias' % number: np.arange(shape[0], dtype=np.float32)}

    def complete(axis):
        return dict(source, **dense(0, (4096, 25088), axis), **dense(1, (4096, 4096), axis))
    return convolutions, complete


def test_zoo_input_is_folded_into_the_first_convolution(zoo):
    """conv1_1 of both networks agrees wherever it sees no padding; the backbone where no layer does."""
    convolutions, complete = zoo
    values = params.convert_gluon_vgg16(complete(0))
    backbone = VGG16()
    set_values(backbone, values, mx.cpu())
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 40, 40)).astype(np.float32)
    theirs = (pixels / 255 - params.ZOO_MEAN[:, None, None]) / params.ZOO_STD[:, None, None]
    first = [layers(mx.nd.array(x)).asnumpy() for layers, x in (
        (backbone.layers[:1], pixels - 127), (convolutions[:2], theirs))]
    inner = np.s_[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(first[0][inner], first[1][inner], rtol=0, atol=1e-5 * first[1].max())
    # In the outermost ring each sees its own padding: the mean colour there, grey here.
    grey = np.full_like(pixels, 127)
    assert np.abs(first[0] - first[1]).max() > 1e-4
    theirs_grey = (grey / 255 - params.ZOO_MEAN[:, None, None]) / params.ZOO_STD[:, None, None]
    framed = np.pad(theirs - theirs_grey, ((0, 0), (0, 0), (1, 1), (1, 1))) + theirs_grey[:, :, :1, :1]
    np.testing.assert_allclose(convolutions[:2](mx.nd.array(framed)).asnumpy()[inner], first[0], rtol=0,
                               atol=1e-5 * first[1].max())


def test_zoo_convolutions_are_taken_in_order(zoo):
    convolutions, complete = zoo
    values = params.convert_gluon_vgg16(complete(0))
    weights = [p.data().asnumpy() for name, p in convolutions.collect_params().items() if name.endswith('weight')]
    names = [name for name in values if name.startswith('conv') and name.endswith('weight')]
    assert len(names) == len(weights) == 13
    for name, weight in zip(names[1:], weights[1:]):
        assert (values[name] == weight).all()
    assert set(values) == {name[4:] for name in pretrained_arrays(ICDNet())}
    assert all(value.shape == ICDNet().collect_params()[name].shape for name, value in values.items())


def test_zoo_dense_layers_are_decimated(zoo):
    rows, columns = (params.convert_gluon_vgg16(zoo[1](axis)) for axis in (0, 1))
    every_fourth = np.arange(0, 4096, 4)
    for name in ('fc6_weight', 'fc7_weight'):
        assert (rows[name] == every_fourth[:, None, None, None]).all()
    assert (rows['fc6_bias'] == every_fourth).all() and (rows['fc7_bias'] == every_fourth).all()
    grid = np.arange(25088).reshape(512, 7, 7)
    assert (columns['fc6_weight'] == grid[:, [0, 3, 6]][:, :, [0, 3, 6]]).all()
    assert (columns['fc7_weight'][..., 0, 0] == every_fourth).all()


def test_other_networks_are_refused(zoo):
    complete = zoo[1](0)
    for wrong in (dict(complete, vgg0_batchnorm0_gamma=np.ones(64)),
                  {name: value for name, value in complete.items() if 'dense1' not in name},
                  {name: value for name, value in complete.items() if name != 'vgg0_dense0_bias'}):
        with pytest.raises(ValueError, match='VGG16'):
            params.convert_gluon_vgg16(wrong)


def test_command_converts_files_and_refuses_others(tmp_path, zoo, monkeypatch):
    source, output = str(tmp_path / 'zoo.params'), str(tmp_path / 'out.params')
    complete = zoo[1](0)
    params.write(source, {'vgg0_conv0_weight': np.ones((2, 3, 3, 3), np.float32)})
    with pytest.raises(UserError, match='zoo.params: not the parameters of a VGG16'):
        params.main([source, output])
    monkeypatch.setattr(params, 'read', lambda path: complete)
    params.main([source, output])
    monkeypatch.undo()
    net = ICDNet()
    params.load_pretrained(output, net, 0)
    assert (net.collect_params()['fc7_bias'].data().asnumpy() == np.arange(0, 4096, 4)).all()
    with pytest.raises(UserError):
        params.main([output])


def test_download_that_fails_is_the_networks_fault(tmp_path, monkeypatch):
    def vgg16(pretrained):
        assert pretrained
        raise OSError('no route\nto host')
    monkeypatch.setattr(vision, 'vgg16', vgg16)
    with pytest.raises(UserError, match='cannot be downloaded .no route to host'):
        params.main(['--from-zoo', 'vgg16', str(tmp_path / 'out.params')])
