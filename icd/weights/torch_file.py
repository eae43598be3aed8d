"""PyTorch's files (`.pth`, `.pt`), as `torch.save` writes them: a ZIP archive, or pickles one after the other.

Their pickles are read by `icd.data.torch_pickle`, without PyTorch.
"""
from __future__ import annotations

import contextlib

from icd.data import images, torch_pickle
from icd.errors import UserError, printable
from icd.weights import zip_archive

_KEYS = 'state_dict', 'model_state_dict', 'model', 'net', 'params'      # what checkpoints call the weights
_PREFIX = 'module.'                     # of nn.DataParallel
_DEEPEST = 32


# -------------------------------------------------------------------------------------------------------- the archive
def _read_zip(archive):
    names = {name.split('/', 1)[1]: name for name in archive.namelist() if '/' in name}
    if 'data.pkl' not in names:
        raise ValueError('an archive without data.pkl')
    order = '>' if 'byteorder' in names and archive.read(names['byteorder']).strip() == b'big' else '<'
    known = {}

    def storages(key, kind):
        if key not in known:
            known[key] = kind, torch_pickle.values(archive.read(names[f'data/{key}']), kind, order)
        return known[key]
    return _arrays(torch_pickle.load(archive.read(names['data.pkl'])), storages)


# ------------------------------------------------------------------------------------------------------- the weights
def _arrays(value, storages):
    """The tensors of a state dictionary, or of the one in a checkpoint, without `module.`."""
    for _ in range(_DEEPEST):
        inner = [value[key] for key in _KEYS if isinstance(value, dict) and isinstance(value.get(key), dict)]
        if not inner:
            break
        value = inner[0]
    found = {name: tensor.array(storages) for name, tensor in value.items() if isinstance(name, str) and
             isinstance(tensor, torch_pickle.Tensor)} if isinstance(value, dict) else {}
    if not found:
        raise ValueError('it holds no tensors by name')
    if all(name.startswith(_PREFIX) for name in found):
        found = {name[len(_PREFIX):]: array for name, array in found.items()}
    return found


def recognises(start: bytes) -> bool:
    """Whether a file that starts with these bytes is in this format."""
    first = zip_archive.first_name(start)
    return start.startswith(torch_pickle.LEGACY_START) or first is not None and not first.endswith('.npy')


def read(path: str) -> dict:
    """Arrays of a `.pth` file: a state dictionary, or a checkpoint that holds one.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        By the names in the file, in its order, without the `module.` of `nn.DataParallel`. Read-only; bfloat16 as
        float32.

    Raises
    ------
    UserError
        When the file is damaged, or holds anything but tensors, numbers, texts and containers.
    """
    packed = zip_archive.first_name(images.read_bytes(path, 'check the path', 64)) is not None
    with zip_archive.opened(path, 'PyTorch file') if packed else contextlib.nullcontext() as archive:
        try:
            return _read_zip(archive) if packed else _arrays(*torch_pickle.read_legacy(
                images.read_bytes(path, 'check the path')))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise UserError(f'not a whole PyTorch file of weights ({printable(str(error))})', path,
                            'save its state_dict() alone, or download it again') from None
