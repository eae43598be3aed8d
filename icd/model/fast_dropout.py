"""fc6, fc7, fc8 with dropout after the first two, of one random draw and without masks.

What it computes has the distribution of::

    x = Dropout(p)(relu(fc6(x)))
    x = Dropout(p)(relu(fc7(x)))
    x = fc8(x)

- *One draw.* A uniform number u of [0, 1) decides for both layers, which have one shape: fc6 is dropped where u is
  below p, fc7 where u is in [p - p^2, 2p - p^2). Both intervals have length p and they share p^2, so the two decisions
  are independent. Drawing takes longer than all other arithmetic of the network that is no convolution.
- *No mask.* What is dropped is made negative *before* the ReLU, by adding a number far below any activation. Its
  backward pass then needs no mask, and memory and layout stay those of a network without dropout.
- *No scaling.* The factor 1 / (1 - p) of what is kept is taken by the weights that come next.

Dropout is thus a matter of the graph here, which Gluon traces once: a hybridized block that holds these layers is
called through `ByMode`, which keeps one graph for training and one for inference.
"""
from __future__ import annotations

from icd.model import half
from icd.mxnet_setup import HybridBlock, autograd

FAR = 1e30                  # far beyond any activation, and far from overflow


class FullyConnected(HybridBlock):
    """fc6 (3x3), fc7 and fc8 (1x1) as convolutions: (N, c, h, w) -> (N, C, h, w).

    Parameters
    ----------
    num_classes, in_channels, channels : int
        C, c, and the channels of fc6 and fc7.
    dropout : float
        Fraction of the activations of fc6 and of fc7 that training drops.
    dilation : int
        Of fc6.
    branch : str
        Added to the names of the layers where a network holds several of these: `fc6_aspp6_weight`.
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions; dropout and ReLU are computed in float32, in which the draw has room.
    """

    def __init__(self, num_classes: int, in_channels: int, channels: int, dropout: float = 0., dilation: int = 1,
                 branch: str = '', precision: str = half.FLOAT32):
        super().__init__(prefix='')
        self._dropout, self._dilation, self._precision = dropout, dilation, precision
        self._filters = {'fc6': (channels, 3), 'fc7': (channels, 1), 'fc8': (num_classes, 1)}
        for name, inputs in (('fc6', in_channels), ('fc7', channels), ('fc8', channels)):
            filters, kernel = self._filters[name]
            for part, shape in (('_weight', (filters, inputs, kernel, kernel)), ('_bias', (filters,))):
                setattr(self, name + part, self.params.get(name + branch + part, shape=shape))

    def hybrid_forward(self, F, x, fc6_weight, fc6_bias, fc7_weight, fc7_bias, fc8_weight, fc8_bias):
        def relu(x):
            return F.Activation(x, act_type='relu')
        if not (self._dropout and autograd.is_training()):
            x = relu(self._convolve(F, 'fc6', x, fc6_weight, fc6_bias))
            x = relu(self._convolve(F, 'fc7', x, fc7_weight, fc7_bias))
            return self._convolve(F, 'fc8', x, fc8_weight, fc8_bias)
        kept = 1 / (1 - self._dropout)
        x = self._convolve(F, 'fc6', x, fc6_weight, fc6_bias)
        dropped6, dropped7 = self._draw(F, x)
        x = relu(x + dropped6)
        x = relu(self._convolve(F, 'fc7', x, fc7_weight * kept, fc7_bias) + dropped7)
        return self._convolve(F, 'fc8', x, fc8_weight * kept, fc8_bias)

    def _convolve(self, F, name, x, weight, bias):
        filters, kernel = self._filters[name]
        found = F.Convolution(*half.lowered(F, self._precision, x, weight, bias), kernel=(kernel, kernel),
                              pad=(kernel // 2 * self._dilation,) * 2,
                              dilate=(self._dilation if kernel > 1 else 1,) * 2, num_filter=filters)
        return half.raised(F, self._precision, found)

    def _draw(self, F, x):
        """What to add to fc6 and to fc7, whose shape `x` has: far below zero where to drop, else 0."""
        p = self._dropout
        drawn = F.random.uniform_like(x, 0, FAR)
        second = F.abs(drawn - FAR * (1.5 * p - p * p)) - FAR * p / 2
        return F.minimum(drawn - FAR * p, 0), F.minimum(second, 0)


class ByMode(HybridBlock):
    """A block with two graphs, one for training and one for inference, of the same parameters.

    Parameters
    ----------
    block : HybridBlock
    """

    def __init__(self, block: HybridBlock):
        super().__init__(prefix='')
        self.training, self.inference = _Graph(block), _Graph(block)

    def forward(self, *inputs):
        return (self.training if autograd.is_training() else self.inference)(*inputs)


class _Graph(HybridBlock):
    """A block once more, with a graph of its own."""

    def __init__(self, block):
        super().__init__(prefix='')
        self.block = block

    def hybrid_forward(self, F, *inputs):
        return self.block(*inputs)
