"""Image labels in JSON: `{"name": ["class"]}`, and the instances of COCO."""
from __future__ import annotations

import json
import mmap
import os
import re
from typing import Any, Callable

from icd import console, files
from icd.data import images
from icd.data.labels.table import LARGEST, Table
from icd.errors import UserError

_LARGEST_COCO = 2 << 30                 # bytes; instances_train2014.json has 0.45 GB, most of it polygons
_MOST_VALUES = 12_000_000               # what stays of a file has at most so many commas and brackets
_LONGEST_NUMBER = 20
SPEED = 16e6                            # bytes a second, about, of parsing
# Polygons, run lengths and boxes: nothing but numbers, none of which say what classes an image has.
_NUMBERS = re.compile(rb'\[(?=[\s\[]*[-\d])[-+\d.eE,\s\[\]]{16,}(?=\s*[,}])')
_COCO_KEYS = 'images', 'annotations', 'categories'


def read(path: str) -> Table:
    """The labels of a JSON file.

    Memory is bounded by what stays when arrays of numbers are left out: a tenth of COCO's files.

    Raises
    ------
    UserError
        When it is no such file.
    """
    value = _load(path)
    if not isinstance(value, dict):
        raise UserError('neither {"name": ["class", ...]} nor instances of COCO', path, 'see docs/data.md')
    return _coco(path, value) if all(isinstance(value.get(key), list) for key in _COCO_KEYS) else _names(path, value)


def _load(path):
    data = _without_numbers(path)
    if len(data) > 4 * LARGEST or sum(map(data.count, (b',', b'[', b'{'))) > _MOST_VALUES:
        raise UserError('holds too much for a file of labels', path, 'leave out what is not needed')
    return _parse(path, data, _object)


def load(path: str, make_object: Callable) -> Any:
    """The value of a JSON file, up to 2 GB, with numbers and all.

    Parameters
    ----------
    path : str
    make_object : callable
        From the pairs of an object to what stands for it; `ValueError` when it is wrong.

    Raises
    ------
    UserError
        When the file is missing or damaged.
    """
    if os.path.isfile(path) and os.path.getsize(path) > _LARGEST_COCO:
        raise UserError('more than 2 GB', path, 'leave out what is not needed')
    return _parse(path, images.read_bytes(path, 'check the path'), make_object)


def _parse(path, data, make_object):
    if len(data) > console.PATIENCE * SPEED:        # the parser calls nobody, so there is no bar
        console.log(f'{path}: reading {len(data) / 1e6:.0f} MB of JSON, about {len(data) / SPEED:.0f} s')
    try:
        return json.loads(data.decode('utf-8-sig'), object_pairs_hook=make_object, parse_int=_whole_number)
    except RecursionError:
        raise UserError('not usable JSON (nested too deeply)', path, 'correct it') from None
    except UnicodeDecodeError:
        raise UserError('not UTF-8', path, 'save it as UTF-8') from None
    except ValueError as error:
        raise UserError(f'not usable JSON ({" ".join(str(error).split()):.200})', path, 'correct it') from None


def _without_numbers(path):
    """The bytes of the file; a long one without arrays of numbers."""
    size = os.path.getsize(path)
    if size > _LARGEST_COCO:
        raise UserError(f'{size >> 30} GB are too many for a file of labels', path, 'leave out what is not needed')
    with files.named(path), open(path, 'rb') as file:
        if size <= LARGEST >> 6:
            return file.read()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _NUMBERS.sub(b'0', content)


def _object(pairs):
    """An object of JSON; what COCO's annotations hold besides image and class is dropped at once."""
    made = dict(pairs)
    if 'image_id' in made and 'category_id' in made:
        return made['image_id'], made['category_id']
    if len(made) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f'{twice!r:.80} is there twice')
    return made


def _whole_number(text):
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f'a number of {len(text)} digits')
    return int(text)


def _names(path, value):
    """The table of `{"name": ["class", ...]}`; a text is one class, whole numbers are indices."""
    known = {}                                              # images of the same classes share one object
    for name, labels in value.items():                      # in the dictionary itself: two of a million take a lot
        classes = _classes(path, name, labels)
        value[name] = known.setdefault(classes, classes)
    named = {label for labels in known for label in labels if isinstance(label, str)}
    return Table('JSON of names and classes', path, value, class_names=tuple(sorted(named)))


def _classes(path, name, labels):
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not all(type(label) in (str, int) for label in labels):
        raise UserError(f'what {name!r:.80} has is no list of classes', path, 'give {"name": ["class", ...]}')
    return tuple(dict.fromkeys(labels))


# ----------------------------------------------------------------------------------------------------------- COCO
def _coco(path, value):
    """The table of COCO's instances: the classes of all objects of an image, crowds included."""
    try:
        categories = {category['id']: _text(category['name']) for category in value['categories']}
        names = {image['id']: _text(image['file_name']) for image in value['images']}
        found = {name: {} for name in names.values()}
        for image, category in value['annotations']:
            found[names[image]][categories[category]] = None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'not instances of COCO ({_what(error)})', path, 'correct it') from None
    if len(found) < len(value['images']) or len(set(categories.values())) < len(value['categories']):
        raise UserError('two images or two classes have one id or one name', path, 'correct it')
    return Table('COCO instances', path, {name: tuple(labels) for name, labels in found.items()},
                 class_names=tuple(categories.values()))


def _text(value):
    if not isinstance(value, str):
        raise TypeError(f'{value!r:.40} where a text is needed')
    return value


def _what(error):
    return f'{error!s:.40} is missing' if isinstance(error, KeyError) else ' '.join(str(error).split())[:200]
