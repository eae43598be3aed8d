"""Segment images with a trained network: a class for every pixel, with and without a dense CRF."""
from __future__ import annotations

import contextlib
import functools
import os
from typing import NamedTuple

import cv2
import numpy as np

from icd import checks, cli, console, files, parallel, precision, segment_options, shards
from icd.data import geometry, images, labels, masks, voc
from icd.data.labels import folders
from icd.errors import Problems, UserError
from icd.method import crf, multi_scale
from icd.outputs import Input, Outputs, Value
from icd.steps import drawing
from icd.steps.segment_networks import open_network

KINDS = {'none': ('raw',), 'only': ('crf',), 'both': ('raw', 'crf')}      # folders of masks by --crf


class CrfRecipe(NamedTuple):
    """Iterations and pairwise terms, as `icd.method.crf.dense_crf` takes them."""

    iterations: int
    gaussian: tuple
    bilateral: tuple


# What was published for each network: deeplab_v1 and L2G; L2G; deeplab-pytorch and L2G.
CRF_RECIPES = {'vgg16_largefov': CrfRecipe(10, (3., 3.), (121., 5., 4.)),
               'vgg16_aspp': CrfRecipe(10, (2., 2.), (65., 3., 4.)),
               'resnet101_largefov': CrfRecipe(10, (1., 3.), (67., 3., 4.)),
               'resnet101_aspp': CrfRecipe(10, (1., 3.), (67., 3., 4.))}


class _How(NamedTuple):
    """How scores become outputs: side of the letterbox, fusion of the scales, CRF, pixels between two saved logits."""

    side: int
    fusion: str
    crf: CrfRecipe
    stride: int


class _Job(NamedTuple):
    """What is to be made of an image: `folders` by kind, of the indices `classes` (None: of all)."""

    name: str
    path: str
    size: tuple
    classes: tuple | None
    folders: dict
    inputs: list


# --------------------------------------------------------------------------------------------- what there is to do
def crf_recipe(options: cli.Options, network: str) -> CrfRecipe:
    """The CRF of a network, changed by the options."""
    given = options.crf_iterations, options.crf_gaussian, options.crf_bilateral
    return CrfRecipe(*(own if value is None else value for own, value in zip(CRF_RECIPES[network], given)))


def _outputs(options, network):
    """`Outputs` by kind: raw, crf, logits."""
    shared = {'network': network.network, 'weights': network.checksum, 'infer_size': options.infer_size,
              'scales': options.scales, 'flip': not options.no_flip, 'fusion': options.fusion,
              **precision.setting(options.precision)}
    of_masks = dict(shared, class_names=network.class_names, only_known_classes=options.only_known_classes)
    settings = {kind: dict(of_masks, kind=kind) for kind in KINDS[options.crf]}
    if 'crf' in settings:
        settings['crf'].update(crf_recipe(options, network.network)._asdict())
    if options.save_logits != 'none':
        settings['logits'] = dict(shared, kind='logits', positions=options.save_logits)
    return {kind: Outputs(os.path.join(options.out, kind), 'predictions', values, options.shard)
            for kind, values in settings.items()}


def _names(options, problems):
    """Names of the images, of the list or of all that are there; of a shard its own."""
    there = checks.check_input_folder(problems, '--image-root', options.image_root)
    if options.data_list:
        names = voc.read_list(options.data_list)
    else:
        names = images.names_below(options.image_root) if there else []
        if there and not names:
            problems.add('holds no images', f'--image-root {options.image_root}', 'check the path')
    return shards.own(names, options.shard) if there else []


def _known_classes(options, names, class_names, problems):
    """Indices of the classes of each image, background among them, by name; empty without `--only-known-classes`."""
    sources = ('--labels', options.labels), ('--annotation-root', options.annotation_root)
    given = [(flag, source) for flag, source in sources if source]
    if not options.only_known_classes:
        for flag, value in given:
            problems.add('is not used', f'{flag} {value}', 'add --only-known-classes, or leave it out')
        return {}
    if len(given) != 1:
        problems.add('needs to know them', '--only-known-classes', 'give either --labels or --annotation-root')
        return {}
    try:
        table = labels.read_source(options.labels) if options.labels else _annotations(options.annotation_root)
        found = labels.classes_of(table, names, class_names[1:])
    except UserError as error:
        problems.add_error(error)
        return {}
    for one in found:
        if isinstance(one, UserError):
            problems.add_error(one)
    return {name: (0, *(index + 1 for index in one)) for name, one in zip(names, found)
            if not isinstance(one, UserError)}


def _annotations(folder):
    if not os.path.isdir(folder):
        raise UserError('no such folder', f'--annotation-root {folder}', 'check the path')
    return folders.annotations(folder)


def _check_out(problems, options, names, outputs):
    """Record when the outputs would go where inputs are, or where something else is."""
    real = os.path.join(os.path.realpath(options.out), '')
    for flag, folder in (('--image-root', options.image_root), ('--annotation-root', options.annotation_root),
                         ('--labels', options.labels)):
        if folder and real.startswith(os.path.join(os.path.realpath(folder), '')):
            problems.add(f'lies in {flag}', f'--out {options.out}', 'give a folder of its own')
    for made in outputs.values():
        made.check_owner(problems)
    checks.check_output_folders(problems, [made.folder for made in outputs.values()], names)
    if 'crf' in outputs:
        recipe = outputs['crf'].settings
        if options.infer_size > crf.largest_side(recipe['gaussian'], recipe['bilateral']):
            problems.add('is too large for the CRF', f'--infer-size {options.infer_size}',
                         'give a smaller one, or --crf-gaussian and --crf-bilateral with a larger SXY')


def _find_jobs(options, network, outputs, problems):
    """Names of all images, and what has to be done."""
    names, jobs = _names(options, problems), []
    known = _known_classes(options, names, network.class_names, problems)
    for name in console.patient_progress(names, 'predictions that are there'):
        path, size = images.image_path(options.image_root, name), _size(options, name, problems)
        classes = known.get(name)
        made_from = [Input(path), Value('all' if classes is None else ','.join(map(str, classes)))]
        wanted = {kind: made.folder for kind, made in outputs.items() if options.force or not made.is_current(
            name, [os.path.join(made.folder, name + _ending(kind))], made_from)}
        if wanted and size:
            jobs.append(_Job(name, path, size, classes, wanted, made_from))
    _check_out(problems, options, names, outputs)
    checks.check_folder(problems, options.out, sum(_bytes(options, network, job) for job in jobs))
    return names, jobs


def _size(options, name, problems):
    """Height and width of an image; None, and a problem, when it is not there once and readable."""
    try:
        path = images.single_path(options.image_root, name)
    except UserError as error:
        problems.add_error(error)
        return None
    return checks.check_size(problems, path, None, 'image', 'check --image-root and the list of names')


def _ending(kind):
    return '.npy' if kind == 'logits' else '.png'


def _bytes(options, network, job):
    """About how many bytes the files of an image take."""
    pixels = job.size[0] * job.size[1]
    fitted = np.prod(geometry.fitted_size(*job.size, options.infer_size), dtype=int)
    each = {'raw': pixels // 16, 'crf': pixels // 16,
            'logits': 4 * len(network.class_names) * fitted // _stride(options) ** 2}
    return int(sum(4096 + each[kind] + options.colour * pixels // 3 for kind in job.folders))


def _stride(options):
    return 1 if options.save_logits == 'full' else geometry.STRIDE


# ------------------------------------------------------------------------------------------------------ an image
def _make(how, item):
    """Make the outputs of one image from its scores at every scale; its name, kinds and identities of inputs."""
    job, fitted, maps = item
    identities = [one.identity() for one in job.inputs]
    scores = multi_scale.fuse(maps, fitted, how.side, how.fusion)
    if not np.isfinite(scores).all():
        raise UserError('its scores are NaN or infinite: training diverged', job.path, 'take an earlier checkpoint')
    if 'logits' in job.folders:
        files.save_npy(os.path.join(job.folders['logits'], job.name + '.npy'),
                       np.ascontiguousarray(scores[:, ::how.stride, ::how.stride]))
    # Leaving a class out is giving it the score minus infinity: it is nowhere the largest, and the CRF never has it.
    own = np.arange(len(scores), dtype=np.uint8) if job.classes is None else np.array(job.classes, np.uint8)
    scores = scores if len(own) == len(scores) else scores[own]
    if 'raw' in job.folders:
        masks.save_mask(os.path.join(job.folders['raw'], job.name + '.png'),
                        own[multi_scale.best_class(scores, job.size)])
    if 'crf' in job.folders:
        refined = crf.dense_crf(_fitted_image(job, fitted), np.negative(scores, out=scores), *how.crf)
        masks.save_mask(os.path.join(job.folders['crf'], job.name + '.png'),
                        own[multi_scale.best_class(refined, job.size)])
    return job.name, list(job.folders), identities


def _fitted_image(job, fitted):
    """The image (h, w, 3) uint8 RGB at the size that the network saw it in."""
    image = images.read_image(job.path)
    if image.shape[:2] != tuple(job.size):
        raise UserError('was replaced by another image meanwhile', job.path, 'run the same command again')
    if image.shape[:2] != tuple(fitted):
        image = cv2.resize(image, tuple(fitted)[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1])


# ------------------------------------------------------------------------------------------------------- the step
def run(options: cli.Options):
    """Segment the images of a folder, or those of a list.

    Writes `OUT/raw/NAME.png`, where every pixel has the class of the largest score, and `OUT/crf/NAME.png`, where a
    dense CRF has refined the scores: index masks of the size of the image. Files that were made from the same image
    with the same weights and settings are kept. Images that do not fit into the network's input are scaled down for the
    network and the CRF, and what these say is scaled up, class by class. A `--shard` draws no copies in colour.

    Parameters
    ----------
    options : Options
        `icd.segment_options.SEGMENT_PREDICT`.

    Raises
    ------
    UserError
        Before anything is computed, when the network, an image or an annotation is missing or damaged; later when the
        content of an image turns out to be.
    """
    problems, network = Problems(), open_network(options)
    outputs = _outputs(options, network)
    names, jobs = _find_jobs(options, network, outputs, problems)
    problems.raise_if_any()
    num_process = options.num_process or parallel.number_of_cores()
    with contextlib.ExitStack() as writing:
        for kind, made in outputs.items():
            wanted = [job.name for job in jobs if kind in job.folders]
            made.report_missing(names, wanted)
            writing.enter_context(made.writing(wanted, files.sub_folders(names)))
        how = _How(options.infer_size, options.fusion, crf_recipe(options, network.network), _stride(options))
        computed = _computed(options, network, jobs)
        for name, kinds, identities in parallel.process_map(functools.partial(_make, how), computed, num_process,
                                                            len(jobs), desc='predictions') if jobs else ():
            for kind in kinds:
                outputs[kind].record(name, identities)
    console.log(f"predictions: {f'{len(jobs)} images are done' if jobs else f'all {len(names)} are up to date'}: "
                f"{', '.join(made.folder for made in outputs.values())}")
    if options.colour and not options.shard:
        for kind in KINDS[options.crf]:
            with console.ornament('copies in colour'):
                drawing.draw(outputs[kind].folder, names, options.image_root, num_process)


def _computed(options, network, jobs):
    """Jobs with the size of their image in the letterbox and its scores at every scale, as the network gives them."""
    by_name = {job.name: job for job in jobs}
    for name, fitted, maps in network.scores(options, [job.name for job in jobs], [job.size for job in jobs]):
        yield by_name[name], fitted, maps


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    run(cli.parse(segment_options.SEGMENT_PREDICT, 'icd-segment predict', (__doc__ or '').strip(), arguments))
