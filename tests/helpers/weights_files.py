"""One VGG16 of small width as the weights files of many programs, written without those programs.

What PyTorch itself wrote is in `tests/fixtures/weights/`; there these writers were compared with.
"""
import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

from icd.weights import mxnet_params, safetensors_file, vgg16
from icd.weights.source_input import CAFFE, CAFFE_RGB, ICD, TORCHVISION

WIDTH = 1 / 32
BLOCKS = (2, 2), (2, 4), (3, 8), (3, 16), (3, 16)
_DENSE = 128            # outputs of fc6 and fc7 at this width
_MAGIC = 0x1950a86a20f9469cfc6c


def draw(seed=0):
    """(weight, bias) of conv1_1 to conv5_3, fc6 and fc7, float32: (outputs, inputs, rows, columns)."""
    rng, layers, inputs = np.random.default_rng(seed), [], 3
    shapes = []
    for count, outputs in BLOCKS:
        for _ in range(count):
            shapes.append((outputs, inputs, 3, 3))
            inputs = outputs
    for shape in shapes + [(_DENSE, inputs, 7, 7), (_DENSE, _DENSE, 1, 1)]:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        layers.append((rng.normal(0, deviation, shape).astype(np.float32),
                       rng.normal(0, .1, shape[0]).astype(np.float32)))
    return layers


# ----------------------------------------------------------------------------------------------------- names, layouts
def torchvision(layers, dense=True):
    """`features.N`, and `classifier.N` as matrices."""
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = [f'features.{n}' for n in numbers] + (['classifier.0', 'classifier.3'] if dense else [])
    return {f'{name}.{part}': value.reshape(len(value), -1) if name.startswith('c') and part == 'weight' else value
            for name, layer in zip(names, layers) for part, value in zip(('weight', 'bias'), layer)}


def with_norms(layers, epsilon=1e-5):
    """torchvision's with batch normalisation, which does the same as `layers`."""
    rng, arrays, number = np.random.default_rng(1), {}, 0
    for index, (weight, bias) in enumerate(layers[:13]):
        gamma, mean, variance, theirs = (rng.uniform(.5, 1.5, len(bias)) for _ in range(4))
        gain = gamma / np.sqrt(variance + epsilon)
        values = dict(weight=gamma, bias=bias - (theirs - mean) * gain, running_mean=mean, running_var=variance,
                      num_batches_tracked=np.array(7))
        arrays.update({f'features.{number}.weight': np.float32(weight / gain[:, None, None, None]),
                       f'features.{number}.bias': np.float32(theirs)})
        arrays.update((f'features.{number + 1}.{part}', value.astype(np.int64 if value.ndim == 0 else np.float32))
                      for part, value in values.items())
        number += 4 if index in (1, 3, 6, 9) else 3
    dense = {name: value for name, value in torchvision(layers).items() if name.startswith('classifier')}
    return {**arrays, **dense}


def gluon(layers):
    names = [f'vgg0_conv{n}' for n in range(13)] + ['vgg0_dense0', 'vgg0_dense1']
    return {f'{name}_{part}': value.reshape(len(value), -1) if 'dense' in name and part == 'weight' else value
            for name, layer in zip(names, layers) for part, value in zip(('weight', 'bias'), layer)}


def caffe(layers, form='{}.{}', dense=True):
    """Caffe's names; fc6 and fc7 are matrices."""
    names = vgg16.LAYERS if dense else vgg16.LAYERS[:13]
    return {form.format(name, part): value.reshape(len(value), -1) if name.startswith('fc') and part == 'weight'
            else value for name, layer in zip(names, layers) for part, value in zip(('weight', 'bias'), layer)}


def turned(layers, form, parts=('kernel', 'bias'), dense=True, matrices=True):
    """As Keras and TensorFlow store layers: (rows, columns, inputs, outputs); matrices are (inputs, outputs)."""
    arrays = {}
    for number, (weight, bias) in enumerate(layers if dense else layers[:13]):
        block = vgg16.LAYERS[number]
        weight = weight.transpose(2, 3, 1, 0)
        if number > 12 and matrices:
            weight = weight.reshape(-1, weight.shape[-1])
        for part, value in zip(parts, (weight, bias)):
            arrays[form(block, number, part)] = np.ascontiguousarray(value)
    return arrays


def _keras_name(block, number, part):
    name = f'fc{block[2]}' if block.startswith('fc') else f'block{block[4]}_conv{block[6]}'
    return f'{name}/{name}/{part}:0'


def _first_keras_name(block, number, part):
    name = f'fc{block[2]}' if block.startswith('fc') else f'block{block[4]}_conv{block[6]}'
    return f'{name}/{name}_{part}_1:0'


def _third_keras_name(block, number, part):
    kind, number = ('dense', number - 13) if block.startswith('fc') else ('conv2d', number)
    return f'layers/{kind}{f"_{number}" if number else ""}/vars/{part}'


def icd(layers):
    """The original release's: fc6 and fc7 decimated."""
    return {'arg:' + name: value for name, value in zip(
        vgg16.NAMES, (value for layer in [*layers[:13], *vgg16.decimate(*layers[13:])] for value in layer))}


# -------------------------------------------------------------------------------------------------------- containers
@contextlib.contextmanager
def _torch_names():
    """Modules with the names that PyTorch's pickles hold."""
    made = {name: types.ModuleType(name) for name in ('torch', 'torch._utils')}

    def _rebuild_tensor_v2():
        pass
    _rebuild_tensor_v2.__module__ = 'torch._utils'
    _rebuild_tensor_v2.__qualname__ = '_rebuild_tensor_v2'
    made['torch._utils']._rebuild_tensor_v2 = _rebuild_tensor_v2
    for kind in 'Float', 'Long':
        setattr(made['torch'], kind + 'Storage', type(kind + 'Storage', (), {'__module__': 'torch'}))
    before = {name: sys.modules.pop(name) for name in made if name in sys.modules}
    sys.modules.update(made)
    yield made['torch'], _rebuild_tensor_v2
    for name in made:
        del sys.modules[name]
    sys.modules.update(before)


class _Tensor:
    def __init__(self, array, key, modules):
        self.array, self.key, self.modules = array, str(key), modules

    def __reduce__(self):
        array, (_, rebuild) = self.array, self.modules
        strides = tuple(step // array.itemsize for step in array.strides)
        return rebuild, (_Reference(self), 0, array.shape, strides, False, {})


class _Reference:
    def __init__(self, tensor):
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, _Reference):
            array, (torch, _) = value.tensor.array, value.tensor.modules
            kind = torch.LongStorage if array.dtype.kind == 'i' else torch.FloatStorage
            return ('storage', kind, value.tensor.key, 'cpu', array.size) + ((None,) if self.legacy else ())
        return None


def _pickled(value, legacy):
    stream = io.BytesIO()
    pickler = _Pickler(stream, 2)
    pickler.legacy = legacy
    pickler.dump(value)
    return stream.getvalue()


def write_torch(path, arrays, legacy=False, wrap=lambda tensors: tensors):
    """`torch.save` of a state dictionary, as an archive or as pickles one after the other."""
    arrays = {name: np.ascontiguousarray(array) if array.ndim else array for name, array in arrays.items()}
    with _torch_names() as modules:
        data = _pickled(wrap({name: _Tensor(array, key, modules) for key, (name, array) in enumerate(arrays.items())}),
                        legacy)
    contents = [array.tobytes() for array in arrays.values()]
    if not legacy:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('weights/data.pkl', data)
            archive.writestr('weights/byteorder', 'little')
            for key, content in enumerate(contents):
                archive.writestr(f'weights/data/{key}', content)
        return
    with open(path, 'wb') as file:
        machine = dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
        file.write(b''.join(pickle.dumps(value, 2) for value in (_MAGIC, 1001, machine)) + data)
        file.write(pickle.dumps([str(key) for key in range(len(contents))], 2))
        for array, content in zip(arrays.values(), contents):
            file.write(struct.pack('<q', array.size) + content)


def write_keras(path, arrays):
    import h5py
    with h5py.File(path, 'w') as file:
        for name, array in arrays.items():
            file[name] = array


def _varint(number):
    data = b''
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def field(number, value):
    """A field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def tensor(name, array):
    """A TensorProto of float32 values."""
    return b''.join(field(1, side) for side in array.shape) + field(2, 1) + field(8, name) + field(9, array.tobytes())


def model(initialisers, nodes):
    """A ModelProto of TensorProtos and (operator, inputs, output)."""
    graph = b''.join(field(1, b''.join(field(1, name) for name in inputs) + field(2, output) + field(4, operator))
                     for operator, inputs, output in nodes)
    graph += b''.join(field(5, each) for each in initialisers)
    return field(1, 8) + field(2, 'tests') + field(7, graph)


def write_onnx(path, layers):
    """Convolutions and dense layers, whose weights have numbers for names, in no order."""
    initialisers, nodes, last = [], [], 'image'
    for number, (weight, bias) in enumerate(layers):
        names = f'onnx::{(number * 7) % 15}', f'bias{(number * 4) % 15}'
        initialisers += [tensor(names[0], weight if number < 13 else weight.reshape(len(weight), -1)),
                         tensor(names[1], bias)]
        nodes.append(('Conv' if number < 13 else 'Gemm', (last, *names), f'value{number}'))
        last = f'value{number}'
    with open(path, 'wb') as file:
        file.write(model(initialisers[::-1], nodes))


def _checkpoint(tensors):
    return {'epoch': 3, 'state_dict': {f'module.{name}': tensor for name, tensor in tensors.items()}, 'best': .5}


# (write(path, layers), the input of those layers, whether fc6 and fc7 are in the file)
SOURCES = {
    'original .params': (lambda path, layers: mxnet_params.write(path, icd(layers)), ICD, True),
    'Gluon .params': (lambda path, layers: mxnet_params.write(path, gluon(layers)), TORCHVISION, True),
    'Caffe in MXNet': (lambda path, layers: mxnet_params.write(path, caffe(layers, 'arg:{}_{}')), CAFFE_RGB, True),
    'torchvision .pth': (lambda path, layers: write_torch(path, torchvision(layers)), TORCHVISION, True),
    'legacy .pth': (lambda path, layers: write_torch(path, torchvision(layers), legacy=True), TORCHVISION, True),
    'checkpoint .pth': (lambda path, layers: write_torch(path, torchvision(layers, False), wrap=_checkpoint),
                        TORCHVISION, False),
    'batch normalisation .pth': (lambda path, layers: write_torch(path, with_norms(layers)), TORCHVISION, True),
    'Caffe in .pth': (lambda path, layers: write_torch(path, caffe(layers)), CAFFE, True),
    '.safetensors': (lambda path, layers: safetensors_file.write(path, dict(sorted(torchvision(layers).items()))),
                     TORCHVISION, True),
    'TensorFlow .npz': (lambda path, layers: np.savez(path, **turned(
        layers, lambda name, _, part: f'{name}_{part}', 'Wb')), CAFFE_RGB, True),
    'slim .npz': (lambda path, layers: np.savez_compressed(path, **turned(
        layers, lambda name, _, part: f'vgg_16/{name[:5]}/{name}/{part}', ('weights', 'biases'), matrices=False)),
                  CAFFE_RGB, True),
    'Keras 1 .h5': (lambda path, layers: write_keras(path, turned(layers, _first_keras_name, 'Wb')), CAFFE, True),
    'Keras 2 .h5': (lambda path, layers: write_keras(path, turned(layers, _keras_name, dense=False)), CAFFE, False),
    'Keras 3 .weights.h5': (lambda path, layers: write_keras(path, turned(layers, _third_keras_name, '01')), CAFFE,
                            True),
    'ONNX': (write_onnx, TORCHVISION, True),
}
