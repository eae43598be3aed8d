"""Merging: images and raw superpixels to at most 64 superpixels each, by the features of a pretrained VGG16.

The command is `icd-superpixel` (`python generate_superpixel.py`). MXNet is imported where features are computed only:
every worker process that merges imports this module, and needs no network.
"""
from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shlex

import cv2
import numpy as np

from icd import checks, cli, console, files, gpu_memory, parallel, precision, shards
from icd.data import geometry, images, superpixel_map, voc
from icd.errors import Problems, UserError
from icd.method import merging
from icd.outputs import Input, Outputs
from icd.viz import previews
from icd.weights import source_input

PREVIEW = 'superpixels_demo.jpg'
_PREVIEW_RECORD = '-preview'                # its name in the record: no name of a list begins so
_PREVIEW_ROWS = 20
_PREVIEW_HEIGHT, _PREVIEW_WIDTH = 240, 480  # of a picture, at most
_READERS = 4                                # processes that read images: a network is not faster than these


def _raw(options, name):
    return superpixel_map.path(options.superpixel_root, name)


def _merged(options, name):
    return superpixel_map.path(options.save_superpixel_root, name)


def _image(options, name):
    return images.image_path(options.image_root, name)


# ------------------------------------------------------------------------------------------- what has to be made
def _outputs(options):
    settings = {'max_superpixel_num': options.max_superpixel_num, 'image_size': options.image_size,
                'width': options.width, 'pretrained': options.pretrained}
    if os.path.isfile(options.pretrained):
        settings['pretrained'] = f'{files.checksum(options.pretrained):08x}'
    if options.pretrained_input:
        settings['pretrained_input'] = options.pretrained_input
    if options.pretrained == 'none':
        settings['seed'] = options.seed
    settings.update(precision.setting(options.precision))
    return Outputs(options.save_superpixel_root, 'merged superpixels', settings, options.shard)


def _inputs(options, name):
    return [Input(_image(options, name)), Input(_raw(options, name))]


def _out_of_date(options, outputs, names):
    """Inputs of those of the names whose merged map has to be made, by name."""
    wanted = {}
    for name in console.patient_progress(names, 'superpixels that are there'):
        inputs = _inputs(options, name)
        if options.force or not outputs.is_current(name, [_merged(options, name)], inputs):
            wanted[name] = inputs
    return wanted


def check(options: cli.Options, names: list, problems: Problems) -> dict:
    """Record in `problems` what merging the superpixels of `names` lacks.

    Returns
    -------
    dict of (int, int) by name
        Heights and widths of the images.
    """
    sizes = {}
    paths = ' '.join(map(shlex.quote, (options.data_list, options.image_root, options.superpixel_root)))
    make_raw = (f'make them: `make -C external/superpixel`, then `external/superpixel/makeSuperpixel {paths} 75`; '
                'or check --superpixel-root')
    there = (checks.check_input_folder(problems, '--image-root', options.image_root),
             checks.check_input_folder(problems, '--superpixel-root', options.superpixel_root, make_raw))
    for name in console.patient_progress(names if all(there) else (), 'sizes'):
        try:
            path = images.single_path(options.image_root, name)
        except UserError as error:
            problems.add_error(error)
            continue
        size = checks.check_size(problems, path, None, 'image', 'check --image-root and the list of names')
        checks.check_size(problems, _raw(options, name), size, 'superpixels', make_raw)
        sizes[name] = size
    _check_precision(options, problems)
    checks.check_folder(problems, options.save_superpixel_root,
                        sum(4096 + size[0] * size[1] // 16 for size in sizes.values() if size))
    checks.check_links(problems, options.save_superpixel_root, names)
    return sizes


def _check_precision(options, problems):
    if options.precision != precision.FLOAT32:
        from icd import mxnet_setup
        try:
            precision.check(options.precision, mxnet_setup.devices(options.gpus))
        except UserError as error:
            problems.add_error(error)


def _count(options, name):
    """Name and number of raw superpixels of an image; 0 when the file is damaged."""
    try:
        return name, int(superpixel_map.renumber(superpixel_map.read(_raw(options, name))).max()) + 1
    except UserError:
        return name, 0


def _split(options, names):
    """The names of images with few enough superpixels already, and of those that need merging.

    Raises
    ------
    UserError
        With all maps that are damaged or have too many superpixels.
    """
    counts = dict(parallel.process_map(functools.partial(_count, options), names, _processes(options),
                                       desc='raw superpixels'))
    problems = Problems()
    few, many = [], []
    for name in names:
        if not counts[name]:
            problems.add('not a whole superpixel map', _raw(options, name), 'make it again')
        elif counts[name] <= options.max_superpixel_num:
            few.append(name)
        elif counts[name] <= merging.LARGEST_COUNT:
            many.append(name)
        else:
            problems.add(f'more than {merging.LARGEST_COUNT} superpixels', f'{_raw(options, name)} ({counts[name]})',
                         'make them again with a larger K, or of a smaller image')
    problems.raise_if_any()
    return few, many


# ----------------------------------------------------------------------------------------------------- features
def _features(options, names, sizes, held):
    """Make everything ready to compute features, then give them lazily.

    Parameters
    ----------
    held : contextlib.ExitStack
        Closed when they have been computed.

    Returns
    -------
    iterator of (str, ndarray, (int, int))
        Name, conv5_3 float32 (d, rows, columns) of `icd.data.geometry.enclosing_positions`, size of the image in the
        network's input.
    """
    # Worker processes import this module, too, and need no MXNet.
    from icd import mxnet_setup
    contexts = mxnet_setup.devices(options.gpus)
    held.enter_context(mxnet_setup.computing(contexts, gpu_memory.smaller_batch('--batch-size', options.batch_size,
                                                                                '--image-size')))
    from icd.data.loader import InferenceLoader
    from icd.model.padded_input import Features, PaddedInference
    from icd.model.vgg import VGG16
    from icd.predict import predict
    from icd.weights import load
    net = VGG16(options.width, precision=options.precision)
    network = PaddedInference(Features, net, options.image_size)
    loader = InferenceLoader(names, options.image_root, options.image_size, options.batch_size,
                             min(_READERS, parallel.number_of_cores()), sizes, network.group)
    source = source_input.parse(options.pretrained_input) if options.pretrained_input else None
    console.log(load.load_pretrained(options.pretrained, net, options.seed, contexts, source).description)

    def compute():
        with contextlib.closing(loader):
            for batch, maps in predict(loader, network, contexts):
                yield from _enclosing(batch, maps)
    return compute()


def _enclosing(batch, maps):
    """What `_features` gives, of a batch. (A function of its own: afterwards no name holds the last features.)"""
    for name, fitted, (feature,) in zip(batch.names, batch.scaled_sizes, maps):
        rows, columns = geometry.enclosing_positions(fitted)
        yield name, feature[:, :rows, :columns], fitted


# ------------------------------------------------------------------------------------------------------ the step
def _make(options, item):
    """Write the merged map of one image: name, feature map or None where nothing is to be merged, fitted size, inputs.

    Returns
    -------
    str, list of str
        The name, and the identities of the inputs.
    """
    name, feature, fitted, inputs = item
    labels = superpixel_map.renumber(superpixel_map.read(_raw(options, name)))
    if feature is not None:
        labels = merging.merge_map(labels, feature, options.max_superpixel_num, fitted)
    identities = [one.identity() for one in inputs]
    superpixel_map.write(_merged(options, name), labels)
    return name, identities


def run(options: cli.Options):
    """Merge the superpixels of all names in the list.

    Reads images and the raw superpixels; writes `--save-superpixel-root`/NAME.png, labels from 0 without gaps, and
    a preview of the first images, `superpixels_demo.jpg`, beside that folder. Images that have few enough
    superpixels only get these labels, and are not shown to the network. Maps that were made from the same files with
    the same settings are kept. A `--shard` makes the maps of its names, and no preview.

    Parameters
    ----------
    options : Options
        `icd.cli.SUPERPIXEL`.

    Raises
    ------
    UserError
        Before anything is computed, with all that is missing or does not fit. While it runs, when an image turns out
        to be damaged.
    """
    if os.path.realpath(options.superpixel_root) == os.path.realpath(options.save_superpixel_root):
        raise UserError('is the folder of the raw superpixels, which would be overwritten',
                        f'--save-superpixel-root {options.save_superpixel_root}', 'choose another folder')
    names = shards.own(voc.read_list(options.data_list), options.shard)
    outputs, problems = _outputs(options), Problems()
    outputs.check_owner(problems)
    problems.raise_if_any()
    with contextlib.ExitStack() as held:
        wanted, items = _out_of_date(options, outputs, names), ()
        outputs.report_missing(names, wanted)
        if wanted:
            sizes = check(options, list(wanted), problems)
            problems.raise_if_any()
            few, many = _split(options, list(wanted))
            features = _features(options, many, [sizes[name] for name in many], held) if many else ()
            items = itertools.chain(((name, None, None) for name in few), features)
        else:
            console.log(f'superpixels: all {len(names)} are up to date')
        with outputs.writing(wanted, files.sub_folders(names)):
            jobs = ((*item, wanted[item[0]]) for item in items)
            for name, identities in parallel.process_map(functools.partial(_make, options), jobs, _processes(options),
                                                         len(wanted), 'superpixels') if wanted else ():
                outputs.record(name, identities)
            if not options.shard:
                with console.ornament('the preview'):
                    _write_preview(options, outputs, names[:_PREVIEW_ROWS])


def _processes(options):
    return options.num_process or parallel.number_of_cores()


# ------------------------------------------------------------------------------------------------------ preview
def _write_preview(options, outputs, names):
    """Rows of image, raw and merged superpixels in random colours."""
    folder = os.path.dirname(os.path.abspath(options.save_superpixel_root))
    path = os.path.join(folder, PREVIEW)
    names = [name for name in names
             if all(os.path.isfile(made(options, name)) for made in (_image, _raw, _merged))]
    inputs = [Input(made(options, name)) for name in names for made in (_image, _raw, _merged)]
    if not names or outputs.is_current(_PREVIEW_RECORD, [path], inputs):
        return
    rng = np.random.default_rng(0)
    rows = [_preview_row(options, name, rng) for name in console.patient_progress(names, 'preview')]
    files.save_image(path, previews.vstack(rows))
    inputs = console.patient_progress(inputs, 'preview', unit='file')
    outputs.record(_PREVIEW_RECORD, [one.identity() for one in inputs])


def _preview_row(options, name, rng):
    image = images.read_image(_image(options, name))
    height, width = image.shape[:2]
    scale = min(_PREVIEW_HEIGHT / height, _PREVIEW_WIDTH / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)

    def coloured(path):
        labels = superpixel_map.renumber(superpixel_map.read(path))
        colours = rng.integers(0, 256, (labels.max() + 1, 3), dtype=np.uint8)
        return colours[cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)]
    return previews.hstack([cv2.resize(image, size, interpolation=cv2.INTER_AREA), coloured(_raw(options, name)),
                            coloured(_merged(options, name))])


# --------------------------------------------------------------------------------------------------- the command
def main(arguments: list):
    """Read the command line and run the step."""
    run(cli.parse(cli.SUPERPIXEL, 'icd-superpixel',
                  'Merge raw superpixels to at most 64 an image, by the features of a pretrained VGG16.', arguments))
