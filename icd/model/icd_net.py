"""The whole network: class activation maps, bottom-up score and top-down score on one backbone."""
import zlib

import numpy as np

from icd.model import padded_input
from icd.model.icd_blocks import BottomUp, TopDown
from icd.model.sync_bn import BN_EPSILON, BN_MOMENTUM, Moments, Normalise
from icd.data.geometry import GREY, feature_size
from icd.model.vgg import VGG16, scaled
from icd.mxnet_setup import Block, HybridBlock, autograd, init, mx

INPUT_SPREAD = 64.          # standard deviation of a photograph's values, about
DROPPED = 1e30              # far below any activation, and far from overflow
STATE = 'icd_accum_resign_moving_mean'
AUXILIARY = ('feat_bn_moving_mean', 'feat_bn_moving_var', STATE)
_POOLED = 2                 # the two poolings before fc6 reach so far
COPIED = {'fc6_ft_weight': 'fc6_weight', 'fc6_ft_bias': 'fc6_bias',
          'fc7_ft_weight': 'fc7_weight', 'fc7_ft_bias': 'fc7_bias'}


class Backbone(VGG16):
    """`VGG16` on RGB values 0..255, uint8 or float32 (N, 3, H, W)."""

    def hybrid_forward(self, F, x):
        return self.layers(F.cast(x, 'float32') - GREY)


class ClassActivation(HybridBlock):
    """The CAM branch: features (N, c, h, w) -> class activation maps (N, C, h, w).

    Parameters
    ----------
    num_classes, in_channels, channels : int
    dropout : float
        Share of the activations dropped after fc6 and fc7.
    lengths : ((int, int), (int, int)), optional
        Height and width of the features, and of the top left part of them that goes on after the poolings.
    """

    def __init__(self, num_classes, in_channels, channels, dropout=0., lengths=((), ()), params=None):
        super().__init__(prefix='', params=params)
        self._dropout, self._lengths = dropout, lengths
        self._filters = {'fc6': (channels, 3), 'fc7': (channels, 1), 'fc8': (num_classes, 1)}
        for name, inputs in (('fc6', in_channels), ('fc7', channels), ('fc8', channels)):
            filters, kernel = self._filters[name]
            for part, shape in (('_weight', (filters, inputs, kernel, kernel)), ('_bias', (filters,))):
                setattr(self, name + part, self.params.get(name + part, shape=shape))

    def hybrid_forward(self, F, feature, fc6_weight, fc6_bias, fc7_weight, fc7_bias, fc8_weight, fc8_bias):
        x = F.Pooling(feature, kernel=(3, 3), pad=(1, 1), pool_type='max')
        x = F.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type='avg')
        x = padded_input.cut(F, x, *self._lengths)
        x = self._convolve(F, 'fc6', x, fc6_weight, fc6_bias)
        dropped = self._draw(F, x)
        kept = 1 / (1 - self._dropout)
        x = self._drop(F, x, dropped[0])
        x = self._drop(F, self._convolve(F, 'fc7', x, fc7_weight * kept, fc7_bias), dropped[1])
        return self._convolve(F, 'fc8', x, fc8_weight * kept, fc8_bias)

    def _convolve(self, F, name, x, weight, bias):
        filters, kernel = self._filters[name]
        return F.Convolution(x, weight, bias, kernel=(kernel, kernel), pad=(kernel // 2,) * 2, num_filter=filters)

    def _draw(self, F, x):
        """What to add to fc6 and fc7, whose shape `x` has: far below zero where to drop, else 0; None for nothing.

        One uniform number decides for both: it is below p with probability p, and in the interval of length p that
        starts at p - p^2 independently of that, for the two intervals share p^2. Drawing takes longer than all
        other arithmetic that is no convolution.
        """
        p = self._dropout
        if not p:
            return None, None
        drawn = F.random.uniform_like(x, 0, DROPPED)
        second = F.abs(drawn - DROPPED * (1.5 * p - p * p)) - DROPPED * p / 2
        return F.minimum(drawn - DROPPED * p, 0), F.minimum(second, 0)

    @staticmethod
    def _drop(F, x, dropped):
        """ReLU and dropout but for its factor 1 / (1 - p), which the next weights take.

        What is dropped is made negative before the ReLU: its backward pass then needs no mask, and memory and
        layout stay those of a network without dropout.
        """
        return F.Activation(x if dropped is None else x + dropped, act_type='relu')


class FeatureNorm(HybridBlock):
    """`feat_bn`: batch normalisation with gamma fixed to 1; (N, c, h, w) -> the same.

    Parameters
    ----------
    channels : int
    use_running : bool
        Normalise with the running statistics in training, too, and leave them as they are.
    """

    def __init__(self, channels, use_running):
        super().__init__(prefix='')
        self._words = dict(eps=BN_EPSILON, momentum=BN_MOMENTUM, fix_gamma=True, use_global_stats=use_running)
        for name, value in (('gamma', init.One()), ('moving_mean', init.Zero()), ('moving_var', init.One())):
            setattr(self, name, self.params.get('feat_bn_' + name, grad_req='null', shape=(channels,), init=value,
                                                differentiable=False))
        self.beta = self.params.get('feat_bn_beta', shape=(channels,), init=init.Zero())

    def hybrid_forward(self, F, x, gamma, beta, moving_mean, moving_var):
        return F.BatchNorm(x, gamma, beta, moving_mean, moving_var, **self._words)


class Branches(HybridBlock):
    """From conv5_3 and its normalisation, both (N, c, h, w), to the outputs of `ICDNet`."""

    def __init__(self, num_classes, in_channels, class_activation, top_down, params=None):
        super().__init__(prefix='', params=params)
        self.class_activation, self.top_down = class_activation, top_down
        self.bottom_up = BottomUp(num_classes)
        self.icd_bu_weight = self.params.get('icd_bu_weight', shape=(num_classes, in_channels))

    def hybrid_forward(self, F, conv5_3, feature, icd_bu_weight):
        return (self.class_activation(conv5_3), self.bottom_up(feature, icd_bu_weight), self.top_down(feature),
                feature)


class Whole(HybridBlock):
    """The parts of a network as one graph."""

    def __init__(self, backbone, feature_norm, branches):
        super().__init__(prefix='')
        self.backbone, self.feature_norm, self.branches = backbone, feature_norm, branches

    def hybrid_forward(self, F, x):
        conv5_3 = self.backbone(x)
        return self.branches(conv5_3, self.feature_norm(conv5_3))


class ICDNet(Block):
    """ICD on VGG16, with the original's parameter names.

    `hybridize(static_alloc=True, static_shape=True)` makes the call one graph, one for training and one for
    inference. The parts `backbone`, `feature_norm` and `branches` (with dropout) can also be called on their own,
    which is how `icd.model.sync_bn` puts statistics of all devices in between.

    Parameters
    ----------
    num_classes : int
        C, background not counted.
    width : float
        Multiplier of all channels; 1 for the paper's network.
    dropout : float
    freeze_bn : bool
        Batch normalisation with its running statistics in training, too.

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

    def __init__(self, num_classes=20, width=1., dropout=.5, freeze_bn=False):
        super().__init__(prefix='')
        self.num_classes, self.width, self.freeze_bn = num_classes, width, freeze_bn
        self.backbone = Backbone(width)
        features, channels = self.backbone.channels, scaled(1024, width)
        self.feature_norm = FeatureNorm(features, freeze_bn)
        # Dropout is a matter of the graph here, so training and inference have one each, of the same parameters.
        activation = ClassActivation(num_classes, features, channels, dropout)
        top_down = TopDown(num_classes, features, channels)
        self.branches = Branches(num_classes, features, activation, top_down)
        self.inference_branches = Branches(
            num_classes, features, ClassActivation(num_classes, features, channels, params=activation.params),
            top_down, params=self.branches.params)
        self.training_graph = Whole(self.backbone, self.feature_norm, self.branches)
        self.inference_graph = Whole(self.backbone, self.feature_norm, self.inference_branches)
        self.moments, self.normalise = Moments(), Normalise()
        self.icd_accum_resign_moving_mean = self.params.get(
            STATE, grad_req='null', shape=(num_classes, 2), init=init.Zero(), differentiable=False)
        for name, parameter in self.collect_params().items():
            parameter.lr_mult = 10. if name.startswith('fc8_') or name == 'conv_ft_weight' else 1.
            parameter.wd_mult = 1. if name.endswith(('_weight', '_gamma')) else 0.

    @property
    def icd_bu_weight(self):
        return self.branches.icd_bu_weight

    def forward(self, x):
        return (self.training_graph if autograd.is_training() else self.inference_graph)(x)


# ----------------------------------------------------------------------------------------------- starting values
def starting_values(net, seed, names=None, he=False):
    """Values for parameters a pretrained file does not give.

    Each parameter has a generator of its own, seeded by its name and `seed`: values depend neither on the order
    nor on which others are drawn.

    Parameters
    ----------
    net : ICDNet or VGG16
    seed : int
    names : iterable of str, optional
        Parameters wanted; by default all.
    he : bool
        Draw backbone, fc6 and fc7 with standard deviation sqrt(2 / fan in) (He et al. 2015), with which ReLU
        networks train from nothing, in place of the original's 0.01. conv1_1 also brings its input, whose
        values are around 64, to the order of 1.

    Returns
    -------
    dict of str to numpy.ndarray
        float32: weights N(0, 0.01), biases and running means 0, gamma and running variance 1.
        `fc6_ft`, `fc7_ft` are not copied from `fc6`, `fc7` here, see `initialize_missing`.
    """
    parameters = net.collect_params()
    values = {}
    for name in parameters if names is None else names:
        shape = parameters[name].shape
        if name.endswith('_weight'):
            generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) & 0xffffffff)
            deviation = np.sqrt(2. / np.prod(shape[1:])) if he and name.startswith(('conv', 'fc6', 'fc7')) \
                and name != 'conv_ft_weight' else .01
            if he and name == 'conv1_1_weight':
                deviation /= INPUT_SPREAD
            values[name] = (deviation * generator.standard_normal(shape)).astype(np.float32)
        else:
            one = name.endswith(('_gamma', '_moving_var'))
            values[name] = np.full(shape, 1 if one else 0, np.float32)
    return values


def initialize_missing(net, given, seed, he=False):
    """Complete `given` values of some parameters to those of all, as the original starts.

    Parameters
    ----------
    net : ICDNet or VGG16
    given : dict of str to array
        What a pretrained file holds. Not changed.
    seed, he : see `starting_values`

    Returns
    -------
    dict of str to array
        `fc6_ft` and `fc7_ft` are copies of `fc6` and `fc7` unless `given`.
    """
    copied = {name: source for name, source in COPIED.items() if name in net.collect_params() and name not in given}
    values = dict(given)
    values.update(starting_values(net, seed, [name for name in net.collect_params()
                                              if name not in given and name not in copied], he))
    values.update({name: values[source] for name, source in copied.items()})
    return values


def set_values(net, values, ctx=None):
    """Give a network its parameters.

    Parameters
    ----------
    net : ICDNet or VGG16
    values : dict of str to array
        Of all names, numpy or NDArray.
    ctx : mxnet.Context or list of them, optional
        Devices to put them on; by default where the network is, or the CPU.
    """
    parameters = net.collect_params()
    try:
        present = next(iter(parameters.values())).list_ctx()
    except RuntimeError:                # not initialised
        present = None
    wanted = [ctx] if isinstance(ctx, mx.Context) else ctx or present or [mx.cpu()]
    if wanted != present:
        net.initialize(init.Zero(), ctx=wanted, force_reinit=True)
    for name, parameter in parameters.items():
        parameter.set_data(mx.nd.array(values[name]))


# --------------------------------------------------------------------------------------------- graphs for parts
class ScoreMaps(HybridBlock):
    """What inference needs of a network, sharing its parameters.

    Only the positions are computed that a photograph in the top left corner of the input covers, see
    `icd.model.padded_input`.

    Parameters
    ----------
    net : ICDNet
    side : int
        Side of the input.
    extents : (int, int)
        Height and width of the maps wanted. See `icd.model.padded_input.extents`.

    Inputs
    ------
    data (N, 3, side, side) uint8 or float32 : RGB, 0..255
    canvases : those of `grey_canvases` that `backbone.needed` chooses

    Outputs
    -------
    cam, top_down (N, C, *extents)
    """

    def __init__(self, net, side, extents):
        super().__init__(prefix='')
        whole = feature_size(side)
        self._extents = tuple(extents)
        self._seen = tuple(min(length + 1, whole) for length in extents)        # the next convolution is 3x3
        self.backbone = padded_input.CoveredVGG16(net.backbone, side, extents, _POOLED + 1, GREY)
        branch = net.inference_branches.class_activation
        self.class_activation = ClassActivation(net.num_classes, net.backbone.channels, scaled(1024, net.width),
                                                lengths=(self.backbone.lengths, self._seen), params=branch.params)
        self.feature_norm, self.top_down = net.feature_norm, net.branches.top_down

    def hybrid_forward(self, F, x, *canvases):
        conv5_3 = self.backbone(x, *canvases)
        feature = padded_input.cut(F, self.feature_norm(conv5_3), self.backbone.lengths, self._seen)
        return tuple(padded_input.cut(F, maps, self._seen, self._extents)
                     for maps in (self.class_activation(conv5_3), self.top_down(feature)))


def grey_canvases(net, side, device):
    """What `ScoreMaps` of a network need besides images, on a device."""
    return padded_input.canvases(net.backbone, side, device, GREY)
