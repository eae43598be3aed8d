"""PASCAL VOC: name lists, class names and annotations."""
from __future__ import annotations

import functools
import io
import os
import re
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
_LONGEST_PART = 230                 # bytes of a file's name, which gets an ending and, while it is written, more
_LINE_END = re.compile('\r\n|\r|\n')
_BLANKS = ' \t\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a' \
          '\u200b\u2028\u2029\u202f\u205f\u3000\ufeff'
_ABSOLUTE = re.compile(r'[/\\]|[A-Za-z]:[/\\]')
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029]')
# What people write for <difficult> and <deleted>; whatever else they write is refused.
_FLAGS = {'': False, '0': False, 'false': False, 'no': False, 'unspecified': False,
          '1': True, 'true': True, 'yes': True}


def read_lines(path: str, remedy: str, holds: str = 'names') -> list:
    """Numbered lines of a text file without surrounding blanks, empty ones left out: list of (int, str).

    Lines end as on any system: LF, CRLF or CR. Blanks are Unicode's white space, the byte-order mark and the
    zero-width space.

    Raises
    ------
    UserError
        When the file is missing, holds nothing, is longer than 64 MB or is not UTF-8.
    """
    data = images.read_bytes(path, remedy, _LARGEST_LIST + 1)
    if len(data) > _LARGEST_LIST:
        raise UserError(f'more than {_LARGEST_LIST >> 20} MB are too many for a list of {holds}', path, remedy)
    if b'\0' in data:
        raise UserError('not a text file', path, remedy)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        number = len(_LINE_END.split(data[:error.start].decode()))
        raise UserError(f'line {number} is not UTF-8', path,
                        'save it as UTF-8: it is in another encoding (Latin-1?), or no text') from None
    found = [(i, line.strip(_BLANKS)) for i, line in enumerate(_LINE_END.split(text), 1)]
    found = [(i, line) for i, line in found if line]
    if not found:
        raise UserError(f'holds no {holds}', path, remedy)
    return found


def name_problem(name: str) -> str | None:
    """What keeps `name` from being that of a file below a given folder, and what to do, or None."""
    if _ABSOLUTE.match(name):
        return 'an absolute path: give names relative to the image folder, without an ending'
    if '\\' in name or _CONTROL.search(name):
        return 'it holds a backslash or an unprintable character: put / between folders'
    if '..' in name.split('/'):
        return "it leaves the folder: names must not contain '..'"
    if name.endswith(('/', '/.')) or name == '.' or name.startswith('-'):
        return 'not a plain file name: give names like 2007_000032, or folder/2007_000032'
    ending = os.path.splitext(name)[1].lower()
    if ending in images.ENDINGS + ('.xml',):
        return f'write names without {os.path.splitext(name)[1]}'
    if max(len(part.encode()) for part in name.split('/')) > _LONGEST_PART:
        return 'the name is too long for a file'
    return None


def read_list(path: str, remedy: str = 'give a text file with one name a line') -> list:
    """Names of a list, one a line, as docs/formats.md describes it; `makeSuperpixel` reads it the same way.

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
        When the file is missing, empty or not UTF-8, or a name occurs twice, leaves its folder or has an ending.
    """
    seen = {}
    for number, line in read_lines(path, remedy):
        problem = name_problem(line)
        if problem:
            raise UserError(f'line {number}, {line!r:.80}', path, problem)
        name = '/'.join(part for part in line.split('/') if part not in ('', '.'))
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
    names = [name for _, name in read_lines(path, 'give a text file with one class name a line')]
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


def _flag(entry, tag):
    """What an object's `difficult` or `deleted` says."""
    text = entry.findtext(tag, '').strip()
    if text.lower() not in _FLAGS:
        raise ValueError(f'{tag} is {text!r:.20}, not 0 or 1')
    return _FLAGS[text.lower()]


def _read_objects(data):
    """(name, whether difficult) of every object that was not deleted; `ValueError` as `_parse`."""
    for entry in _parse(data).iterfind('object'):
        if _flag(entry, 'deleted'):             # LabelMe keeps these
            continue
        name = entry.findtext('name', '').strip()
        if not name:
            raise ValueError('an object has no name')
        yield name, _flag(entry, 'difficult')


def read_objects(path: str) -> tuple:
    """Names of the classes in an image, from its VOC annotation: each once, in the order of the file.

    Those of the objects that are not difficult; when there are none, those of the difficult ones. Objects that were
    deleted in LabelMe do not count.

    Parameters
    ----------
    path : str
        An XML file. Document types and entities are refused.

    Returns
    -------
    tuple of str
        Empty when the file has no objects.

    Raises
    ------
    UserError
        When the file is missing, damaged or not an annotation.
    """
    data = images.read_bytes(path, 'check the annotation folder and the list of names', _LARGEST_XML + 1)
    try:
        objects = list(_read_objects(data))
    except ValueError as error:
        raise UserError(f'not a usable annotation: {error}', path, 'correct the file') from None
    return tuple(dict.fromkeys(name for name, difficult in objects if not difficult)) or tuple(
        dict.fromkeys(name for name, _ in objects))


@functools.lru_cache(maxsize=8)
def _index(class_names):
    return {name: i for i, name in enumerate(class_names)}


def indices(classes: Sequence, class_names: Sequence[str], path: str) -> tuple:
    """Indices of classes that a file names, or gives as indices, ascending.

    Raises
    ------
    UserError
        That names `path`, when a class is unknown.
    """
    index, found = _index(tuple(class_names)), set()
    for each in classes:
        number = index.get(each) if isinstance(each, str) else each if 0 <= each < len(index) else None
        if number is None:
            known = f"{len(index)} known ones are {', '.join(list(index)[:3])}, ...; --class-names gives others"
            if isinstance(each, str):
                raise UserError(f'unknown class {each!r:.80}', path, 'the ' + known)
            raise UserError(f'unknown class index {each}', path, f'indices are 0 to {len(index) - 1}: the ' + known)
        found.add(number)
    return tuple(sorted(found))


def read_annotation(path: str, class_names: Sequence[str] = CATEGORIES) -> tuple:
    """Classes in an image, from its VOC annotation: indices into `class_names`, ascending.

    See `read_objects`; a `UserError`, too, when a class is unknown.
    """
    return indices(read_objects(path), class_names, path)


def annotation_path(annotation_root: str, name: str) -> str:
    """Where the annotation of the image `name` of a list is."""
    return os.path.join(annotation_root, name + '.xml')


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
    labels = np.zeros((len(names), len(class_names)), np.float32)
    for row, name in zip(labels, names):
        row[list(read_annotation(annotation_path(annotation_root, name), class_names))] = 1
    return labels
