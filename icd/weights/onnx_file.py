"""Weights (initialisers) of an ONNX model.

The few fields that matter are read here by protobuf's wire format (protobuf.dev/programming-guides/encoding; the fields
have their numbers from onnx.proto3): nothing is copied, and the package `onnx` with all it brings is not needed.

Exporters name initialisers as they like, often by numbers. So the layers of the graph name them: what a convolution,
a dense layer or a batch normalisation reads is called `STEM.weight`, `STEM.bias`, `STEM.running_mean` and
`STEM.running_var`, as in PyTorch; where stems are numbers in no order, another one in front counts the layers. Nothing
is transposed: a dense layer's weights are (outputs, inputs) where the graph has `transB`, else (inputs, outputs).
"""
from __future__ import annotations

import math
import re

import numpy as np

from icd.data import images
from icd.errors import UserError, printable
from icd.weights.converted import natural

_TYPES = {1: '<f4', 2: 'u1', 3: 'i1', 4: '<u2', 5: '<i2', 6: '<i4', 7: '<i8', 9: '?', 10: '<f2', 11: '<f8',
          16: 'bfloat16'}
_GRAPH = 7                                                      # fields of ModelProto
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15                         # of GraphProto
_INPUT, _OUTPUT, _OPERATOR = 1, 2, 4                            # of NodeProto
_DIMS, _TYPE, _FLOATS, _INTS, _LONGS, _NAME, _RAW, _DOUBLES, _EXTERNAL, _LOCATION = 1, 2, 4, 5, 7, 8, 9, 10, 13, 14
_FLOATING = 1, 11                                               # types whose values are listed as they are
_DEEPEST = 32
_NUMBER = re.compile(r'(onnx::)?([A-Za-z]+_)?[0-9]+')           # names that exporters make up
_LAYERS = {                     # what the inputs of a layer after the first are
    'Conv': ('weight', 'bias'), 'Gemm': ('weight', 'bias'), 'MatMul': ('weight',),
    'BatchNormalization': ('weight', 'bias', 'running_mean', 'running_var')}


# ---------------------------------------------------------------------------------------------------- wire format
def _varint(data, position):
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError('it ends in the middle of a number')
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def _fields(data):
    """Fields of a message (memoryview) in their order: (number, an int or a memoryview)."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(data, position)
        elif kind in (1, 2, 5):
            length, position = _varint(data, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
            if not number or length > len(data) - position:
                raise ValueError('it announces more than it holds')
            value, position = data[position:position + length], position + length
        else:
            raise ValueError('a field of an unknown kind')
        yield number, value


def _text(value):
    return bytes(value).decode()


def _numbers(value):
    """A repeated integer field, packed or one of many."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number


# ------------------------------------------------------------------------------------------------------- the model
def _tensor(data):
    """Name and array of a TensorProto."""
    shape, kind, name, raw, listed = [], 0, '', None, bytearray()
    for number, value in _fields(data):
        if number == _DIMS:
            shape += _numbers(value)
        elif number == _TYPE:
            kind = value
        elif number == _NAME:
            name = _text(value)
        elif number == _RAW:
            raw = value
        elif number == _EXTERNAL or number == _LOCATION and value:
            raise ValueError('its weights are in another file: save the model with them, in one file')
        elif number in (_FLOATS, _DOUBLES):
            listed += value
        elif number in (_INTS, _LONGS):
            listed += np.fromiter(_numbers(value), np.uint64).tobytes()
    return name, _array(shape, kind, listed if raw is None else raw, raw is None)


def _array(shape, kind, values, listed):
    """An array of its bytes; where they are `listed`, integers and halves take 64 bits each."""
    if kind not in _TYPES:
        return None                                             # texts and others that are no weights
    if len(shape) > _DEEPEST or any(not isinstance(side, int) or side >= 1 << 48 for side in shape):
        raise ValueError('an array of a negative shape')        # a negative number is a very large one here
    code = '<u2' if _TYPES[kind] == 'bfloat16' else _TYPES[kind]
    if listed and kind not in _FLOATING:
        values = np.frombuffer(values, np.uint64).astype('<u2' if code == '<f2' else code).tobytes()
    if math.prod(shape) * np.dtype(code).itemsize != len(values):
        raise ValueError('an array that does not hold what its shape says')
    array = np.frombuffer(values, code) if len(values) else np.empty(0, code)
    if _TYPES[kind] == 'bfloat16':
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _node(data):
    """Operator and names of inputs and outputs of a NodeProto."""
    operator, names = '', {_INPUT: [], _OUTPUT: []}
    for number, value in _fields(data):
        if number in names:
            names[number].append(_text(value))
        elif number == _OPERATOR:
            operator = _text(value)
    return operator, names[_INPUT], names[_OUTPUT]


def _parse(data):
    arrays, nodes, graphs = {}, [], 0
    for number, graph in _fields(data):
        if number != _GRAPH:
            continue
        graphs += 1
        for part, value in _fields(graph):
            if part == _INITIALIZER:
                name, array = _tensor(value)
                if name in arrays:
                    raise ValueError(f'two arrays are named {name!r}')
                if array is not None:
                    arrays[name] = array
            elif part == _SPARSE:
                raise ValueError('it holds sparse arrays')
            elif part == _NODE:
                nodes.append(_node(value))
    if graphs != 1:
        raise ValueError('it holds no graph')
    return _named(arrays, nodes)


def _named(arrays, nodes):
    """Arrays by the names of layers, in the order of the graph; others, by their own, behind."""
    layers, used = {}, set()
    follows = {each: (operator, inputs) for operator, inputs, _ in nodes for each in inputs}
    for operator, inputs, outputs in nodes:
        parts = _LAYERS.get(operator, ())
        given = dict(zip(parts, inputs[1:]))
        after, others = follows.get(outputs[0], ('', ())) if outputs else ('', ())
        if 'bias' not in given and operator in ('Conv', 'MatMul') and after == 'Add':
            given.update(bias=next((name for name in others if name in arrays), ''))
        if given.get('weight') not in arrays or given['weight'] in used:
            continue
        stem = re.sub(r'[._/:]weight$', '', given['weight'])
        layers[stem] = {part: arrays[name] for part, name in given.items() if name in arrays}
        used.update(given.values())
    named = sorted(layers, key=natural) == list(layers) or not any(map(_NUMBER.fullmatch, layers))
    found = {f'{stem if named else f"{number}.{stem}"}.{part}': array
             for number, (stem, parts) in enumerate(layers.items()) for part, array in parts.items()}
    found.update((name, array) for name, array in arrays.items() if name not in used)
    return found


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes may be in this format: ONNX has no signature.

    A model begins with the version of its format (field 1), and the program that made it (2), its graph (7) or the
    versions of its operators (8) follow.
    """
    return len(start) > 2 and start[0] == 8 and start[1] < 128 and start[2] in b'\x12\x1a\x22\x28\x32\x3a\x42'


def read(path: str) -> dict:
    """Weights of an ONNX model.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        In the order in which the graph uses them. Read-only; bfloat16 as float32.

    Raises
    ------
    UserError
        When the file is damaged, or its weights are in other files.
    """
    data = images.read_bytes(path, 'check the path')
    try:
        return _parse(memoryview(data))
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f'not a whole ONNX model ({printable(str(error))})', path,
                        'copy or download it again') from None
