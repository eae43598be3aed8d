"""Score maps for other programs: one `.npz` an image, or one for all."""
import collections
import functools
import json
import os
import zipfile

import numpy as np

from icd import checks, console, files, outputs, parallel
from icd.data import geometry, images, score_map, voc
from icd.errors import Problems
from icd.steps import seeds

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
        scores = dict.fromkeys(_KINDS, np.zeros((0,) + (geometry.feature_size(options.infer_size),) * 2, np.float32))
    return arrays(scores, job.classes, job.size, options.infer_size, options.export_full_size)


def _append(archive, prefix, named):
    """Write arrays to an open `.npz`, uncompressed and without dates: the same arrays give the same bytes."""
    for key, array in named.items():
        with archive.open(prefix + key + '.npy', 'w', force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def _write_one(options, job):
    path = os.path.join(options.export_scores, job.name + '.npz')
    named = _read(options, job)
    with files.write_atomic(path) as partial, zipfile.ZipFile(partial, 'w') as archive:
        _append(archive, '', named)


def _is_file(path):
    """True for one FILE.npz, False for a folder, which may be called so, too."""
    return path.lower().endswith('.npz') and not os.path.isdir(path)


def _folder(path):
    """The folder that is written to."""
    return (os.path.dirname(path) or '.') if _is_file(path) else path


# ------------------------------------------------------------------------------------------------- what to do
def _inputs(options, name):
    """Files an image's export is made from."""
    return [images.image_path(options.image_root, name), voc.annotation_path(options.annotation_root, name)] + [
        score_map.path(options.snapshot, kind, name) for kind in _KINDS]


def _settings(options, class_names):
    folder = _folder(options.export_scores)
    places = {word: outputs.relative_path(getattr(options, word), folder)
              for word in ('image_root', 'annotation_root', 'snapshot')}
    return dict(places, infer_size=options.infer_size, full_size=bool(options.export_full_size),
                class_names=list(class_names))


def _is_current(options, settings, names):
    """True when the one file holds these names, was made with these settings and is newer than every score."""
    path = options.export_scores
    if not outputs.up_to_date(path, *(i for name in names for i in _inputs(options, name))):
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file['settings']) == json.dumps(settings) and file['names'].tolist() == names
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, NotImplementedError,
            zipfile.BadZipFile):        # whatever else the file is
        return False


def _out_of_date(options, settings, jobs):
    """The jobs that have to be done: of one file all or none."""
    path = options.export_scores
    if options.force or not os.path.exists(path):
        return jobs
    if _is_file(path):
        return [] if _is_current(options, settings, [job.name for job in jobs]) else jobs
    if not os.path.isdir(path) or not outputs.same_settings(path, settings):
        return jobs
    record = outputs.settings_path(path)
    return [job for job in jobs if not outputs.up_to_date(
        os.path.join(path, job.name + '.npz'), record, *_inputs(options, job.name))]


def _check_owner(problems, options):
    """Note when the folder or file belongs to an input or another stage.

    Two stages in one folder would take each other's settings for a change of their own.
    """
    path, others = options.export_scores, [options.data_list, options.class_names, options.pretrained]
    if not _is_file(path):
        results = os.path.join(options.snapshot, 'results')
        others += [options.snapshot, results, os.path.join(results, 'scores_demo'), options.image_root,
                   options.annotation_root, options.superpixel_root, options.saliency_root]
        others += [os.path.dirname(score_map.path(options.snapshot, kind, '')) for kind in _KINDS]
        others += seeds.seed_folders(options).values()
    record = outputs.settings_path(path)
    if os.path.realpath(path) in [os.path.realpath(other) for other in others if other] or (
            os.path.isfile(record) and b'"full_size"' not in images.read_bytes(record, 'remove it')):
        problems.add('belongs to an input or to another stage', path, 'give --export-scores a place of its own')


def _bytes(options, job):
    pixels = job.size[0] * job.size[1] * (1 / geometry.STRIDE ** 2 + options.export_full_size) if job.size else 0
    return int(4 * len(_KINDS) * len(job.classes) * pixels) + 8192


def find_jobs(options, inputs, problems, scores_come=False):
    """What has to be exported; what is missing for it or does not fit goes to `problems`.

    Parameters
    ----------
    options : Options
    inputs : Inputs
    problems : Problems
    scores_come : bool
        The run makes the scores before they are exported: they need not be there yet.

    Returns
    -------
    list
    """
    path = options.export_scores
    if path.lower().endswith('.npy'):
        problems.add('a .npy dictionary needs pickles, which can run code when it is read', '--export-scores ' + path,
                     'give a folder or a FILE.npz')
        return []
    jobs = _out_of_date(options, _settings(options, inputs.class_names), [
        _Job(name, tuple(np.flatnonzero(labels).tolist()), size)
        for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes)])
    for job in () if scores_come else [job for job in jobs if job.size]:
        for kind in _KINDS:
            score_map.check(problems, score_map.path(options.snapshot, kind, job.name), len(job.classes),
                            options.infer_size)
    checks.check_folder(problems, _folder(path), sum(_bytes(options, job) for job in jobs))
    if not _is_file(path):
        checks.check_links(problems, path, inputs.names)
    _check_owner(problems, options)
    return jobs


# ----------------------------------------------------------------------------------------------------- the step
def _export_file(options, settings, jobs):
    names = np.array([job.name for job in jobs])
    with files.write_atomic(options.export_scores) as partial, zipfile.ZipFile(partial, 'w') as archive:
        _append(archive, '', {'names': names, 'settings': np.array(json.dumps(settings))})
        images = parallel.process_map(functools.partial(_read, options), jobs, 1, desc='export')
        for job, named in zip(jobs, images):
            _append(archive, job.name + '/', named)


def _export_folder(options, settings, jobs, names):
    folder, num_process = options.export_scores, options.num_process or parallel.number_of_cores()
    write = functools.partial(_write_one, options)
    with files.nothing_partial([folder], names):
        outputs.stage_settings(folder, settings)
        for _ in parallel.process_map(write, jobs, num_process, desc='export') if jobs else ():
            pass


def check(options, inputs, problems, upcoming=()):
    """Record in `problems` what the export lacks; see `icd.steps.run.run`."""
    find_jobs(options, inputs, problems, 'infer' in upcoming)
    return 0                                    # nothing goes to the snapshot folder


def run(options, inputs):
    """Export the score maps of all names in the list to `options.export_scores`.

    A folder gets NAME.npz with `arrays`; one FILE.npz gets `names`, and the same arrays as NAME/cam and so on. None
    of them needs pickles. Files that are newer than the scores and were made with the same settings are kept.

    Parameters
    ----------
    options : Options
        `icd.cli.RUN`.
    inputs : Inputs

    Returns
    -------
    bool
        True: this process goes on.

    Raises
    ------
    UserError
        Before anything is written, when the scores do not fit, or the file's ending is `.npy`.
    """
    problems = Problems()
    jobs, settings = find_jobs(options, inputs, problems), _settings(options, inputs.class_names)
    problems.raise_if_any()
    if not _is_file(options.export_scores):
        _export_folder(options, settings, jobs, inputs.names)
    elif jobs:
        _export_file(options, settings, jobs)
    if not jobs:
        console.log('%s: all %d exported scores are up to date' % (options.export_scores, len(inputs.names)))
    return True
