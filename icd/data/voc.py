"""PASCAL VOC: name lists, class names and annotations."""
from __future__ import annotations

import io
import os
from typing import Sequence
from xml.etree.ElementTree import ParseError

import defusedxml
import defusedxml.ElementTree
import numpy as np

from icd.data import images
from icd.errors import UserError

CATEGORIES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable',
              'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
_LARGEST_LIST = 64 << 20            # bytes
_LARGEST_XML = 4 << 20
_DEEPEST_XML = 64
_LARGEST_CLASS_COUNT = 254          # 0 is the background, 255 is ignored


def _lines(path, remedy):
    """Numbered lines of a text file without surrounding blanks, empty ones left out."""
    data = images.read_bytes(path, remedy)
    if len(data) > _LARGEST_LIST:
        raise UserError(f'{len(data) >> 20} MB are too many for a list of names', path, remedy)
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError:
        text = '\0'
    if '\0' in text:
        raise UserError('not a text file', path, remedy)
    found = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise UserError('holds no names', path, remedy)
    return found


def _name_problem(name):
    """What keeps `name` from being the name of a file below a given folder, or None."""
    if name.startswith(('/', '\\')) or name[1:3] in (':/', ':\\'):
        return 'an absolute path: give names relative to the image folder, without an ending'
    if '\\' in name or not name.isprintable():
        return 'it holds a backslash or an unprintable character: put / between folders'
    if '..' in name.split('/'):
        return "it leaves the folder: names must not contain '..'"
    if os.path.normpath(name) != name or name.startswith('-'):
        return 'not a plain file name: give names like 2007_000032, or folder/2007_000032'
    if os.path.splitext(name)[1].lower() in ('.jpg', '.jpeg', '.png', '.xml'):
        return f'write names without {os.path.splitext(name)[1]}'
    if max(len(os.fsencode(part)) for part in name.split('/')) > 230:
        return 'the name is too long for a file'
    return None


def read_list(path: str, remedy: str = 'give a text file with one name a line') -> list:
    """Names of a list, one a line; blank lines, trailing blanks and CRLF are tolerated.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it cannot be read.

    Returns
    -------
    list of str
        All different; none leads out of the folder it is joined to. `folder/NAME` is allowed.

    Raises
    ------
    UserError
        When the file is missing, empty or no text, or a name occurs twice, leaves its folder or has an ending.
    """
    seen = {}
    for number, name in _lines(path, remedy):
        problem = _name_problem(name)
        if problem:
            raise UserError(f'line {number}, {name!r:.80}', path, problem)
        if name in seen:
            raise UserError(f'line {number}: {name} was already on line {seen[name]}', path, 'remove one of them')
        seen[name] = number
    return list(seen)


def read_class_names(path: str | None = None) -> tuple:
    """Class names in index order, background left out: VOC's 20, or those of a file, one a line.

    Raises
    ------
    UserError
        When the file is missing, empty or no text, names a class twice, names the background, or has more than
        254 names.
    """
    if path is None:
        return CATEGORIES
    names = [name for _, name in _lines(path, 'give a text file with one class name a line')]
    if len(set(names)) < len(names):
        raise UserError('a class is named twice', path, 'remove one of them')
    if 'background' in (name.lower() for name in names):
        raise UserError('names the background', path, 'leave it out, it has index 0 by itself')
    if len(names) > _LARGEST_CLASS_COUNT:
        raise UserError(f'{len(names)} classes', path, f'a mask has room for {_LARGEST_CLASS_COUNT}')
    return tuple(names)


def _parse(data):
    """Root of an annotation; `ValueError` with what is wrong when it is not usable."""
    if len(data) > _LARGEST_XML:
        raise ValueError(f'{len(data) >> 20} MB are too many')
    root, depth = None, 0
    try:
        for event, element in defusedxml.ElementTree.iterparse(io.BytesIO(data), ('start', 'end'), forbid_dtd=True):
            root = element if root is None else root
            element.tag = element.tag.rpartition('}')[2]            # without its namespace
            depth += 1 if event == 'start' else -1
            if depth > _DEEPEST_XML:
                raise ValueError('nested too deeply')
    except defusedxml.DTDForbidden:
        raise ValueError('it declares a document type or entities, which annotations have no use for') from None
    except (ParseError, LookupError) as error:
        raise ValueError(f'not valid XML ({error})') from None
    if root.tag != 'annotation':
        raise ValueError(f'its root is <{root.tag:.80}>, not <annotation>')
    return root


def _read_objects(data):
    """(name, whether difficult) of every object; `ValueError` as `_parse`."""
    for entry in _parse(data).iterfind('object'):
        name, difficult = (entry.findtext(tag, '').strip() for tag in ('name', 'difficult'))
        if not name:
            raise ValueError('an object has no name')
        if difficult not in ('', '0', '1'):
            raise ValueError(f'difficult is {difficult!r:.20}, not 0 or 1')
        yield name, difficult == '1'


def read_annotation(path: str, class_names: Sequence[str] = CATEGORIES) -> tuple:
    """Classes in an image, from its VOC annotation.

    Those of the objects that are not difficult; when there are none, those of the difficult ones.

    Parameters
    ----------
    path : str
        An XML file. Document types and entities are refused.
    class_names : sequence of str

    Returns
    -------
    tuple of int
        Indices into `class_names`, ascending; empty when the file has no objects.

    Raises
    ------
    UserError
        When the file is missing, damaged or not an annotation, or names an unknown class.
    """
    data = images.read_bytes(path, 'check the annotation folder and the list of names')
    try:
        objects = list(_read_objects(data))
    except ValueError as error:
        raise UserError(f'not a usable annotation: {error}', path, 'correct the file') from None
    index = {name: i for i, name in enumerate(class_names)}
    unknown = next((name for name, _ in objects if name not in index), None)
    if unknown is not None:
        raise UserError(f'unknown class {unknown!r:.80}', path,
                        f"the {len(index)} known ones are {', '.join(list(index)[:3])}, ...; --class-names gives "
                        'others')
    easy = {index[name] for name, difficult in objects if not difficult}
    return tuple(sorted(easy or {index[name] for name, _ in objects}))


def annotation_path(annotation_root: str, name: str) -> str:
    """Where the annotation of the image `name` of a list is."""
    return os.path.join(annotation_root, name + '.xml')


def no_labels(names: Sequence[str], class_names: Sequence[str] = CATEGORIES) -> np.ndarray:
    """Image labels (len(names), len(class_names)) float32 without any class yet."""
    return np.zeros((len(names), len(class_names)), np.float32)


def read_labels(names: Sequence[str], annotation_root: str, class_names: Sequence[str] = CATEGORIES) -> np.ndarray:
    """Image labels of a whole list.

    Parameters
    ----------
    names : sequence of str
    annotation_root : str
        Folder of NAME.xml.
    class_names : sequence of str

    Returns
    -------
    ndarray (len(names), len(class_names)) float32
        1 where the image has an object of the class, else 0.

    Raises
    ------
    UserError
        As `read_annotation`.
    """
    labels = no_labels(names, class_names)
    for row, name in zip(labels, names):
        row[list(read_annotation(annotation_path(annotation_root, name), class_names))] = 1
    return labels
