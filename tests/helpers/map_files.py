"""Class maps as other programs write them: dictionaries that NumPy pickles, with tensors of PyTorch or without.

Written without PyTorch; the names in its pickles and their order are those of `torch/_tensor.py` and
`torch/storage.py`.
"""
import collections
import contextlib
import pickle
import struct
import sys
import types

import numpy as np

from icd import files

KINDS = {'f2': 'Half', 'f4': 'Float', 'f8': 'Double', 'i8': 'Long'}


@contextlib.contextmanager
def _torch():
    """Modules with the names that the pickles hold."""
    made = {name: types.ModuleType(name) for name in ('torch', 'torch._utils', 'torch.storage')}
    for module, name in (('torch._utils', '_rebuild_tensor_v2'), ('torch.storage', '_load_from_bytes')):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = module, name
        setattr(made[module], name, function)
    before = {name: sys.modules.pop(name) for name in made if name in sys.modules}
    sys.modules.update(made)
    yield
    for name in made:
        del sys.modules[name]
    sys.modules.update(before)


def storage(array):
    """What `torch.save` of older versions makes of the values of an array, whatever its strides."""
    kind, size = KINDS[array.dtype.str[1:]], struct.pack('<i', array.size)
    value = (b'\x80\x02(X\x07\0\0\0storagectorch\n' + kind.encode() + b'Storage\nX\x01\0\0\x000X\x03\0\0\0cpuJ' + size +
             b'NtQ.')
    parts = [pickle.dumps(part, 2) for part in (0x1950a86a20f9469cfc6c, 1001, {'little_endian': True})]
    return b''.join([*parts, value, pickle.dumps(['0'], 2), struct.pack('<q', array.size), array.tobytes()])


class _Call:
    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments

    def __reduce__(self):
        return getattr(sys.modules[self.module], self.name), self.arguments


def tensor(array, size=None, stride=None):
    """A tensor of an array's values, to be saved in a dictionary; `size` and `stride` for those that are not whole."""
    strides = tuple(step // array.itemsize for step in array.strides)
    return _Call('torch._utils', '_rebuild_tensor_v2', _Call('torch.storage', '_load_from_bytes', storage(array)), 0,
                 size or array.shape, stride or strides, False, collections.OrderedDict())


def save(path, value):
    """`numpy.save` of a dictionary or an array."""
    with _torch(), files.write_atomic(str(path)) as partial, open(partial, 'wb') as file:
        np.save(file, value, allow_pickle=True)
