"""Batch normalisation of the features over all devices of a node (`--sync-bn`)."""
from __future__ import annotations

from icd.mxnet_setup import Block, HybridBlock, autograd

BN_EPSILON, BN_MOMENTUM = 1e-5, .9


class Moments(HybridBlock):
    """Mean and (biased) variance per channel: (N, c, h, w) -> (1, c, 1, 1), (1, c, 1, 1)."""

    def __init__(self):
        super().__init__(prefix='')

    def hybrid_forward(self, F, x):
        mean = F.mean(x, axis=(0, 2, 3), keepdims=True)
        return mean, F.mean(F.square(F.broadcast_sub(x, mean)), axis=(0, 2, 3), keepdims=True)


class Normalise(HybridBlock):
    """(x (N, c, h, w), mean and variance (1, c, 1, 1), beta (c,)) -> normalised x, as `feat_bn` does."""

    def __init__(self):
        super().__init__(prefix='')

    def hybrid_forward(self, F, x, mean, variance, beta):
        scale = F.rsqrt(variance + BN_EPSILON)
        return F.broadcast_add(F.broadcast_mul(F.broadcast_sub(x, mean), scale), F.reshape(beta, (1, -1, 1, 1)))


class Branches(HybridBlock):
    """What comes after normalisation: conv5_3 and its normalised feature (N, c, h, w) -> the outputs of `ICDNet`.

    Parameters
    ----------
    layers : icd.model.icd_net.Layers
        Shares their parameters.
    """

    def __init__(self, layers: HybridBlock):
        super().__init__(prefix='', params=layers.params)
        self.class_activation, self.top_down = layers.class_activation, layers.top_down
        self.bottom_up = layers.bottom_up
        self.icd_bu_weight = self.params.get('icd_bu_weight')

    def hybrid_forward(self, F, conv5_3, feature, icd_bu_weight):
        return (self.class_activation(conv5_3), self.bottom_up(feature, icd_bu_weight), self.top_down(feature),
                feature)


def combine(moments: list, counts: list) -> tuple:
    """Mean and variance of all from those of parts (Chan, Golub & LeVeque 1979): no difference of large sums.

    Parameters
    ----------
    moments : list of (NDArray, NDArray)
        Mean and variance of every part, on any device.
    counts : list of int
        Values each is of.

    Returns
    -------
    mean, variance : NDArray
        On the device of the first part. Gradients flow back to every part.
    """
    device = moments[0][0].context
    fractions = [float(count) / sum(counts) for count in counts]
    moments = [(mean.as_in_context(device), variance.as_in_context(device)) for mean, variance in moments]
    mean = sum(fraction * m for fraction, (m, _) in zip(fractions, moments))
    return mean, sum(fraction * (v + (m - mean) ** 2) for fraction, (m, v) in zip(fractions, moments))


def forward_synchronised(net: Block, xs: list) -> list:
    """The network's outputs with `feat_bn` statistics over the images of all devices.

    Under `autograd.record` the running statistics of every device take one step to the common ones. Backward must
    start from the losses of all devices together (`autograd.backward(losses)`), because each one's statistics
    depend on all images. Outside training it is the network's own forward.

    Parameters
    ----------
    net : ICDNet
        Initialised on the devices of `xs`.
    xs : list of NDArray
        Images, see `ICDNet`, one array a device.

    Returns
    -------
    list of (cam, bottom_up, top_down, feature)
        As `net(x)` gives, one a device.
    """
    if net.freeze_bn or not autograd.is_training():
        return [net(x) for x in xs]
    layers = net.layers
    features = [layers.backbone(x) for x in xs]
    statistics = combine([net.moments(f) for f in features], [f.size // f.shape[1] for f in features])
    outputs = []
    for conv5_3 in features:
        mean, variance = (s.as_in_context(conv5_3.context) for s in statistics)
        feature = net.normalise(conv5_3, mean, variance, layers.feature_norm.beta.data(conv5_3.context))
        outputs.append(net.branches(conv5_3, feature))
        if autograd.is_recording():
            _move_running(layers.feature_norm, mean, variance)
    return outputs


def _move_running(feature_norm, mean, variance):
    with autograd.pause():
        for parameter, value in ((feature_norm.moving_mean, mean), (feature_norm.moving_var, variance)):
            running = parameter.data(value.context)
            running[:] = BN_MOMENTUM * running + (1 - BN_MOMENTUM) * value.reshape(-1)
