"""The report of a comparison: one HTML file with its plots and images inside, which needs nothing else."""
from __future__ import annotations

import base64
import os
from typing import Sequence

import cv2
import jinja2
import numpy as np

from icd import console, files
from icd.data import images, masks
from icd.data.geometry import IGNORE
from icd.errors import UserError
from icd.method.calibration import UNDECIDED
from icd.viz import overlay, plots, table

_THUMBNAIL = 320            # largest width of an image, pixels
_QUALITY = 84               # of its JPEG
_PAPER = 236                # grey behind masks without an image
_ROLES = {'pred': 'seed', 'truth': 'truth', 'versus': 'other seed'}


def css(colour: Sequence[int]) -> str:
    """An RGB colour as CSS."""
    red, green, blue = colour
    return f'rgb({red},{green},{blue})'


def _signed(value):
    return f'{value:+.1f}'.replace('-', '\N{MINUS SIGN}')


def _image(path, shape):
    """The image for masks of `shape`, or paper and the reason why it is not there."""
    paper = np.full((*shape, 3), _PAPER, np.uint8)
    if path is None:
        return paper, None
    try:
        image = images.read_image(path)
    except UserError as error:
        return paper, str(error)
    if image.shape[:2] != shape:
        return paper, f'{path}: of another size than the masks'
    return image, None


def data_uri(image: np.ndarray, widest: int = _THUMBNAIL) -> str:
    """An image (H, W, 3) uint8 BGR as the source of an `<img>`: JPEG, `widest` pixels wide at most."""
    height, width = image.shape[:2]
    if width > widest:
        image = cv2.resize(image, (widest, max(1, round(height * widest / width))), interpolation=cv2.INTER_AREA)
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()


def _shown(entry, folders, image_root, class_names):
    """One of the `worst` images for the template: with its masks over it, and the classes in them."""
    name = entry['name']
    drawn = {role: masks.read_mask(os.path.join(folder, name + '.png')) for role, folder in folders.items()}
    image, problem = _image(image_root and images.image_path(image_root, name), drawn['truth'].shape)
    pictures = [('image', data_uri(image))] if image_root and not problem else []
    pictures += [(_ROLES[role], data_uri(overlay.blend(image, mask))) for role, mask in drawn.items()]
    labels, palette = {**dict(enumerate(class_names)), IGNORE: 'ignored'}, masks.palette()
    found = sorted({int(i) for mask in drawn.values() for i in np.unique(mask)} - {0})
    return dict(entry, pictures=pictures, problem=problem, classes=[(labels[i], css(palette[i])) for i in found])


def _plots(result):
    """The plots of a result, as SVG."""
    names = list(result['IoU'])
    colours = dict(zip(names, masks.palette()))
    seeds = [result] + ([result['versus']] if 'versus' in result else [])
    return {'bars': plots.bars([(each['IoU'], each['IoU_defined']) for each in seeds], colours),
            'curve': plots.precision_coverage(result['curve']) if 'curve' in result else None,
            'confusion': plots.confusion_matrix(result['confusion'], names, colours)}


def page(result: dict, image_root: str | None = None) -> str:
    """The report.

    Parameters
    ----------
    result : dict
        Of `icd.steps.evaluate.run`. The masks of its `worst` images are read again.
    image_root : str, optional
        Folder of images. Where an image is missing the masks are shown alone and the reason with them.

    Returns
    -------
    str
        HTML that refers to no other file.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters.update(percent=plots.percent, signed=_signed)
    names, folders = list(result['IoU']), table.folders(result)
    shown = [_shown(entry, folders, image_root, names) for entry in console.progress(result['worst'], desc='images')]
    return environment.get_template('report.html').render(
        result=result, folders=folders, columns=table.columns(result), plots=_plots(result), images=shown,
        image_root=image_root, colours={name: css(colour) for name, colour in zip(names, masks.palette())},
        first=plots.FIRST, second=plots.SECOND, most_classes=plots.MOST_CLASSES, about_calibration=table.CALIBRATION,
        undecided=round(100 * UNDECIDED))


def write(path: str, result: dict, image_root: str | None = None):
    """Write the `page` of a result to `path`, whole or not at all."""
    files.save_bytes(path, page(result, image_root).encode(errors='replace'))
