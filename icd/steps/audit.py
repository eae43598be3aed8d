"""Which seeds to mistrust, without truth: where class activation maps, ICD scores, superpixels and seeds disagree."""
from __future__ import annotations

import csv
import functools
import io
import os
from collections import Counter
from typing import NamedTuple

import numpy as np

from icd import checks, cli, console, files, parallel
from icd.audit_options import AUDIT
from icd.data import images, masks, score_map, superpixel_map
from icd.data.inputs import Inputs, check_superpixels, read_inputs
from icd.errors import Problems, UserError
from icd.method import audit, metrics
from icd.viz import audit_page

REASONS = {'missing': 'class missing', 'undecided': 'undecided before the CRF', 'cam': 'CAM disagrees',
           'icd': 'ICD scores disagree', 'superpixels': 'cuts superpixels', 'share': 'unusual share',
           'labels': 'classes never apart'}
_UNDECIDED = .1             # of an image, from which it is a reason; likewise the others
_AGREEMENT, _SEPARATION, _CUT, _FACTOR = .4, .9, .1, 3
_SHOWN_OF_EACH = 3          # images of a class, and for a reason, that are shown whatever their rank


class _Job(NamedTuple):
    """An image of the list, and what is shown of it."""

    index: int
    name: str
    classes: tuple


# ------------------------------------------------------------------------------------------------ before it starts
def _seed_root(options):
    return options.seed_root or os.path.join(options.snapshot, 'results', 'seeds', 'crf')


def _seed_path(options, name):
    return os.path.join(_seed_root(options), name + '.png')


def check(options: cli.Options, inputs: Inputs, problems: Problems):
    """Add to `problems` what can be known to be wrong before anything is measured."""
    for kind in score_map.KINDS:
        folder = score_map.folder(options.snapshot, kind)
        if checks.check_input_folder(problems, '--snapshot', folder, 'run inference first (icd-run)'):
            names = console.patient_progress(inputs.names, f'{kind} scores')
            for name, labels, size in zip(names, inputs.labels, inputs.sizes):
                if size:
                    score_map.check(problems, score_map.path(options.snapshot, kind, name), int(labels.sum()),
                                    options.infer_size)
    if checks.check_input_folder(problems, '--seed-root', _seed_root(options), 'make seeds first (icd-run)'):
        for name, size in zip(console.patient_progress(inputs.names, 'seeds'), inputs.sizes):
            if size:
                checks.check_size(problems, _seed_path(options, name), size, 'seed', 'make seeds first (icd-run)')
    if not options.no_superpixel:
        if os.path.isdir(options.superpixel_root):
            check_superpixels(options.superpixel_root, inputs, problems)
        else:
            problems.add('no such folder', f'--superpixel-root {options.superpixel_root}',
                         'check the path, or give --no-superpixel')
    checks.check_written_files(
        problems, {'--html': options.html, '--csv': options.csv},
        (options.data_list, options.class_names, options.labels),
        [(options.snapshot, '.npy'), (options.snapshot, '.png'), (_seed_root(options), '.png'),
         (options.superpixel_root, '.png'), (options.annotation_root, '.xml'),
         *((options.image_root, ending) for ending in images.ENDINGS)])


# ------------------------------------------------------------------------------------------------------ measuring
def _scores(options, job, shape):
    """Score maps (n, H, W) at the size of the image, by kind."""
    empty = np.zeros((0,) + shape, np.float32)
    return {kind: score_map.at_image_size(
        score_map.read(score_map.path(options.snapshot, kind, job.name), len(job.classes), options.infer_size), shape,
        options.infer_size) if job.classes else empty for kind in score_map.KINDS}


def _measure(options, num_cls, job):
    """Index and `Measures` of one image."""
    path = _seed_path(options, job.name)
    seed = masks.read_mask(path)
    unknown = metrics.unknown_index(seed, num_cls)
    if unknown is not None:
        raise UserError(f'has an index beyond the {num_cls} classes', f'{path} (index {unknown})',
                        'name all classes (--class-names), or make it again')
    scores, superpixels = _scores(options, job, seed.shape), None
    if not options.no_superpixel:
        superpixels = superpixel_map.renumber(
            superpixel_map.read(superpixel_map.path(options.superpixel_root, job.name)))
    return job.index, audit.measure(seed, scores['icd'], scores['cam'], job.classes, superpixels)


def _pictures(options, job):
    """Index and pictures of one image."""
    image = images.read_image(images.image_path(options.image_root, job.name))
    seed = masks.read_mask(_seed_path(options, job.name))
    scores = _scores(options, job, seed.shape)
    return job.index, audit_page.pictures(image, scores['cam'], scores['icd'], seed)


def _jobs(inputs, indices):
    return [_Job(i, inputs.names[i], tuple(np.flatnonzero(inputs.labels[i]).tolist())) for i in indices]


# -------------------------------------------------------------------------------------------------------- figures
def _percent(fraction):
    """A fraction in percent, with a decimal where it is small."""
    return f'{100 * fraction:.{0 if fraction >= .0995 else 1}f}%'


def reasons(one: audit.Measures, classes: tuple, class_names: tuple, usual: np.ndarray, bound: dict) -> dict:
    """Why to look at an image, in words.

    Parameters
    ----------
    one : Measures
        Of its seed.
    classes : tuple of int
        Of the image.
    class_names : tuple of str
    usual : ndarray (classes,)
        Share that each class usually has.
    bound : dict of int to int
        Classes that never come without another (`icd.method.audit.never_alone`).

    Returns
    -------
    dict of str to str
        A sentence by kind of reason, in the order of `REASONS`.
    """
    found, names = {}, [class_names[c] for c in classes]
    there = np.flatnonzero(one.shares)
    if len(there) < len(names):
        found['missing'] = f"no pixel of {', '.join(name for name, share in zip(names, one.shares) if not share)}"
    if one.undecided >= _UNDECIDED:
        found['undecided'] = f'{_percent(one.undecided)} undecided before the CRF'
    if len(there):
        worst = min(there, key=lambda i: one.agreement[i])
        if one.agreement[worst] < _AGREEMENT:
            found['cam'] = f'CAM of {names[worst]} agrees to {_percent(one.agreement[worst])} at most'
        worst = min(there, key=lambda i: one.separation[i])
        if one.separation[worst] < _SEPARATION and one.shares[worst] < 1:
            found['icd'] = (f"in {_percent(1 - one.separation[worst])} of comparisons ICD's score of {names[worst]} is "
                            'higher outside of the seed')
    if one.cut >= _CUT:
        found['superpixels'] = f'before the CRF it cuts through superpixels ({_percent(one.cut)} of the image)'
    if len(there):
        factor = audit.factors(one.shares, usual[list(classes)])[there]
        if factor.max() >= _FACTOR:
            worst = there[factor.argmax()]
            found['share'] = (f'{names[worst]} covers {_percent(one.shares[worst])}, usually '
                              f'{_percent(usual[classes[worst]])}')
    apart = [f'{class_names[c]} never comes without {class_names[bound[c]]}' for c in classes if c in bound]
    if apart:
        found['labels'] = '; '.join(apart)
    return found


def _class_rows(inputs, measured, usual, bound):
    """The table of classes: those that images have."""
    rows = []
    for c, name in enumerate(inputs.class_names):
        own = [(one, int(inputs.labels[i, :c].sum())) for i, one in enumerate(measured) if inputs.labels[i, c]]
        if own:
            rows.append({'name': name, 'index': c, 'images': len(own),
                         'agreement': float(np.mean([one.agreement[at] for one, at in own])),
                         'share': float(usual[c]), 'missing': sum(not one.shares[at] for one, at in own),
                         'never without': inputs.class_names[bound[c]] if c in bound else None})
    return rows


def result(inputs: Inputs, measured: list) -> dict:
    """Everything the command finds out.

    Parameters
    ----------
    inputs : Inputs
    measured : list of Measures
        In the order of the names.

    Returns
    -------
    dict
        `images`, the most suspicious first: dicts of `index`, `name`, `mistrust` (percent), `parts` and `ranks` (dicts
        of float; `superpixels` is left out without them), `classes` (indices) and `reasons` (dict of str). `classes`:
        dicts of `name`, `index`, `images`, `agreement`, `share` (fractions), `missing` and `never without`.
    """
    labels = inputs.labels[:]
    parts = audit.parts(measured, labels)
    usual, bound = audit.usual_shares(measured, labels), audit.never_alone(labels)
    known = [i for i in range(len(audit.PARTS)) if not np.isnan(parts[:, i]).any()]
    ranks = np.stack([audit.ranks(column) for column in parts.T], axis=1)
    total = audit.mistrust(parts)
    rows = []
    for i in np.argsort(-total, kind='stable'):
        classes = tuple(np.flatnonzero(inputs.labels[i]).tolist())
        rows.append({
            'index': int(i), 'name': inputs.names[i], 'mistrust': float(total[i]), 'classes': classes,
            'parts': {audit.PARTS[k]: float(parts[i, k]) for k in known},
            'ranks': {audit.PARTS[k]: 100 * float(ranks[i, k]) for k in known},
            'reasons': reasons(measured[i], classes, inputs.class_names, usual, bound)})
    return {'images': rows, 'classes': _class_rows(inputs, measured, usual, bound)}


def shown(rows: list, worst: int) -> list:
    """The rows of the page: the first `worst` of all, and the first three of every class and every reason."""
    seen, found = Counter(), []
    for number, row in enumerate(rows):
        kinds = [*row['classes'], *row['reasons']]
        if number < worst or any(seen[kind] < _SHOWN_OF_EACH for kind in kinds):
            found.append(row)
        seen.update(kinds)
    return found


def as_csv(rows: list, class_names: tuple) -> str:
    """The table of all images, as CSV: `docs/evaluation.md`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(['name', 'mistrust', *audit.PARTS, 'classes', 'reason'])
    for row in rows:
        parts = [f"{row['parts'][part]:.4f}" if part in row['parts'] else '' for part in audit.PARTS]
        table.writerow([row['name'], f"{row['mistrust']:.1f}", *parts,
                        '; '.join(class_names[c] for c in row['classes']), '; '.join(row['reasons'].values())])
    return text.getvalue()


# ------------------------------------------------------------------------------------------------------ the command
def run(options: cli.Options) -> dict:
    """Audit the seeds of a run; write the page and the table that are asked for.

    Parameters
    ----------
    options : Options
        `icd.audit_options.AUDIT`.

    Returns
    -------
    dict
        See `result`.

    Raises
    ------
    UserError
        With all that is missing or does not fit; while it measures, when the content of a file is damaged.
    """
    problems = Problems()
    inputs = read_inputs(options.data_list, options.image_root, options.annotation_root, options.class_names, None,
                         problems, options.labels, options.unlabelled)
    check(options, inputs, problems)
    problems.raise_if_any()
    num_process = options.num_process or parallel.number_of_cores()
    measured = dict(parallel.process_map(
        functools.partial(_measure, options, inputs.num_classes + 1), _jobs(inputs, range(len(inputs.names))),
        num_process, desc='seeds'))
    found = result(inputs, [measured[i] for i in range(len(inputs.names))])
    if options.html:
        rows = shown(found['images'], options.worst)
        pictures = dict(parallel.process_map(functools.partial(_pictures, options),
                                             _jobs(inputs, [row['index'] for row in rows]), num_process, desc='page'))
        audit_page.write(options.html, audit_page.Audit(_seed_root(options), inputs.class_names, found['classes'],
                                                        found['images'], rows, pictures, REASONS))
    if options.csv:
        files.save_bytes(options.csv, as_csv(found['images'], inputs.class_names).encode(errors='replace'))
    return found


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    options = cli.parse(AUDIT, 'icd-audit', (__doc__ or '').strip(), arguments)
    print(audit_page.as_text(run(options), REASONS))
    console.say_written(options.html, options.csv)
