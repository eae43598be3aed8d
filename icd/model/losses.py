"""The losses of ICD as gradients: what the original's custom backward passes return, without custom operators.

`sum(x * stop_gradient(g))` has the gradient g in x, so a formula for g is all a loss needs. No gradient here is
divided by the number of images: `gluon.Trainer.step(batch_size)` does that.
"""
from __future__ import annotations

import math
from typing import Any, NamedTuple

from icd.model.icd_blocks import EPSILON, SuperpixelRefine, apply_sign
from icd.mxnet_setup import HybridBlock

BOTTOM_UP_SCALE = 10.
IGNORED = .2                # normalised refined scores up to this size teach the top-down branch nothing


class LossOutputs(NamedTuple):
    """What `ICDLoss` gives: NDArrays or Symbols, float32.

    loss : (1,)
        Call `backward` on it; its value means nothing. Sums over images, not divided by their number.
    cam_loss : (1,)
        Binary cross entropy of the CAM branch, summed over classes, mean over images.
    score_min, score_max : (1,)
        Extremes of the calibrated score.
    ranking_accuracy : (1,)
        Per image the fraction of pairs (class it carries, class it does not) the CAM logits rank the right way round;
        mean over the images that have such pairs.
    refined, calibrated : (N, C, h, w)
        Refined and calibrated bottom-up score.
    prob : (N, C)
        Class probabilities of the CAM branch.
    """

    loss: Any
    cam_loss: Any
    score_min: Any
    score_max: Any
    ranking_accuracy: Any
    refined: Any
    prob: Any
    calibrated: Any



def warm_up(step: int, total_ramp_steps: int) -> float:
    """Factor of the top-down gradient: exp(-10 r / R) for r = R, R-1, ..., 1, then 1.

    Parameters
    ----------
    step : int
        0 for the first step of the training.
    total_ramp_steps : int
        R, the original's 2 * samples // batch: two epochs.

    Returns
    -------
    float
    """
    left = total_ramp_steps - step
    return math.exp(-10. * left / total_ramp_steps) if left > 0 else 1.


# ---------------------------------------------------------------------------------------------------- gradients
def bottom_up_gradient(F, score, feature, weight, label):
    """Gradient in the bottom-up weight: ascent on the energy of the features projected on its direction.

    Only images with exactly one class count, each for its class.

    Parameters
    ----------
    score (N, C, h, w), feature (N, c, h, w), weight (C, c), label (N, C) : float32

    Returns
    -------
    (C, c) float32
    """
    single = F.broadcast_mul(label, F.sum(label, axis=1, keepdims=True) == 1)
    score = F.broadcast_mul(F.reshape(score, (0, 0, -1)), F.expand_dims(single, 2))
    energy = F.batch_dot(score, F.reshape(feature, (0, 0, -1)), transpose_b=True)           # (N, C, c)
    positions = F.sum(F.ones_like(F.slice(score, begin=(0, 0, 0), end=(1, 1, None))))
    g = F.broadcast_div(-BOTTOM_UP_SCALE * F.sum(energy, axis=0), F.reshape(positions, (1, 1)))
    norm = F.norm(weight, axis=1, keepdims=True)
    along = F.sum(weight * g, axis=1, keepdims=True)
    return F.broadcast_div(g, norm + EPSILON) - F.broadcast_mul(weight, along / (norm ** 3 + EPSILON))


def top_down_gradient(F, logit, refined, label, factor):
    """Gradient in the top-down logits: cross entropy with the sign of the refined score, where that is clear.

    Parameters
    ----------
    logit, refined : (N, C, h, w) float32
    label : (N, C) float32
    factor : (1,) float32
        `warm_up`.

    Returns
    -------
    (N, C, h, w) float32
        Zero for classes the image does not carry and where the refined score, divided by its largest (or smallest)
        value in the map, is within `IGNORED` of 0.
    """
    target, mask = top_down_target(F, refined)
    positions = F.sum(F.ones_like(F.slice(refined, begin=(0, 0, 0, 0), end=(1, 1, None, None))), axis=(2, 3))
    scale = F.broadcast_div(F.broadcast_mul(label, F.reshape(factor, (1, 1))), positions)
    gradient = (F.sigmoid(logit) - target) * mask
    return F.broadcast_mul(gradient, F.expand_dims(F.expand_dims(scale, 2), 3))


def top_down_target(F, refined):
    """Foreground (1) or not (0) by the sign of the refined score (N, C, h, w), and where to trust it (0 or 1)."""
    positive, negative = F.relu(refined), F.minimum(refined, 0)
    highest = F.maximum(F.max(positive, axis=(2, 3), keepdims=True), EPSILON)
    lowest = F.maximum(F.max(-negative, axis=(2, 3), keepdims=True), EPSILON)
    norm = F.broadcast_div(positive, highest) + F.broadcast_div(negative, lowest)
    return norm > 0, F.abs(norm) > IGNORED


# ------------------------------------------------------------------------------------------------------ the loss
class ICDLoss(HybridBlock):
    """All gradients of a training step as one scalar, and the figures worth watching.

    Parameters
    ----------
    num_classes : int
        C, classes without background.
    pixelwise : bool
        Ablation without superpixels (`SuperpixelRefine`); `superpixel` and `superpixel_labels` are then ignored.

    Inputs
    ------
    cam, bottom_up, top_down (N, C, h, w), feature (N, c, h, w) : float32, outputs of `ICDNet`
    bottom_up_weight (C, c) : its parameter, `net.icd_bu_weight.data(device)`
    label (N, C) float32, superpixel (N, h, w) int32, superpixel_labels (R,) : see `SuperpixelRefine`
    state (C, 2) : the calibration state *after* `CalibrationUpdate` with this batch
    warm_up (1,) : see `warm_up`

    Outputs
    -------
    LossOutputs
    """

    def __init__(self, num_classes: int, pixelwise: bool = False):
        super().__init__(prefix='')
        self._num_classes = num_classes
        self._pixelwise = pixelwise
        self.refine = SuperpixelRefine(pixelwise)

    def __call__(self, cam, bottom_up, top_down, feature, bottom_up_weight, label, superpixel, superpixel_labels, state,
                 warm_up):
        # Neither gets a gradient from here; detached, no arrays of zeros are made for them.
        bottom_up, feature = bottom_up.detach(), feature.detach()
        partition = () if self._pixelwise else (superpixel, superpixel_labels)
        return LossOutputs(*super().__call__(cam, bottom_up, top_down, feature, bottom_up_weight, label, state,
                                             warm_up, *partition))

    def hybrid_forward(self, F, cam, bottom_up, top_down, feature, bottom_up_weight, label, state, warm_up,
                       *partition):
        logit = F.mean(cam, axis=(2, 3))
        prob = F.sigmoid(logit)
        calibrated = apply_sign(bottom_up, state)
        refined = self.refine(calibrated, label, *partition)

        def passes(x, gradient):
            return F.sum(x * F.stop_gradient(gradient))
        loss = (passes(logit, prob - label) +
                passes(bottom_up_weight, bottom_up_gradient(F, bottom_up, feature, bottom_up_weight, label)) +
                passes(top_down, top_down_gradient(F, top_down, refined, label, warm_up)))
        cross_entropy = F.relu(logit) - logit * label + F.Activation(-F.abs(logit), act_type='softrelu')
        watched = (F.mean(F.sum(cross_entropy, axis=1)), F.min(calibrated), F.max(calibrated),
                   ranking_accuracy(F, logit, label), refined, prob, calibrated)
        return (loss,) + tuple(F.stop_gradient(value) for value in watched)


def ranking_accuracy(F, logit, label):
    """Fraction of rightly ranked (present, absent) pairs of classes per image, mean over images with such pairs.

    Parameters
    ----------
    logit, label : (N, C) float32

    Returns
    -------
    (1,) float32
        0 when no image has such a pair.
    """
    pairs = F.broadcast_mul(F.expand_dims(label, 2), F.expand_dims(1 - label, 1))
    right = F.broadcast_greater(F.expand_dims(logit, 2), F.expand_dims(logit, 1)) * pairs
    number = F.sum(pairs, axis=(1, 2))
    fraction = F.sum(right, axis=(1, 2)) / F.maximum(number, 1)
    return F.sum(fraction) / F.maximum(F.sum(number > 0), 1)
