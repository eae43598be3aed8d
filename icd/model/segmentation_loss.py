"""The loss of a segmentation network: cross entropy over the pixels whose class is known.

Symbols: N images, C classes (0 is the background), h x w positions of the scores, at every eighth pixel of an input of
side 8k+1. Labels are indices at the same positions, 255 where no class is decided.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from icd.data.geometry import IGNORE, STRIDE
from icd.mxnet_setup import HybridBlock

SCALES = .75, .5            # of the input, beside 1, whose scores the multi-scale loss sees (Chen et al. 2018)
PERIOD = 4 * STRIDE         # both scales of a side 32k+1 are of the form 8k+1
PIXELS = 5                  # what `count` gives


class LossOutputs(NamedTuple):
    """What `SegmentationLoss` gives: NDArrays or Symbols (1,) float32.

    loss : call `backward` on it. Over the parts of a batch it adds up to the loss of the batch.
    shown : the loss times the number of parts: the mean over the parts is the loss of the batch. No gradient.
    accuracy, foreground_accuracy : fraction of known pixels, and of those that are not background, with the right
        class; their means over the parts are those of the batch.
    valid : fraction of the pixels whose class is known.
    """

    loss: Any
    shown: Any
    accuracy: Any
    foreground_accuracy: Any
    valid: Any


class CountPixels(HybridBlock):
    """Pixels by kind in one part of a batch: label (N, h, w) uint8 -> (5,) float32.

    Background and foreground pixels; the same at every second position, which is what the scores of an input of half
    the size are compared with; and 1. Sums over the parts of a batch are those of the batch, and the number of parts.
    """

    def __init__(self):
        super().__init__(prefix='')

    def hybrid_forward(self, F, label):
        label = F.cast(label, 'float32')
        half = _every_second(F, label)
        counts = [F.sum(kind).reshape((1,)) for each in (label, half) for kind in _kinds(F, each)]
        return F.concat(*counts, F.ones_like(counts[0]), dim=0)


def _every_second(F, label):
    return F.slice(label, begin=(None, None, None), end=(None, None, None), step=(1, 2, 2))


def _kinds(F, label):
    """Where the background and where another class is known: 1, else 0."""
    background = label == 0
    return background, (label != IGNORE) - background


class Scales(HybridBlock):
    """The input at smaller scales: image (N, 3, S, S) of side 32k+1 -> the same at 0.75 and at 0.5, float32.

    Parameters
    ----------
    side : int
        S.
    """

    def __init__(self, side: int):
        super().__init__(prefix='')
        self._sides = [int((side - 1) * scale) + 1 for scale in SCALES]

    def hybrid_forward(self, F, image):
        image = F.cast(image, 'float32')
        return tuple(F.contrib.BilinearResize2D(image, height=side, width=side) for side in self._sides)


class SegmentationLoss(HybridBlock):
    """Softmax cross entropy, mean over the known pixels of the whole batch; 0 where there are none.

    Given the scores of three scales, it is the sum of four losses: those of scale 1, of scale 0.75 enlarged to the
    positions of scale 1, of scale 0.5 at its own positions (every second label), and of the largest of the three,
    class by class, at the positions of scale 1 (Chen et al. 2018).

    Parameters
    ----------
    balanced : bool
        The mean over background pixels and the mean over all others are taken apart, then added up (DSRG).

    Inputs
    ------
    label (N, h, w) uint8
    counts (5,) float32 : `CountPixels`, added up over the whole batch: all devices, nodes and accumulated parts
    scores (N, C, h, w) float32, and those of the scales 0.75 and 0.5 if they count

    Outputs
    -------
    LossOutputs
    """

    def __init__(self, balanced: bool = False):
        super().__init__(prefix='')
        self._balanced = balanced

    def __call__(self, label, counts, *scores):
        return LossOutputs(*super().__call__(label, counts, *scores))

    def hybrid_forward(self, F, label, counts, scores, *smaller):
        label = F.cast(label, 'float32')
        background, foreground, half_background, half_foreground, parts = F.split(counts, PIXELS, axis=0)
        whole, half = (background, foreground), (half_background, half_foreground)
        loss = self._cross_entropy(F, scores, label, whole)
        if smaller:
            middle, small = smaller
            large = [F.contrib.BilinearResize2D(each, scores, mode='like') for each in smaller]
            loss = (loss + self._cross_entropy(F, large[0], label, whole) +
                    self._cross_entropy(F, small, _every_second(F, label), half) +
                    self._cross_entropy(F, F.maximum(scores, F.maximum(*large)), label, whole))
        right = F.broadcast_equal(F.argmax(scores, axis=1), label)
        known = _kinds(F, label)
        right = [F.sum(right * kind) for kind in known]
        watched = (loss * parts, (right[0] + right[1]) * parts / F.maximum(background + foreground, 1),
                   right[1] * parts / F.maximum(foreground, 1), F.mean(known[0] + known[1]))
        return (loss,) + tuple(F.stop_gradient(value) for value in watched)

    def _cross_entropy(self, F, scores, label, counts):
        """Of one map of scores; `counts`: background and foreground pixels of the whole batch."""
        background, foreground = _kinds(F, label)
        if self._balanced:
            weight = _divide(F, background, counts[0]) + _divide(F, foreground, counts[1])
        else:
            weight = _divide(F, background + foreground, counts[0] + counts[1])
        # Where nothing is known the weight is 0, whatever is picked there.
        return -F.sum(F.pick(F.log_softmax(scores, axis=1), label, axis=1) * weight)


def _divide(F, kind, count):
    return F.broadcast_div(kind, F.reshape(F.maximum(count, 1), (1, 1, 1)))
