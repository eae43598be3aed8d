"""Image labels to files: every format that `icd.data.labels` reads, but lists of masks."""
from __future__ import annotations

import csv
import io
import json
import os
from typing import Sequence
from xml.sax.saxutils import escape

import numpy as np

from icd import files
from icd.data import images, listing
from icd.data.labels.texts import INDICES
from icd.errors import Problems, UserError

KINDS = 'xml', 'folders', 'csv', 'tsv', 'columns', 'json', 'coco', 'npy', 'list'
_BY_ENDING = {'.csv': 'csv', '.tsv': 'tsv', '.json': 'json', '.npy': 'npy', '.txt': 'list', '': 'xml'}


def kind_of(path: str) -> str:
    """The format that the ending of an output asks for. Raises `UserError` when it is none."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in _BY_ENDING:
        raise UserError(f'no format has the ending {ending}', path, f"give --to: {', '.join(KINDS)}")
    return _BY_ENDING[ending]


def write(path: str, kind: str, labels: dict, class_names: Sequence[str], image_root: str | None = None):
    """Write image labels, whole or not at all.

    Parameters
    ----------
    path : str
        A new file, or a new folder for 'xml' and 'folders'.
    kind : str
        One of `KINDS`.
    labels : dict of tuple of int by str
        Indices into `class_names` by name.
    class_names : sequence of str
    image_root : str, optional
        Folder of the images, to which 'folders' links.

    Raises
    ------
    UserError
        When the format cannot hold these names, the folder is not empty, or an image is missing.
    """
    if kind in ('xml', 'folders'):
        if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
            raise UserError('is there and not empty', path, 'name a new folder')
        {'xml': _xml, 'folders': _folders}[kind](path, labels, class_names, image_root)
        return
    text = {'csv': _rows, 'tsv': _rows, 'columns': _columns, 'json': _json, 'coco': _coco, 'npy': _npy, 'list': _list}
    content = text[kind](path, kind, labels, class_names)
    files.save_bytes(path, content if isinstance(content, bytes) else content.encode())


def _xml(path, labels, class_names, _):
    for name, classes in labels.items():
        objects = ''.join(f'  <object><name>{escape(class_names[c])}</name><difficult>0</difficult></object>\n'
                          for c in classes)
        files.save_bytes(os.path.join(path, name + '.xml'), f'<annotation>\n{objects}</annotation>\n'.encode())
    os.makedirs(path, exist_ok=True)


def _folders(path, labels, class_names, image_root):
    """A folder for each class, with links to the images."""
    if image_root is None:
        raise UserError('class folders hold images', path, 'say where they are: --image-root')
    bad = [name for name in class_names if '/' in name or name.startswith('.')]
    if bad:
        raise UserError(f'the class {bad[0]!r:.80} cannot be a folder', path, 'choose another format')
    problems, links = Problems(), {}
    for name, classes in labels.items():
        found = listing.find(image_root, name, images.ENDINGS)
        if not found:
            problems.add('no such image', os.path.join(image_root, name), 'check --image-root')
        for c in classes if found else ():
            links[os.path.join(path, class_names[c], name + os.path.splitext(found[0])[1])] = found[0]
    problems.raise_if_any()
    for name in class_names:
        os.makedirs(os.path.join(path, name), exist_ok=True)
    for link, target in links.items():
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.abspath(target), link)


def _rows(path, kind, labels, class_names):
    if any(';' in name for name in class_names):
        raise UserError('a class has a semicolon in its name', path, 'choose --to columns or another format')
    return _table(kind, [('name', 'classes')] + [
        (name, ';'.join(class_names[c] for c in classes)) for name, classes in labels.items()])


def _columns(path, kind, labels, class_names):
    return _table(kind, [('name', *class_names)] + [
        (name, *(int(c in classes) for c in range(len(class_names)))) for name, classes in labels.items()])


def _table(kind, rows):
    made = io.StringIO()
    csv.writer(made, delimiter='\t' if kind == 'tsv' else ',', lineterminator='\n').writerows(rows)
    return made.getvalue()


def _json(path, kind, labels, class_names):
    return json.dumps({name: [class_names[c] for c in classes] for name, classes in labels.items()}, indent=0,
                      ensure_ascii=False) + '\n'


def _coco(path, kind, labels, class_names):
    """Instances without boxes and outlines: one of each class an image has."""
    pairs = [(i, c) for i, classes in enumerate(labels.values(), 1) for c in classes]
    return json.dumps({
        'images': [{'id': i, 'file_name': name + '.jpg'} for i, name in enumerate(labels, 1)],
        'annotations': [{'id': i, 'image_id': image, 'category_id': c + 1, 'iscrowd': 0}
                        for i, (image, c) in enumerate(pairs, 1)],
        'categories': [{'id': c, 'name': name} for c, name in enumerate(class_names, 1)]}) + '\n'


def _npy(path, kind, labels, class_names):
    """What PyTorch codebases read with `allow_pickle=True`."""
    made = io.BytesIO()
    indices = np.arange(len(class_names))
    np.save(made, {name: np.isin(indices, classes).astype(np.float32) for name, classes in labels.items()},
            allow_pickle=True)
    return made.getvalue()


def _list(path, kind, labels, class_names):
    for name in labels:
        if INDICES.fullmatch(name).group(2) or ',' in name or ';' in name:
            raise UserError(f'{name!r:.80} would be taken for a name with indices, or for CSV', path,
                            'choose another format')
    return ''.join(' '.join([name, *map(str, classes)]) + '\n' for name, classes in labels.items())
