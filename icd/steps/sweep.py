"""A sweep of thresholds on class maps: the seeds of each are compared with truth or with other seeds, and not kept."""
from __future__ import annotations

import functools
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Sequence

import numpy as np

from icd import checks, cli, console, files, parallel
from icd.data import images, masks
from icd.data.class_maps import Source
from icd.data.inputs import Inputs
from icd.errors import Problems, UserError
from icd.method import metrics, threshold_sweep
from icd.steps import map_seeds, seeds
from icd.viz import sweep as shown

_CHUNK = 4                  # images handed to a process at once
_ROLES = 'truth', 'against'


@dataclass
class _Counts:
    """What is known of some images.

    sums : by role, (sources, kinds, thresholds, 4, C) of `threshold_sweep.seed_counts`, or 0
    others : classes that have maps, and not labels, by source
    signed : sources with a map that is negative anywhere
    images : how many are counted
    errors : what is wrong with files of the others
    """

    sums: dict = field(default_factory=dict)
    others: dict = field(default_factory=dict)
    signed: set = field(default_factory=set)
    images: int = 0
    errors: list = field(default_factory=list)

    def add(self, other):
        for role, counts in other.sums.items():
            self.sums[role] = self.sums.get(role, 0) + counts
        for source, found in other.others.items():
            self.others.setdefault(source, Counter()).update(found)
        self.signed |= other.signed
        self.images += other.images
        self.errors += other.errors


# --------------------------------------------------------------------------------------------------- checks
def _check_file(problems, options, sources, flag, endings=None):
    """Record when the file an option names cannot be written, is an input or has another ending."""
    path = getattr(options, flag[2:])
    if path is None:
        return
    if os.path.isdir(path):
        problems.add('this is a folder', f'{flag} {path}', 'name a file')
    else:
        checks.check_folder(problems, os.path.dirname(path) or '.')
    if endings and not path.lower().endswith(endings):
        problems.add('not a kind of picture that can be drawn', f'{flag} {path}',
                     f"name a file in {' or '.join(endings)}")
    real = os.path.realpath(path)
    read = [os.path.realpath(one) for one in (options.data_list, options.class_names, options.labels) if one]
    folders = [options.truth, options.against, options.image_root, options.annotation_root]
    folders += [source.folder for source in sources]
    if real in read or os.path.dirname(real) in [os.path.realpath(folder) for folder in folders if folder]:
        problems.add('is or lies among the inputs', f'{flag} {path}', 'name another file')


def check(options: cli.Options, inputs: Inputs, sources: Sequence[Source], problems: Problems):
    """Record in `problems` what a sweep lacks."""
    if not options.truth and not options.against:
        problems.add('needs something to compare seeds with', '--sweep', 'give --truth, --against or both')
    for flag in '--out', '--colour', '--force':
        if getattr(options, flag[2:]):
            problems.add('a sweep writes no seeds', flag, 'leave it out, or --sweep')
    for role in _ROLES:
        folder = getattr(options, role)
        if folder and checks.check_input_folder(problems, f'--{role}', folder):
            for name, size in zip(console.patient_progress(inputs.names, f'{role} masks'), inputs.sizes):
                checks.check_size(problems, os.path.join(folder, name + '.png'), size, 'mask',
                                  f'check --{role} and the list of names')
    _check_file(problems, options, sources, '--csv')
    _check_file(problems, options, sources, '--plot', ('.png', '.svg'))
    if options.csv and options.plot and os.path.realpath(options.csv) == os.path.realpath(options.plot):
        problems.add('both name the same file', f'--csv and --plot {options.plot}', 'give them different names')
    map_seeds.check_maps(problems, options, inputs, sources)
    if 'crf' in _kinds(options):
        for name, size in zip(inputs.names, inputs.sizes):
            if size:
                seeds.check_side(problems, options, name, size)


# ----------------------------------------------------------------------------------------------------- counting
def _kinds(options):
    return options.seeds or ('raw',)


def _thresholds(options):
    return (*sorted(options.sweep), None) if options.by_sign else tuple(sorted(options.sweep))


def _read_mask(path, size, num_labels):
    """A mask to compare with, of the size of its image."""
    mask = masks.read_mask(path)
    index = metrics.unknown_index(mask, num_labels)
    if mask.shape != tuple(size):
        raise UserError('mask and image differ in size', path, 'make it again from this image')
    if index is not None:
        raise UserError(f'has an index beyond the {num_labels} classes, background counted', f'{path} (index {index})',
                        'name all classes with --class-names, or check the file')
    return mask


def _count_image(options, sources, class_names, item):
    """`_Counts` of one image; raises `UserError`."""
    name, classes, size = item
    num_labels, kinds, thresholds = len(class_names) + 1, _kinds(options), _thresholds(options)
    compared = {role: _read_mask(os.path.join(getattr(options, role), name + '.png'), size, num_labels)
                for role in _ROLES if getattr(options, role)}
    image = images.read_image(images.image_path(options.image_root, name)) if 'crf' in kinds and classes else None
    counts = _Counts({role: np.zeros((len(sources), len(kinds), len(thresholds), 4, num_labels), np.int64)
                      for role in compared}, images=1)
    for i, source in enumerate(sources):
        found, deciding = map_seeds.read_maps(source, name, classes, class_names, size, options.by_sign)
        counts.others[i] = Counter(found.others)
        if (found.maps < 0).any():
            counts.signed.add(i)
        for threshold, raw in map_seeds.seeds_of(found.maps, deciding, classes, thresholds):
            for k, kind in enumerate(kinds):
                seed = raw if kind == 'raw' or image is None else seeds.refine(options, image, raw, num_labels)
                for role, mask in compared.items():
                    matrix = metrics.confusion_matrix(mask, seed, num_labels)
                    counts.sums[role][i, k, thresholds.index(threshold)] = threshold_sweep.seed_counts(matrix)
    return counts


def _count_chunk(options, sources, class_names, chunk):
    """`_Counts` of some images."""
    counts = _Counts()
    for item in chunk:
        try:
            counts.add(_count_image(options, sources, class_names, item))
        except UserError as error:
            counts.errors.append(error)
    return counts


def _count(options, inputs, sources):
    """`_Counts` of all images, by worker processes."""
    items = [(name, tuple(np.flatnonzero(labels).tolist()), size)
             for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes)]
    chunks = [items[i:i + _CHUNK] for i in range(0, len(items), _CHUNK)]
    counts, work = _Counts(), functools.partial(_count_chunk, options, sources, inputs.class_names)
    with console.progress(total=len(items), desc='sweep') as bar:
        for done in parallel.process_map(work, chunks, options.num_process or parallel.number_of_cores()):
            counts.add(done)
            bar.update(done.images + len(done.errors))
    return counts


# ----------------------------------------------------------------------------------------------------- the step
def _plain(value):
    return None if np.isnan(value) else float(value)


def _curve(options, source, kind, counts, thresholds):
    """The figures of one sort of seeds at all thresholds; `counts` by role: (thresholds, 4, C)."""
    figures = threshold_sweep.figures(counts['truth']) if 'truth' in counts else {}
    if 'against' in counts:
        figures['agreement'] = threshold_sweep.figures(counts['against'])['mIoU']
    rows = [dict(threshold=t, **{key: _plain(values[i]) for key, values in figures.items()})
            for i, t in enumerate(thresholds)]
    curve, number = dict(maps=source.name, folder=source.folder, seeds=kind, rows=rows), len(options.sweep)
    for role, key in (('truth', 'best'), ('against', 'chosen')):
        if role in counts:
            threshold, _ = threshold_sweep.best_threshold(thresholds[:number], counts[role][:number])
            curve[key] = next(row for row in rows if row['threshold'] == threshold)
    return curve


def run(options: cli.Options, inputs: Inputs, sources: Sequence[Source]) -> dict:
    """Compare the seeds of every threshold on every folder of maps with `--truth`, `--against` or both.

    Returns
    -------
    dict
        In percent; None where there was nothing to count. `images`; `truth` and `against`, the folders; `curves`, one
        a folder of maps and kind of seeds: `maps`, `folder`, `seeds`, `rows` (`threshold`, None for seeds by sign, and
        the figures of `icd.method.threshold_sweep.figures`; `agreement`, the mIoU with the seeds of `--against`),
        `best`, the row of the threshold that is best by truth, and `chosen`, that of most agreement. The same goes to
        `--csv` and `--plot`.

    Raises
    ------
    UserError
        With everything that is wrong with maps and masks; nothing is written then.
    """
    if 'crf' in _kinds(options):
        seeds.say_uncompiled()
    counts, problems = _count(options, inputs, sources), Problems()
    for error in counts.errors:
        problems.add_error(error)
    for role, sums in counts.sums.items():
        if not sums[..., 1, :].any():
            problems.add('ignores every pixel of every image (index 255): nothing can be compared with it',
                         getattr(options, role), f'check --{role}')
    problems.raise_if_any()
    curves = []
    for i, source in enumerate(sources):
        map_seeds.say_others(source, counts.others.get(i), inputs.class_names)
        number = None if i in counts.signed else len(options.sweep)         # the sign of other maps decides nothing
        for k, kind in enumerate(_kinds(options)):
            by_role = {role: sums[i, k, :number] for role, sums in counts.sums.items()}
            curves.append(_curve(options, source, kind, by_role, _thresholds(options)[:number]))
    result = dict(unit='percent', images=counts.images, truth=options.truth, against=options.against, curves=curves)
    if options.csv:
        files.save_bytes(options.csv, shown.as_csv(result).encode())
    if options.plot:
        shown.draw(result, options.plot)
    return result
