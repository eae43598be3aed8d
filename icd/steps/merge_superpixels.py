"""Merging: photographs and raw superpixels to at most 64 superpixels each, by the features of a pretrained VGG16.

The command is `icd-superpixel` (`python generate_superpixel.py`). Only the modules of arrays and files are imported
here: the worker processes that merge need no MXNet.
"""
import contextlib
import functools
import itertools
import os
import shlex
from collections import deque

import cv2
import numpy as np

from icd import checks, cli, console, files, mxnet_setup, outputs, parallel
from icd.data import images, superpixel_map, voc
from icd.method import merging
from icd.errors import Problems, UserError
from icd.viz import previews

SHEET = 'superpixels_demo.jpg'
_SHEET_ROWS = 20
_SHEET_HEIGHT, _SHEET_WIDTH = 240, 480      # of a picture, at most
_READERS = 4                                # processes that read photographs: a network is not faster than these
_MAKE_RAW = ('make them: `make -C external/superpixel`, then `external/superpixel/makeSuperpixel %s %s %s 75`; '
             'or check --superpixel-root')


def _raw(options, name):
    return superpixel_map.path(options.superpixel_root, name)


def _merged(options, name):
    return superpixel_map.path(options.save_superpixel_root, name)


def _image(options, name):
    return images.image_path(options.image_root, name)


# ------------------------------------------------------------------------------------------- what has to be made
def _settings(options):
    """What, beside the input files, decides the merged maps."""
    settings = {word: getattr(options, word) for word in ('max_superpixel_num', 'image_size', 'width')}
    # The files of another folder, superpixels of another kind say, need not be newer than the merged ones.
    settings.update({word: outputs.relative_path(getattr(options, word), options.save_superpixel_root)
                     for word in ('image_root', 'superpixel_root')})
    settings['pretrained'] = options.pretrained
    if os.path.isfile(options.pretrained):
        settings['pretrained'] = '%08x' % files.checksum(options.pretrained)
    if options.pretrained == 'none':
        settings['seed'] = options.seed
    return settings


def _out_of_date(options, names):
    """The part of `names` whose merged map is missing, older than what it is made from, or was made otherwise."""
    root = options.save_superpixel_root
    if options.force or not outputs.same_settings(root, _settings(options)):
        return names
    return [name for name in names if not outputs.up_to_date(
        _merged(options, name), _raw(options, name), _image(options, name), outputs.settings_path(root))]


def _check_files(options, names):
    """Sizes of the photographs by name; raise a `UserError` with all that headers and folders tell."""
    problems, sizes = Problems(), {}
    make_raw = _MAKE_RAW % tuple(map(shlex.quote, (options.data_list, options.image_root, options.superpixel_root)))
    there = [checks.check_input_folder(problems, '--image-root', options.image_root),
             checks.check_input_folder(problems, '--superpixel-root', options.superpixel_root, make_raw)]
    for name in names if all(there) else ():
        image, raw = _image(options, name), _raw(options, name)
        size = checks.check_size(problems, image, None, 'image', 'check --image-root and the list of names')
        raw_size = checks.check_size(problems, raw, None, 'raw superpixels', make_raw)
        if size and raw_size and tuple(size) != tuple(raw_size):
            problems.add('superpixels of another size than their photograph', '%s (%dx%d) for %s (%dx%d)' % (
                (raw,) + tuple(raw_size[::-1]) + (image,) + tuple(size[::-1])), 'make them again from this photograph')
        sizes[name] = size
    checks.check_folder(problems, options.save_superpixel_root,
                           sum(4096 + size[0] * size[1] // 16 for size in sizes.values() if size))
    checks.check_links(problems, options.save_superpixel_root, names)
    problems.raise_if_any()
    return sizes


def _count(options, name):
    """Name and number of raw superpixels of an image; 0 when the file is damaged."""
    try:
        return name, int(superpixel_map.renumber(superpixel_map.read(_raw(options, name))).max()) + 1
    except UserError:
        return name, 0


def _split(options, names, num_process):
    """The names of images with few enough superpixels already, and of those that need merging.

    Raises
    ------
    UserError
        With all maps that are damaged or have too many superpixels.
    """
    counts = dict(parallel.process_map(functools.partial(_count, options), names, num_process, desc='raw superpixels'))
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
            problems.add('more than %d superpixels' % merging.LARGEST_COUNT, '%s (%d)' % (
                _raw(options, name), counts[name]), 'make them again with a larger K, or of a smaller photograph')
    problems.raise_if_any()
    return few, many


# ----------------------------------------------------------------------------------------------------- features
def _features(options, names, sizes):
    """Make everything ready to compute features, then give them lazily.

    Returns
    -------
    iterator of (str, ndarray, (int, int))
        Name, conv5_3 float32 (d, rows, columns) of `merging.cells`, size of the photograph in the network's input.
    """
    from icd.mxnet_setup import gluon

    from icd.data.loader import InferenceLoader
    from icd.model import padded_input
    from icd.weights import params
    from icd.model.vgg import VGG16
    contexts = mxnet_setup.devices(options.gpus)
    side = options.image_size
    loader = InferenceLoader(names, options.image_root, side, options.batch_size,
                             min(_READERS, parallel.number_of_cores()), sizes,
                             lambda scaled: padded_input.extents(merging.cells(scaled), side))
    net = VGG16(options.width)
    params.load_pretrained(options.pretrained, net, options.seed, contexts)
    canvases = {device: padded_input.canvases(net, side, device) for device in contexts}

    def compute():
        waiting = deque()
        with contextlib.closing(loader):
            for extents, batches in itertools.groupby(loader, lambda batch: batch.group):
                # The original feeds 0..255 here, without subtracting 127.
                covered = padded_input.CoveredVGG16(net, side, extents)
                covered.hybridize(static_alloc=True, static_shape=True)
                for batch in batches:
                    shares = gluon.utils.split_and_load(batch.image, contexts[:len(batch.names)], even_split=False)
                    waiting.append((batch, [covered(x, *covered.needed(canvases[x.context])) for x in shares]))
                    if len(waiting) > 1:    # the devices compute this batch while the one before is handed over
                        yield from _needed_cells(*waiting.popleft())
            while waiting:
                yield from _needed_cells(*waiting.popleft())
    return compute()


def _needed_cells(batch, outputs):
    maps = itertools.chain.from_iterable(output.asnumpy() for output in outputs)
    for name, scaled, feature in zip(batch.names, batch.scaled_sizes, maps):
        rows, columns = merging.cells(scaled)
        yield name, feature[:, :rows, :columns], scaled


# ------------------------------------------------------------------------------------------------------ the step
def _make(options, item):
    """Write the merged map of one image: name, feature map or None where nothing is to be merged, scaled size."""
    name, feature, scaled = item
    labels = superpixel_map.renumber(superpixel_map.read(_raw(options, name)))
    if feature is not None:
        labels = merging.merge_map(labels, feature, options.max_superpixel_num, scaled)
    superpixel_map.write(_merged(options, name), labels)


def run(options):
    """Merge the superpixels of all names in the list.

    Reads NAME.jpg and the raw superpixels; writes `--save-superpixel-root`/NAME.png, labels from 0 without gaps, and
    a sheet of the first photographs, `superpixels_demo.jpg`, beside that folder. Images that have few enough
    superpixels only get these labels, and are not shown to the network. Maps that are newer than what they are made
    from and were made with the same settings are kept.

    Parameters
    ----------
    options : Options
        `icd.cli.SUPERPIXEL`.

    Raises
    ------
    UserError
        Before anything is computed, with all that is missing or does not fit. While it runs, when a photograph turns
        out to be damaged.
    """
    if os.path.realpath(options.superpixel_root) == os.path.realpath(options.save_superpixel_root):
        raise UserError('is the folder of the raw superpixels, which would be overwritten',
                        f'--save-superpixel-root {options.save_superpixel_root}', 'choose another folder')
    names = voc.read_list(options.data_list)
    wanted = _out_of_date(options, names)
    if wanted:
        _merge_all(options, wanted, _check_files(options, wanted))
    else:
        console.log('superpixels: all %d are up to date' % len(names))
    _write_sheet(options, names[:_SHEET_ROWS])


def _merge_all(options, names, sizes):
    num_process = options.num_process or parallel.number_of_cores()
    few, many = _split(options, names, num_process)
    features = _features(options, many, [sizes[name] for name in many]) if many else ()
    for folder in {os.path.dirname(_merged(options, name)) for name in names}:
        files.clear_partial(folder)
    outputs.stage_settings(options.save_superpixel_root, _settings(options))
    items = itertools.chain(((name, None, None) for name in few), features)
    for _ in parallel.process_map(functools.partial(_make, options), items, num_process, total=len(names),
                                 desc='superpixels'):
        pass


# -------------------------------------------------------------------------------------------------------- sheet
def _write_sheet(options, names):
    """Rows of photograph, raw and merged superpixels in random colours, made again when a merged map is newer."""
    folder = os.path.dirname(os.path.abspath(options.save_superpixel_root))
    path = os.path.join(folder, SHEET)
    names = [name for name in names
             if all(os.path.isfile(made(options, name)) for made in (_image, _raw, _merged))]
    if not names or outputs.up_to_date(path, *[_merged(options, name) for name in names]):
        return
    if not os.access(folder, os.W_OK):
        console.log('%s: not written, the folder may not be written to' % path)
        return
    rng = np.random.default_rng(0)
    files.save_image(path, previews.below([_sheet_row(options, name, rng) for name in names]))


def _sheet_row(options, name, rng):
    image = images.read_image(_image(options, name))
    height, width = image.shape[:2]
    scale = min(_SHEET_HEIGHT / height, _SHEET_WIDTH / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)

    def coloured(path):
        labels = superpixel_map.renumber(superpixel_map.read(path))
        colours = rng.integers(0, 256, (labels.max() + 1, 3), dtype=np.uint8)
        return colours[cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)]
    return previews.beside([cv2.resize(image, size, interpolation=cv2.INTER_AREA), coloured(_raw(options, name)),
                          coloured(_merged(options, name))])


# --------------------------------------------------------------------------------------------------- the command
def main(arguments):
    """Read the command line and run the step."""
    run(cli.parse(cli.SUPERPIXEL, 'icd-superpixel',
                            'Merge raw superpixels to at most 64 an image, by the features of a pretrained VGG16.',
                            arguments))


def command():
    """Entry point: the exit code of `main`."""
    return console.run_command(main)
