"""Confusion matrices of folders of masks, counted in worker processes."""
from __future__ import annotations

import functools
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from typing import Sequence

import numpy as np

from icd import console, files, parallel
from icd.data import images, masks, score_map
from icd.errors import UserError
from icd.method import metrics
from icd.method.image_counts import ImageCounts

_CHUNK = 32                 # names handed to a process at once
_WORTH_A_PROCESS = 100      # images below which another process takes longer to start than it saves
_OF_IMAGES = 'lengths', 'classes', 'pixels'     # of `ImageCounts`
_MISSING = {'truth': 'no such truth', 'pred': 'no such seed', 'versus': 'no such seed'}


@dataclass(frozen=True)
class Masks:
    """Where the masks and the scores of a list of names are.

    folders : folders of NAME.png by role: 'truth', 'pred' and, where there are other seeds, 'versus'
    class_names : all classes, background first
    scores : folder of NAME.npy, the scores of the classes of each image; None: confidence is not counted
    classes : which classes the scores of an image are of, background not counted, or the error that hides it, by name
    infer_size : side of the network input the scores were made with
    """
    folders: dict[str, str]
    class_names: Sequence[str]
    scores: str | None = None
    classes: dict[str, tuple | UserError] = field(default_factory=dict)
    infer_size: int = 513


@dataclass
class Counts:
    """What is known of some images of the list.

    indices : the images counted
    matrices : summed confusion matrices by role ('pred', 'versus')
    by_image : class counts by role, in the order of `indices`; until `sort` a list of
        parts, of a single image the array of its counts
    confidence : summed confidence counts (2, 102), or 0
    problems : (index, what, path, remedy) of the images not counted
    confused : by role, (path, index, other) of the masks whose palette gives an index the colour of another in VOC
    """
    indices: list[int] = field(default_factory=list)
    matrices: dict[str, np.ndarray] = field(default_factory=dict)
    by_image: dict[str, list | ImageCounts] = field(default_factory=dict)
    confidence: np.ndarray | int = 0
    problems: list[tuple] = field(default_factory=list)
    confused: dict[str, list] = field(default_factory=dict)

    def add(self, other: Counts):
        """Add the counts of other images."""
        self.indices += other.indices
        self.confidence = self.confidence + other.confidence
        self.problems += other.problems
        for role, found in other.confused.items():
            self.confused.setdefault(role, []).extend(found)
        for role, matrix in other.matrices.items():
            self.matrices[role] = self.matrices.get(role, 0) + matrix
            parts = other.by_image[role]
            self.by_image.setdefault(role, []).extend(parts if isinstance(parts, list) else [parts])

    def sort(self):
        """Put images and problems into the order of the list: workers finish in any order."""
        order = np.argsort(self.indices)
        self.indices = [self.indices[i] for i in order]
        self.by_image = {role: ImageCounts.joined(parts).take(order) for role, parts in self.by_image.items()}
        self.problems.sort()


def _mask_path(folder, name):
    return os.path.join(folder, name + '.png')


def _read_masks(given, name, problems, confused):
    """Masks by role; what cannot be read goes to `problems`, palettes in another order to `confused`."""
    read = {}
    for role, folder in given.folders.items():
        path = _mask_path(folder, name)
        try:
            data = images.read_bytes(path, 'check the folder and the list of names')
            read[role] = masks.decode_mask(data, path)
            other = masks.reordered(data, read[role])
            if other:
                confused[role] = [(path, *other)]
        except UserError as error:
            problems.append(error if os.path.lexists(path) else UserError(
                _MISSING[role], path, f'check --{role} and the list'))
    return read


def _mask_problems(given, name, read):
    """What is wrong with masks that cannot be counted: another size than the truth, or an index that is no class."""
    height, width = read['truth'].shape
    num_cls = len(given.class_names)
    for role, mask in read.items():
        path = _mask_path(given.folders[role], name)
        index = metrics.unknown_index(mask, num_cls)
        if mask.shape != (height, width):
            yield UserError('of another size than the truth',
                            f'{path} ({mask.shape[1]}x{mask.shape[0]}, not {width}x{height})',
                            'make it again at the size of its image')
        elif index is not None:
            yield UserError(f'has an index beyond the {num_cls} classes', f'{path} (index {index})',
                            'name all classes (--class-names or --num-cls), or check the file')


def _confidence_counts(given, name, truth, pred):
    """Confidence counts of one image; raises `UserError`."""
    classes = given.classes[name]
    if isinstance(classes, UserError):
        raise classes
    scores = os.path.join(given.scores, name + '.npy')
    maps = score_map.read(scores, len(classes), given.infer_size) if classes else ()
    full = score_map.at_image_size(maps, pred.shape, given.infer_size)
    return metrics.confidence_counts(truth, pred, metrics.confidence(pred, full, classes))


def _count_image(given, index, name):
    """`Counts` of one image."""
    problems, counts = [], Counts()
    read = _read_masks(given, name, problems, counts.confused)
    if not problems:
        truth, counts.indices = read['truth'], [index]
        try:
            for role in read.keys() - {'truth'}:
                counts.matrices[role] = metrics.confusion_matrix(truth, read[role], len(given.class_names))
                counts.by_image[role] = [metrics.class_counts(counts.matrices[role])]
            if given.scores:
                counts.confidence = _confidence_counts(given, name, truth, read['pred'])
            return counts
        except UserError as error:
            problems = [error]
        except ValueError:                      # which mask it is, is looked for only when something is wrong
            problems = list(_mask_problems(given, name, read))
            if not problems:
                raise
    return Counts(problems=[(index, error.what, error.path, error.remedy) for error in problems])


def _count_chunk(given, chunk):
    """Count some images; `chunk`: list of (index, name)."""
    counts = Counts()
    for index, name in chunk:
        counts.add(_count_image(given, index, name))
    counts.by_image = {role: [ImageCounts.of(np.stack(arrays))] for role, arrays in counts.by_image.items()}
    return counts


def count(given: Masks, items: Sequence[tuple], num_process: int) -> Counts:
    """Count masks in worker processes.

    Parameters
    ----------
    given : Masks
    items : sequence of (int, str)
        Indices in the list, and names.
    num_process : int
        Changes no digit of what is returned.

    Returns
    -------
    Counts
        Images and problems in the order of the list. What cannot be counted is among the problems.
    """
    num_process = max(1, min(num_process, len(items) // _WORTH_A_PROCESS))
    size = min(_CHUNK, 1 + len(items) // (16 * num_process))     # the bar moves with every chunk
    chunks = [items[i:i + size] for i in range(0, len(items), size)]
    counts = Counts()
    with console.progress(total=len(items), desc='counting') as bar:
        for done in parallel.process_map(functools.partial(_count_chunk, given), chunks, num_process):
            counts.add(done)
            bar.update(len(done.indices) + len({problem[0] for problem in done.problems}))
    counts.sort()
    return counts


# ------------------------------------------------------------------------------------------------- counts as files
def made_from(given: Masks, items: Sequence[tuple]) -> str:
    """What the counts of some images are made from, in a few characters: names, sizes and times of the files.

    Parameters
    ----------
    given : Masks
    items : sequence of (int, str)
        Indices in the list, and names.
    """
    found = hashlib.sha256(repr((given.folders, given.class_names, given.scores, given.infer_size)).encode())
    for index, name in console.patient_progress(items, 'masks that are counted'):
        paths = [_mask_path(folder, name) for folder in given.folders.values()]
        paths += [os.path.join(given.scores, name + '.npy')] if given.scores else []
        found.update(repr((index, name, str(given.classes.get(name)), [_stamp(path) for path in paths])).encode())
    return found.hexdigest()


def _stamp(path):
    try:
        found = os.stat(path)
    except OSError:                             # counting says why
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def save(path: str, counts: Counts, source: str):
    """Write counts as `.npz` without pickles; `source` is what they are `made_from`."""
    arrays = {'indices': np.array(counts.indices, np.int64), 'confidence': np.asarray(counts.confidence)}
    for role in counts.matrices:
        arrays['matrix_' + role] = counts.matrices[role]
        arrays.update({f'{key}_{role}': getattr(counts.by_image[role], key) for key in _OF_IMAGES})
    text = json.dumps({'made_from': source, 'problems': counts.problems, 'confused': counts.confused}, default=int)
    data = io.BytesIO()
    np.savez(data, text=np.array(text), **arrays)
    files.save_bytes(path, data.getvalue())


def load(path: str, source: str) -> Counts | None:
    """Counts that were saved; None when they were made from something else than `source`, or are damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = json.loads(str(arrays['text']))
        if text['made_from'] != source:
            return None
        roles = [name[len('matrix_'):] for name in arrays if name.startswith('matrix_')]
        return Counts(arrays['indices'].tolist(), {role: arrays['matrix_' + role] for role in roles},
                      {role: ImageCounts(*(arrays[f'{key}_{role}'] for key in _OF_IMAGES),
                                         len(arrays['matrix_' + role]) - 1) for role in roles}, arrays['confidence'],
                      [tuple(problem) for problem in text['problems']],
                      {role: [tuple(one) for one in found] for role, found in text['confused'].items()})
    except files.NPZ_DAMAGE:
        return None
