"""DeepLab-v2: a backbone at stride 8 and one dilated classifier (LargeFOV) or the sum of four (ASPP).

References
----------
Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab", TPAMI 2018 (LargeFOV: ICLR 2015).
"""
from __future__ import annotations

from icd.data.geometry import GREY
from icd.model import half
from icd.model.data_dependent import Layer
from icd.model.fast_dropout import ByMode, FullyConnected
from icd.model.resnet import PADDING, ResNet101
from icd.model.vgg import VGG16, convolution, scaled
from icd.mxnet_setup import HybridBlock, nn

NETWORKS = 'vgg16_largefov', 'vgg16_aspp', 'resnet101_largefov', 'resnet101_aspp'
LARGE_FOV, ASPP = 12, (6, 12, 18, 24)       # dilations of the classifiers
LAST_LAYER_RATE = 10.                       # multiplier of the learning rate of the last layers


class Sum(HybridBlock):
    """The sum of what blocks make of one input, after a block they share.

    Parameters
    ----------
    shared : HybridBlock or None
    branches : list of HybridBlock
    """

    def __init__(self, shared: HybridBlock | None, branches: list):
        super().__init__(prefix='')
        self.shared = shared
        self.branches = nn.HybridSequential(prefix='')
        self.branches.add(*branches)

    def hybrid_forward(self, F, x):
        if self.shared is not None:
            x = self.shared(x)
        scores = [branch(x) for branch in self.branches]
        return scores[0] if len(scores) == 1 else F.add_n(*scores)


def _branches(aspp):
    """Dilation and ending of the layers' names of each classifier."""
    return [(dilation, f'_aspp{dilation}') for dilation in ASPP] if aspp else [(LARGE_FOV, '')]


class Layers(HybridBlock):
    """From images to scores; see `DeepLab`."""

    def __init__(self, architecture: str, aspp: bool, num_classes: int, width: float, dropout: float, variant: str,
                 precision: str):
        super().__init__(prefix='')
        if architecture == 'vgg16':
            self.backbone, pool = VGG16(width, GREY, precision), nn.HybridSequential(prefix='')
            pool.add(nn.MaxPool2D(3, 1, 1), nn.AvgPool2D(3, 1, 1))
            self.head = Sum(pool, [
                FullyConnected(num_classes, self.backbone.channels, scaled(1024, width), dropout, dilation, branch,
                               precision)
                for dilation, branch in _branches(aspp)])
        else:
            self.backbone = ResNet101(width, variant, precision)
            self.head = Sum(None, [
                convolution('fc1' + branch, self.backbone.channels, num_classes, dilation=dilation, relu=False)
                for dilation, branch in _branches(aspp)])
            half.lower(self.head, precision, raises=True)

    def hybrid_forward(self, F, image):
        return self.head(self.backbone(image))


class DeepLab(HybridBlock):
    """A network of `NETWORKS`; `create` makes one.

    `hybridize(static_alloc=True, static_shape=True)` makes the call one graph, one for training and one for
    inference.

    Inputs
    ------
    image (N, 3, H, W) uint8 or float32 : RGB, 0..255; H and W of the form 8k+1. It is normalised inside.

    Outputs
    -------
    (N, C, h, w) float32 : scores (logits of a softmax), position i at pixel 8i

    Attributes
    ----------
    network : str
    num_classes : int
        C, background counted; it is class 0.
    width : float
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions; scores are float32.
    architecture : {'vgg16', 'resnet101'}
        Of the backbone: which pretrained weights fit.
    padding : (int, int, int)
        RGB of what is padded: the colour that is 0, or almost, once it is normalised.
    """

    def __init__(self, network: str, num_classes: int, width: float, dropout: float, variant: str, precision: str):
        super().__init__(prefix='')
        self.network, self.num_classes, self.width, self.precision = network, num_classes, width, precision
        self.architecture, _, head = network.partition('_')
        self.padding = (GREY,) * 3 if self.architecture == 'vgg16' else PADDING
        self.layers = Layers(self.architecture, head == 'aspp', num_classes, width, dropout, variant, precision)
        self.graphs = ByMode(self.layers)
        for name, parameter in self.collect_params().items():
            parameter.lr_mult = LAST_LAYER_RATE if name.startswith(('fc8', 'fc1')) else 1.
            parameter.wd_mult = 1. if name.endswith('_weight') else 0.

    def forward(self, x):
        return self.graphs(x)

    def chains(self, x) -> list:
        """What the branches of a VGG16 read, and their layers before fc8 (`icd.model.data_dependent`)."""
        if self.architecture != 'vgg16':
            return []
        pooled = self.layers.head.shared(self.layers.backbone(x))
        return [(pooled, [Layer('fc6' + branch, dilation), Layer('fc7' + branch)])
                for dilation, branch in _branches(self.network.endswith('aspp'))]


def create(network: str, num_classes: int, width: float = 1., dropout: float = .5,
           resnet_variant: str = 'v1b', precision: str = half.FLOAT32) -> DeepLab:
    """A DeepLab network, not initialised.

    Parameters
    ----------
    network : str
        One of `NETWORKS`.
    num_classes : int
        Background counted.
    width : float
        Multiplier of all channels but those of the scores; 1 for the papers' networks.
    dropout : float
        Fraction of fc6 and of fc7 that training drops; ResNet-101 has no dropout.
    resnet_variant : {'v1b', 'v1'}
        Of ResNet-101, see `icd.model.resnet.ResNet101`.
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions.

    Returns
    -------
    DeepLab

    Raises
    ------
    UserError
        For ResNet-101 where GluonCV is not installed.
    ValueError
        When there is no such network or variant.
    """
    if network not in NETWORKS:
        raise ValueError(f"no network {network!r}: choose from {', '.join(NETWORKS)}")
    return DeepLab(network, num_classes, width, dropout, resnet_variant, precision)
