"""What an audit found: as text for a terminal, and as one HTML file that can be filtered and needs nothing else."""
from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Sequence

import jinja2
import numpy as np

from icd import files
from icd.data import geometry, masks
from icd.viz import overlay, previews, report

_NAMED = 10                 # images in the text
_PART_TITLES = {'cam': 'CAM', 'icd': 'ICD', 'superpixels': 'superpixels', 'share': 'share'}


@dataclass(frozen=True)
class Audit:
    """What a page shows.

    seeds : str
        Folder of the seeds.
    class_names : sequence of str
        Background left out.
    classes, images : list of dict
        See `icd.steps.audit.result`.
    shown : list of dict
        Those of `images` that have pictures.
    pictures : dict of int to list of (str, str)
        Caption and source of each picture, by `index`.
    reasons : dict of str to str
        Titles of the kinds of reasons.
    """

    seeds: str
    class_names: Sequence[str]
    classes: list
    images: list
    shown: list
    pictures: dict
    reasons: dict


def pictures(image: np.ndarray, cam: np.ndarray, icd: np.ndarray, seed: np.ndarray) -> list:
    """An image, its score maps and its seed, small.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        BGR.
    cam, icd : ndarray (n, H, W) float32
        Of its classes; what is shown is the largest fraction of a class's maximum.
    seed : ndarray (H, W) uint8

    Returns
    -------
    list of (str, str)
        Captions, and sources for `<img>`.
    """
    nothing = np.zeros((1, *image.shape[:2]), np.float32)
    heats = [previews.heat(image, np.concatenate([nothing, geometry.normalised(scores)]).max(0))
             for scores in (cam, icd)]
    drawn = [image, *heats, overlay.blend(image, seed)]
    return [(caption, report.data_uri(one)) for caption, one in zip(('image', 'CAM', 'ICD score', 'seed'), drawn)]


def _of_reasons(rows, reasons):
    """Number of images by kind of reason, without the kinds that no image has."""
    counts = Counter(kind for row in rows for kind in row['reasons'])
    return {kind: counts[kind] for kind in reasons if counts[kind]}


def page(audit: Audit) -> str:
    """The page as HTML that refers to no other file."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    colours = [report.css(colour) for colour in masks.palette()]
    suspicious = sum(bool(row['reasons']) for row in audit.images)
    agreement = sum(row['agreement'] * row['images'] for row in audit.classes) / max(
        1, sum(row['images'] for row in audit.classes))
    missing = [row['index'] for row in audit.classes if row['missing']]
    return environment.get_template('audit.html').render(
        audit=audit, counts=_of_reasons(audit.images, audit.reasons), titles=_PART_TITLES, suspicious=suspicious,
        agreement=100 * agreement, lost=sum('missing' in row['reasons'] for row in audit.images),
        classes_lost=len(missing), colours=colours, undecided=colours[geometry.IGNORE],
        in_use=sorted({c for row in audit.shown for c in row['classes']}))


def write(path: str, audit: Audit):
    """Write the `page` of an audit to `path`, whole or not at all."""
    files.save_bytes(path, page(audit).encode(errors='replace'))


def as_text(result: dict, reasons: dict) -> str:
    """The classes, the reasons and the ten most suspicious images as text.

    Parameters
    ----------
    result : dict
        Of `icd.steps.audit.run`.
    reasons : dict of str to str
        Titles of the kinds of reasons.

    Returns
    -------
    str
        Several lines.
    """
    width = max([len('class'), *(len(row['name']) for row in result['classes'])])
    lines = ['class'.ljust(width) + '  images  agreement, %  share, %  missing in']
    lines += [f"{row['name']:{width}}  {row['images']:6}  {100 * row['agreement']:12.1f}  {100 * row['share']:8.1f}  "
              f"{row['missing']:10}" + (f"  never without {row['never without']}" if row['never without'] else '')
              for row in result['classes']]
    lines += ['', 'images by reason: ' + (', '.join(
        f'{reasons[kind]} {count}' for kind, count in _of_reasons(result['images'], reasons).items()) or 'none')]
    lines += ['most suspicious:']
    lines += [f"{row['mistrust']:5.1f}  {row['name']}: {'; '.join(row['reasons'].values()) or 'no single reason'}"
              for row in result['images'][:_NAMED]]
    return '\n'.join(lines)
