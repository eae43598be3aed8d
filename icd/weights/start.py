"""Where the weights of a segmentation network come from when its training starts, and what is said about it."""
from __future__ import annotations

import re

from icd import files
from icd.model import deeplab
from icd.model.initial import initialize_missing
from icd.weights import load


def read_start(net: deeplab.DeepLab, pretrained: str, icd: str | None = None) -> tuple:
    """Weights that files give a segmentation network which is not trained yet.

    Parameters
    ----------
    net : DeepLab
        Need not be initialised.
    pretrained : str
        See `icd.weights.load.read_pretrained`. The branches of VGG16-ASPP all start from fc6 and fc7 of the file,
        unless it holds their own.
    icd : str, optional
        Weights of a trained ICD, of which the convolutions are taken in place of the pretrained ones.

    Returns
    -------
    values : dict of str to ndarray
    notes : list of str
        A line for each file.

    Raises
    ------
    UserError
        When a file is missing, damaged or of another network.
    """
    given = _pretrained(pretrained, net)
    backbone = load.read_pretrained(icd, net.layers.backbone) if icd else {}
    notes = []
    if pretrained != 'none':
        notes.append(_note(pretrained, [name for name in net.collect_params() if name in given and
                                        name not in backbone]))
    if icd:
        notes.append(_note(icd, [name for name in net.collect_params() if name in backbone]))
    return {**given, **backbone}, notes


def segmentation_start(net: deeplab.DeepLab, given: dict, seed: int) -> tuple:
    """Values of all parameters of a segmentation network that is not trained yet.

    Parameters
    ----------
    net : DeepLab
    given : dict of str to ndarray
        What files give, see `read_start`.
    seed : int
        Of what they do not.

    Returns
    -------
    values : dict of str to ndarray
    notes : list of str
        A line for what is drawn.
    """
    drawn = [name for name in net.collect_params() if name not in given]
    notes = [f'weights drawn at random (seed {seed}): {_layers(drawn)}'] if drawn else []
    return initialize_missing(net, given, seed, he=not given), notes


def _pretrained(path, net):
    given = load.read_pretrained(path, net)
    if net.network == 'vgg16_aspp' and given:
        shared = load.read_pretrained(path, deeplab.create('vgg16_largefov', net.num_classes, net.width))
        for name in net.collect_params():
            source = re.sub('^(fc[67])_aspp[0-9]+', r'\1', name)
            if name not in given and source in shared:
                given[name] = shared[source]
    return given


def _note(path, names):
    return f'weights from {path} (CRC-32 {files.checksum(path):08x}): {_layers(names)}'


def _layers(names):
    """Layers of parameters, named by the first and the last where they are many."""
    found = list(dict.fromkeys(re.sub('_(weight|bias|gamma|beta|running_mean|running_var)$', '', name)
                               for name in names))
    if len(found) <= 4:
        return ', '.join(found) or 'nothing'
    return f'{found[0]} to {found[-1]} ({len(found)} layers)'
