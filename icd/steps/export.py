"""Score maps for other programs: one `.npz` an image, or one for all."""
from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from typing import NamedTuple, Sequence

import numpy as np

from icd import checks, cli, console, files, parallel
from icd.data import geometry, score_map
from icd.data.inputs import Inputs
from icd.errors import Problems
from icd.outputs import Input, Outputs, Value
from icd.steps.seeds import seed_folders


class _Job(NamedTuple):
    """The scores of one image, and what their export is made from."""

    name: str
    classes: tuple
    size: tuple
    inputs: list


def arrays(scores: dict, classes: Sequence[int], size: tuple, infer_size: int, full_size: bool) -> dict:
    """What is exported of one image.

    Parameters
    ----------
    scores : dict
        'cam' and 'icd': ndarray (n, k, k) float32.
    classes : sequence of n int
        From 0, background not counted, ascending.
    size : (int, int)
        Height and width of the image.
    infer_size : int
        Side of the network input, pixels.
    full_size : bool
        Maps at the size of the image, too.

    Returns
    -------
    dict of str to ndarray
        `classes` (n,) int64; `size` (2,) int64; `cam`, `icd` (n, h, w) float32, every eighth pixel
        (`icd.data.score_map.inside`); with `full_size` `cam_full`, `icd_full` (n, H, W) float32
        (`icd.data.score_map.at_image_size`).
    """
    made = {'classes': np.array(classes, np.int64), 'size': np.array(size, np.int64)}
    for kind in score_map.KINDS:
        made[kind] = np.ascontiguousarray(score_map.inside(scores[kind], size, infer_size))
        if full_size:
            made[kind + '_full'] = score_map.at_image_size(scores[kind], size, infer_size)
    return made


def _read(options, job):
    """The arrays of one image; one without classes has no maps, whether inference wrote files or not."""
    if job.classes:
        scores = {kind: score_map.read(score_map.path(options.snapshot, kind, job.name), len(job.classes),
                                       options.infer_size) for kind in score_map.KINDS}
    else:
        side = geometry.feature_size(options.infer_size)
        scores = dict.fromkeys(score_map.KINDS, np.zeros((0, side, side), np.float32))
    return arrays(scores, job.classes, job.size, options.infer_size, options.export_full_size)


def _append(archive, prefix, named):
    """Write arrays to an open `.npz`, uncompressed and without dates: the same arrays give the same bytes."""
    for key, array in named.items():
        with archive.open(prefix + key + '.npy', 'w', force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def _write_one(options, job):
    """Write NAME.npz; its name, and the identities of what it was made from."""
    path = os.path.join(options.export_scores, job.name + '.npz')
    identities, named = [one.identity() for one in job.inputs], _read(options, job)
    with files.write_atomic(path) as partial, zipfile.ZipFile(partial, 'w') as archive:
        _append(archive, '', named)
    return job.name, identities


def _is_file(path):
    """True for one FILE.npz, False for a folder, which may be called so, too."""
    return path.lower().endswith('.npz') and not os.path.isdir(path)


def _folder(path):
    """The folder that is written to."""
    return (os.path.dirname(path) or '.') if _is_file(path) else path


# ------------------------------------------------------------------------------------------------- what to do
def _job(options, name, labels, size):
    """What there is to export of an image. Of the image itself only its size counts."""
    classes = tuple(np.flatnonzero(labels).tolist())
    scores = [Input(score_map.path(options.snapshot, kind, name)) for kind in score_map.KINDS] if classes else []
    values = [Value(','.join(map(str, some or ()))) for some in (classes, size)]
    return _Job(name, classes, size, values + scores)


def _outputs(options, inputs):
    settings = {'infer_size': options.infer_size, 'full_size': bool(options.export_full_size),
                'class_names': inputs.class_names}
    return Outputs(options.export_scores, 'exported scores', settings)


def _made_from(outputs, jobs):
    """What one file for all was made from, in a few characters: the settings and the content of every input."""
    content = [(job.name, [one.content() for one in job.inputs]) for job in jobs]
    return hashlib.sha256(repr((outputs.settings, content)).encode()).hexdigest()


def _is_current(outputs, jobs, path):
    """Whether the one file for all was made from what is there now."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file['made_from']) == _made_from(outputs, jobs)
    except files.NPZ_DAMAGE:        # whatever else the file is
        return False


def _out_of_date(options, outputs, jobs):
    """The jobs that have to be done: of one file all or none."""
    path = options.export_scores
    if options.force:
        return jobs
    if _is_file(path):
        return [] if os.path.exists(path) and _is_current(outputs, jobs, path) else jobs
    return [job for job in jobs
            if not outputs.is_current(job.name, [os.path.join(path, job.name + '.npz')], job.inputs)]


def _check_owner(problems, options, outputs):
    """Record when the folder or file belongs to an input or another stage."""
    path, others = options.export_scores, [options.data_list, options.class_names, options.pretrained,
                                             options.labels]
    if not _is_file(path):
        results = os.path.join(options.snapshot, 'results')
        others += [options.snapshot, results, os.path.join(results, 'scores_demo'), options.image_root,
                   options.annotation_root, options.superpixel_root, options.saliency_root]
        others += [score_map.folder(options.snapshot, kind) for kind in score_map.KINDS]
        others += seed_folders(options).values()
        outputs.check_owner(problems)
    if os.path.realpath(path) in [os.path.realpath(other) for other in others if other]:
        problems.add('belongs to an input or to another stage', path, 'give --export-scores a folder of its own')


def _bytes(options, job):
    pixels = job.size[0] * job.size[1] * (1 / geometry.STRIDE ** 2 + options.export_full_size) if job.size else 0
    return int(4 * len(score_map.KINDS) * len(job.classes) * pixels) + 8192


def _find_jobs(options, inputs, outputs, problems, scores_come=False):
    """What has to be exported; what is missing for it or does not fit goes to `problems`.

    With `scores_come` the run makes the scores before they are exported: they need not be there yet.
    """
    path = options.export_scores
    if path.lower().endswith('.npy'):
        problems.add('a .npy dictionary needs pickles, which can run code when it is read', '--export-scores ' + path,
                     'give a folder or a FILE.npz')
        return []
    jobs = [_job(options, name, labels, size)
            for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes)]
    if not scores_come:
        jobs = _out_of_date(options, outputs, jobs)
        looked_at = console.patient_progress(jobs, 'scores')
        for job, kind in ((job, kind) for job in looked_at if job.size for kind in score_map.KINDS):
            score_map.check(problems, score_map.path(options.snapshot, kind, job.name), len(job.classes),
                            options.infer_size)
    checks.check_folder(problems, _folder(path), sum(_bytes(options, job) for job in jobs))
    if not _is_file(path):
        checks.check_links(problems, path, inputs.names)
    _check_owner(problems, options, outputs)
    return jobs


# ----------------------------------------------------------------------------------------------------- the step
def _export_file(options, outputs, jobs):
    names, made_from = np.array([job.name for job in jobs]), np.array(_made_from(outputs, jobs))
    with files.folder_lock(_folder(options.export_scores)):
        files.clear_partial(_folder(options.export_scores), os.path.basename(options.export_scores))
        with files.write_atomic(options.export_scores) as partial, zipfile.ZipFile(partial, 'w') as archive:
            _append(archive, '', {'names': names, 'made_from': made_from})
            read = functools.partial(_read, options)
            for job, named in zip(jobs, parallel.process_map(read, jobs, 1, desc='export')):
                _append(archive, job.name + '/', named)


def _export_folder(options, outputs, jobs, names):
    num_process = options.num_process or parallel.number_of_cores()
    write = functools.partial(_write_one, options)
    with outputs.writing([job.name for job in jobs], files.sub_folders(names)):
        for name, identities in parallel.process_map(write, jobs, num_process, desc='export') if jobs else ():
            outputs.record(name, identities)


def check(options: cli.Options, inputs: Inputs, problems: Problems, upcoming: tuple = ()) -> int:
    """Record in `problems` what the export lacks; see `icd.steps`."""
    _find_jobs(options, inputs, _outputs(options, inputs), problems, 'infer' in upcoming)
    return 0                                    # nothing goes to the snapshot folder


def run(options: cli.Options, inputs: Inputs) -> bool:
    """Export the score maps of all names in the list to `options.export_scores`.

    A folder gets NAME.npz with `arrays`; one FILE.npz gets `names`, and the same arrays as NAME/cam and so on. None
    of them needs pickles. Files that were made from the same scores with the same settings are kept.

    Raises
    ------
    UserError
        Before anything is written, when the scores do not fit, or the file's ending is `.npy`.
    """
    problems, outputs = Problems(), _outputs(options, inputs)
    jobs = _find_jobs(options, inputs, outputs, problems)
    problems.raise_if_any()
    if not _is_file(options.export_scores):
        _export_folder(options, outputs, jobs, inputs.names)
    elif jobs:
        _export_file(options, outputs, jobs)
    if not jobs:
        console.log(f'{options.export_scores}: all {len(inputs.names)} exported scores are up to date')
    return True
