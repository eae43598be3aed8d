"""The parts of the Intra-Class Discriminator: bottom-up score, sign calibration, superpixel refinement, top-down score.

Symbols of the docstrings: N images, C classes, c feature channels, h x w positions, R superpixels. None of the
blocks but `TopDown` passes a gradient; `icd.model.losses` supplies those the method defines.
"""
from __future__ import annotations

from icd.model import half
from icd.model.vgg import convolution
from icd.mxnet_setup import HybridBlock, mx

EPSILON = 1e-5


def _namespace(array):
    """`mx.nd` or `mx.sym`, whichever `array` belongs to: one formula serves arrays and hybrid blocks."""
    return mx.sym if isinstance(array, mx.sym.Symbol) else mx.nd


# ----------------------------------------------------------------------------------------------------- bottom-up
class BottomUp(HybridBlock):
    """Projection of every position's feature on a direction per class (paper, section 3.1).

    Inputs
    ------
    feature (N, c, h, w), weight (C, c) : float32

    Outputs
    -------
    score (N, C, h, w) : the inner product of the feature with the L2-normalised row of its class. No gradient.
    """

    def __init__(self, num_classes: int):
        super().__init__(prefix='')
        self._num_classes = num_classes

    def hybrid_forward(self, F, feature, weight):
        # A row of zeros would otherwise make every score NaN.
        norm = F.maximum(F.norm(weight, axis=1, keepdims=True), 1e-20)
        direction = F.broadcast_div(weight, norm).expand_dims(2).expand_dims(3)
        return F.stop_gradient(F.Convolution(feature, direction, kernel=(1, 1), num_filter=self._num_classes,
                                             no_bias=True))


# ----------------------------------------------------------------------------------------------- sign calibration
def calibration_statistics(score, cam, label):
    """How strongly each class's CAM responds on the positive and on the negative side of its bottom-up score.

    The sums and counts of parts of a batch (devices, nodes, accumulated batches) add up to those of the batch.

    Parameters
    ----------
    score, cam : NDArray or Symbol, (N, C, h, w) float32
        Bottom-up score before calibration; class activation map.
    label : NDArray or Symbol, (N, C) float32
        1 where the image carries the class, else 0.

    Returns
    -------
    sums : (C, 2) float32
        Sums over the images that carry the class: mean of max(cam, 0) where score > 0 and where score < 0.
    counts : (C,) float32
        Number of those images.
    """
    F = _namespace(score)
    response = F.relu(cam)
    sides = []
    for side in (score > 0, score < 0):
        total = (response * side).sum(axis=(2, 3))
        sides.append((total / F.maximum(side.sum(axis=(2, 3)), EPSILON) * label).sum(axis=0))
    return F.stop_gradient(F.stack(*sides, axis=1)), F.stop_gradient(label.sum(axis=0))


def calibration_update(state, sums, counts):
    """Running means after a batch: 0.9 * state + 0.1 * batch means; a class without an image keeps its row.

    Parameters
    ----------
    state : (C, 2) float32
    sums : (C, 2) float32, counts : (C,) float32
        Of the whole batch, see `calibration_statistics`.

    Returns
    -------
    (C, 2) float32
        The new state. The batch it comes from is calibrated with it.
    """
    F = _namespace(state)
    counts = F.expand_dims(counts, 1)
    means = F.broadcast_div(sums, F.maximum(counts, 1))
    present = F.broadcast_greater(counts, F.zeros_like(state))
    return F.stop_gradient(.9 * state + .1 * F.where(present, means, state))


def apply_sign(score, state):
    """Turn the score of every class whose CAM responds more on the negative side.

    Parameters
    ----------
    score : (N, C, h, w) float32
    state : (C, 2) float32

    Returns
    -------
    (N, C, h, w) float32
        The calibrated score. No gradient.
    """
    F = _namespace(score)
    turned = F.slice_axis(state, axis=1, begin=0, end=1) < F.slice_axis(state, axis=1, begin=1, end=2)
    sign = F.reshape(1 - 2 * turned, (1, -1, 1, 1))
    return F.stop_gradient(F.broadcast_mul(score, sign))


class CalibrationStatistics(HybridBlock):
    """`calibration_statistics` as a block: (score, cam, label) -> (sums, counts)."""

    def __init__(self):
        super().__init__(prefix='')

    def hybrid_forward(self, F, score, cam, label):
        return calibration_statistics(score, cam, label)


class CalibrationUpdate(HybridBlock):
    """`calibration_update` as a block: (state, sums, counts) -> new state."""

    def __init__(self):
        super().__init__(prefix='')

    def hybrid_forward(self, F, state, sums, counts):
        return calibration_update(state, sums, counts)


# ------------------------------------------------------------------------------------------- superpixel refinement
class SuperpixelRefine(HybridBlock):
    """Let every superpixel of an image vote for at most one of the image's classes (paper, section 3.3).

    A superpixel is foreground when for some class more of its positions have a positive than a negative score. Its
    class is the one with the largest mean fraction of the positive score. There, for that class, it takes the mean of
    the positive scores; everywhere else, for every other class, the mean of the negative ones.

    Parameters
    ----------
    pixelwise : bool
        Ablation without superpixels: every position is a superpixel of its own. Then `superpixel` and
        `superpixel_labels` are not inputs.

    Inputs
    ------
    score (N, C, h, w) float32 : calibrated bottom-up score
    label (N, C) float32 : 0 or 1
    superpixel (N, h, w) int32 or float32 : labels 0..R-1 sampled at every eighth pixel
    superpixel_labels (R,) float32 or int32 : 0, 1, ..., R-1. Its length gives the number of superpixels; a label
        without any position does no harm, a position whose label is not among them becomes 0.

    Outputs
    -------
    (N, C, h, w) float32 : the refined score. No gradient.
    """

    def __init__(self, pixelwise: bool = False):
        super().__init__(prefix='')
        self._pixelwise = pixelwise

    def hybrid_forward(self, F, score, label, superpixel=None, superpixel_labels=None):
        present = F.expand_dims(label, 2)
        f = F.broadcast_mul(F.reshape(score, (0, 0, -1)), present)                          # (N, C, hw)
        positive, negative = F.relu(f), F.minimum(f, 0)
        fraction = F.broadcast_div(positive, F.maximum(F.max(positive, axis=1, keepdims=True), EPSILON))
        maps = (F.sign(f), fraction, positive, negative)
        if not self._pixelwise:
            member = F.broadcast_equal(F.cast(F.reshape(superpixel, (0, 1, -1)), 'float32'),
                                       F.cast(F.reshape(superpixel_labels, (1, -1, 1)), 'float32'))     # (N, R, hw)
            size = F.maximum(F.sum(member, axis=2, keepdims=True), 1)                       # (N, R, 1)
            sums = F.batch_dot(F.concat(*maps, dim=1), member, transpose_b=True)            # (N, 4C, R)
            maps = F.split(F.broadcast_div(sums, F.reshape(size, (0, 1, -1))), 4, axis=1)
        refined = self._elect(F, present, *maps)
        if not self._pixelwise:
            refined = F.batch_dot(refined, member)
        return F.stop_gradient(F.reshape_like(refined, score))

    @staticmethod
    def _elect(F, present, vote, fraction, positive, negative):
        """Per superpixel: its class's positive mean if it is foreground, the negative mean of all others."""
        foreground = F.max(vote, axis=1, keepdims=True) > 0
        classes = F.reshape(F.contrib.arange_like(present, axis=1), (1, -1, 1))
        winner = F.broadcast_equal(F.argmax(fraction, axis=1, keepdims=True), classes)
        chosen = F.broadcast_mul(F.broadcast_mul(winner, foreground), present)
        return F.where(chosen, positive, negative)


# ------------------------------------------------------------------------------------------------------ top-down
class TopDown(HybridBlock):
    """The segmentation branch that learns from the refined bottom-up score (paper, section 3.2).

    Parameters
    ----------
    num_classes, in_channels, channels : int
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions.

    Inputs
    ------
    feature (N, c, h, w) float32

    Outputs
    -------
    (N, C, h, w) float32 : logits, the score maps seeds are made from.
    """

    def __init__(self, num_classes: int, in_channels: int, channels: int, precision: str = half.FLOAT32):
        super().__init__(prefix='')
        self._num_classes, self._precision = num_classes, precision
        self._ends = (0, in_channels, in_channels + channels, in_channels + 2 * channels)
        self.fc6_ft = convolution('fc6_ft', in_channels, channels)
        self.fc7_ft = convolution('fc7_ft', channels, channels, kernel=1)
        for layer in (self.fc6_ft, self.fc7_ft):
            half.lower(layer, precision)
        self.conv_ft_weight = self.params.get('conv_ft_weight', shape=(num_classes, self._ends[-1], 1, 1))

    def hybrid_forward(self, F, feature, conv_ft_weight):
        first = self.fc6_ft(feature)
        # A 1x1 convolution of a concatenation is a sum of convolutions; it spares the memory of the concatenation.
        features = zip((feature, first, self.fc7_ft(first)), self._ends, self._ends[1:])
        parts = [self._score(F, x, F.slice_axis(conv_ft_weight, axis=1, begin=begin, end=end))
                 for x, begin, end in features]
        return parts[0] + parts[1] + parts[2]

    def _score(self, F, x, weight):
        found = F.Convolution(*half.lowered(F, self._precision, x, weight), kernel=(1, 1),
                              num_filter=self._num_classes, no_bias=True)
        return half.raised(F, self._precision, found)
