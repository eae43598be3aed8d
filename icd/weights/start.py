"""Where the weights of a segmentation network come from when its training starts, and what is said about it."""
from __future__ import annotations

import re

from icd.model import deeplab
from icd.model.initial import initialize_missing
from icd.weights import load, pretrained, resnet101_names
from icd.weights.source_input import SourceInput


def resnet_variant(network: str, path: str, source: SourceInput | None = None) -> str:
    """Which variant of a ResNet-101 weights need: see `icd.model.resnet.ResNet101`.

    Parameters
    ----------
    network : str
        One of `icd.model.deeplab.NETWORKS`.
    path : str
        A file of pretrained weights, or a checkpoint; 'none' for a random start.
    source : SourceInput, optional
        The input pretrained weights were trained with; by default what the file's layout says.

    Returns
    -------
    str
        'v1b' where it does not matter.

    Raises
    ------
    UserError
        When the file is missing, damaged, or holds no ResNet-101.
    """
    if not network.startswith('resnet101') or path == 'none':
        return 'v1b'
    return resnet101_names.variant_of(pretrained.read(path, 'resnet101', source).values)


def read_start(net: deeplab.DeepLab, path: str, icd: str | None = None,
               source: SourceInput | None = None) -> tuple:
    """Weights that files give a segmentation network which is not trained yet.

    Parameters
    ----------
    net : DeepLab
        Need not be initialised.
    path : str
        Of pretrained weights, see `icd.weights.load.read_pretrained`. The branches of VGG16-ASPP all start from fc6
        and fc7 of the file, unless it holds their own.
    icd : str, optional
        Weights of a trained ICD, of which the convolutions are taken in place of the pretrained ones.
    source : SourceInput, optional
        The input the pretrained weights were trained with; by default what the file's layout says.

    Returns
    -------
    values : dict of str to ndarray
    notes : list of str
        A line for each file: what it is, its checksum, what was taken.

    Raises
    ------
    UserError
        When a file is missing, damaged or of another network.
    """
    given, description = _pretrained(path, net, source)
    backbone = load.pretrained_for(icd, net.layers.backbone) if icd else load.Pretrained({}, '')
    notes = []
    if path != 'none':
        notes.append(_note(description, net, [name for name in given if name not in backbone.values]))
    if icd:
        notes.append(_note(backbone.description, net, backbone.values))
    return {**given, **backbone.values}, notes


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
    notes = [f'weights drawn at random (seed {seed}): {_layers(net, drawn)}'] if drawn else []
    return initialize_missing(net, given, seed, he=not given), notes


def _pretrained(path, net, source):
    """What a file of pretrained weights gives, by name, and what it is."""
    found = load.pretrained_for(path, net, source)
    given = dict(found.values)
    if net.network == 'vgg16_aspp' and given:
        shared = load.read_pretrained(path, deeplab.create('vgg16_largefov', net.num_classes, net.width), source)
        for name in net.collect_params():
            shared_name = re.sub('^(fc[67])_aspp[0-9]+', r'\1', name)
            if name not in given and shared_name in shared:
                given[name] = shared[shared_name]
    return given, found.description


def _note(description, net, taken):
    return f"weights from {description.partition('; not in it')[0]}; taken: {_layers(net, taken)}"


def _layers(net, names):
    """Layers of parameters in the order of the network, named by the first and the last where they are many."""
    layers = list(dict.fromkeys(re.sub('_(weight|bias|gamma|beta|running_mean|running_var)$', '', name)
                                for name in net.collect_params() if name in names))
    if len(layers) <= 4:
        return ', '.join(layers) or 'nothing'
    return f'{layers[0]} to {layers[-1]} ({len(layers)} layers)'
