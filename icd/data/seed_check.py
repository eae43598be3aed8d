"""What is looked at of seeds, or other masks, before a network learns from them: all of them, whole."""
from __future__ import annotations

import functools
import os
import zlib
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from icd import checks, console, parallel
from icd.data import images, masks
from icd.data.geometry import IGNORE
from icd.data.segmentation_set import mask_path
from icd.errors import Problems, UserError


@dataclass(frozen=True)
class MaskCounts:
    """What masks hold.

    pixels : ndarray (C + 1,) int64
        Pixels of each class, background first; last, those that are ignored.
    images : ndarray (C + 1,) int64
        Masks that hold any.
    checksum : str
        Of all masks in the order of their names.
    """

    pixels: np.ndarray
    images: np.ndarray
    checksum: str

    def lines(self, class_names: Sequence[str]) -> list:
        """The counts as text: a line a class that occurs, one for all that do not."""
        total, width = max(self.pixels.sum(), 1), max(map(len, (*class_names, 'undefined')))
        rows = [f'{name:{width}} {100 * pixels / total:6.2f} % of the pixels, in {number} masks'
                for name, pixels, number in zip((*class_names, 'undefined'), self.pixels, self.images) if pixels]
        never = [name for name, pixels in zip(class_names, self.pixels) if not pixels]
        return rows + ([f"in no mask: {', '.join(never)}"] if never else [])


def read_sizes(image_root: str, names: Sequence[str], problems: Problems) -> list:
    """Height and width of the images; None, and a problem, where one is missing or damaged."""
    there = checks.check_input_folder(problems, '--image-root', image_root)
    return [there and checks.check_size(problems, images.image_path(image_root, name), None, 'image',
                                        'check --image-root and the list of names') or None
            for name in console.patient_progress(names, 'image sizes')]


def check_masks(flag: str, root: str, names: Sequence[str], sizes: Sequence, class_names: Sequence[str],
                num_process: int, problems: Problems) -> MaskCounts | None:
    """Read every mask; what is wrong goes to `problems`.

    Parameters
    ----------
    flag, root : str
        The option, and its folder of NAME.png.
    names : sequence of str
    sizes : sequence of (int, int) or None
        Of the images.
    class_names : sequence of str
        Background first.
    num_process : int
    problems : Problems
        Masks that are missing, damaged, colour pictures, palette pictures whose indices are no classes, of another
        size than their image, or hold other indices than those of the classes and 255.

    Returns
    -------
    MaskCounts
        None when there is a problem.
    """
    if not checks.check_input_folder(problems, flag, root, 'check the path'):
        return None
    pixels, images_with, checksums, broken = 0, 0, {}, False
    look = functools.partial(_look_at, flag, len(class_names))
    items = [(mask_path(root, name), size) for name, size in zip(names, sizes)]
    for path, counts, checksum, error in parallel.process_map(look, items, num_process, desc='masks'):
        if error is not None:
            problems.add(*error)
            broken = True
        else:
            pixels, images_with, checksums[path] = pixels + counts, images_with + (counts > 0), checksum
    if broken:
        return None
    # Results come in the order they are ready, which another run need not repeat.
    in_order = b''.join(checksums[path].to_bytes(4, 'little') for path, _ in items)
    return MaskCounts(pixels, images_with, f'{zlib.crc32(in_order):08x}')


def check_taught(counts: MaskCounts, flag: str, root: str, problems: Problems):
    """Record when a network could learn nothing but the background, or nothing at all, from such masks."""
    if not counts.pixels[:-1].any():
        problems.add('every pixel of every mask is ignored (255)', f'{flag} {root}', 'check how the masks were made')
    elif not counts.pixels[1:-1].any():
        problems.add('the masks hold nothing but background' + (' and 255' if counts.pixels[-1] else ''),
                     f'{flag} {root}', 'check how they were made: masks hold class indices')


def _look_at(flag, num_classes, item):
    """The path, pixels by class and checksum of one mask, or the path and what is wrong: (what, path, remedy)."""
    path, size = item

    def wrong(*error):
        return path, None, None, error
    if not os.path.lexists(path):
        return wrong('no such mask', path, f'check {flag} and the list of names')
    try:
        data = images.read_bytes(path, f'check {flag} and the list of names')
        mask = masks.decode_mask(data, path)
    except UserError as error:
        return wrong(error.what, error.path, error.remedy)
    counts = np.bincount(mask.ravel(), minlength=256)
    if size is not None and mask.shape != tuple(size):
        return wrong('of another size than its image', f'{path} ({mask.shape[1]}x{mask.shape[0]}, not '
                     f'{size[1]}x{size[0]})', 'make it again from this image')
    confused = masks.other_index(data, np.flatnonzero(counts))
    if confused:
        return wrong('its palette has the colours of VOC in another order: its indices are no classes',
                     f'{path} (index {confused[0]} has the colour of {confused[1]})',
                     'write the class indices themselves, as a grey PNG or with the palette of VOC')
    unknown = np.flatnonzero(counts[num_classes:IGNORE])
    if unknown.size:
        return wrong(f'has an index beyond the {num_classes} classes, background counted',
                     f'{path} (index {num_classes + unknown[0]})', 'give the names of all classes with '
                     '--class-names, or check how it was made')
    return path, np.append(counts[:num_classes], counts[IGNORE]), zlib.crc32(mask.tobytes()), None
