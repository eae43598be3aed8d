"""A VGG16 computes the same whatever format, names and input it comes with."""
import numpy as np
import pytest

from icd.data.geometry import GREY
from icd.errors import UserError
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.vgg import VGG16
from icd.mxnet_setup import mx
from icd.weights import formats, load, mxnet_params, pretrained, source_input, vgg16
from tests.helpers import weights_files as sources
from tests.helpers.weights_files import SOURCES, WIDTH

SIDE, REACH = 241, 105      # of the image; pixels that a position of conv5_3 sees on each side of its own
INNER = np.s_[:, :, REACH // 8 + 1:-(REACH // 8 + 1), REACH // 8 + 1:-(REACH // 8 + 1)]


@pytest.fixture(scope='module')
def layers():
    return sources.draw()


@pytest.fixture(scope='module')
def pixels():
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (1, 3, 31, 31)).repeat(8, 2).repeat(8, 3)[:, :, :SIDE, :SIDE]
    return np.clip(coarse + rng.integers(-20, 20, coarse.shape), 0, 255).astype(np.float32)


def features(values, data, mean):
    net = VGG16(WIDTH, mean)
    set_values(net, {**initialize_missing(net, {}, 0, he=True), **values}, mx.cpu())
    return net(mx.nd.array(data)).asnumpy()[INNER]


def theirs(pixels, source):
    """Pixels as a network with the input `source` gets them."""
    ordered = pixels[:, ::-1] if source.channel_order == 'BGR' else pixels
    shape = 1, 3, 1, 1
    return (ordered * source.largest / 255 - np.reshape(source.mean, shape)) / np.reshape(source.std, shape)


def wanted(layers, pixels, source):
    values = {name: value for name, value in zip(vgg16.NAMES, (v for layer in layers[:13] for v in layer))}
    return features(values, theirs(pixels, source), 0.)


@pytest.mark.parametrize('kind', SOURCES)
def test_conv5_3_is_the_same_from_every_source(tmp_path, layers, pixels, kind):
    write, source, dense = SOURCES[kind]
    path = str(tmp_path / 'weights.npz')            # the content decides, not the name
    write(path, layers)
    converted = pretrained.read(path, 'vgg16')
    expected = wanted(layers, pixels, source)
    found = features({name: value for name, value in converted.values.items() if name.startswith('conv')}, pixels, GREY)
    assert expected.shape[2:] == (3, 3) and expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert f'input {source} (guessed)' in converted.description
    assert ('normalisation folded' in converted.description) == ('normalisation' in kind)
    kept = dict(zip(vgg16.NAMES[26:], (v for layer in vgg16.decimate(*layers[13:]) for v in layer))) if dense else {}
    assert {name for name in converted.values if name.startswith('fc')} == set(kept)
    assert all((converted.values[name] == kept[name]).all() for name in kept)
    parameters = ICDNet(3, WIDTH).collect_params()
    assert all(parameters[name].shape == value.shape for name, value in converted.values.items())


@pytest.mark.parametrize('text', ['BGR,103.939:116.779:123.68,1,255', 'rgb,.5,.25,1', 'BGR,0.1:0.2:0.3,1:2:3,1'])
def test_a_given_input_is_folded_in_place_of_the_guessed(tmp_path, layers, pixels, text):
    source, path = source_input.parse(text), str(tmp_path / 'weights')
    for kind in 'torchvision .pth', 'original .params':
        SOURCES[kind][0](path, layers)
        converted = pretrained.read(path, 'vgg16', source)
        expected = wanted(layers, pixels, source)
        values = {name: value for name, value in converted.values.items() if name.startswith('conv')}
        np.testing.assert_allclose(features(values, pixels, GREY), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert f'input {source} (given)' in converted.description


def test_the_parser_reads_what_it_writes():
    for source in source_input.KNOWN.values():
        assert source_input.parse(str(source)) == source
    assert source_input.parse('Keras') == source_input.CAFFE
    assert str(source_input.CAFFE) == 'BGR,103.939:116.779:123.68,1,255'


@pytest.mark.parametrize('text, what', [
    ('', 'ORDER,MEAN'), ('RGB,1,2', 'nor one of icd, torchvision'), ('GBR,0,1,1', 'not RGB or BGR'),
    ('RGB,a,1,1', "'a' is not a number"), ('RGB,1:2,1,1', 'three between colons'), ('RGB,0,0,1', 'above 0'),
    ('RGB,0,1,-1', 'above 0'), ('RGB,nan,1,1', 'not a number'), ('RGB,0,1,', 'not a number')])
def test_wrong_inputs_are_explained(text, what):
    with pytest.raises(ValueError, match=what):
        source_input.parse(text)


# ------------------------------------------------------------------------------------------------ what does not fit
def insert(arrays, number, name, array):
    items = list(arrays.items())
    items.insert(number, (name, array))
    arrays.clear()
    arrays.update(items)


@pytest.mark.parametrize('change, what', [
    (lambda a: a.pop('features.14.weight'), 'no 13 convolutions'),
    (lambda a: a.pop('features.14.bias'), 'features.14.weight has no bias'),
    (lambda a: a.update({'features.0.weight': np.zeros((2, 4, 3, 3), np.float32)}), 'no 13 convolutions'),
    (lambda a: insert(a, 14, 'features.15.weight', np.zeros((8, 8, 3, 3), np.float32)), 'no 13 convolutions'),  # VGG19
    (lambda a: a.clear(), 'no 13 convolutions')])
def test_other_networks_are_refused(layers, change, what):
    arrays = sources.torchvision(layers)
    change(arrays)
    with pytest.raises(ValueError, match='not the weights of a VGG16.*' + what):
        vgg16.convert(arrays)


@pytest.mark.parametrize('change, what', [
    (lambda a: a.pop('features.1.bias'), 'features.1.running_mean is not whole'),
    (lambda a: a.update({f'features.1.{part}': np.ones(3, np.float32) for part in (
        'weight', 'bias', 'running_mean', 'running_var')}), 'do not fit'),
    (lambda a: a.update({'features.1.running_var': np.full(2, -1, np.float32)}), 'negative variance')])
def test_damaged_batch_normalisation_is_refused(layers, change, what):
    arrays = sources.with_norms(layers)
    change(arrays)
    with pytest.raises(ValueError, match=what):
        vgg16.convert(arrays)


def test_dense_layers_of_other_shapes_are_left_out_and_said(layers):
    arrays = sources.torchvision(layers)
    arrays['classifier.3.weight'], arrays['classifier.3.bias'] = np.zeros((10, 128), 'f4'), np.zeros(10, 'f4')
    converted = vgg16.convert(arrays)
    assert set(converted.values) == set(vgg16.NAMES[:26])
    assert 'fc6 and fc7 left out (of shapes 128x16x7x7 and 10x128x1x1)' in converted.description


def test_dense_layers_of_this_projects_shape_are_taken(layers):
    arrays, own = sources.caffe(layers, dense=False), vgg16.decimate(*layers[13:])
    for name, layer in zip(('fc6', 'fc7'), own):
        arrays.update({f'{name}.weight': layer[0], f'{name}.bias': layer[1]})
    converted = vgg16.convert(arrays)
    assert (converted.values['fc6_weight'] == own[0][0]).all() and (converted.values['fc7_bias'] == own[1][1]).all()
    assert 'fc6 and fc7,' in converted.description


def test_of_one_pair_all_or_nothing_must_be_there(tmp_path, layers):
    path, net = str(tmp_path / 'x.params'), ICDNet(3, WIDTH)
    arrays = sources.icd(layers)
    mxnet_params.write(path, {name: value for name, value in arrays.items() if ':conv' in name})
    given = load.pretrained_for(path, net)
    assert set(given.values) == set(vgg16.NAMES[:26])
    assert 'x.params (MXNet .params, CRC-32 ' in given.description and 'not in it: ' in given.description
    assert 'fc6, fc7, fc8' in given.description
    mxnet_params.write(path, {name: value for name, value in arrays.items() if name != 'arg:fc7_bias'})
    with pytest.raises(UserError, match='lacks 1 of the 30 weights it must hold .fc7_bias'):
        load.read_pretrained(path, net)


def test_another_width_is_named(tmp_path, layers):
    path = str(tmp_path / 'x')
    SOURCES['torchvision .pth'][0](path, layers)
    with pytest.raises(UserError, match=r'conv1_1_weight is \(2, 3, 3, 3\), not \(4, 3, 3, 3\).*--width'):
        load.read_pretrained(path, VGG16(1 / 16))


def test_every_format_is_written_and_read_back(tmp_path, layers):
    values = {name.split(':')[1]: value for name, value in sources.icd(layers).items()}
    for ending in 'params', 'npz', 'safetensors':
        path = str(tmp_path / f'x.{ending}')
        formats.write(path, values)
        again = pretrained.read(path, 'vgg16').values
        assert all((again[name] == value).all() for name, value in values.items())
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(UserError, match='x.pth: .*cannot be written: end it with .params or .npz or .safetensors'):
        formats.write(str(tmp_path / 'x.pth'), values)
