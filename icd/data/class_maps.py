"""Maps of classes that other methods wrote, and this project's score maps: one NAME.npy an image.

docs/seeds.md has the table of formats. What a file holds decides which it is; folders of this project are known by
their names, because their maps lie in the letterbox of the network, not over the image.
"""
from __future__ import annotations

import os
from typing import NamedTuple, Sequence

import cv2
import numpy as np

from icd.data import images, restricted_pickle, score_map, torch_pickle
from icd.data.geometry import STRIDE
from icd.errors import Problems, UserError

_NAMES = 'attn_highres', 'high_res', 'hr_cam', 'highres', 'rw', 'cam'       # of maps beside 'keys', the best first
_OF_PROJECT = 'scores_cam', 'scores_icd'
_FORMATS = 'docs/seeds.md lists the formats'
_AGAIN = 'write it again'


class Source(NamedTuple):
    """A folder of maps.

    name : what it is called in tables
    folder : of NAME.npy
    """

    name: str
    folder: str

    @property
    def of_project(self) -> str | None:
        """'scores_cam' or 'scores_icd' for the score maps of `icd-run`, else None."""
        name = os.path.basename(os.path.abspath(self.folder))
        return name if name in _OF_PROJECT else None

    def path(self, name: str) -> str:
        """The file of an image."""
        return os.path.join(self.folder, name + '.npy')

    def deciding(self) -> Source | None:
        """The maps that decide where several of these are positive: class activation maps, for ICD scores."""
        if self.of_project != 'scores_icd':
            return None
        return Source(self.name, os.path.join(os.path.dirname(os.path.abspath(self.folder)), 'scores_cam'))


class ClassMaps(NamedTuple):
    """The maps of an image's classes.

    maps : ndarray (n, H, W) float32, at image size, in the order of the classes asked for
    others : classes, from 0, that the file has maps of and nobody asked for; of one with all classes none are listed
    """

    maps: np.ndarray
    others: tuple = ()


def check(problems: Problems, source: Source, name: str) -> bool:
    """Whether there is a `.npy` file for an image, by its first bytes; if not, a problem. `read` looks at the rest."""
    path = source.path(name)
    try:
        start = images.read_bytes(path, 'check --from-maps and the list of names', 6)
    except UserError as error:
        problems.add('no such map' if error.what == 'no such file' else error.what, path, error.remedy)
        return False
    if start != b'\x93NUMPY':
        problems.add('not a NumPy file', path, _AGAIN)
    return start == b'\x93NUMPY'


def read(source: Source, name: str, classes: Sequence[int], class_names: Sequence[str],
         shape: tuple) -> ClassMaps:
    """The maps of an image's classes.

    Parameters
    ----------
    source : Source
    name : str
        Of the image.
    classes : sequence of int
        Of the image, from 0, background not counted, ascending. Without any no file is read.
    class_names : sequence of str
        Of the data set, background not counted.
    shape : (int, int)
        Height and width of the image. Maps of other sizes are scaled to it (bilinear) where they have its shape.

    Returns
    -------
    ClassMaps

    Raises
    ------
    UserError
        When the file is missing or damaged, holds something else, lacks a class of the image, has a class that does not
        exist, maps that do not have the shape of the image, or values that are not finite. Nothing in it is executed.
    """
    if not len(classes):
        return ClassMaps(np.zeros((0, *shape), np.float32))
    path = source.path(name)
    if source.of_project:
        return ClassMaps(_of_project(path, len(classes), shape))
    value = restricted_pickle.read_npy(path, torch_pickle.tensors(), 'class maps', _FORMATS)
    found, all_classes = (_all_classes(path, value, len(class_names)), True) if isinstance(value, np.ndarray) else (
        _by_class(path, value, classes, len(class_names)), False)
    missing = [c for c in classes if c not in found]
    if missing:
        raise UserError(f'lacks the map of {class_names[missing[0]]!r}, which the labels give the image', path,
                        'check --labels or --annotation-root, or make the maps with these labels')
    maps = np.stack([_at_image_size(path, found[c], tuple(shape)) for c in classes])
    if not np.isfinite(maps).all():
        raise UserError('holds values that are not finite', path, _AGAIN)
    return ClassMaps(maps, () if all_classes else tuple(sorted(set(found) - set(classes))))


def _of_project(path, count, shape):
    """This project's score maps at image size; the side of the maps tells that of the network input."""
    side = score_map.side(path) or 1                    # `score_map.read` says what is wrong with a file without any
    infer_size = (side - 1) * STRIDE + 1
    return score_map.at_image_size(score_map.read(path, count, infer_size), shape, infer_size)


def _all_classes(path, array, num_classes):
    """Maps by class of an array of all classes, background first or left out."""
    if array.ndim != 3 or len(array) not in (num_classes, num_classes + 1):
        shape = 'x'.join(map(str, array.shape)) or '()'
        raise UserError(f'an array of shape {shape}, not of {num_classes} classes, rows and columns', path,
                        'save the maps of all classes, a dictionary by class, or name them with --class-names')
    return dict(enumerate(array[len(array) - num_classes:]))


def _by_class(path, value, classes, num_classes):
    """Maps by class of a dictionary, of either kind."""
    if 'keys' in value:
        keys = _whole_numbers(path, value['keys'])
        name = next((name for name in _NAMES if name in value), None)
        if name is None:
            raise UserError(f"has 'keys', but none of {', '.join(_NAMES)}", path, _FORMATS)
        maps = value[name]
        if not isinstance(maps, np.ndarray) or maps.ndim != 3 or len(maps) not in (len(keys), len(keys) - 1):
            found = f"shape {'x'.join(map(str, maps.shape))}" if isinstance(maps, np.ndarray) else type(maps).__name__
            raise UserError(f'its {name!r} ({found}) is not a map for each of {len(keys)} keys', path, _FORMATS)
        maps = list(maps)
    else:
        keys, maps = _whole_numbers(path, list(value)), list(value.values())
    if len(maps) < len(keys):
        if keys[0] != 0:
            raise UserError(f'{len(keys)} keys for {len(maps)} maps: the first key is not the background (0)', path,
                            _FORMATS)
        keys, shifted = keys[1:], True
    else:
        shifted = _is_shifted(path, keys, set(classes))
    found = {key - shifted: one for key, one in zip(keys, maps) if not shifted or key}
    wrong = next((key for key in found if not 0 <= key < num_classes), None)
    if wrong is not None:
        raise UserError(f'holds class {wrong}, counted from 0, of {num_classes}', path,
                        'name all classes with --class-names')
    return found


def _is_shifted(path, keys, classes):
    """Whether keys count the background as 0: the image's classes tell."""
    if 0 not in keys:
        return False
    plain, shifted = set(keys), {key - 1 for key in keys if key}
    if classes in (plain, shifted):
        return classes == shifted
    if classes <= plain and classes <= shifted:
        raise UserError('its keys may count the background as 0 or not: the labels fit both', path,
                        'save keys without the background')
    return classes <= shifted


def _whole_numbers(path, keys):
    """The keys of a dictionary as a list of int."""
    keys = keys.tolist() if isinstance(keys, np.ndarray) and keys.ndim == 1 else keys
    if not isinstance(keys, (list, tuple)) or not all(
            isinstance(key, (int, np.integer)) for key in keys) or len(set(keys)) < len(keys):
        raise UserError('its keys are not the indices of different classes', path, _FORMATS)
    return [int(key) for key in keys]


def _at_image_size(path, one, shape):
    """A map (H, W) float32 of the image's size."""
    if not isinstance(one, np.ndarray) or one.dtype.kind != 'f':
        what = f'values of type {one.dtype}' if isinstance(one, np.ndarray) else f'a {type(one).__name__}'
        raise UserError(f'{what} where a map of floating-point numbers should be', path, _FORMATS)
    (height, width), size = shape, one.shape
    # As long as a side is rounded by less than one position, both are the same fraction of the image's.
    if one.ndim != 2 or not one.size or abs(size[0] * width - size[1] * height) > max(height, width):
        raise UserError('maps do not have the shape of their image',
                        f"{path} ({'x'.join(map(str, size[::-1]))}, not {width}x{height})",
                        'make them from this image, rows before columns')
    with np.errstate(over='ignore'):
        one = np.ascontiguousarray(one, np.float32)
    return one if size == shape else cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR)
