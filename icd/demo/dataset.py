"""A small data set in VOC layout, drawn, with exact ground truth."""
from __future__ import annotations

import functools
import os

import cv2
import numpy as np

from icd import files, parallel
from icd.data import images, masks
from icd.demo import creatures
from icd.outputs import Outputs, Value

_FOLDERS = {'JPEGImages': '.jpg', 'Annotations': '.xml', 'SegmentationClass': '.png', 'Saliency': '.png'}


def _annotation(name, mask):
    """VOC annotation of a picture: an object with its box for every class in the mask."""
    objects = []
    for index in np.unique(mask[mask > 0]):
        y, x = np.nonzero(mask == index)
        objects.append(f'  <object>\n    <name>{creatures.CLASS_NAMES[index - 1]}</name>\n'
                       f'    <difficult>0</difficult>\n    <bndbox><xmin>{x.min() + 1}</xmin><ymin>{y.min() + 1}</ymin>'
                       f'<xmax>{x.max() + 1}</xmax><ymax>{y.max() + 1}</ymax></bndbox>\n  </object>\n')
    height, width = mask.shape
    size = f'  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n'
    return f"<annotation>\n  <filename>{name}.jpg</filename>\n{size}{''.join(objects)}</annotation>\n"


def _saliency(anybody):
    """What a saliency network might give: soft at the rim; uint8."""
    soft = cv2.GaussianBlur(anybody.astype(np.float32), (0, 0), 2.5)
    return np.uint8(255 * np.clip(1.2 * soft - .15, 0, 1))


def _write(folder, seed, number):
    """Draw and write one picture; its number."""
    name = _name(number)
    path = {kind: os.path.join(folder, kind, name + ending) for kind, ending in _FOLDERS.items()}
    image, mask, anybody = creatures.draw_picture(seed, number)
    files.save_image(path['JPEGImages'], image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 95)
    files.save_bytes(path['Annotations'], _annotation(name, mask).encode())
    masks.save_colour(path['SegmentationClass'], mask)
    files.save_image(path['Saliency'], _saliency(anybody))
    return number


def _name(number):
    return f'toy_{number:04d}'


def draw(folder: str, count: int, seed: int, num_process: int = 1) -> list:
    """Draw a data set in VOC layout. Files that are there already, from the same call, are kept.

    Writes `JPEGImages/NAME.jpg`, `Annotations/NAME.xml`, `SegmentationClass/NAME.png` (exact), `Saliency/NAME.png`,
    `class_names.txt` and, last, `list.txt`.

    Parameters
    ----------
    folder : str
    count : int
        Number of pictures.
    seed : int
    num_process : int
        Processes that draw.

    Returns
    -------
    list of str
        The names.
    """
    outputs, drawn_from = Outputs(folder, 'drawn creatures', {'seed': seed}), Value('nothing')
    names = [_name(number) for number in range(count)]
    missing = [number for number in range(count) if not outputs.is_current(
        names[number], [os.path.join(folder, kind, names[number] + ending) for kind, ending in _FOLDERS.items()],
        [drawn_from])]
    with outputs.writing([names[number] for number in missing], _FOLDERS):
        for number in parallel.process_map(functools.partial(_write, folder, seed), missing, num_process):
            outputs.record(names[number], [drawn_from.identity()])
        for file, lines in (('class_names.txt', creatures.CLASS_NAMES), ('list.txt', names)):
            path, text = os.path.join(folder, file), ''.join(f'{line}\n' for line in lines).encode()
            if not os.path.exists(path) or images.read_bytes(path, '') != text:
                files.save_bytes(path, text)
    return names
