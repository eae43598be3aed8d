"""What the recordings of tests/fixtures/segmentation were made from: parameters, images and labels, without a library.

`python tests/fixtures/segmentation/make.py` records; `tests/model/test_deeplab_recordings.py` compares.
"""
import zlib
from typing import NamedTuple

import numpy as np

CLASSES, IMAGES = 21, 1
GRADIENT, SCORES = 20, 3000          # values kept of each gradient and of the scores


class Case(NamedTuple):
    """A network at a width, on images of a side, with the loss of one scale or the multi-scale loss."""

    network: str
    width: float
    side: int
    multi_scale: bool = False

    @property
    def file(self):
        return f'{self.network}_{self.width:g}_{self.side}{"_scales" * self.multi_scale}.npz'


# At 65 pixels only the centre of a kernel dilated by 12 or more is on the map; at 225 all of every kernel are.
CASES = [Case(network, 1, 65) for network in ('vgg16_largefov', 'vgg16_aspp', 'resnet101_largefov', 'resnet101_aspp')]
CASES += [Case('vgg16_aspp', 1 / 32, 225), Case('resnet101_aspp', 1 / 32, 225),
          Case('vgg16_largefov', 1 / 32, 97, True), Case('resnet101_largefov', 1 / 32, 97, True)]


def uniform(name, shape):
    """Numbers of [0, 1) that depend on the name alone, the same in every version of NumPy."""
    count = int(np.prod(shape))
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw((count + 1) // 2)
    return (raw.view(np.uint32)[:count] >> 8).astype(np.float32).reshape(shape) / 2 ** 24


def parameter(name, shape):
    """Values with which signals neither vanish nor explode, no two layers alike."""
    values = uniform(name, shape)
    if name.endswith('_weight'):
        spread = 12 ** .5 * (2 / np.prod(shape[1:])) ** .5 / (64 if name == 'conv1_1_weight' else 1)
        return (values - .5) * np.float32(spread)
    if name.endswith(('_gamma', '_running_var')):
        last = name.endswith('batchnorm2_gamma')            # of a residual unit
        return (.5 + values) * np.float32(.1 if last else 1)
    if name.endswith('_beta'):
        return values                                       # most units are on: rounding seldom turns one
    return (values - .5) * np.float32(.2)


def images(case):
    """(1, 3, side, side) uint8, smooth.

    Those of several scales are images where no two scales of a position nearly have the same score, whose largest is
    learned from, and no unit of the few is nearly 0: processors round differently.
    """
    coarse = uniform('images of several scales' if case.multi_scale else 'images', (IMAGES, 3, 9, 9))
    position = np.linspace(0, 7.999, case.side)
    low, part = position.astype(int), (position - position.astype(int)).astype(np.float32)
    for axis in 2, 3:
        weight = part.reshape([-1 if i == axis else 1 for i in range(4)])
        coarse = coarse.take(low, axis) * (1 - weight) + coarse.take(low + 1, axis) * weight
    return np.uint8(255 * coarse)


def labels(case):
    """(1, k, k) uint8, some undefined."""
    side = (case.side - 1) // 8 + 1
    found = np.uint8(CLASSES * uniform('labels', (IMAGES, side, side)))
    found[uniform('undefined', found.shape) < .3] = 255
    return found


def summary(values, count):
    """Equally spaced values of an array (with repetitions where there are fewer), their sum, the largest of all."""
    flat = values.ravel()
    kept = flat[np.linspace(0, flat.size - 1, count).astype(int)]
    return np.concatenate([kept, [flat.sum(dtype=np.float64), max(flat.max(), -flat.min())]]).astype(np.float32)
