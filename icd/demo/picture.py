"""The demo's picture: a row an image, from the image to its truth; training images first, then unseen ones."""
from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np

from icd import files
from icd.data import geometry, images, masks, score_map, voc
from icd.demo import creatures
from icd.viz import overlay, previews

_HEADINGS = ('image', 'CAM', 'CAM seed', 'ICD score', 'ICD seed', 'truth')
_UNSEEN_HEADINGS = {'cam': 'net from CAM seeds', 'icd': 'net from ICD seeds', 'truth': 'net from truth'}
_ROW_HEIGHT = 176
_UNSEEN_ROW_HEIGHT = 212    # five square columns and their gaps are then as wide as six above
PAIRS = 2                   # rows with two classes


@dataclass(frozen=True)
class Sources:
    """Where the pictures of a row come from.

    Attributes
    ----------
    image_root, annotation_root, truth : str
        Folders of NAME.jpg, NAME.xml and NAME.png.
    snapshot : str
        Folder of the run, with its score maps.
    infer_size : int
        Side of the network input they were made with.
    cam_seeds, icd_seeds : str
        Folders of NAME.png.
    """

    image_root: str
    annotation_root: str
    truth: str
    snapshot: str
    infer_size: int
    cam_seeds: str
    icd_seeds: str


@dataclass(frozen=True)
class Unseen:
    """Where the pictures of unseen images come from.

    Attributes
    ----------
    data : str
        Folder of the images and their truth, as `icd.demo.dataset.draw` made it.
    predictions : dict of str to str
        Folders of NAME.png, by what the network was trained on: cam, icd, truth.
    """

    data: str
    predictions: dict


def shown(names: list, labels: np.ndarray, pairs: int = PAIRS) -> list:
    """The names the picture shows: the first of each class alone, and the first `pairs` that show two classes.

    They are not chosen by how well they came out.

    Parameters
    ----------
    names : list of str
    labels : ndarray (len(names), classes)
        1 where the image shows a class.
    pairs : int

    Returns
    -------
    list of str
    """
    count = labels.sum(1)
    single = [np.flatnonzero((count == 1) & (labels[:, c] > 0))[:1] for c in range(labels.shape[1])]
    return [names[i] for i in np.concatenate(single + [np.flatnonzero(count == 2)[:pairs]])]


def draw(path: str, names: list, sources: Sources, unseen_names: list, unseen: Unseen):
    """Draw the picture, with a row for each name, to a JPEG file."""
    parts = [(_HEADINGS, [_row(name, sources) for name in names]),
             (('unseen image', *map(_UNSEEN_HEADINGS.get, unseen.predictions), 'truth'),
              [_unseen_row(name, unseen) for name in unseen_names])]
    rows = [row for headings, block in parts if block
            for row in [previews.headings(block[0].shape[1], headings), *block]]
    files.save_image(path, previews.vstack(rows), cv2.IMWRITE_JPEG_QUALITY, 88)


def _row(name, sources):
    image = images.read_image(images.image_path(sources.image_root, name))
    classes = voc.read_annotation(voc.annotation_path(sources.annotation_root, name), creatures.CLASS_NAMES)

    def heat(kind):
        """The positive scores of the image's classes, each divided by its maximum, in one map."""
        scores = score_map.read(score_map.path(sources.snapshot, kind, name), len(classes), sources.infer_size)
        scores = score_map.at_image_size(scores, image.shape[:2], sources.infer_size)
        return previews.heat(image, geometry.normalised(scores).max(0))

    seeds = [_over(image, folder, name) for folder in (sources.cam_seeds, sources.icd_seeds, sources.truth)]
    return _columns([image, heat('cam'), seeds[0], heat('icd'), *seeds[1:]], _ROW_HEIGHT)


def _unseen_row(name, unseen):
    image = images.read_image(images.image_path(os.path.join(unseen.data, 'JPEGImages'), name))
    folders = [*unseen.predictions.values(), os.path.join(unseen.data, 'SegmentationClass')]
    return _columns([image] + [_over(image, folder, name) for folder in folders], _UNSEEN_ROW_HEIGHT)


def _over(image, folder, name):
    return overlay.blend(image, masks.read_mask(os.path.join(folder, name + '.png')))


def _columns(pictures, height):
    width = round(pictures[0].shape[1] * height / pictures[0].shape[0])
    return previews.hstack([cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                            for picture in pictures])
