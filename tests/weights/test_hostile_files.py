"""Malformed and malicious weights files: one line, exit code 2, little memory, and nothing in them is executed."""
import io
import json
import os
import pickle
import re
import struct
import time
import zipfile

import numpy as np
import pytest

from icd import console
from icd.steps import weights
from tests.helpers.weights_files import field, tensor

TERA = 1 << 40
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
KEYS, CONTENTS = pickle.dumps(['0'], 2), struct.pack('<q', 4) + bytes(16)
LEGACY_STORAGE = STORAGE.replace(b'K\x04t', b'K\x04Nt')


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


CALLS = Calls(os.system, 'touch executed')


# -------------------------------------------------------------------------------------------------------- PyTorch
def archive(data, storage=bytes(16), compression=zipfile.ZIP_STORED, name='x/data.pkl'):
    def write(path):
        with zipfile.ZipFile(path, 'w', compression) as file:
            file.writestr(name, data)
            file.writestr('x/data/0', storage)
    return write


def pickled(offset=b'K\0', size=b'K\x04\x85', stride=b'K\x01\x85', storage=STORAGE):
    """The pickle of a state dictionary of one tensor, from the opcodes of its parts."""
    return (b'\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(' + storage + offset + size + stride +
            b'\x89}tRs.')


def legacy(value, keys=KEYS, contents=CONTENTS):
    parts = [pickle.dumps(part, 2) for part in (0x1950a86a20f9469cfc6c, 1001, {'little_endian': True})]
    return lambda path: write_bytes(path, b''.join(parts) + value + keys + contents)


def write_bytes(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def number(value):
    return b'\x8a\x08' + value.to_bytes(8, 'little', signed=True)


LEGACY = pickled(storage=LEGACY_STORAGE)
PYTORCH = {
    'a command in an archive': (archive(pickle.dumps({'w': CALLS})), r'posix\.system, which is not allowed'),
    'evaluated text in an archive': (archive(pickle.dumps(Calls(eval, "open('executed', 'w')"))), 'eval, which is'),
    'a whole model': (archive(b'\x80\x02ctorchvision.models.vgg\nVGG\n)\x81.'), r'VGG.*save its state_dict'),
    'a nested unpickler': (archive(b'ctorch.storage\n_load_from_bytes\n(C\x01xtR.'), '_load_from_bytes'),
    'a loader of libraries': (archive(b'ctorch.ops\nload_library\n(X\x01\0\0\0xtR.'), 'load_library'),
    'a command in pickles': (legacy(pickle.dumps(CALLS, 2)), r'posix\.system'),
    'a command for a version': (lambda path: write_bytes(path, pickle.dumps(0x1950a86a20f9469cfc6c, 2) +
                                                         pickle.dumps(CALLS, 2)), r'posix\.system'),
    'a command among keys': (legacy(LEGACY, pickle.dumps(CALLS, 2)), r'posix\.system'),
    'a storage that unpacks to far more': (archive(pickled(), bytes(1 << 25), zipfile.ZIP_DEFLATED), 'would unpack'),
    'a pickle that unpacks to far more': (archive(bytes(1 << 25), b'', zipfile.ZIP_DEFLATED), 'would unpack'),
    'a tensor of terabytes': (archive(pickled(size=number(TERA) + b'\x85')), 'larger than its storage'),
    'a tensor of one value a trillion times': (archive(pickled(size=number(TERA) + b'\x85', stride=b'K\0\x85')),
                                               'larger than its storage'),
    'a tensor beyond its storage': (archive(pickled(offset=b'K\x01')), 'larger than its storage'),
    'a negative shape': (archive(pickled(size=number(-4) + b'\x85')), 'negative shape or stride'),
    'a negative stride': (archive(pickled(stride=number(-1) + b'\x85')), 'negative shape or stride'),
    'a negative offset': (archive(pickled(offset=number(-1))), 'negative shape or stride'),
    'a stride too few': (archive(pickled(stride=b')')), 'without storage or shape'),
    'a storage that is not there': (archive(pickled().replace(b'X\x01\0\0\x000', b'X\x01\0\0\x001')), 'data/1'),
    'a storage of another folder': (archive(pickled().replace(b'X\x01\0\0\x000', b'X\x0c\0\0\0../../passwd')),
                                    'passwd'),
    'a storage cut short': (archive(pickled(), bytes(8)), 'cut short'),
    'a storage of half a number': (archive(pickled(), bytes(15)), 'multiple'),
    'a dictionary in itself': (archive(b'}q\0X\x05\0\0\0modelh\0s.'), 'no tensors by name'),
    'a list in itself': (archive(b']q\0h\0a.'), 'no tensors by name'),
    'a hundred thousand lists': (archive(b']' * 100000 + b'a' * 99999 + b'.'), 'no tensors by name'),
    'an archive of something else': (archive(b'x', name='x/readme'), 'without data.pkl'),
    'an archive cut short': (lambda path: write_bytes(path, b'PK\x03\x04' + bytes(60)), 'not a whole PyTorch file'),
    'a storage of terabytes': (legacy(LEGACY, contents=struct.pack('<q', TERA) + bytes(16)), 'middle of a storage'),
    'a storage of negative length': (legacy(LEGACY, contents=struct.pack('<q', -4) + bytes(16)), 'middle of a storage'),
    'a part beyond its storage': (legacy(LEGACY.replace(b'K\x04Nt', b'K\x04(X\x01\0\0\x001K\x02K\x04tt')), 'cut short'),
    'keys of no storage': (legacy(LEGACY, pickle.dumps(['1'], 2)), "'1'"),
    'a trillion keys': (legacy(LEGACY, pickle.dumps(TERA, 2)), 'beginning is damaged'),
    'pickles cut short': (legacy(LEGACY[:-3], b'', b''), 'not a whole PyTorch file'),
}


# ------------------------------------------------------------------------------------------- safetensors and NumPy
def safetensors(header, values=bytes(16), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return lambda path: write_bytes(path, struct.pack('<Q', len(text) if length is None else length) + text + values)


def entry(begin=0, end=16, shape=(4,), kind='F32'):
    return {'dtype': kind, 'shape': list(shape), 'data_offsets': [begin, end]}


def npz(content, compression=zipfile.ZIP_STORED):
    def write(path):
        with zipfile.ZipFile(path, 'w', compression) as file:
            file.writestr('w.npy', content)
    return write


def npy(array=None, shape='(4,)', kind='<f4', values=bytes(16)):
    stream = io.BytesIO()
    if array is not None:
        np.save(stream, array)
        return stream.getvalue()
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b'\x93NUMPY\1\0' + struct.pack('<H', len(text)) + text + values


FLAT = {
    'a header of exabytes': (safetensors({'w': entry()}, length=99_000_000), 'longer than the file'),
    'an array of terabytes': (safetensors({'w': entry(0, TERA, (TERA // 4,))}), 'beyond the file'),
    'a shape of terabytes': (safetensors({'w': entry(shape=(TERA,))}), 'what its shape says'),
    'overlapping arrays': (safetensors({'a': entry(), 'b': entry(8, 16, (2,))}), "'b' do not begin where"),
    'a gap between arrays': (safetensors({'a': entry(0, 4, (1,)), 'b': entry(8, 16, (2,))}), "'b' do not begin"),
    'values that nothing names': (safetensors({'w': entry()}, bytes(20)), 'follows its end'),
    'an array that ends before it begins': (safetensors({'w': entry(0, -4)}), 'do not begin'),
    'an array of negative shape': (safetensors({'w': entry(shape=(-4,))}), 'negative shape'),
    'a shape that is text': (safetensors({'w': dict(entry(), shape='abcd')}), 'negative shape'),
    'an unknown type': (safetensors({'w': entry(kind='F3')}), "unknown type 'F3'"),
    'a name twice': (safetensors(b'{"w":{},"w":{}}'), 'stands twice'),
    'JSON in JSON': (safetensors(b'{"w":' + b'[' * 100000 + b']' * 100000 + b'}'), 'not a whole .safetensors'),
    'a long number': (safetensors(b'{"w":' + b'9' * 100000 + b'}'), 'too many digits'),
    'no dictionary': (safetensors(b'{"w":1}'), 'not a whole .safetensors'),
    'pickled objects': (npz(npy(np.array([CALLS], object))), 'pickled objects'),
    'an archive that unpacks to far more': (npz(npy(np.zeros(1 << 23, np.float32)), zipfile.ZIP_DEFLATED),
                                             'would unpack'),
    'a NumPy array of terabytes': (npz(npy(shape=f'({TERA},)')), 'what its header says'),
    'a NumPy array of negative shape': (npz(npy(shape='(-4,)')), 'what its header says'),
    'a header that is code': (npz(npy(shape="__import__('os').system('touch executed')")), 'not a whole .npz'),
    'a type of parts': (npz(npy(kind='V16', shape='(1,)')), 'what its header says'),
}


# ------------------------------------------------------------------------------------------------ Keras and ONNX
def hdf5(make):
    def write(path):
        import h5py
        with h5py.File('other.h5', 'w') as file:
            file['secret'] = np.ones(4, np.float32)
        write_bytes('other.bin', bytes(16))
        with h5py.File(path, 'w') as file:
            make(file, h5py)
    return write


def external_link(file, h5py):
    file['w'] = h5py.ExternalLink('other.h5', 'secret')


def soft_link(file, h5py):
    file['w'] = h5py.SoftLink('/w')


def external_values(file, h5py):
    file.create_dataset('w', (4,), 'f4', external=[('other.bin', 0, 16)])


def virtual(file, h5py):
    layout = h5py.VirtualLayout((4,), 'f4')
    layout[:] = h5py.VirtualSource('other.h5', 'secret', (4,))
    file.create_virtual_dataset('w', layout)


def circle(file, h5py):
    file.create_group('a')['b'] = file['/']


def never_written(file, h5py):
    file.create_dataset('w', (TERA,), 'f4', chunks=(1 << 20,))


def packed(file, h5py):
    file.create_dataset('w', (1 << 23,), 'f4', chunks=(1 << 22,), compression='gzip', data=np.zeros(1 << 23, 'f4'))


def graph(*fields):
    content = field(1, 8) + field(2, 'x') + field(7, b''.join(fields))
    return lambda path: write_bytes(path, content)


W = tensor('w', np.ones(4, np.float32))
NESTED = {
    'a link to another file': (hdf5(external_link), "'w' is a link"),
    'a link to itself': (hdf5(soft_link), "'w' is a link"),
    'values in another file': (hdf5(external_values), 'in another file'),
    'values that are a view of another file': (hdf5(virtual), 'in another file'),
    'folders in a circle': (hdf5(circle), 'too many folders'),
    'terabytes that were never written': (hdf5(never_written), 'far more than it holds'),
    'a data set that unpacks to far more': (hdf5(packed), 'far more than it holds'),
    'an HDF5 file cut short': (lambda path: write_bytes(path, b'\x89HDF\r\n\x1a\n' + bytes(90)), 'not a whole HDF5'),
    'external data': (graph(field(5, field(1, 4) + field(2, 1) + field(8, 'w') + field(14, 1) + field(
        13, field(1, 'location') + field(2, '../../etc/passwd')))), 'in another file'),
    'external data of one value': (graph(field(5, W + field(13, b''))), 'in another file'),
    'dimensions of terabytes': (graph(field(5, field(1, TERA) + W)), 'what its shape says'),
    'negative dimensions': (graph(field(5, field(1, (1 << 64) - 4) + W)), 'negative shape'),
    'a message of terabytes': (graph(field(5, W) + b'\x2a\x80\x80\x80\x80\x80\x80\x01'), 'more than it holds'),
    'a number without end': (graph(b'\x2a' + b'\xff' * 40), 'middle of a number'),
    'two arrays of a name': (graph(field(5, W), field(5, W)), 'two arrays are named'),
    'sparse arrays': (graph(field(15, W)), 'sparse arrays'),
    'a group of old': (graph(b'\x2b'), 'unknown kind'),
    'two graphs': (lambda path: write_bytes(path, field(1, 8) + field(7, b'') * 2), 'no graph'),
    'names that are no text': (graph(field(5, field(8, b'\xff\xff'))), 'not a whole ONNX'),
}
HOSTILE = {**PYTORCH, **FLAT, **NESTED}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_files_are_one_line_and_nothing_is_executed(tmp_path, monkeypatch, capsys, little_memory, kind):
    monkeypatch.chdir(tmp_path)
    write, message = HOSTILE[kind]
    write('weights')
    before, start = sorted(os.listdir()), time.process_time()
    assert console.run_command(weights.main, ['show', 'weights']) == 2
    printed = capsys.readouterr()
    assert printed.out == '' and printed.err.count('\n') == 1 and 'weights: not a whole ' in printed.err
    assert re.search(message, printed.err), printed.err
    assert sorted(os.listdir()) == before and time.process_time() - start < 5


@pytest.mark.parametrize('write', [archive(pickled()), legacy(LEGACY), safetensors({'w': entry()}), npz(npy()),
                                   graph(field(5, W)), hdf5(lambda file, _: file.create_dataset('w', (4,), 'f4'))])
def test_what_is_damaged_here_is_read_while_it_is_whole(tmp_path, monkeypatch, capsys, write):
    monkeypatch.chdir(tmp_path)
    write('weights')
    assert console.run_command(weights.main, ['show', 'weights']) == 0
    assert '\nw  4                float32\n' in capsys.readouterr().out
