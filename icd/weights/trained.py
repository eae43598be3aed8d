"""Trained networks on disk: the newest checkpoint of a folder, and what the weights alone tell. No MXNet here."""
from __future__ import annotations

import json
import os
import re
from typing import Mapping, NamedTuple

import numpy as np

from icd.data import images, voc
from icd.data.geometry import GREY
from icd.errors import UserError
from icd.weights import formats

ICD = 'vgg16_icd'
MEAN = (.485, .456, .406)       # of the images ResNet-101 was trained on, as in icd.model.resnet, which needs MXNet
_ROUNDING = 1e-3                # by which a width may differ from that of the rounded channels
_CHECKPOINT = re.compile(r'(.+)-(\d{4,})\.params')
_GIVE = 'give a checkpoint of icd-run or icd-segment train'


class Trained(NamedTuple):
    """A trained network.

    path : str
    network : str
        'vgg16_icd', or one of `icd.model.deeplab.NETWORKS`.
    width : float
    class_names : tuple of str
        One a score: background first, but for ICD, which has no score of it.
    arrays : dict of str to ndarray
        The weights by their names in the network, float32.
    """

    path: str
    network: str
    width: float
    class_names: tuple
    arrays: dict


# ---------------------------------------------------------------------------------------- what the weights tell
def network_of(arrays: Mapping) -> str:
    """Which network weights belong to, by their names: 'vgg16_icd', or one of `icd.model.deeplab.NETWORKS`.

    Raises
    ------
    ValueError
        When they are those of none.
    """
    if 'conv1_1_weight' in arrays and 'icd_bu_weight' in arrays:
        return ICD
    for backbone, layer, head in (('vgg16', 'conv1_1_weight', 'fc8'), ('resnet101', 'layer1_0_conv0_weight', 'fc1')):
        for kind, last in (('aspp', head + '_aspp6_weight'), ('largefov', head + '_weight')):
            if layer in arrays and last in arrays:
                return f'{backbone}_{kind}'
    raise ValueError('not the weights of a network that was trained here')


def _first(arrays, names):
    for name in names:
        if name in arrays:
            return len(arrays[name])
    raise ValueError('not the weights of a network that was trained here')


def number_of_classes(arrays: Mapping) -> int:
    """Scores that a network gives: of ICD background not counted, of the others counted."""
    return _first(arrays, ('icd_bu_weight', 'fc8_weight', 'fc8_aspp6_weight', 'fc1_weight', 'fc1_aspp6_weight'))


def width_of(arrays: Mapping) -> float:
    """Multiplier of the channels, by the layers that have the most."""
    if 'layer4_0_conv2_weight' in arrays:
        return len(arrays['layer4_0_conv2_weight']) / 2048
    return _first(arrays, ('fc7_weight', 'fc7_aspp6_weight')) / 1024


def padding_of(network: str) -> list:
    """RGB of what images are padded with: about 0 once it is normalised."""
    return [GREY] * 3 if network.startswith('vgg16') else [round(255 * mean) for mean in MEAN]


# ----------------------------------------------------------------------------------------------------- the files
def newest(folder: str, epoch: int | None = None, several: str = 'name one file with --model') -> str:
    """File of the weights of a training.

    Parameters
    ----------
    folder : str
        Of its checkpoints, `PREFIX-0019.params`.
    epoch : int, optional
        From 0; by default the last that is there.
    several : str
        What to do where the folder holds those of several trainings.

    Raises
    ------
    UserError
        When there is no such folder or checkpoint, or it holds those of several trainings.
    """
    if not os.path.isdir(folder):
        raise UserError('no such folder', f'--snapshot {folder}', 'give the folder of a training')
    found = [match for match in map(_CHECKPOINT.fullmatch, os.listdir(folder)) if match
             and not match.group(1).endswith('-resume')]
    prefixes = sorted({match.group(1) for match in found})
    if len(prefixes) > 1:
        raise UserError(f"holds checkpoints of several trainings ({', '.join(prefixes)})", folder, several)
    epochs = {int(match.group(2)): match.group(0) for match in found}
    if not epochs:
        raise UserError('holds no checkpoint', folder, 'give the folder of a training')
    if epoch is not None and epoch not in epochs:
        raise UserError(f'holds no checkpoint of epoch {epoch}', folder,
                        f'give one of {min(epochs)} to {max(epochs)}, or leave --epoch out')
    return os.path.join(folder, epochs[max(epochs) if epoch is None else epoch])


def read(path: str, class_names: str | None = None) -> Trained:
    """Read a checkpoint.

    Parameters
    ----------
    path : str
        Of any format that weights are read in.
    class_names : str, optional
        File of the class names, background left out; by default `PREFIX.json` beside the checkpoint tells them, else
        they are VOC's where the number fits.

    Raises
    ------
    UserError
        When the file is missing, damaged or not that of a trained network, or the class names do not fit.
    """
    arrays = {re.sub('^(arg|aux):', '', name): np.asarray(array, np.float32)
              for name, array in formats.read(path, 'check the path').items()}
    try:
        network, count, width = network_of(arrays), number_of_classes(arrays), width_of(arrays)
    except ValueError as error:
        raise UserError(str(error), path, _GIVE) from None
    background, recorded = () if network == ICD else ('background',), _recorded(path)
    names = _names(recorded.get('class_names'), class_names, count - len(background))
    # Channels are rounded, so they tell a width nearly; the one that was given is the better where they agree.
    given = recorded.get('width')
    exact = isinstance(given, (int, float)) and abs(given - width) < _ROUNDING
    return Trained(path, network, float(given) if exact else width, background + names, arrays)


def _names(recorded, class_names, count):
    """Names of the classes without background."""
    if class_names is not None:
        names = voc.read_class_names(class_names)
        if len(names) != count:
            raise UserError(f'names {len(names)} classes, the network has {count}', f'--class-names {class_names}',
                            'give the file it was trained with')
        return names
    if isinstance(recorded, list) and len(recorded) in (count, count + 1) and all(
            isinstance(name, str) for name in recorded):
        return tuple(recorded[-count:])
    return voc.CATEGORIES if count == len(voc.CATEGORIES) else tuple(f'class {i}' for i in range(1, count + 1))


def _recorded(path):
    """What a training recorded beside its checkpoints."""
    folder, name = os.path.split(path)
    match = _CHECKPOINT.fullmatch(name)
    try:
        found = match and json.loads(images.read_bytes(os.path.join(folder, match.group(1) + '.json'), ''))
    except (UserError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}
