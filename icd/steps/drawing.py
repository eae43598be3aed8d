"""Masks of a folder in colours, next to it: what `--colour` asks for."""
from __future__ import annotations

import os
from typing import Sequence

from icd import console, files, parallel
from icd.data import images
from icd.outputs import Input, Outputs
from icd.viz import overlay


def draw(folder: str, names: Sequence[str], image_root: str, num_process: int):
    """Draw the masks of a folder that have changed since they were drawn (`icd.viz.overlay.drawn_folders`).

    Parameters
    ----------
    folder : str
        Of NAME.png.
    names : sequence of str
    image_root : str
    num_process : int

    Raises
    ------
    UserError
        When a mask or an image is missing or damaged.
    """
    (colours, png), (overlays, jpg) = overlay.drawn_folders(folder)
    drawn, wanted = Outputs(overlays, 'drawn seeds', {}), {}
    for name in console.patient_progress(names, 'drawings that are there'):
        paths = [os.path.join(folder, name + '.png'), images.image_path(image_root, name),
                 os.path.join(colours, name + png), os.path.join(overlays, name + jpg)]
        made_from = [Input(path) for path in paths[:2]]
        if not drawn.is_current(name, paths[2:], made_from):
            wanted[name] = paths, made_from
    sub_folders = files.sub_folders(names)
    with drawn.writing(wanted, sub_folders), files.folder_lock(colours), files.nothing_partial(colours, sub_folders):
        for name, identities in parallel.process_map(_draw_one, wanted.items(), num_process, len(wanted),
                                                     desc='drawings') if wanted else ():
            drawn.record(name, identities)


def _draw_one(item):
    name, (paths, made_from) = item
    overlay.draw_seed(paths)
    return name, [one.identity() for one in made_from]
