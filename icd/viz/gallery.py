"""The page at the end of a run without truth: what was made, class by class and image by image, in one HTML file."""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Sequence

import jinja2
import numpy as np

from icd import console, files
from icd.data import images, masks
from icd.data.geometry import IGNORE
from icd.errors import UserError
from icd.viz import overlay, report

_MOST_IMAGES = 60           # on a page: some of every class


@dataclass(frozen=True)
class Run:
    """What a page shows.

    names : sequence of str
    class_names : sequence of str
        Background left out.
    labels : ndarray (names, classes) float32
    image_root : str
    folders : dict of str to str
        Folders of NAME.png, by what the masks are.
    commands : sequence of str
    """

    names: Sequence[str]
    class_names: Sequence[str]
    labels: np.ndarray
    image_root: str
    folders: dict
    commands: Sequence[str]


def chosen(labels: np.ndarray, most: int = _MOST_IMAGES) -> list:
    """Indices of the images to show, ascending: class after class the first one that is not among them yet.

    Parameters
    ----------
    labels : ndarray (names, classes)
    most : int

    Returns
    -------
    list of int
    """
    waiting = [list(np.flatnonzero(column)) for column in labels.T]
    found = {}
    while len(found) < most and any(waiting):
        for queue in waiting:
            while queue and queue[0] in found:
                queue.pop(0)
            if queue and len(found) < most:
                found[queue.pop(0)] = None
    return sorted(int(index) for index in found)


def _shares(folder, names, count):
    """Fraction of an image's pixels that is of each class, mean over the images whose mask holds it; and their
    number."""
    pixels, images_with = np.zeros(count), np.zeros(count, int)
    for name in console.progress(names, desc='counting'):
        mask = masks.read_mask(os.path.join(folder, name + '.png'))
        found = np.bincount(mask.ravel(), minlength=256)[:count] / mask.size
        pixels += found
        images_with += found > 0
    return pixels / np.maximum(images_with, 1), images_with


def _picture(run, name):
    """The image of a name and its masks over it, small, as sources of `<img>`."""
    try:
        image = images.read_image(images.image_path(run.image_root, name))
        return [('image', report.data_uri(image))] + [
            (what, report.data_uri(overlay.blend(image, masks.read_mask(os.path.join(folder, name + '.png')))))
            for what, folder in run.folders.items()]
    except UserError as error:
        return [(str(error), '')]


def page(run: Run) -> str:
    """The page as HTML that refers to no other file.

    Raises
    ------
    UserError
        When a mask is missing or damaged.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    names = ['background', *run.class_names]
    shares, images_with = _shares(next(iter(run.folders.values())), run.names, len(names))
    colours = [report.css(colour) for colour in masks.palette()]
    classes = [{'name': name, 'colour': colours[i], 'share': 100 * shares[i], 'found': int(images_with[i]),
                'labelled': len(run.names) if i == 0 else int(run.labels[:, i - 1].sum())}
               for i, name in enumerate(names)]
    shown = [{'name': run.names[i], 'pictures': _picture(run, run.names[i]),
              'classes': [classes[c + 1] for c in np.flatnonzero(run.labels[i])]} for i in chosen(run.labels)]
    return environment.get_template('gallery.html').render(
        classes=classes, images=shown, count=len(run.names), folders=run.folders, commands=run.commands,
        ignored=colours[IGNORE])


def write(path: str, run: Run):
    """Write the `page` of a run to `path`, whole or not at all."""
    files.save_bytes(path, page(run).encode(errors='replace'))
