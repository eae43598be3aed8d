"""A start from convolutions alone: the layers that the weights do not give, ready for a training at its usual rate.

Gradients of layers that were just drawn spoil the trained ones below (Kumar et al. 2022, "Fine-tuning can distort
pretrained features and underperform out-of-distribution"): from random fc6 and fc7, an ImageNet VGG16 loses within ten
steps what it knew. So these learn first, on convolutions that stand still, which takes few steps and little time. What
they learned is then scaled to the data (`icd.model.data_dependent`): how large it may be depends on the training's
learning rate, not on theirs. And in the training what was given learns at a tenth of the rate (`Fit.slowed`), as is
usual below new layers: with fc6 to fc8 ready, but the full rate, conv5_3 grew to four times its size in five steps of
8 images, and fell to a quarter.
"""
from __future__ import annotations

from typing import Iterable, Sequence

import numpy as np

from icd import console
from icd.data.datasets import samples
from icd.data.image_labels import ImageLabels
from icd.model import data_dependent
from icd.model.icd_net import ICDNet
from icd.model.initial import COPIED
from icd.model.losses import ranking_accuracy
from icd.mxnet_setup import autograd, mx, nd

IMAGES = 320                # that they learn from, at most
STEPS, BATCH, RATE = 50, 16, 2e-4           # of Adam
_PART = 4                   # images that go through the convolutions at once
_INPUT = 20.                # what the features are scaled to meanwhile: root mean square, that of conv5_3 on ImageNet
_FC6_DEVIATION = 1 / 16     # of He's (2015): with such an input more would start with logits in the hundreds
_LOGITS = 1.                # standard deviation of the logits that the training starts with
_HIDDEN = 'fc6', 'fc7'
_ORDER = 4                  # first word of the seeds of the batches


def from_convolutions(net: ICDNet, given: Iterable[str], dataset: Sequence, labels: ImageLabels, seed: int) -> tuple:
    """Let fc6, fc7 and fc8 of the CAM branch learn from image labels, and start the top-down branch from them.

    Parameters
    ----------
    net : ICDNet
        Initialised, with `given` convolutions. The weights are changed on all devices.
    given : iterable of str
        Names of the weights that a file gave.
    dataset : icd.data.datasets.IcdTrainingSet
    labels : ImageLabels (images, C)
        Of all training images.
    seed : int
        Of the images, their order and the dropout.

    Returns
    -------
    list of str
        What was done, for the log.
    dict of str to float
        Factors of the scaled weights, by name.
    """
    parameters, given = net.collect_params(), set(given)
    images, image_labels, _ = samples(dataset, seed, IMAGES)
    parameters['fc8_bias'].set_data(nd.array(data_dependent.log_odds(labels)))
    ranking = _learn(net, images, image_labels, seed)
    for name, source in COPIED.items():
        if name not in given:
            parameters[name].set_data(parameters[source].list_data()[0])
    few = images[:data_dependent.IMAGES]
    factors = data_dependent.fit_scales(net, given, few)
    factors['fc8_weight'] = _calm(net, few)
    lines = [f'fc6, fc7 and fc8 learned from {len(images)} training images on the convolutions as they are, {STEPS} '
             f'steps: ranking accuracy {ranking:.3f}', *data_dependent.described(factors)]
    return lines, factors


def _learn(net, images, labels, seed):
    """Train fc6, fc7 and fc8 on what the convolutions give; ranking accuracy of the last ten steps."""
    classifier = net.layers.class_activation.classifier
    parameters = classifier.collect_params()
    device = next(iter(parameters.values())).list_ctx()[0]
    features, scale = [], None
    for i in console.progress(range(0, len(images), _PART), desc='features', unit='batch'):
        part = net.chains(nd.array(images[i:i + _PART], device, np.uint8))[0][0].asnumpy()
        scale = scale or _INPUT / max(float(np.sqrt(np.square(part).mean())), 1e-12)
        features.append((part * scale).astype(np.float16))      # half the memory; scaled, since halves end at 65504
    features = np.concatenate(features)
    for name in _HIDDEN:
        weight = parameters[f'{name}_weight']
        deviation = np.sqrt(2 / np.prod(weight.shape[1:])) * (_FC6_DEVIATION if name == 'fc6' else 1)
        drawn = weight.list_data()[0]
        weight.set_data(drawn * (deviation / float(drawn.asnumpy().std())))
    update = mx.optimizer.get_updater(mx.optimizer.Adam(RATE))
    mx.random.seed(seed, ctx=device)
    rng, order, rankings = np.random.default_rng([_ORDER, seed]), np.zeros(0, int), []
    for _ in console.progress(range(STEPS), desc='fc6 to fc8', unit='batch'):
        while len(order) < min(BATCH, len(images)):
            order = np.concatenate([order, rng.permutation(len(images))])
        chosen, order = order[:BATCH], order[BATCH:]
        label = nd.array(labels[chosen], device)
        with autograd.record():
            logit = classifier(nd.array(features[chosen], device)).mean(axis=(2, 3))
        logit.backward((nd.sigmoid(logit) - label) / logit.size)
        for i, parameter in enumerate(parameters.values()):
            update(i, parameter.grad(device), parameter.data(device))
        rankings.append(float(ranking_accuracy(nd, logit, label).asscalar()))
    for name, parameter in parameters.items():
        value = parameter.data(device)
        parameter.set_data(value * scale if name == 'fc6_weight' else value)
        parameter.zero_grad()
    return np.mean(rankings[-10:])


def _calm(net, images):
    """Scale fc8 so that the logits of the images differ by `_LOGITS`, a start that is right and not yet sure of it; by
    which factor."""
    weight, bias = (net.collect_params()[f'fc8_{part}'] for part in ('weight', 'bias'))
    device = weight.list_ctx()[0]
    logits = np.concatenate([net(nd.array(images[i:i + _PART], device, np.uint8))[0].mean(axis=(2, 3)).asnumpy()
                             for i in range(0, len(images), _PART)]) - bias.data(device).asnumpy()
    factor = _LOGITS / max(float(logits.std()), 1e-12)
    weight.set_data(weight.data(device) * factor)
    return factor
