"""The whole network: class activation maps, bottom-up score and top-down score on one backbone."""
from __future__ import annotations

from icd.data.geometry import GREY
from icd.model import half
from icd.model.data_dependent import Layer
from icd.model.fast_dropout import ByMode, FullyConnected
from icd.model.icd_blocks import BottomUp, TopDown
from icd.model.sync_bn import BN_EPSILON, BN_MOMENTUM, Branches, Moments, Normalise
from icd.model.vgg import VGG16, scaled
from icd.mxnet_setup import Block, HybridBlock, init, nn

STATE = 'icd_accum_resign_moving_mean'
AUXILIARY = ('feat_bn_moving_mean', 'feat_bn_moving_var', STATE)


class ClassActivation(HybridBlock):
    """The CAM branch: conv5_3 (N, c, h, w) -> class activation maps (N, C, h, w).

    Parameters
    ----------
    num_classes, in_channels, channels : int
        C, c, and the channels of fc6 and fc7.
    dropout : float
        Fraction of the activations of fc6 and of fc7 that training drops.
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions.
    """

    def __init__(self, num_classes: int, in_channels: int, channels: int, dropout: float,
                 precision: str = half.FLOAT32):
        super().__init__(prefix='')
        self.pool = nn.HybridSequential(prefix='')
        self.pool.add(nn.MaxPool2D(3, 1, 1), nn.AvgPool2D(3, 1, 1))
        self.classifier = FullyConnected(num_classes, in_channels, channels, dropout, precision=precision)

    def hybrid_forward(self, F, conv5_3):
        return self.classifier(self.pool(conv5_3))


class FeatureNorm(HybridBlock):
    """`feat_bn`: batch normalisation with gamma fixed to 1; (N, c, h, w) -> the same.

    Parameters
    ----------
    channels : int
    use_running : bool
        Normalise with the running statistics in training, too, and leave them as they are.
    """

    def __init__(self, channels: int, use_running: bool):
        super().__init__(prefix='')
        self._kwargs = dict(eps=BN_EPSILON, momentum=BN_MOMENTUM, fix_gamma=True, use_global_stats=use_running)
        for name, value in (('gamma', init.One()), ('moving_mean', init.Zero()), ('moving_var', init.One())):
            setattr(self, name, self.params.get(f'feat_bn_{name}', grad_req='null', shape=(channels,), init=value,
                                                differentiable=False))
        self.beta = self.params.get('feat_bn_beta', shape=(channels,), init=init.Zero())

    def hybrid_forward(self, F, x, gamma, beta, moving_mean, moving_var):
        return F.BatchNorm(x, gamma, beta, moving_mean, moving_var, **self._kwargs)


class Layers(HybridBlock):
    """From images to the outputs of `ICDNet`, as the paper draws it (figure 2).

    Parameters
    ----------
    num_classes, width, dropout, freeze_bn, precision : see `ICDNet`
    """

    def __init__(self, num_classes: int, width: float, dropout: float, freeze_bn: bool, precision: str):
        super().__init__(prefix='')
        self.backbone = VGG16(width, GREY, precision)
        features, channels = self.backbone.channels, scaled(1024, width)
        # In this order the norm of the gradient is summed up (`--clip-gradient`): another one would round differently.
        self.feature_norm = FeatureNorm(features, freeze_bn)
        self.class_activation = ClassActivation(num_classes, features, channels, dropout, precision)
        self.bottom_up = BottomUp(num_classes)
        self.icd_bu_weight = self.params.get('icd_bu_weight', shape=(num_classes, features))
        self.top_down = TopDown(num_classes, features, channels, precision)

    def hybrid_forward(self, F, image, icd_bu_weight):
        conv5_3 = self.backbone(image)
        cam = self.class_activation(conv5_3)
        feature = self.feature_norm(conv5_3)
        bottom_up = self.bottom_up(feature, icd_bu_weight)
        top_down = self.top_down(feature)
        return cam, bottom_up, top_down, feature


class ICDNet(Block):
    """ICD on VGG16, with the original's parameter names.

    `hybridize(static_alloc=True, static_shape=True)` makes the call one graph, one for training and one for
    inference. `icd.model.sync_bn` calls the parts before and after `feature_norm` on their own, in training, to put
    statistics of all devices in between.

    Parameters
    ----------
    num_classes : int
        C, background not counted.
    width : float
        Multiplier of all channels; 1 for the paper's network.
    dropout : float
    freeze_bn : bool
        Batch normalisation with its running statistics in training, too.
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions. Parameters and all outputs are float32, and so is the bottom-up score, whose sign counts.

    Inputs
    ------
    data (N, 3, H, W) uint8 or float32 : RGB, 0..255; H and W of the form 8k+1

    Outputs
    -------
    cam (N, C, h, w), bottom_up (N, C, h, w) : bottom-up score before sign calibration, no gradient
    top_down (N, C, h, w) : logits
    feature (N, 512 * width, h, w) : batch-normalised conv5_3

    Attributes
    ----------
    icd_bu_weight, icd_accum_resign_moving_mean : gluon.Parameter
        Bottom-up weight (C, c) and calibration state (C, 2); the losses take both as inputs.
    """

    def __init__(self, num_classes: int = 20, width: float = 1., dropout: float = .5, freeze_bn: bool = False,
                 precision: str = half.FLOAT32):
        super().__init__(prefix='')
        self.num_classes, self.width, self.freeze_bn, self.precision = num_classes, width, freeze_bn, precision
        self.layers = Layers(num_classes, width, dropout, freeze_bn, precision)
        self.graphs = ByMode(self.layers)
        self.moments, self.normalise, self.branches = Moments(), Normalise(), Branches(self.layers)
        self.icd_accum_resign_moving_mean = self.params.get(
            STATE, grad_req='null', shape=(num_classes, 2), init=init.Zero(), differentiable=False)
        for name, parameter in self.collect_params().items():
            parameter.lr_mult = 10. if name.startswith('fc8_') or name == 'conv_ft_weight' else 1.
            parameter.wd_mult = 1. if name.endswith(('_weight', '_gamma')) else 0.

    @property
    def icd_bu_weight(self):
        return self.layers.icd_bu_weight

    def forward(self, x):
        return self.graphs(x)

    def chains(self, x) -> list:
        """What the two branches read, and their layers before the classifiers (`icd.model.data_dependent`)."""
        conv5_3 = self.layers.backbone(x)
        mean = conv5_3.mean(axis=(0, 2, 3), keepdims=True)
        deviation = ((conv5_3 - mean).square().mean(axis=(0, 2, 3), keepdims=True) + BN_EPSILON).sqrt()
        return [(self.layers.class_activation.pool(conv5_3), [Layer('fc6'), Layer('fc7')]),
                ((conv5_3 - mean) / deviation, [Layer('fc6_ft'), Layer('fc7_ft')])]
