"""MSRC v2, a data set for a laptop, in this project's layout: `python -m icd.data.msrc --help`.

The archive (MSRC_ObjCategImageDatabase_v2) has Images/NAME.bmp and GroundTruth/NAME_GT.bmp, whose colours are classes.
"""
from __future__ import annotations

import json
import os
import sys

import numpy as np

from icd import console, files
from icd.data import geometry, images, listing, masks, voc
from icd.errors import Problems, UserError

IMAGES = 591
CLASSES = ('cow', 'sheep', 'aeroplane', 'face', 'car', 'bicycle', 'flower', 'sign', 'bird', 'book', 'chair', 'cat',
           'dog', 'body', 'boat')
# The colours of the archive, RGB. Classes that are no objects are background, and horse is: there are too few.
COLOURS = {
    'void': (0, 0, 0), 'building': (128, 0, 0), 'grass': (0, 128, 0), 'tree': (128, 128, 0), 'cow': (0, 0, 128),
    'horse': (128, 0, 128), 'sheep': (0, 128, 128), 'sky': (128, 128, 128), 'mountain': (64, 0, 0),
    'aeroplane': (192, 0, 0), 'water': (64, 128, 0), 'face': (192, 128, 0), 'car': (64, 0, 128),
    'bicycle': (192, 0, 128), 'flower': (64, 128, 128), 'sign': (192, 128, 128), 'bird': (0, 64, 0),
    'book': (128, 64, 0), 'chair': (0, 192, 0), 'road': (128, 64, 128), 'cat': (0, 192, 128), 'dog': (128, 192, 128),
    'body': (64, 64, 0), 'boat': (192, 64, 0)}
SMALLEST = .005             # part of an image that a class covers, for the image to have it
_EVERY = 4                  # of so many images, by name, one is for testing


def _code(colour):
    """One number for a colour, or for the last axis of an image in BGR order."""
    blue, green, red = (np.asarray(part, np.int32) for part in colour)
    return blue | green << 8 | red << 16


def read_mask(path: str) -> np.ndarray:
    """The mask of a GroundTruth/NAME_GT.bmp.

    Returns
    -------
    ndarray (H, W) uint8
        0 background, classes from 1 in the order of `CLASSES`; 255 where nothing is labelled, and for classes that
        cover less than half a percent of the image.

    Raises
    ------
    UserError
        When the file is missing or damaged, or has another colour.
    """
    codes = _code(np.moveaxis(images.read_image(path), -1, 0))
    mask, known = np.zeros(codes.shape, np.uint8), np.zeros(codes.shape, bool)
    for name, colour in COLOURS.items():
        covered = codes == _code(colour[::-1])
        known |= covered
        if name == 'void':
            mask[covered] = geometry.IGNORE
        elif name in CLASSES:
            mask[covered] = CLASSES.index(name) + 1 if covered.mean() >= SMALLEST else geometry.IGNORE
    if not known.all():
        other = int(codes[~known][0])
        raise UserError(f'has the colour ({other >> 16}, {other >> 8 & 255}, {other & 255}), which is no class', path,
                        'take it from the archive again')
    return mask


def find(archive: str) -> tuple:
    """Folders of images and of truth in an unpacked archive, or in a folder of it. Raises `UserError`."""
    for root in (archive, os.path.join(archive, 'MSRC_ObjCategImageDatabase_v2')):
        folders = os.path.join(root, 'Images'), os.path.join(root, 'GroundTruth')
        if all(map(os.path.isdir, folders)):
            return folders
    raise UserError('holds no folders Images and GroundTruth', archive, 'unpack MSRC_ObjCategImageDatabase_v2 there')


def split(names: list) -> dict:
    """'train' and 'test' of the names of images with an object: every fourth by name is for testing."""
    names = sorted(names)
    return {'train': [name for i, name in enumerate(names) if i % _EVERY < _EVERY - 1],
            'test': names[_EVERY - 1::_EVERY]}


def parse(arguments: list):
    """Read the command line."""
    parser = console.ArgumentParser('python -m icd.data.msrc', description="MSRC v2 in this project's layout.")
    parser.add_argument('--archive', required=True, help='folder it was unpacked to')
    parser.add_argument('--out', default='data/MSRC', help='folder to write to (default: %(default)s)')
    parser.add_argument('--any', action='store_true', help=f'write it with more or fewer than {IMAGES} images, too')
    return parser.parse_args(arguments)


def main(arguments: list):
    """Write what the command line asks for; images are links to those of the archive."""
    options = parse(arguments)
    folder, truth = find(options.archive)
    names = images.names_below(folder)
    if len(names) != IMAGES and not options.any:
        raise UserError(f'{len(names)} images, not {IMAGES}', folder, 'unpack it again, or go on with --any')
    found = _read_masks(folder, truth, names)
    for name, (_, mask) in found.items():
        masks.save_colour(os.path.join(options.out, 'SegmentationClass', name + '.png'), mask)
    labels = {name: [CLASSES[i - 1] for i in np.unique(mask).tolist() if 0 < i < geometry.IGNORE]
              for name, (_, mask) in found.items()}
    _link({name: path for name, (path, _) in found.items()}, os.path.join(options.out, 'JPEGImages'))
    lists = split([name for name in names if labels[name]])
    for name, text in (('class_names.txt', ''.join(f'{name}\n' for name in CLASSES)),
                       ('labels.json', json.dumps(labels, indent=0) + '\n'),
                       *((part + '.txt', ''.join(f'{name}\n' for name in some)) for part, some in lists.items())):
        files.save_bytes(os.path.join(options.out, name), text.encode())
    print(f'{options.out}: {len(names)} images, {sum(map(bool, labels.values()))} with an object of {len(CLASSES)} '
          f"classes, {len(lists['train'])} to train, {len(lists['test'])} to test")


def _read_masks(folder, truth, names):
    """Path of the image and mask, by name; all that is missing or wrong at once."""
    problems, found = Problems(), {}
    for name in console.patient_progress(names, 'masks'):
        problem = voc.name_problem(name)
        if problem:
            problems.add('not the name of an image', name, problem)
            continue
        try:
            paths = listing.find(truth, name + '_GT', images.ENDINGS)
            mask = read_mask(paths[0] if paths else os.path.join(truth, name + '_GT.bmp'))
            path = images.single_path(folder, name)
            if images.image_size(path) != mask.shape:
                raise UserError('image and truth differ in size', path, 'unpack the archive again')
            found[name] = path, mask
        except UserError as error:
            problems.add_error(error)
    problems.raise_if_any()
    return found


def _link(paths, folder):
    for name, path in paths.items():
        link = os.path.join(folder, name + os.path.splitext(path)[1].lower())
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if os.path.islink(link):
            os.remove(link)
        if os.path.lexists(link):
            raise UserError('is there and no link', link, 'give an empty folder')
        os.symlink(os.path.abspath(path), link)


if __name__ == '__main__':
    sys.exit(console.run_command(main))
