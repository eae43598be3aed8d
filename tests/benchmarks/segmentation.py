"""What a segmentation training step costs next to bare convolutions: `python tests/benchmarks/segmentation.py`.

One step of VGG16-LargeFOV against one of its convolutions, with ReLU and pooling, alone in Gluon: the same layers,
forward, backward and update. The rest (normalisation, dropout, the loss over the known pixels of the whole batch, its
figures) should be free. How the two are compared: see `tests/benchmarks/training.py`.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import numpy as np  # noqa: E402

from icd.data.segmentation_set import SegmentationBatch  # noqa: E402
from icd.model import deeplab  # noqa: E402
from icd.model.initial import set_values, starting_values  # noqa: E402
from icd.mxnet_setup import autograd, gluon, mx  # noqa: E402
from icd.train.segmentation_task import SegmentationTask  # noqa: E402
from icd.train.trainer import Trainer  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402
from tests.benchmarks.training import compare, report  # noqa: E402

CLASSES, MOST_TIME = 21, 1.03


class Convolutions(gluon.HybridBlock):
    """The convolutions of VGG16-LargeFOV as one writes them in Gluon: images -> scores."""

    def __init__(self):
        super().__init__()
        self.layers = gluon.nn.HybridSequential()
        for count, channels, dilation, stride in ((2, 64, 1, 2), (2, 128, 1, 2), (3, 256, 1, 2), (3, 512, 1, 1),
                                                  (3, 512, 2, 1)):
            for _ in range(count):
                self.layers.add(gluon.nn.Conv2D(channels, 3, padding=dilation, dilation=dilation, activation='relu'))
            self.layers.add(gluon.nn.MaxPool2D(3, stride, 1))
        self.layers.add(gluon.nn.AvgPool2D(3, 1, 1),
                        gluon.nn.Conv2D(1024, 3, padding=12, dilation=12, activation='relu'),
                        gluon.nn.Conv2D(1024, 1, activation='relu'), gluon.nn.Conv2D(CLASSES, 1))

    def hybrid_forward(self, F, x):
        return self.layers(F.cast(x, 'float32') - 127)


def batch(count, size):
    """Images and labels of random values, a fifth of them unknown."""
    rng, side = np.random.default_rng(0), size // 8 + 1
    labels = rng.integers(0, CLASSES, (count, side, side))
    labels[rng.random(labels.shape) < .2] = 255
    return SegmentationBatch(mx.nd.array(rng.integers(0, 256, (count, 3, size, size)), dtype='uint8'),
                             mx.nd.array(labels, dtype='uint8'), [])


def training(count, size):
    """A function that takes a training step and waits for it."""
    net, images, number = deeplab.create('vgg16_largefov', CLASSES), batch(count, size), iter(range(1 << 30))
    set_values(net, starting_values(net, 0, he=True), mx.cpu())
    trainer = Trainer(SegmentationTask(net), [mx.cpu()])

    def run():
        trainer.step(images, 1e-9, next(number)).update.wait_to_read()
        mx.nd.waitall()
    return run


def convolving(count, size):
    """A function that takes a training step of the convolutions and waits for it."""
    images, net = batch(count, size).image, Convolutions()
    net.initialize(mx.init.MSRAPrelu(slope=0))
    net.hybridize(static_alloc=True, static_shape=True)
    net(images)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1e-9, 'momentum': .9, 'wd': 5e-4})

    def run():
        with autograd.record():
            scores = net(images)
        scores.backward()
        trainer.step(count)
        mx.nd.waitall()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7, help='turns (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--image-size', type=int, default=321)
    options = parser.parse_args()
    size = options.batch_size, options.image_size
    print(f"batch of {size[0]} at {size[1]} pixels, {os.environ.get('OMP_NUM_THREADS', 'all')} threads")
    ratio = report('segmentation training step', 'its convolutions alone',
                   compare(training(*size), convolving(*size), options.rounds))
    print(f'{"ratio":<40} {ratio:7.3f} (at most {MOST_TIME:.2f})')
    _figures.report('training step, time', ratio, _figures.RATIO, 'its convolutions alone in Gluon', at_most=MOST_TIME)
    return int(ratio > MOST_TIME)


if __name__ == '__main__':
    sys.exit(main())
