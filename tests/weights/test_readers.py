"""Every reader returns what the format's own program wrote; optional packages are named where they are missing."""
import builtins
import os

import numpy as np
import pytest

from icd.errors import UserError
from icd.weights import formats, npz_file, onnx_file, safetensors_file
from tests.helpers import PROJECT
from tests.helpers import weights_files as sources

BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize('name', ['tensors.pth', 'tensors_legacy.pth'])
def test_files_that_pytorch_wrote(name):
    """Views, parameters, types: written by PyTorch 2.14."""
    arrays = formats.read(os.path.join(PROJECT, 'tests', 'fixtures', 'weights', name))
    wanted = {'turned': BASE.transpose(2, 1, 0), 'part': BASE[:, 1:, ::2], 'parameter': BASE[1],
              'empty': np.zeros((0, 3), np.float32), 'one': np.array(3), 'flags': np.array([True, False]),
              'half': BASE.astype(np.float16), 'bfloat16': BASE, 'double': BASE.astype(np.float64)}
    assert list(arrays) == list(wanted)
    assert all(arrays[key].dtype == value.dtype and np.array_equal(arrays[key], value) for key, value in wanted.items())


def test_the_writers_of_these_tests_write_what_pytorch_does(tmp_path):
    for legacy in False, True:
        path = str(tmp_path / 'x.pth')
        sources.write_torch(path, {'a': BASE, 'b': np.arange(3)}, legacy)
        assert np.array_equal(formats.read(path)['a'], BASE) and formats.read(path)['b'].dtype == np.int64


def test_safetensors_is_that_of_its_package(tmp_path):
    import safetensors.numpy
    arrays = {'b': BASE, 'a': np.arange(5), 'half': BASE.astype(np.float16), 'none': np.zeros((0, 2), np.float32),
              'flag': np.array([True]), 'one': np.array(2.5)}
    theirs, ours = str(tmp_path / 'theirs'), str(tmp_path / 'ours')
    safetensors.numpy.save_file(arrays, theirs, {'format': 'np'})
    safetensors_file.write(ours, arrays)
    for read in formats.read(theirs), formats.read(ours), safetensors.numpy.load_file(ours):
        assert set(read) == set(arrays)
        assert all(read[name].dtype == array.dtype and np.array_equal(read[name], array)
                   for name, array in arrays.items())
    with open(ours, 'rb') as file:
        assert int.from_bytes(file.read(8), 'little') % 8 == 0


def test_bfloat16_in_safetensors_becomes_float32(tmp_path):
    path = str(tmp_path / 'x')
    bits = (np.float32([1.5, -2, 3.140625]).view(np.uint32) >> 16).astype('<u2').tobytes()
    header = b'{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    with open(path, 'wb') as file:
        file.write(len(header).to_bytes(8, 'little') + header + bits)
    assert formats.read(path)['a'].tolist() == [1.5, -2, 3.140625]


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed, lambda path, **arrays: npz_file.write(path, arrays)])
def test_npz_is_numpys(tmp_path, save):
    arrays = {'a/b': np.asfortranarray(BASE[0]), 'c': np.array(3), 'd': np.zeros((0, 2))}
    save(str(tmp_path / 'x.npz'), **arrays)
    read = formats.read(str(tmp_path / 'x.npz'))
    assert set(read) == set(arrays) and all(np.array_equal(read[name], arrays[name]) for name in arrays)


def values(field_number, kind, content, sides=(2, 3)):
    """A TensorProto whose values are not raw."""
    return (b''.join(sources.field(1, side) for side in sides) + sources.field(2, kind) + sources.field(8, 'w')
            + sources.field(field_number, content))


@pytest.mark.parametrize('tensor, wanted', [
    (values(4, 1, BASE[0, :2, :3].tobytes()), BASE[0, :2, :3]),
    (values(10, 11, np.arange(6.).tobytes()), np.arange(6.).reshape(2, 3)),
    (values(7, 7, bytes(range(6))), np.arange(6).reshape(2, 3)),
    (values(5, 10, b'\x80\x78\x80\x80\x01' + bytes(4)), np.float16([[1, 2, 0], [0, 0, 0]])),
    (values(9, 16, (BASE[0, 0, :].view(np.uint32) >> 16).astype('<u2').tobytes(), (4,)), BASE[0, 0, :])])
def test_values_of_onnx_in_every_form(tmp_path, tensor, wanted):
    path = tmp_path / 'x'
    path.write_bytes(sources.model([tensor], []))
    read = onnx_file.read(str(path))['w']
    assert read.dtype == wanted.dtype and np.array_equal(read, wanted)


def test_layers_of_onnx_name_their_weights_in_the_order_of_the_graph(tmp_path):
    names = [f'{n}' for n in '312495']
    nodes = [('Conv', ('x', '9', '1'), 'a'), ('BatchNormalization', ('a', '3', '2', '4', '3'), 'b'),
             ('MatMul', ('b', '5'), 'c'), ('Add', ('4', 'c'), 'd')]
    (tmp_path / 'x').write_bytes(sources.model([sources.tensor(name, BASE[0, 0] * int(name)) for name in names], nodes))
    read = formats.read(str(tmp_path / 'x'))
    assert list(read) == ['0.9.weight', '0.9.bias', '1.3.weight', '1.3.bias', '1.3.running_mean', '1.3.running_var',
                          '2.5.weight', '2.5.bias']
    assert read['0.9.bias'][1] == 1 and read['1.3.running_mean'][1] == 4 and read['2.5.bias'][1] == 4
    nodes = [('Conv', ('x', '2', '1'), 'a'), ('Gemm', ('a', '9', '3'), 'b')]
    (tmp_path / 'x').write_bytes(sources.model([sources.tensor(name, BASE[0, 0] * int(name)) for name in names], nodes))
    assert list(formats.read(str(tmp_path / 'x'))) == ['2.weight', '2.bias', '9.weight', '9.bias', '4', '5']
    initialisers = [sources.tensor(name, BASE[0, 0]) for name in ('features.0.weight', 'classifier.0.weight')]
    nodes = [('Conv', ('x', 'features.0.weight'), 'a'), ('Gemm', ('a', 'classifier.0.weight'), 'b')]
    (tmp_path / 'x').write_bytes(sources.model(initialisers, nodes))
    assert list(formats.read(str(tmp_path / 'x'))) == ['features.0.weight', 'classifier.0.weight']


def test_what_the_optimiser_keeps_is_left_out_of_keras_files(tmp_path):
    path = str(tmp_path / 'x')
    sources.write_keras(path, {'layers/a/vars/0': BASE, 'optimizer/vars/0': BASE, 'model_weights/b/kernel:0': BASE})
    assert list(formats.read(path)) == ['layers/a/vars/0', 'model_weights/b/kernel:0']


def test_a_missing_h5py_is_named(tmp_path, monkeypatch):
    path, real = str(tmp_path / 'x'), builtins.__import__
    sources.write_keras(path, {'a': BASE})

    def without(name, *args, **kwargs):
        if name == 'h5py':
            raise ImportError(name)
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(UserError, match=r'x: .*h5py is not installed: pip install -e .\[keras'):
        formats.read(path)
