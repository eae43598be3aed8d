"""COCO's instances as lists, class names, image labels and masks: `python -m icd.data.coco --help`.

Polygons and run lengths are drawn by pycocotools (`pip install -e .[coco]`).
"""
from __future__ import annotations

import functools
import json
import os
import re
import sys
from typing import NamedTuple, Sequence

import numpy as np

from icd import console, files, parallel
from icd.data import geometry, listing, masks, voc
from icd.data.labels import json_files
from icd.errors import Problems, UserError

# Images, and those with an instance. The sums are TensorFlow Datasets' catalogue's (coco_captions: 82,783 and 30,504 +
# 5,000 + 5,000); how many have an instance, the papers on weakly supervised segmentation say.
COUNTS = {'train2014': (82783, 82081), 'val2014': (40504, 40137)}
_LARGEST_SIDE = 20000


class Instance(NamedTuple):
    """A part of a mask: class from 1, whether it is a crowd, its area, polygons or run lengths."""

    label: int
    is_crowd: bool
    area: float
    shape: list | dict


class Picture(NamedTuple):
    """An image: its name, height and width in pixels, and its instances."""

    name: str
    height: int
    width: int
    instances: list


# ------------------------------------------------------------------------------------------------------- reading
def read(path: str) -> tuple:
    """What a file of instances holds.

    Parameters
    ----------
    path : str
        `instances_train2014.json`, or another of the same form.

    Returns
    -------
    tuple of str, list of Picture
        Class names by ascending id, and the images in the order of the file.

    Raises
    ------
    UserError
        When it is no such file, or polygons or run lengths in it are damaged.
    """
    value = json_files.load(path, _compact)
    try:
        categories = sorted((category['id'], category['name']) for category in value['categories'])
        labels = {number: i for i, (number, _) in enumerate(categories, 1)}
        pictures = {image['id']: Picture(_name(image['file_name']), *_size(image), []) for image in value['images']}
        for image, category, crowd, area, shape in value['annotations']:
            pictures[image].instances.append(Instance(labels[category], bool(crowd), float(area or 0), shape))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'not instances of COCO ({type(error).__name__}: {error!s:.100})', path,
                        'give a file like instances_train2014.json') from None
    found, names = list(pictures.values()), tuple(name for _, name in categories)
    if len({one.name for one in found}) < len(value['images']) or len(set(names)) < len(value['categories']):
        raise UserError('two images or two classes have one id or one name', path, 'correct it')
    for picture in found:
        for one in picture.instances:
            problem = _problem(one.shape, picture.height, picture.width)
            if problem:
                raise UserError(problem, f'{path} ({picture.name})', 'correct it')
    return names, found


def _compact(pairs):
    """An object of JSON; an annotation keeps what masks are made of, its coordinates as arrays."""
    made = dict(pairs)
    if 'image_id' not in made or 'category_id' not in made:
        return made
    shape = made.get('segmentation')
    if isinstance(shape, list):
        shape = [np.array(polygon, np.float64) for polygon in shape]
    elif isinstance(shape, dict) and isinstance(shape.get('counts'), list):
        shape = {'counts': np.array(shape['counts'], np.int64), 'size': shape.get('size')}
    return made['image_id'], made['category_id'], made.get('iscrowd', 0), made.get('area', 0), shape


def _name(file_name):
    name = os.path.splitext(file_name)[0]
    if voc.name_problem(name):
        raise ValueError(f'{file_name!r:.80} is no name of a file below a folder')
    return name


def _size(image):
    height, width = image['height'], image['width']
    if not all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in (height, width)):
        raise ValueError(f'an image of {width!r:.20} x {height!r:.20} pixels')
    return height, width


# --------------------------------------------------------------------------------------------------------- masks
def draw(picture: Picture) -> np.ndarray:
    """The mask of an image.

    Smaller instances lie on larger ones; crowds are ignored pixels, where no instance lies.

    Returns
    -------
    ndarray (H, W) uint8
        0 background, classes from 1, 255 ignored.

    Raises
    ------
    UserError
        When polygons or run lengths are damaged, or pycocotools is not installed.
    """
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for one in sorted(picture.instances, key=lambda one: (not one.is_crowd, -one.area)):
        covered = _covered(one.shape, picture)
        mask[covered] = geometry.IGNORE if one.is_crowd else one.label
    return mask


def _covered(shape, picture):
    """The pixels of polygons, each of which adds to the others, or of run lengths: (H, W) bool."""
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise UserError('pycocotools is not installed', None, 'pip install -e .[coco]') from None
    height, width = picture.height, picture.width
    problem = _problem(shape, height, width)
    if problem:
        raise UserError(problem, picture.name, 'correct the file of instances')
    if isinstance(shape, list):
        runs = coco_mask.merge(coco_mask.frPyObjects([polygon.tolist() for polygon in shape], height, width))
    elif isinstance(shape['counts'], str):
        runs = {'counts': shape['counts'].encode('ascii'), 'size': [height, width]}
    else:
        runs = coco_mask.frPyObjects({'counts': shape['counts'].tolist(), 'size': [height, width]}, height, width)
    return coco_mask.decode(runs).astype(bool)


def _problem(shape, height, width):
    """What keeps pycocotools, which checks nothing, from drawing a shape."""
    if isinstance(shape, list):
        fine = shape and all(polygon.ndim == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0 and
                             (np.abs(polygon) <= 2 * _LARGEST_SIDE).all() for polygon in shape)
        return None if fine else 'polygons of an odd or too small number of coordinates, or of ones far outside'
    counts = shape.get('counts') if isinstance(shape, dict) else None
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, np.ndarray) or list(shape.get('size') or ()) != [height, width]:
        return 'neither polygons nor run lengths of its size'
    if counts.ndim != 1 or (counts < 0).any() or (counts > height * width).any() or counts.sum() != height * width:
        return 'run lengths of another number of pixels'
    return None


def _unpacked(text):
    """Run lengths of COCO's compressed text: six bits a character, five of them a digit, the sixth for more; from the
    third on they are differences from the last but one. None when it is none."""
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return None if shift else np.array(counts, np.int64)


def _write_mask(folder, picture):
    path = os.path.join(folder, picture.name + '.png')
    masks.save_colour(path, draw(picture))
    return picture.name


# --------------------------------------------------------------------------------------------------- the command
def part_of(path: str) -> str:
    """The part of the data set that a file of instances is of: 'train2014' for instances_train2014.json."""
    return re.sub(r'^instances_', '', os.path.splitext(os.path.basename(path))[0])


def check(part: str, pictures: Sequence[Picture]) -> str | None:
    """What differs from the counts that the field uses, or None."""
    found = len(pictures), sum(bool(one.instances) for one in pictures)
    if part not in COUNTS or found == COUNTS[part]:
        return None
    return '{} images, {} with an instance, not {} and {}'.format(*found, *COUNTS[part])


def parse(arguments: list):
    """Read the command line."""
    parser = console.ArgumentParser('python -m icd.data.coco', description="COCO's instances in this project's layout.")
    parser.add_argument('--instances', required=True, help='instances_train2014.json, or another of the same form')
    parser.add_argument('--image-root', help='folder of the images: all must be there')
    parser.add_argument('--out', default='data/COCO2014', help='folder to write to (default: %(default)s)')
    parser.add_argument('--no-masks', action='store_true', help='leave out the masks, which evaluation needs')
    parser.add_argument('--any', action='store_true', help='write what is not the data set the field uses, too')
    parser.add_argument('--num-process', type=int, default=parallel.number_of_cores(), help='worker processes')
    return parser.parse_args(arguments)


def main(arguments: list):
    """Write what the command line asks for."""
    options = parse(arguments)
    class_names, pictures = read(options.instances)
    part = part_of(options.instances)
    wrong = check(part, pictures)
    if wrong and not options.any:
        raise UserError(wrong, options.instances, 'download it again, or write it all the same with --any')
    if options.image_root:
        _check_images(options.image_root, pictures)
    if not options.no_masks:
        write = functools.partial(_write_mask, os.path.join(options.out, 'SegmentationClass'))
        for _ in parallel.process_map(write, pictures, options.num_process, desc='masks'):
            pass
    labelled = [one for one in pictures if one.instances]
    labels = {one.name: sorted({each.label for each in one.instances}) for one in pictures}
    for name, text in (
            ('class_names.txt', ''.join(f'{name}\n' for name in class_names)),
            (f'labels_{part}.json', json.dumps({k: [class_names[i - 1] for i in v] for k, v in labels.items()})),
            (f'{part}.txt', ''.join(f'{one.name}\n' for one in labelled)),
            (f'{part}_all.txt', ''.join(f'{one.name}\n' for one in pictures))):
        files.save_bytes(os.path.join(options.out, name), text.encode())
    print(f'{options.out}: {len(pictures)} images, {len(labelled)} with an instance, {len(class_names)} classes')
    print(wrong or (f'OK: the counts of {part}' if part in COUNTS else f'{part}: no counts to compare with'))


def _check_images(folder, pictures):
    problems = Problems()
    for one in pictures:
        if not listing.find(folder, one.name, ('.jpg', '.jpeg', '.png')):
            problems.add('no such image', os.path.join(folder, one.name + '.jpg'), 'check --image-root')
    problems.raise_if_any()


if __name__ == '__main__':
    sys.exit(console.run_command(main))
