"""The demo's picture: a row an image, from the image to its truth."""
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
_ROW_HEIGHT, _HEADING_HEIGHT = 176, 30
_PAIRS = 2                  # rows with two classes


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


def shown(names: list, labels: np.ndarray) -> list:
    """The names the picture shows: the first of each class alone, and the first two that show two classes.

    They are not chosen by how well they came out.

    Parameters
    ----------
    names : list of str
    labels : ndarray (len(names), classes)
        1 where the image shows a class.

    Returns
    -------
    list of str
    """
    count = labels.sum(1)
    single = [np.flatnonzero((count == 1) & (labels[:, c] > 0))[:1] for c in range(labels.shape[1])]
    return [names[i] for i in np.concatenate(single + [np.flatnonzero(count == 2)[:_PAIRS]])]


def draw(path: str, names: list, sources: Sources):
    """Draw the picture, with a row for each name, to a JPEG file."""
    rows = [_row(name, sources) for name in names]
    files.save_image(path, previews.vstack([_heading_row(rows[0].shape[1])] + rows), cv2.IMWRITE_JPEG_QUALITY, 88)


def _heading_row(width):
    heading = np.full((_HEADING_HEIGHT, width, 3), 255, np.uint8)
    column, font = width / len(_HEADINGS), (cv2.FONT_HERSHEY_DUPLEX, .55)
    for i, text in enumerate(_HEADINGS):
        (length, _), _ = cv2.getTextSize(text, *font, 1)
        cv2.putText(heading, text, (round(column * (i + .5) - length / 2), _HEADING_HEIGHT - 9), *font, (40, 40, 40), 1,
                    cv2.LINE_AA)
    return heading


def _row(name, sources):
    image = images.read_image(images.image_path(sources.image_root, name))
    classes = voc.read_annotation(voc.annotation_path(sources.annotation_root, name), creatures.CLASS_NAMES)

    def heat(kind):
        """The positive scores of the image's classes, each divided by its maximum, in one map."""
        scores = score_map.read(score_map.path(sources.snapshot, kind, name), len(classes), sources.infer_size)
        scores = score_map.at_image_size(scores, image.shape[:2], sources.infer_size)
        return previews.heat(image, geometry.normalised(scores).max(0))

    def over(folder):
        return overlay.blend(image, masks.read_mask(os.path.join(folder, name + '.png')))
    columns = [image, heat('cam'), over(sources.cam_seeds), heat('icd'), over(sources.icd_seeds), over(sources.truth)]
    width = round(image.shape[1] * _ROW_HEIGHT / image.shape[0])
    return previews.hstack([cv2.resize(column, (width, _ROW_HEIGHT), interpolation=cv2.INTER_AREA)
                            for column in columns])
