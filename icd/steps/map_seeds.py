"""Seeds from the class maps of any method: at a threshold, as CAM's, or by their sign, as ICD's."""
from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from typing import Iterator, NamedTuple, Sequence

import numpy as np

from icd import checks, cli, console, files, parallel
from icd.data import class_maps, images, masks
from icd.data.class_maps import Source
from icd.data.geometry import IGNORE
from icd.data.inputs import Inputs
from icd.errors import Problems, UserError
from icd.method.seed_map import cam_seed_maps, seed_map
from icd.outputs import Input, Outputs, Value
from icd.steps import drawing, seeds
from icd.viz import overlay


class _Job(NamedTuple):
    """The seeds of one image: in which folders, by (kind, threshold), and what all of them are made from."""

    name: str
    classes: tuple
    size: tuple
    folders: dict
    inputs: list


class _Made(NamedTuple):
    """What is to be said of the seeds of one image.

    identities : of what they are made from
    others : classes that have maps, and not labels
    empty : (kind, threshold) of the seeds that hold no class although the image has one
    is_signed : whether a map is negative anywhere
    """

    name: str
    identities: list
    others: tuple
    empty: list
    is_signed: bool


# ---------------------------------------------------------------------------------------------------- one image
def read_maps(source: Source, name: str, classes: Sequence[int], class_names: Sequence[str], size: tuple,
              by_sign: bool) -> tuple:
    """The maps of an image, and those that decide between its classes.

    Returns
    -------
    ClassMaps, ndarray (n, H, W) float32
        The second is what `seed_map` compares classes by: for ICD's scores the class activation maps that lie beside
        them, for all others the maps themselves. They are read only with `by_sign`.

    Raises
    ------
    UserError
        As `class_maps.read`.
    """
    found, deciding = class_maps.read(source, name, classes, class_names, size), source.deciding()
    if not by_sign or deciding is None or len(classes) < 2:
        return found, found.maps
    return found, class_maps.read(deciding, name, classes, class_names, size).maps


def seeds_of(maps: np.ndarray, deciding: np.ndarray, classes: Sequence[int],
             thresholds: Sequence[float | None]) -> Iterator[tuple]:
    """Seeds of an image before the CRF: (threshold, (H, W) uint8) of each threshold; None: without any, by sign."""
    numbers = [threshold for threshold in thresholds if threshold is not None]
    yield from zip(numbers, cam_seed_maps(maps, classes, numbers))
    if len(numbers) < len(thresholds):
        yield None, seed_map(maps, deciding, classes)


# -------------------------------------------------------------------------------------------------- what to do
def _folders(options):
    """Where each kind of seed goes, by (kind, threshold)."""
    thresholds = (None,) if options.by_sign else options.threshold
    return {(kind, t): os.path.join(options.out, kind if t is None else f'{kind}_{seeds.two_decimals(t)}')
            for kind in options.seeds or ('crf',) for t in thresholds}


def _outputs(options, class_names):
    """`Outputs` by (kind, threshold)."""
    made = {}
    for (kind, threshold), folder in _folders(options).items():
        settings = {'kind': kind, 'threshold': threshold, 'class_names': class_names}
        if kind == 'crf':
            settings.update(confidence=options.confidence, iterations=options.crf_iterations,
                            gaussian=options.crf_gaussian, bilateral=options.crf_bilateral)
        made[kind, threshold] = Outputs(folder, 'seeds of class maps', settings)
    return made


def _inputs(options, source, name, classes):
    """What the seeds of an image are made from."""
    found = [Value(','.join(map(str, classes))), Input(images.image_path(options.image_root, name))]
    if classes:
        found.append(Input(source.path(name)))
    if options.by_sign and len(classes) > 1 and source.deciding():
        found.append(Input(source.deciding().path(name)))
    return found


def _find_jobs(options, inputs, source, outputs):
    """What has to be done, largest images first."""
    folders, jobs = _folders(options), []
    names = console.patient_progress(inputs.names, 'seeds that are there')
    for name, labels, size in zip(names, inputs.labels, inputs.sizes):
        classes = tuple(np.flatnonzero(labels).tolist())
        made_from = _inputs(options, source, name, classes)
        wanted = {key: folder for key, folder in folders.items() if options.force or not outputs[key].is_current(
            name, [os.path.join(folder, name + '.png')], made_from)}
        if wanted and size:
            jobs.append(_Job(name, classes, size, wanted, made_from))
    return sorted(jobs, key=lambda job: -job.size[0] * job.size[1])


# --------------------------------------------------------------------------------------------------- checks
def check_maps(problems: Problems, options: cli.Options, inputs: Inputs, sources: Sequence[Source]):
    """Record which maps are missing, and what is wrong with the first of each folder: its format is that of all."""
    for source in sources:
        if not checks.check_input_folder(problems, '--from-maps', source.folder):
            continue
        deciding = source.deciding() if options.by_sign else None
        labelled = [(name, tuple(np.flatnonzero(labels).tolist()), size)
                    for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes) if size and labels.any()]
        whole = [class_maps.check(problems, source, name) for name, _, _ in console.patient_progress(labelled, 'maps')]
        several = [name for name, classes, _ in labelled if deciding and len(classes) > 1]
        whole += [class_maps.check(problems, deciding, name) for name in console.patient_progress(several, 'maps')]
        if labelled and all(whole):
            name, classes, size = labelled[0]
            try:
                class_maps.read(source, name, classes, inputs.class_names, size)
            except UserError as error:
                problems.add_error(error)


def _check_folders(problems, options, inputs, source):
    """Record when a folder of seeds is an input, is another stage's or cannot be written."""
    folders = list(_folders(options).values())
    read = [os.path.realpath(path) for path in (
        source.folder, options.image_root, options.annotation_root, options.labels) if path]
    for folder in folders:
        if os.path.realpath(folder) in read:
            problems.add('would overwrite an input', folder, 'give --out another folder')
    for made in _outputs(options, inputs.class_names).values():
        made.check_owner(problems)
    if options.colour:
        folders += [drawn for folder in list(folders) for drawn, _ in overlay.drawn_folders(folder)]
    checks.check_output_folders(problems, folders, inputs.names)
    checks.check_folder(problems, options.out, sum(
        checks.missing_bytes(folder, '.png', inputs.names, (size and size[0] * size[1] / 16 for size in inputs.sizes))
        for folder in folders))


def check(options: cli.Options, inputs: Inputs, sources: Sequence[Source], problems: Problems):
    """Record in `problems` what making seeds lacks."""
    if not options.out:
        problems.add('names no folder for the seeds', '--from-maps', 'give --out, or --sweep to compare thresholds')
        return
    if len(sources) > 1:
        problems.add('seeds are made from the maps of one folder', '--from-maps', 'give one of them, or --sweep')
        return
    given = [flag for flag in ('--truth', '--against', '--csv', '--plot') if getattr(options, flag[2:])]
    if given:
        problems.add('only a sweep compares seeds', ', '.join(given), 'give --sweep, too')
    check_maps(problems, options, inputs, sources)
    _check_folders(problems, options, inputs, sources[0])
    if 'crf' in (options.seeds or ('crf',)):
        for name, size in zip(inputs.names, inputs.sizes):
            if size:
                seeds.check_side(problems, options, name, size)


# ----------------------------------------------------------------------------------------------------- the step
def _make(options, source, class_names, job):
    """Make the seeds of one image in every folder of the job: `_Made`, or what is wrong with its files."""
    kinds, thresholds = {kind for kind, _ in job.folders}, list(dict.fromkeys(t for _, t in job.folders))
    identities, empty, image = [one.identity() for one in job.inputs], [], None
    try:
        if 'crf' in kinds and job.classes:
            image = images.read_image(images.image_path(options.image_root, job.name))
        found, deciding = read_maps(source, job.name, job.classes, class_names, job.size, options.by_sign)
    except UserError as error:
        return error
    for threshold, raw in seeds_of(found.maps, deciding, job.classes, thresholds):
        for kind in kinds:
            if (kind, threshold) not in job.folders:
                continue
            refined = kind == 'crf' and image is not None
            seed = seeds.refine(options, image, raw, len(class_names) + 1) if refined else raw
            masks.save_mask(os.path.join(job.folders[kind, threshold], job.name + '.png'), seed)
            if job.classes and not (seed % IGNORE).any():
                empty.append((kind, threshold))
    return _Made(job.name, identities, found.others, empty, bool((found.maps < 0).any()))


def say_others(source: Source, others: Counter, class_names: Sequence[str]):
    """Log of which classes there are maps that are not used, because labels do not give them to the image."""
    if others:
        shown = ', '.join(f'{class_names[c]} in {count}' for c, count in others.most_common(5))
        console.log(f'{source.folder}: maps of classes that the labels do not give the image are left out: {shown}'
                    f"{', ...' if len(others) > 5 else ''}")


def _say(source, folders, made, class_names):
    """Log what is no error but mostly a mistake."""
    say_others(source, Counter(c for one in made for c in one.others), class_names)
    for key, count in Counter(key for one in made for key in one.empty).items():
        console.log(f'seeds: {count} of {len(made)} in {folders[key]} hold nothing but background, though their images '
                    'have classes')
    if any(threshold is None for _, threshold in folders) and made and not any(one.is_signed for one in made):
        console.log(f'{source.folder}: no map is negative anywhere, so nothing is background: leave --by-sign out')


def run(options: cli.Options, inputs: Inputs, source: Source):
    """Make the seeds of all names in the list in folders of `options.out`.

    Seeds that were made from the same image, classes and maps with the same settings are kept.

    Raises
    ------
    UserError
        With everything that is wrong with the maps that nobody looked at before; all other seeds are made.
    """
    outputs, folders, problems = _outputs(options, inputs.class_names), _folders(options), Problems()
    jobs, made = _find_jobs(options, inputs, source, outputs), []
    if any(kind == 'crf' for job in jobs for kind, _ in job.folders):
        seeds.say_uncompiled()
    num_process = options.num_process or parallel.number_of_cores()
    make = functools.partial(_make, options, source, inputs.class_names)
    folders_of = {job.name: job.folders for job in jobs}
    with contextlib.ExitStack() as writing:
        for key, one in outputs.items():
            writing.enter_context(one.writing([job.name for job in jobs if key in job.folders],
                                              files.sub_folders(inputs.names)))
        for one in parallel.process_map(make, jobs, num_process, desc='seeds') if jobs else ():
            if isinstance(one, UserError):
                problems.add_error(one)
                continue
            made.append(one)
            for key in folders_of[one.name]:
                outputs[key].record(one.name, one.identities)
    _say(source, folders, made, inputs.class_names)
    problems.raise_if_any()
    console.log(f"seeds: {f'{len(jobs)} images are done' if jobs else f'all {len(inputs.names)} are up to date'}: "
                f"{', '.join(folders.values())}")
    if options.colour:
        for folder in folders.values():
            with console.ornament('copies in colour'):
                drawing.draw(folder, inputs.names, options.image_root, num_process)
