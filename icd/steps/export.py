"""Score maps for other programs: one `.npz` an image, or one for all."""
import collections
import functools
import json
import os
import zipfile

import numpy as np

from icd import runtime
from icd.data import score_map, voc
from icd.errors import UserError
from icd.steps import preflight

_KINDS = ('cam', 'icd')
_Job = collections.namedtuple('_Job', 'name classes size')


def arrays(scores, classes, size, infer_size, full_size):
    """What is exported of one image.

    Parameters
    ----------
    scores : dict
        'cam' and 'icd': ndarray (n, k, k) float32.
    classes : sequence of n int
        From 0, background not counted, ascending.
    size : (int, int)
        Height and width of the photograph.
    infer_size : int
        Side of the network input, pixels.
    full_size : bool
        Maps at the size of the photograph, too.

    Returns
    -------
    dict of str to ndarray
        `classes` (n,) int64; `size` (2,) int64; `cam`, `icd` (n, h, w) float32, every eighth pixel
        (`icd.data.score_map.inside`); with `full_size` `cam_full`, `icd_full` (n, H, W) float32
        (`icd.data.score_map.at_image_size`).
    """
    made = {'classes': np.array(classes, np.int64), 'size': np.array(size, np.int64)}
    for kind in _KINDS:
        made[kind] = np.ascontiguousarray(score_map.inside(scores[kind], size, infer_size))
        if full_size:
            made[kind + '_full'] = score_map.at_image_size(scores[kind], size, infer_size)
    return made


def _read(options, job):
    """The arrays of one image; one without classes has no maps, whether inference wrote files or not."""
    if job.classes:
        scores = {kind: score_map.read(score_map.path(options.snapshot, kind, job.name), len(job.classes),
                                       options.infer_size) for kind in _KINDS}
    else:
        scores = dict.fromkeys(_KINDS, np.zeros((0,) + (score_map.side(options.infer_size),) * 2, np.float32))
    return arrays(scores, job.classes, job.size, options.infer_size, options.export_full_size)


def _append(archive, prefix, named):
    """Write arrays to an open `.npz`, uncompressed and without dates: the same arrays give the same bytes."""
    for key, array in named.items():
        with archive.open(prefix + key + '.npy', 'w', force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def _write_one(options, job):
    path = os.path.join(options.export_scores, job.name + '.npz')
    named = _read(options, job)
    with runtime.whole_file(path) as partial, zipfile.ZipFile(partial, 'w') as archive:
        _append(archive, '', named)


def _inputs(options, name):
    """Files an image's export is made from."""
    return [voc.image_path(options.image_root, name), os.path.join(options.annotation_root, name + '.xml')] + [
        score_map.path(options.snapshot, kind, name) for kind in _KINDS]


def _settings(options, class_names):
    return {'infer_size': options.infer_size, 'full_size': bool(options.export_full_size),
            'class_names': list(class_names)}


def _jobs(options):
    """Names, class names and a job for every image; all problems are found before anything is written."""
    problems = preflight.Problems()
    inputs = preflight.read_inputs(options, problems)
    jobs, needed = [], 0
    for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes):
        job = _Job(name, tuple(np.flatnonzero(labels).tolist()), size)
        for kind in _KINDS if job.classes else ():
            path = score_map.path(options.snapshot, kind, name)
            found = score_map.problem(path, len(job.classes), options.infer_size)
            if found:
                problems.add(found[0], path, found[1])
        jobs.append(job)
        if size:
            pixels = size[0] * size[1] * (1 / 64 + options.export_full_size)
            needed += int(8 * len(job.classes) * pixels) + 8192
    whole = options.export_scores.endswith('.npz')
    folder = (os.path.dirname(options.export_scores) or '.') if whole else options.export_scores
    preflight.check_folder(problems, folder, needed)
    if not whole:
        preflight.check_links(problems, folder, inputs.names)
    problems.settle()
    return inputs.class_names, jobs


def _is_current(options, settings, names):
    """True when the one file holds these names, was made with these settings and is newer than every score."""
    path = options.export_scores
    if options.force or not runtime.up_to_date(path, *(i for name in names for i in _inputs(options, name))):
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file['settings']) == settings and file['names'].tolist() == names
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False


def _export_file(options, class_names, jobs):
    path, names = options.export_scores, [job.name for job in jobs]
    settings = json.dumps(_settings(options, class_names))
    if _is_current(options, settings, names):
        runtime.say('%s is up to date' % path)
        return
    with runtime.whole_file(path) as partial, zipfile.ZipFile(partial, 'w') as archive:
        _append(archive, '', {'names': np.array(names), 'settings': np.array(settings)})
        images = runtime.process_map(functools.partial(_read, options), jobs, 1, desc='export')
        for job, named in zip(jobs, images):
            _append(archive, job.name + '/', named)


def _export_folder(options, class_names, jobs):
    folder, settings = options.export_scores, _settings(options, class_names)
    num_process = options.num_process or runtime.number_of_cores()
    with runtime.nothing_partial([folder], [job.name for job in jobs]):
        record = runtime.stage_settings(folder, settings)
        wanted = [job for job in jobs if options.force or not runtime.up_to_date(
            os.path.join(folder, job.name + '.npz'), record, *_inputs(options, job.name))]
        write = functools.partial(_write_one, options)
        for _ in runtime.process_map(write, wanted, num_process, desc='export') if wanted else ():
            pass
    if not wanted:
        runtime.say('%s: all %d exported scores are up to date' % (folder, len(jobs)))


def run(options):
    """Export the score maps of all names in the list to `options.export_scores`.

    A folder gets NAME.npz with `arrays`; one FILE.npz gets `names`, and the same arrays as NAME/cam and so on. None
    of them needs pickles. Files that are newer than the scores and were made with the same settings are kept.

    Parameters
    ----------
    options : Options
        `icd.options.RUN`.

    Raises
    ------
    UserError
        Before anything is written, when scores or other inputs are missing or do not fit, or the file's ending is
        `.npy`.
    """
    if options.export_scores.endswith('.npy'):
        raise UserError('--export-scores %s: a .npy dictionary needs pickles, which can run code when it is read: '
                        'give a folder or a FILE.npz' % options.export_scores)
    class_names, jobs = _jobs(options)
    if options.export_scores.endswith('.npz'):
        with runtime.nothing_partial([os.path.dirname(options.export_scores) or '.']):
            _export_file(options, class_names, jobs)
    else:
        _export_folder(options, class_names, jobs)
