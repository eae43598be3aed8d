"""Pack predictions as PASCAL VOC's evaluation server wants them, and check everything it refuses or scores as 0."""
from __future__ import annotations

import gzip
import io
import os
import tarfile

import numpy as np
from PIL import Image

from icd import checks, cli, console, files, segment_options
from icd.data import images, masks, voc
from icd.errors import Problems, UserError

_FOLDER = 'results/VOC2012/Segmentation/{}_test_cls/{}.png'
_ENDINGS = '.tgz', '.tar.gz'
_NUM_CLASSES = 1 + len(voc.CATEGORIES)


def _mask(options, name, problems):
    """The mask of a name; None, and a problem, where the server would refuse it."""
    path = os.path.join(options.pred, name + '.png')
    try:
        mask = masks.read_mask(path)
    except UserError as error:
        if os.path.lexists(path):
            problems.add_error(error)
        else:
            problems.add('no such prediction', path, 'the server wants every name of the test set: check --pred and '
                         '--data-list')
        return None
    if mask.max() >= _NUM_CLASSES:
        problems.add(f'has an index beyond the {_NUM_CLASSES} classes', f'{path} (index {mask.max()})',
                     'submit predictions, in which every pixel has a class of VOC')
    if options.image_root:
        size = checks.check_size(problems, images.image_path(options.image_root, name), None, 'image',
                                 'check --image-root and --data-list')
        if size and tuple(size) != mask.shape:
            problems.add('prediction and image differ in size', f'{path} ({mask.shape[1]}x{mask.shape[0]}, not '
                         f'{size[1]}x{size[0]})', 'predict it again from this image')
    return mask


def _check(options, problems):
    checks.check_input_folder(problems, '--pred', options.pred)
    if options.image_root:
        checks.check_input_folder(problems, '--image-root', options.image_root)
    if not options.out.lower().endswith(_ENDINGS):
        problems.add('the server takes .tgz and .tar.gz only', f'--out {options.out}', 'name such a file')
    if os.path.isdir(options.out):
        problems.add('this is a folder', f'--out {options.out}', 'name a file')
    checks.check_folder(problems, os.path.dirname(options.out) or '.')
    problems.raise_if_any()


def run(options: cli.Options):
    """Write the archive: `results/VOC2012/Segmentation/comp6_test_cls/NAME.png`, palette PNGs in VOC's colours.

    The same predictions give the same bytes.

    Parameters
    ----------
    options : Options
        `icd.segment_options.SEGMENT_SUBMIT`.

    Raises
    ------
    UserError
        When a prediction is missing, damaged, of another size than its image, or holds an index that is no class of
        VOC; nothing is written then.
    """
    problems = Problems()
    _check(options, problems)
    names = voc.read_list(options.data_list)
    with files.write_atomic(options.out) as partial:
        with open(partial, 'wb') as file, gzip.GzipFile('', 'wb', 6, file, mtime=0) as packed, \
                tarfile.open(fileobj=packed, mode='w', format=tarfile.USTAR_FORMAT) as archive:
            for name in console.progress(names, desc='packing'):
                mask = _mask(options, name, problems)
                if mask is not None and not problems:
                    data = masks.colour_png(mask)
                    member = tarfile.TarInfo(_FOLDER.format(options.competition, name))
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        problems.raise_if_any()
        check_archive(partial, names, options.competition)
    console.log(f'{options.out}: {len(names)} predictions, {os.path.getsize(options.out) / 1e6:.1f} MB. The form of '
                'the server wants every field filled, and a description of 500 characters at least')


def check_archive(path: str, names: list, competition: str = 'comp6'):
    """Read an archive back as the server does.

    Parameters
    ----------
    path : str
    names : list of str
        Of the test set.
    competition : {'comp6', 'comp5'}

    Raises
    ------
    UserError
        When a name is missing, or anything else than palette PNGs in VOC's colours with indices of VOC's classes is in
        it.
    """
    expected = [_FOLDER.format(competition, name) for name in names]
    try:
        with tarfile.open(path, 'r:gz') as archive:
            found = archive.getnames()
            if found != expected:
                wrong = sorted(set(found) ^ set(expected)) or ['the order']
                raise ValueError(f'{wrong[0]} is missing or too much')
            for member in archive:
                _check_png(member.name, archive.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:      # of the system, not of the file
            raise
        raise UserError(f'not an archive for the server ({error})', path, 'make it again') from None


def _check_png(name, data):
    with Image.open(io.BytesIO(data), formats=('PNG',)) as image:
        palette, largest = image.getpalette(), np.array(image).max()
        if image.mode != 'P' or palette != masks.palette().ravel()[:len(palette)].tolist():
            raise ValueError(f"{name} is no palette PNG in VOC's colours")
        if largest >= min(_NUM_CLASSES, len(palette) // 3):
            raise ValueError(f'{name} has the index {largest}')


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    run(cli.parse(segment_options.SEGMENT_SUBMIT, 'icd-segment submit', (__doc__ or '').strip(), arguments))
