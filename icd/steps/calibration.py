"""How well the sign of every class is decided in a finished run: of its newest checkpoint and its score maps."""
from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from icd import console
from icd.data import score_map
from icd.errors import Problems, UserError
from icd.method import calibration
from icd.weights import trained

STATE = 'icd_accum_resign_moving_mean'      # as in icd.model.icd_net, which needs MXNet


def margins(snapshot: str, num_classes: int) -> np.ndarray:
    """Margins (C,) of a checkpoint, as `icd.method.calibration.margins` gives them.

    Parameters
    ----------
    snapshot : str
        Folder of a training.
    num_classes : int
        Background not counted.

    Raises
    ------
    UserError
        When there is no checkpoint of ICD, or one of another number of classes.
    """
    path = trained.newest(snapshot, several='leave those of one of them there')
    found = trained.read(path)
    if found.network != trained.ICD or STATE not in found.arrays:
        raise UserError('no checkpoint of ICD, whose calibration decides signs', path, 'give --snapshot of icd-run')
    if len(found.class_names) != num_classes:
        raise UserError(f'a network of {len(found.class_names)} classes, and {num_classes} are evaluated', path,
                        'give the --class-names that it was trained with')
    return calibration.margins(found.arrays[STATE])


def agreement(snapshot: str, classes: Mapping[str, Sequence[int]], num_classes: int, infer_size: int,
              skip_bad: bool = False) -> np.ndarray:
    """Correlation (C,) of ICD scores with CAM, as `icd.method.calibration.Agreement` gives it.

    Parameters
    ----------
    snapshot : str
        Folder of a run that has inferred.
    classes : dict of str to sequence of int
        Of each image, background not counted.
    num_classes : int
        Background not counted.
    infer_size : int
        Side of the network input the scores were made with.
    skip_bad : bool
        Leave out images whose score maps are missing or damaged.

    Raises
    ------
    UserError
        When a score map is missing or damaged, unless these are left out.
    """
    problems, found = Problems(), calibration.Agreement(num_classes)
    with_classes = [(name, own) for name, own in classes.items() if own]
    for name, own in console.progress(with_classes, desc='calibration'):
        paths = [score_map.path(snapshot, kind, name) for kind in score_map.KINDS]
        try:
            found.add(own, *(score_map.read(path, len(own), infer_size) for path in paths))
        except UserError as error:
            problems.add_error(error)
    if not skip_bad:
        problems.raise_if_any()
    return found.correlations()
