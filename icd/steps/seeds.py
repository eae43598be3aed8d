"""Seeds: score maps → a class for every pixel, refined by a dense CRF or decided with saliency maps."""
from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np

from icd import checks, cli, console, files, parallel
from icd.data import images, masks, score_map
from icd.data.geometry import IGNORE
from icd.data.inputs import Inputs
from icd.errors import Problems, UserError
from icd.method import crf
from icd.method.seed_map import SALIENT, cam_seed_map, seed_map
from icd.outputs import Input, Outputs, Value
from icd.steps import drawing
from icd.viz import overlay

_COLOURED = 32              # difference of channels from which an image is no grey one, lossily compressed or not
_NO_SALIENCY = 'check --saliency-root, or leave saliency seeds out'
_SCORES = {'crf': ('icd', 'cam'), 'raw': ('icd', 'cam'), 'sal': ('icd', 'cam'), 'cam': ('cam',)}
_REFINED = 'crf', 'cam'     # kinds that go through the CRF
_ALL_EMPTY = ': the network has not learned them (train longer, look at curves.png and the previews)'


class _Job(NamedTuple):
    """The seeds of one image: in which folders, and what each is made from; both by (kind, threshold)."""

    name: str
    classes: tuple
    size: tuple
    folders: dict
    inputs: dict


# ------------------------------------------------------------------------------------------ folders and settings
def kinds(options: cli.Options) -> tuple:
    """The kinds of seeds the options ask for: some of crf, sal, raw, cam."""
    asked = options.seeds or (() if options.use_sal else ('crf',))
    return asked + (('sal',) if options.use_sal and 'sal' not in asked else ())


def seed_folders(options: cli.Options) -> dict:
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
            folders.update({(kind, t): os.path.join(root, 'cam_' + two_decimals(t)) for t in options.cam_threshold})
        else:
            folders[kind, None] = os.path.join(root, kind)
    return folders


def two_decimals(threshold: float) -> str:
    """A threshold as text, with more than two decimals only where it has them; part of the names of folders."""
    return f'{threshold:.4f}'.rstrip('0').ljust(4, '0')


def _outputs(options, class_names):
    """`Outputs` by (kind, threshold)."""
    made = {}
    for (kind, threshold), folder in seed_folders(options).items():
        settings = {'kind': kind, 'infer_size': options.infer_size, 'class_names': class_names}
        if kind == 'cam':
            settings['threshold'] = threshold
        if kind in _REFINED:
            settings.update(confidence=options.confidence, iterations=options.crf_iterations,
                            gaussian=options.crf_gaussian, bilateral=options.crf_bilateral)
        made[kind, threshold] = Outputs(folder, 'seeds', settings, options.shard)
    return made


def _saliency_path(options, name):
    return os.path.join(options.saliency_root, name + '.png')


def _inputs(options, name, classes, keys):
    """What the seeds of an image are made from, by (kind, threshold)."""
    found = {'classes': Value(','.join(map(str, classes))), 'image': Input(images.image_path(options.image_root, name))}
    for kind in _scores_of(keys):
        found[kind] = Input(score_map.path(options.snapshot, kind, name))
    if any(kind == 'sal' for kind, _ in keys):
        found['sal'] = Input(_saliency_path(options, name))
    return {key: [found[source] for source in ('classes', 'image') + _SCORES[key[0]] + ('sal',) * (key[0] == 'sal')]
            for key in keys}


def _scores_of(keys):
    """The kinds of scores that seeds are made from."""
    return sorted({score for kind, _ in keys for score in _SCORES[kind]})


def _classes(inputs, index):
    return tuple(np.flatnonzero(inputs.labels[index]).tolist())


# --------------------------------------------------------------------------------------------------- checks
def _check_image(problems, options, inputs, index, keys):
    """Record what is wrong with the saliency map of one image, and with its size."""
    name, size = inputs.names[index], inputs.sizes[index]
    if any(kind == 'sal' for kind, _ in keys):
        checks.check_size(problems, _saliency_path(options, name), size, 'saliency map', _NO_SALIENCY)
    if any(kind in _REFINED for kind, _ in keys) and inputs.labels[index].any():
        check_side(problems, options, name, size)


def check_side(problems: Problems, options: cli.Options, name: str, size: tuple):
    """Record when an image is too large for the CRF."""
    if max(size) > crf.largest_side(options.crf_gaussian, options.crf_bilateral):
        problems.add(f'a side of {max(size)} pixels is too long for the CRF',
                     images.image_path(options.image_root, name),
                     'scale the image down, or give --crf-gaussian and --crf-bilateral a larger SXY')


def _out_of_date(options, inputs, outputs, index, keys):
    """Those of the keys whose seed of an image has to be made."""
    name = inputs.names[index]
    made_from = _inputs(options, name, _classes(inputs, index), keys)
    return tuple(key for key in keys if not outputs[key].is_current(
        name, [os.path.join(outputs[key].folder, name + '.png')], made_from[key]))


def _find_jobs(options, inputs, outputs, problems, scores_come=False):
    """What has to be done: (kind, threshold) of the seeds by index of the image, largest images first.

    What is missing for it or does not fit goes to `problems`. With `scores_come` the run makes the scores before the
    seeds: they need not be there yet, and every seed is made from them.
    """
    folders, found, known = seed_folders(options), {}, {}
    if ('sal', None) in folders and os.path.realpath(options.saliency_root) in map(os.path.realpath, folders.values()):
        problems.add('seeds would overwrite the saliency maps', options.saliency_root,
                     'keep the maps in another folder and give it to --saliency-root')
    if ('sal', None) in folders and not checks.check_input_folder(
            problems, '--saliency-root', options.saliency_root):
        del folders['sal', None]            # one line is enough
    for made in outputs.values():
        made.check_owner(problems)
    for i, name in enumerate(console.patient_progress(inputs.names, 'seeds that are there')):
        wanted = tuple(folders)
        if not options.force and not scores_come:
            wanted = _out_of_date(options, inputs, outputs, i, wanted)
        if not wanted or not inputs.sizes[i]:
            continue
        found[i] = known.setdefault(wanted, wanted)
        for kind in _scores_of(wanted) if not scores_come else ():
            score_map.check(problems, score_map.path(options.snapshot, kind, name), len(_classes(inputs, i)),
                            options.infer_size)
        _check_image(problems, options, inputs, i, wanted)
    order = sorted(found, key=lambda i: -inputs.sizes[i][0] * inputs.sizes[i][1])
    return {i: found[i] for i in order}


def _jobs(options, inputs, found):
    """The jobs that were found, one after another: what a seed is made from is looked at just before it is made."""
    folders = seed_folders(options)
    for i, keys in found.items():
        name, classes = inputs.names[i], _classes(inputs, i)
        yield _Job(name, classes, inputs.sizes[i], {key: folders[key] for key in keys},
                   _inputs(options, name, classes, keys))


def check(options: cli.Options, inputs: Inputs, problems: Problems, upcoming: tuple = ()) -> int:
    """Record in `problems` what making seeds lacks; see `icd.steps`."""
    _find_jobs(options, inputs, _outputs(options, inputs.class_names), problems, 'infer' in upcoming)
    written = [(folder, '.png', 1 / 16) for folder in seed_folders(options).values()]
    if options.colour:
        written += [(drawn, ending, 1 / 16 if ending == '.png' else 1 / 3) for folder, _, _ in list(written)
                    for drawn, ending in overlay.drawn_folders(folder)]
    checks.check_output_folders(problems, [folder for folder, _, _ in written], inputs.names)
    return sum(checks.missing_bytes(folder, ending, inputs.names, (
        size and of_pixel * size[0] * size[1] for size in inputs.sizes)) for folder, ending, of_pixel in written)


# ----------------------------------------------------------------------------------------------------- the step
def _read_saliency(path, shape):
    """A saliency map (H, W) uint8 of the size of its image."""
    image = images.decode_image(images.read_bytes(path, _NO_SALIENCY), path)
    if cv2.absdiff(image[..., 1:], image[..., :-1]).max() > _COLOURED:
        raise UserError('a colour image: saliency maps are grey, 0 to 255', path, _NO_SALIENCY)
    saliency = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if saliency.shape != shape:
        raise UserError(f'the saliency map has {saliency.shape[1]}x{saliency.shape[0]} pixels, the image '
                        f'{shape[1]}x{shape[0]}', path, 'make it again from this image')
    return saliency


def _read_scores(options, job, shape):
    """Score maps (n, H, W) of an image at its size, by kind; None where no seed needs them."""
    kinds_needed = {score for kind, _ in job.folders for score in _SCORES[kind]}
    if len(job.classes) < 2 and all(kind != 'cam' for kind, _ in job.folders):
        kinds_needed.discard('cam')                 # it only decides between classes
    empty = np.zeros((0,) + shape, np.float32)
    found = {'icd': None, 'cam': None}
    for kind in kinds_needed:
        found[kind] = empty if not job.classes else score_map.at_image_size(
            score_map.read(score_map.path(options.snapshot, kind, job.name), len(job.classes), options.infer_size),
            shape, options.infer_size)
    return found


def refine(options: cli.Options, image: np.ndarray, seed: np.ndarray, num_labels: int) -> np.ndarray:
    """A seed (H, W) uint8 after the CRF of the options, along the edges of its image (H, W, 3) uint8, BGR."""
    return crf.refine_seed(np.ascontiguousarray(image[:, :, ::-1]), seed, num_labels, options.confidence,
                           options.crf_iterations, options.crf_gaussian, options.crf_bilateral)


def _make(options, num_labels, job):
    """Make the seeds of one image in every folder of the job.

    Returns
    -------
    str, dict, bool, list
        The name, identities of the inputs by (kind, threshold), whether the saliency map is all but black, and the
        (kind, threshold) of the seeds that hold no class although the image has one.
    """
    image = images.read_image(images.image_path(options.image_root, job.name))
    shape, saliency, nothing = image.shape[:2], None, []
    scores = _read_scores(options, job, shape)
    if any(kind == 'sal' for kind, _ in job.folders):
        saliency = _read_saliency(_saliency_path(options, job.name), shape)
    identities = {key: [one.identity() for one in made_from] for key, made_from in job.inputs.items()}
    for (kind, threshold), folder in job.folders.items():
        if kind == 'cam':
            seed = cam_seed_map(scores['cam'], job.classes, threshold)
        else:
            seed = seed_map(scores['icd'], scores['cam'], job.classes, saliency if kind == 'sal' else None)
        if kind in _REFINED and job.classes:
            seed = refine(options, image, seed, num_labels)
        masks.save_mask(os.path.join(folder, job.name + '.png'), seed)
        if job.classes and not (seed % IGNORE).any():
            nothing.append((kind, threshold))
    return job.name, identities, saliency is not None and 0 < saliency.max() / 255 < SALIENT, nothing


def say_uncompiled():
    """Log that the CRF takes longer than it needs to, where it does."""
    if not crf.is_compiled():
        console.log('seeds: the CRF is not compiled here (pip install -e . does it): pydensecrf makes the same seeds '
                    'in about four times the time')


def run(options: cli.Options, inputs: Inputs) -> bool:
    """Make the seeds of all names in the list.

    Reads images, `SNAPSHOT/results/scores_{icd,cam}/NAME.npy` and, for `sal`, saliency maps; writes
    `SNAPSHOT/results/seeds/KIND/NAME.png` (see `seed_folders`). Seeds that were made from the same of all that and
    with the same settings are kept. A `--shard` draws no copies in colour.

    Raises
    ------
    UserError
        When the scores that inference has made do not fit, with all problems; while the seeds are made, when the
        content of a file turns out to be damaged.
    """
    outputs, problems = _outputs(options, inputs.class_names), Problems()
    found = _find_jobs(options, inputs, outputs, problems)
    problems.raise_if_any()
    folders, num_process = seed_folders(options), options.num_process or parallel.number_of_cores()
    if any(kind in _REFINED for keys in set(found.values()) for kind, _ in keys):
        say_uncompiled()
    dark, without = 0, Counter()
    with contextlib.ExitStack() as writing:
        for key, made in outputs.items():
            names = [inputs.names[i] for i, keys in found.items() if key in keys]
            made.report_missing(inputs.names, names)
            writing.enter_context(made.writing(names, files.sub_folders(inputs.names)))
        make = functools.partial(_make, options, inputs.num_classes + 1)
        for name, identities, is_dark, nothing in parallel.process_map(
                make, _jobs(options, inputs, found), num_process, len(found), 'seeds') if found else ():
            for key, of_inputs in identities.items():
                outputs[key].record(name, of_inputs)
            dark += is_dark
            without.update(nothing)
    for key, count in without.items():
        console.log(f'seeds: {count} of {len(found)} in {folders[key]} hold nothing but '
                    'background, though their images have classes' + _ALL_EMPTY * (count == len(found)))
    if dark:
        console.log(f'seeds: {dark} saliency maps of {options.saliency_root} hold no pixel above 2: saliency is 0 to '
                    '255; multiply maps of 0 and 1 by 255')
    console.log(f"seeds: {f'{len(found)} images are done' if found else f'all {len(inputs.names)} are up to date'}: "
                f"{', '.join(folders.values())}")
    if options.colour and not options.shard:
        for folder in folders.values():
            with console.ornament('copies in colour'):
                drawing.draw(folder, inputs.names, options.image_root, num_process)
    return True
