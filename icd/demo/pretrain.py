"""The demo's stand-in for ImageNet: a narrow VGG16 whose lower blocks learned to recognise loose parts of creatures.

From noise, a VGG16 learns nothing of two hundred images; trained by classification through all of its blocks, it
forgets where things are. So blocks 1 to 3 are trained, with batch normalisation that is folded into their convolutions
afterwards, and blocks 4 and 5 start as copies of their input plus a little noise: features that are local and mean
what block 3 learned. `--pretrained` reads the file this writes.
"""
from __future__ import annotations

import numpy as np

from icd import console
from icd.data.geometry import GREY
from icd.demo import creatures
from icd.model.icd_net import ICDNet
from icd.model.initial import starting_values
from icd.model.vgg import BLOCKS, scaled
from icd.mxnet_setup import autograd, gluon, mx, nn
from icd.weights import mxnet_params, vgg16

_TRAINED = BLOCKS[:3]
# Fur and the patterns of heads. Features that tell the backgrounds apart, too, vary most among backgrounds; then the
# axis along which they vary most does not tell a creature from what is around it.
_LEARNED = creatures.PARTS[:7]
_SPREAD = 58.               # standard deviation of an image's values
_NOISE = .05                # in blocks 4 and 5: fraction of the standard deviation that He et al. (2015) start with
_BATCH, _RATE = 16, .01


def run(path: str, width: float, seed: int, count: int, num_epoch: int):
    """Write the weights of a pre-trained backbone, and random ones of fc6 and fc7.

    Parameters
    ----------
    path : str
        The file.
    width : float
        Multiplier of the channels.
    seed : int
    count : int
        Images of loose parts to learn from.
    num_epoch : int
    """
    images, labels = creatures.draw_parts(count, seed)
    net, layers = classifier(width)
    _train(net, images, labels[:, :len(_LEARNED)], seed, num_epoch)
    values = fold(layers, starting_values(ICDNet(1, width), seed, he=True))
    mxnet_params.write(path, {f'arg:{name}': value for name, value in values.items()})


def classifier(width: float) -> tuple:
    """Blocks 1 to 3 with batch normalisation, and a linear classifier of every position, averaged.

    Returns
    -------
    net : HybridBlock
        (N, 3, S, S) → logits (N, parts).
    layers : list of (Conv2D, BatchNorm)
    """
    net, layers, channels = nn.HybridSequential(prefix='parts_'), [], 3
    for count, full_width, _, stride in _TRAINED:
        for _ in range(count):
            in_channels, channels = channels, scaled(full_width, width)
            layers.append((nn.Conv2D(channels, 3, padding=1, use_bias=False, in_channels=in_channels),
                           nn.BatchNorm(in_channels=channels)))
            net.add(*layers[-1], nn.Activation('relu'))
        net.add(nn.MaxPool2D(3, stride, 1))
    net.add(nn.Conv2D(len(_LEARNED), 1, in_channels=channels), nn.GlobalAvgPool2D(), nn.Flatten())
    return net, layers


def _train(net, images, labels, seed, num_epoch):
    """Teach `net` which parts an image shows: Adam on binary cross entropy, learning rate down a cosine."""
    mx.random.seed(seed)
    np.random.seed(seed)                    # Gluon's initialisers draw from it
    net.initialize(mx.init.MSRAPrelu(factor_type='in', slope=0.))
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), 'adam')
    cross_entropy, rng = gluon.loss.SigmoidBCELoss(), np.random.default_rng(seed)
    steps = num_epoch * (len(images) // _BATCH)
    with console.progress(total=steps, desc='pre-training', unit='batch') as bar:
        for step in range(steps):
            first = step * _BATCH % (len(images) // _BATCH * _BATCH)
            if first == 0:
                order = rng.permutation(len(images))
            chosen = order[first:first + _BATCH]
            x = (mx.nd.array(_turned(images[chosen], rng)) - GREY) / _SPREAD
            with autograd.record():
                loss = cross_entropy(net(x), mx.nd.array(labels[chosen]))
            loss.backward()
            trainer.set_learning_rate(_RATE * .5 * (1 + np.cos(np.pi * step / steps)))
            trainer.step(_BATCH)
            bar.set_postfix_str(f'loss {loss.mean().asscalar():.3f}', refresh=False)
            bar.update()


def _turned(images, rng):
    """Images (N, 3, S, S) after a random one of the eight symmetries of a square."""
    upside_down, mirrored, transposed = rng.random(3) < .5
    images = images[:, :, ::-1] if upside_down else images
    images = images[..., ::-1] if mirrored else images
    return images.swapaxes(2, 3) if transposed else images


def fold(layers: list, values: dict) -> dict:
    """Weights of backbone, fc6 and fc7, of which `classifier` trained the first layers.

    The layers learned from images divided by 58, the network reads them undivided. With s^7 = 1/58, weights times
    s and the biases of layer k times 58 s^k make seven layers give the same features. Were conv1_1 to bear it all,
    its weights would be tiny and its gradient huge: the one learning rate of all layers would blow it up.

    Parameters
    ----------
    layers : list of (Conv2D, BatchNorm)
    values : dict of str to ndarray
        Starting values of an `ICDNet`, for what comes after `layers`.

    Returns
    -------
    dict of str to ndarray
        float32, named as in `icd.weights.vgg16.NAMES`.
    """
    made, factor = {}, _SPREAD ** (-1 / len(layers))
    for number, (name, (convolution, norm)) in enumerate(zip(vgg16.LAYERS, layers), 1):
        gain = norm.gamma.data().asnumpy() / np.sqrt(norm.running_var.data().asnumpy() + 1e-5)
        shift = norm.beta.data().asnumpy() - norm.running_mean.data().asnumpy() * gain
        made[f'{name}_weight'] = convolution.weight.data().asnumpy() * gain[:, None, None, None] * factor
        made[f'{name}_bias'] = shift * _SPREAD * factor ** number
    for name in vgg16.LAYERS[len(layers):]:
        weight, made[f'{name}_bias'] = values[f'{name}_weight'], values[f'{name}_bias']
        if name.startswith('conv'):
            weight = _NOISE * weight
            outputs, inputs = weight.shape[:2]
            weight[np.arange(outputs), np.arange(outputs) % inputs, 1, 1] += 1
        made[f'{name}_weight'] = weight
    return {name: np.float32(made[name]) for name in vgg16.NAMES}
