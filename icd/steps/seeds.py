"""Seeds: score maps → a class for every pixel, refined by a dense CRF or decided with saliency maps."""
import collections
import functools
import os

import cv2
import numpy as np

from icd import checks, console, crf, files, outputs, parallel
from icd.data import images, masks, score_map, voc
from icd.errors import Problems, UserError
from icd.viz import pictures

UNDEFINED = crf.UNDEFINED
_TINY = 1e-5                # scores below this share of their maximum are none
_SALIENT = .01              # saliency 0..1 from which a pixel is salient
_FEW_SALIENT = .01          # share of salient pixels below which saliency alone does not make background
_COLOURED = 32              # difference of channels from which a picture is no grey one, lossily compressed or not

NO_SALIENCY = 'check --saliency-root, or leave saliency seeds out'
_SCORES = {'crf': ('icd', 'cam'), 'raw': ('icd', 'cam'), 'sal': ('icd', 'cam'), 'cam': ('cam',)}
_REFINED = 'crf', 'cam'     # kinds that go through the CRF
_Job = collections.namedtuple('_Job', 'name classes folders')


# ---------------------------------------------------------------------------------------------- scores → seeds
def _positive_share(scores):
    """max(s, 0) over its maximum in each map."""
    positive = np.maximum(scores, 0)
    return positive / np.maximum(positive.max((1, 2), keepdims=True), _TINY)


def _negative_share(scores):
    """min(s, 0) over its minimum in each map."""
    negative = np.minimum(scores, 0)
    return negative / np.minimum(negative.min((1, 2), keepdims=True), -_TINY)


def _full(scores, image_shape, infer_size):
    return score_map.at_image_size(np.where(np.isfinite(scores), scores, 0), image_shape, infer_size)


def _comparison(scores_cam, share):
    """What classes that claim the same pixel are compared by: CAM, in 0..1 over all classes, times the ICD share."""
    cam = np.maximum(scores_cam, 0)
    cam = (cam - cam.min()) / max(cam.max() - cam.min(), _TINY)
    return cam * share


def _is_background(scores_icd, saliency):
    unlike = (_negative_share(scores_icd) > _TINY).all(0)
    if saliency is None:
        return unlike
    dull = saliency / 255 < _SALIENT
    return dull & unlike if 1 - dull.mean() < _FEW_SALIENT else dull


def seed_map(scores_icd, scores_cam, classes, image_shape, infer_size, saliency=None):
    """The seed of one image before the CRF.

    Parameters
    ----------
    scores_icd, scores_cam : ndarray (n, k, k) float32
        Logits of the top-down and of the CAM branch, of the image's n classes. Where a score is not finite it
        counts as 0, which is for no class and against none.
    classes : sequence of n int
        Those classes, from 0, background not counted, ascending.
    image_shape : (int, int)
        Height and width of the photograph.
    infer_size : int
        Side of the network input, pixels.
    saliency : ndarray (H, W) uint8, optional
        0 to 255; background is then what is not salient.

    Returns
    -------
    ndarray (H, W) uint8
        0 is the background, class c is c + 1, 255 is undefined. Without classes all is background.
    """
    seed = np.zeros(tuple(image_shape), np.uint8)
    if not len(classes):
        return seed
    icd = _full(scores_icd, image_shape, infer_size)
    share = _positive_share(icd)
    claims = share > _TINY
    foreground = claims.any(0)
    background = _is_background(icd, saliency)
    winner = claims.argmax(0)
    undefined = foreground == background
    if len(classes) > 1:
        comparison = _comparison(_full(scores_cam, image_shape, infer_size), share)
        winner = np.where(claims.sum(0) > 1, comparison.argmax(0), winner)
        undefined |= foreground & (comparison.max(0) - comparison.min(0) <= _TINY)
    seed[foreground] = np.asarray(classes, np.uint8)[winner[foreground]] + 1
    seed[undefined] = UNDEFINED
    return seed


def cam_seed_map(scores_cam, classes, image_shape, infer_size, threshold):
    """The seed that a class activation map gives at one threshold, to compare with.

    Parameters
    ----------
    scores_cam, classes, image_shape, infer_size
        As in `seed_map`.
    threshold : float
        Above 0, at most 1. A pixel is background where no class reaches this share of its maximum, else it is of
        the class with the largest share.

    Returns
    -------
    ndarray (H, W) uint8
        As `seed_map`, without undefined pixels.
    """
    if not len(classes):
        return np.zeros(tuple(image_shape), np.uint8)
    share = _positive_share(_full(scores_cam, image_shape, infer_size))
    winner = np.asarray(classes, np.uint8)[share.argmax(0)] + 1
    return np.where(share.max(0) >= threshold, winner, 0).astype(np.uint8)


# ------------------------------------------------------------------------------------------ folders and settings
def kinds(options):
    """The kinds of seeds the options ask for: some of crf, sal, raw, cam."""
    asked = options.seeds or (() if options.use_sal else ('crf',))
    return asked + (('sal',) if options.use_sal and 'sal' not in asked else ())


def seed_folders(options):
    """Where each kind of seed goes.

    Parameters
    ----------
    options : Options

    Returns
    -------
    dict
        Folder by (kind, threshold), in the order they are made; the threshold is None but for CAM seeds.
    """
    root = os.path.join(options.snapshot, 'results', 'seeds')
    folders = {}
    for kind in kinds(options):
        if kind == 'cam':
            folders.update({(kind, t): os.path.join(root, 'cam_' + _two_decimals(t)) for t in options.cam_threshold})
        else:
            folders[kind, None] = os.path.join(root, kind)
    return folders


def _two_decimals(threshold):
    """A threshold as text, with more than two decimals only where it has them."""
    return ('%.4f' % threshold).rstrip('0').ljust(4, '0')


def _settings(kind, threshold, folder, options):
    """What, beside the content of the input folders, decides the seeds in `folder`."""
    settings = {'kind': kind, 'infer_size': options.infer_size,
                'class_names': list(voc.read_class_names(options.class_names))}
    if kind == 'cam':
        settings['threshold'] = threshold
    # The files of another folder, the saliency maps of another model say, are no newer than the seeds as a rule.
    for root in ('image_root', 'annotation_root') + (('saliency_root',) if kind == 'sal' else ()):
        settings[root] = outputs.relative_path(getattr(options, root), folder)
    if kind in _REFINED:
        settings.update(confidence=options.confidence, iterations=options.crf_iterations,
                        gaussian=list(options.crf_gaussian), bilateral=list(options.crf_bilateral))
    return settings


def _image_path(options, name):
    return images.image_path(options.image_root, name)


def _annotation_path(options, name):
    return voc.annotation_path(options.annotation_root, name)


def _saliency_path(options, name):
    return os.path.join(options.saliency_root, name + '.png')


def _out_of_date(options, folders, changed, name):
    """The part of `folders` in which the seed `name` has to be made; those in `changed` have other settings now."""
    def current(key, folder):
        inputs = [_image_path(options, name), _annotation_path(options, name), outputs.settings_path(folder)]
        inputs += [score_map.path(options.snapshot, kind, name) for kind in _SCORES[key[0]]]
        if key[0] == 'sal':
            inputs.append(_saliency_path(options, name))
        return key not in changed and outputs.up_to_date(os.path.join(folder, name + '.png'), *inputs)
    return {key: folder for key, folder in folders.items() if options.force or not current(key, folder)}


# --------------------------------------------------------------------------------------------------- checks
def _check_image(problems, options, job, size):
    """Note what is wrong with the saliency map of one image, and with its size."""
    if any(key[0] == 'sal' for key in job.folders):
        checks.check_size(problems, _saliency_path(options, job.name), size, 'saliency map', NO_SALIENCY)
    if job.classes and any(key[0] in _REFINED for key in job.folders) and max(size) > crf.largest_side(
            options.crf_gaussian, options.crf_bilateral):
        problems.add('a side of %d pixels is too long for the CRF' % max(size), _image_path(options, job.name),
                     'scale the photograph down, or give --crf-gaussian and --crf-bilateral a larger SXY')


def find_jobs(options, inputs, problems, scores_come=False):
    """What has to be done, largest images first; what is missing for it or does not fit goes to `problems`.

    Parameters
    ----------
    options : Options
    inputs : Inputs
    problems : Problems
    scores_come : bool
        The run makes the scores before the seeds: they need not be there yet, and every seed is made from them.

    Returns
    -------
    list
    """
    folders = seed_folders(options)
    if ('sal', None) in folders and os.path.realpath(options.saliency_root) in map(os.path.realpath, folders.values()):
        problems.add('seeds would overwrite the saliency maps', options.saliency_root,
                     'keep the maps in another folder and give it to --saliency-root')
    if ('sal', None) in folders and not checks.check_input_folder(
            problems, '--saliency-root', options.saliency_root):
        del folders['sal', None]            # one line is enough
    changed = {key for key, folder in folders.items()
               if not outputs.same_settings(folder, _settings(*key, folder, options))}
    jobs = []
    for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes):
        wanted = folders if scores_come else _out_of_date(options, folders, changed, name)
        if wanted and size:
            job = _Job(name, tuple(np.flatnonzero(labels).tolist()), wanted)
            if not scores_come:
                for kind in sorted({score for key in wanted for score in _SCORES[key[0]]}):
                    score_map.check(problems, score_map.path(options.snapshot, kind, name), len(job.classes),
                                    options.infer_size)
            _check_image(problems, options, job, size)
            jobs.append((size[0] * size[1], job))
    return [job for _, job in sorted(jobs, key=lambda pair: -pair[0])]


# ----------------------------------------------------------------------------------------------------- the step
def _read_saliency(path, shape):
    """A saliency map (H, W) uint8 of the size of its image."""
    image = images.decode_image(images.read_bytes(path, NO_SALIENCY), path)
    if cv2.absdiff(image[..., 1:], image[..., :-1]).max() > _COLOURED:
        raise UserError('a colour picture: saliency maps are grey, 0 to 255', path, NO_SALIENCY)
    saliency = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if saliency.shape != shape:
        raise UserError(f'the saliency map has {saliency.shape[1]}x{saliency.shape[0]} pixels, the image '
                        f'{shape[1]}x{shape[0]}', path, 'make it again from this image')
    return saliency


def _before_crf(kind, threshold, options, job, scores, shape, saliency):
    """The seed (H, W) uint8 of one kind as the scores tell it."""
    if kind == 'cam':
        return cam_seed_map(scores.get('cam'), job.classes, shape, options.infer_size, threshold)
    return seed_map(scores.get('icd'), scores.get('cam'), job.classes, shape, options.infer_size,
                    saliency if kind == 'sal' else None)


def _make(options, num_labels, job):
    """Make the seeds of one image in every folder of the job; whether its saliency map is all but black."""
    image = images.read_image(_image_path(options, job.name))
    shape = image.shape[:2]
    needed = {score for kind, _ in job.folders for score in _SCORES[kind]} if job.classes else ()
    scores = {kind: score_map.read(score_map.path(options.snapshot, kind, job.name), len(job.classes),
                                   options.infer_size) for kind in needed}
    saliency = None
    if any(kind == 'sal' for kind, _ in job.folders):
        saliency = _read_saliency(_saliency_path(options, job.name), shape)
    for (kind, threshold), folder in job.folders.items():
        seed = _before_crf(kind, threshold, options, job, scores, shape, saliency)
        if kind in _REFINED and job.classes:
            seed = crf.dense_crf(np.ascontiguousarray(image[:, :, ::-1]), seed, num_labels, options.confidence,
                                 options.crf_iterations, options.crf_gaussian, options.crf_bilateral)
        masks.save_mask(os.path.join(folder, job.name + '.png'), seed)
    return saliency is not None and 0 < saliency.max() / 255 < _SALIENT


def check(options, inputs, problems, upcoming=()):
    """Record in `problems` what making seeds lacks; see `icd.steps.run.run`."""
    find_jobs(options, inputs, problems, 'infer' in upcoming)
    written = [(folder, '.png', 1 / 16) for folder in seed_folders(options).values()]
    if options.colour:
        written += [(drawn, ending, 1 / 16 if ending == '.png' else 1 / 3) for folder, _, _ in list(written)
                    for drawn, ending in pictures.beside(folder)]
    checks.check_output_folders(problems, [folder for folder, _, _ in written], inputs.names)
    sizes = dict(zip(inputs.names, inputs.sizes))
    return sum(checks.missing_bytes(folder, ending, sizes, lambda _, size: of_pixel * size[0] * size[1])
               for folder, ending, of_pixel in written)


def run(options, inputs):
    """Make the seeds of all names in the list.

    Reads images, annotations, `SNAPSHOT/results/scores_{icd,cam}/NAME.npy` and, for `sal`, saliency maps; writes
    `SNAPSHOT/results/seeds/KIND/NAME.png` (see `seed_folders`). Seeds that are newer than all of that and were made
    with the same settings are kept.

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
        When the scores that inference has made do not fit, with all problems; while the seeds are made, when the
        content of a file turns out to be damaged.
    """
    names, num_labels, problems = inputs.names, inputs.num_classes + 1, Problems()
    jobs = find_jobs(options, inputs, problems)
    problems.raise_if_any()
    folders, num_process = seed_folders(options), options.num_process or parallel.number_of_cores()
    if not crf.is_compiled() and any(key[0] in _REFINED for job in jobs for key in job.folders):
        console.log('seeds: the CRF is not compiled here (pip install -e . does it): pydensecrf makes the same seeds in '
                    'three times the time')
    with files.nothing_partial(folders.values(), names):
        for key, folder in folders.items():
            outputs.stage_settings(folder, _settings(*key, folder, options))
        make = functools.partial(_make, options, num_labels)
        dark = sum(parallel.process_map(make, jobs, num_process, desc='seeds') if jobs else ())
    if dark:
        console.log('seeds: %d saliency maps of %s hold no pixel above 2: saliency is 0 to 255; multiply maps of 0 and 1 '
                    'by 255' % (dark, options.saliency_root))
    console.log('seeds: %s: %s' % ('%d images are done' % len(jobs) if jobs else 'all %d are up to date' % len(names),
                                   ', '.join(folders.values())))
    if options.colour:
        pictures.draw_seeds(list(folders.values()), names, options.image_root, num_process)
    return True
