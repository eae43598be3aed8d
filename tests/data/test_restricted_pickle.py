"""Pickles of arrays are read; what else they name, announce or nest is refused without being done."""
import collections
import io
import os
import pickle

import numpy as np
import pytest

from icd.data import restricted_pickle
from icd.errors import UserError

VALUES = {
    '2007_000032': np.eye(20, dtype=np.float32)[3], 'keys': np.array([3, 7]), 'f': np.float32(.5), 'i': np.int64(-3),
    'list': [1, ('a', None), {'b': True}], 'columns first': np.asfortranarray(np.arange(6).reshape(2, 3)),
    'empty': np.zeros((0, 3)), 'text': np.array(['ab', 'c']), 'big-endian': np.arange(3, dtype='>i4'), 'no bytes': b'',
    'bytes': b'\x80\xff', 7: np.array([True, False]), 'objects': np.array(['a', None], object), 'long': 1 << 80,
    'long text': 'abc' * 3000, 'many': np.arange(3000.), 'ordered': collections.OrderedDict(b=1, a=2)}


def save(path, values, protocol=3, change=lambda data: data):
    """`numpy.save` of a dictionary, with a pickle protocol of choice."""
    array = np.empty((), object)
    array[()] = values
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(change(pickle.dumps(array, protocol)))
    return str(path)


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
    return type(one) is type(other) and one == other


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_dictionaries_of_arrays_are_read(tmp_path, protocol):
    read = restricted_pickle.read_npy_dictionary(save(tmp_path / 'x.npy', VALUES, protocol))
    assert list(read) == list(VALUES)
    assert [name for name in VALUES if not same(VALUES[name], read[name])] == []


def test_names_of_numpy_2_are_read(tmp_path):
    def change(data):
        return data.replace(b'numpy.core.multiarray', b'numpy._core.multiarray')
    assert set(restricted_pickle.read_npy_dictionary(save(tmp_path / 'x.npy', VALUES, 3, change))) == set(VALUES)


def test_what_numpy_saves_is_read(tmp_path):
    np.save(tmp_path / 'x.npy', VALUES)
    assert set(restricted_pickle.read_npy_dictionary(str(tmp_path / 'x.npy'))) == set(VALUES)


def test_tensors_are_left_out(tmp_path):
    tensor = b'ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n(U\x01xtRI0\n(ttR'

    def change(data):
        assert b'I12345\n' in data
        return data.replace(b'I12345\n', tensor)
    path = save(tmp_path / 'x.npy', {'cam': 12345, 'keys': np.arange(2)}, 0, change)
    assert list(restricted_pickle.read_npy_dictionary(path)) == ['keys']


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


HOSTILE = {
    'a command': (pickle.dumps(Calls(os.system, 'touch executed')), 'posix.system, which is not allowed'),
    'evaluated text': (pickle.dumps(Calls(eval, "open('executed', 'w')")), 'builtins.eval, which is not allowed'),
    'a file': (pickle.dumps(Calls(open, 'executed', 'w')), 'io.open'),
    'an attribute': (b'cnumpy\nlib.npyio.load\n.', 'numpy.lib.npyio.load'),
    'an instance': (b'(S"touch executed"\nios\nsystem\n.', 'INST'),
    'an object': (b'(cnumpy\ndtype\no.', 'OBJ'),
    'an extension': (b'\x82\x01.', 'EXT1'),
    'a reference': (b'Poutside\n.', 'outside'),
    'a method': (b'\x8c\x03abc]\x85R.', 'no function'),
    'a changed class': (b'cnumpy\ndtype\n}b.', 'changes a'),
    'a terabyte of bytes': (b'\x8e' + (1 << 40).to_bytes(8, 'little') + b'x.', 'bytes8'),
    'a terabyte of text': (b'\x8d' + (1 << 40).to_bytes(8, 'little') + b'x.', 'unicodestring8'),
    'a place far away': (b'Kar\xff\xff\xff\x7f.', None),
    'a frame of a terabyte': (b'\x80\x04\x95' + (1 << 40).to_bytes(8, 'little') + b'N.', None),
    'tuples in tuples as a key': (b'}' + b')' + b'2\x86' * 100 + b'Ns.', 'a tuple is the key'),
    'a deep tuple as a key': (b'}' + b')' + b'\x85' * 200000 + b'Ns.', 'a tuple is the key'),
    'a list as a key': (b'}]Ns.', 'a list is the key'),
    'a long number': (b'L' + b'9' * 100000 + b'L\n.', 'too long'),
    'an unhashable array': (b'}cnumpy\nndarray\n)RNs.', 'is the key'),
    'a negative shape': (b'cnumpy\nndarray\n)R(I1\n(I-4\ntcnumpy\ndtype\nX\x02\0\0\0f4\x85RI00\nC\x10' + bytes(16) +
                         b'tb.', 'without type or shape'),
    'a shape beyond the values': (b'cnumpy\nndarray\n)R(I1\n(I1000000000000\ntcnumpy\ndtype\nX\x02\0\0\0f4\x85R(I3\n'
                                  b'X\x01\0\0\0<NNNtbI00\nC\x10' + bytes(16) + b'tb.', 'what its shape says'),
    'a type of parts': (b'cnumpy\ndtype\nX\x02\0\0\0f4\x85R(I3\nX\x01\0\0\0<N}Ntb.', 'with parts'),
    'pointers as values': (b'cnumpy\ndtype\nX\x02\0\0\0O8\x85R(I3\nX\x01\0\0\0|NNNtbp0\n0cnumpy.core.multiarray\n'
                           b'scalar\ng0\nC\x08' + b'A' * 8 + b'\x86R.', 'what its shape says'),
    'a mark without an end': (b'(', 'STOP'), 'nothing': (b'', 'STOP'), 'no stop': (b'N', 'STOP'),
    'an empty stack': (b'.', 'pop'),
    'an unknown opcode': (b'\xee', 'unknown'), 'a place that is not there': (b'h\x07.', 'KeyError'),
    'other encodings': (b'c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.', 'text in hex'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_is_executed(tmp_path, monkeypatch, little_memory, kind):
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[kind]
    if message is None:                 # what it announces is not even reserved
        assert restricted_pickle.load(content, restricted_pickle.NUMPY) in (97, None)
    else:
        with pytest.raises(ValueError, match=message.replace('.', r'\.')):
            restricted_pickle.load(content, restricted_pickle.NUMPY)
    assert os.listdir(tmp_path) == []


def test_pickles_that_hold_themselves_end():
    value = restricted_pickle.load(b']2a.', {})
    assert value[0] is value


def test_the_stream_is_left_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps([2], 2))
    assert [restricted_pickle.load(stream, {}) for _ in range(2)] == [1, [2]]


@pytest.mark.parametrize('write, what', [
    (lambda path: np.save(path, np.arange(3)), 'an array of shape 3 of int64'),
    (lambda path: save(path, [1]), 'it holds a list'),
    (lambda path: save(path, {'a': Calls(os.system, 'touch executed')}), 'posix.system'),
    (lambda path: path.write_bytes(b'\x93NUMPY'), 'its header is damaged'),
    (lambda path: path.write_bytes(b'a,b'), 'its header is damaged'),
    (lambda path: save(path, VALUES, 3, lambda data: data[:-9]), 'NumPy file')])
def test_other_files_are_refused_in_one_line(tmp_path, write, what):
    write(tmp_path / 'x.npy')
    with pytest.raises(UserError, match=what) as caught:
        restricted_pickle.read_npy_dictionary(str(tmp_path / 'x.npy'))
    assert '\n' not in str(caught.value) and caught.value.path.endswith('x.npy')
