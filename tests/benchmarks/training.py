"""What a training step and an inference cost next to bare convolutions: `python tests/benchmarks/training.py`.

- One training step of the full network against one of its convolutions, with ReLU and pooling, alone in Gluon: the
  same layers, forward, backward and update. The rest (normalisation, dropout, bottom-up score, sign calibration,
  refinement, losses) should be free.
- Peak memory of a process that trains.
- Inference as the stage does it, against a graph with all outputs of the whole input: CAM, calibrated bottom-up score,
  refined score, top-down score and feature. Images are 500x375 pixels, like most of VOC's.

Both sides of a comparison take turns, and medians of the processor's time are compared, so what else the machine does
matters little. (With several threads that includes the time they wait for each other: OMP_NUM_THREADS=1 is steadier.)
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import numpy as np  # noqa: E402

from icd.data import geometry  # noqa: E402
from icd.data.datasets import IcdBatch  # noqa: E402
from icd.model.icd_blocks import SuperpixelRefine, apply_sign  # noqa: E402
from icd.model.icd_net import ICDNet  # noqa: E402
from icd.model.initial import initialize_missing, set_values  # noqa: E402
from icd.model.padded_input import PaddedInference, ScoreMaps  # noqa: E402
from icd.mxnet_setup import autograd, gluon, mx  # noqa: E402
from icd.train.icd_task import IcdTask  # noqa: E402
from icd.train.trainer import Trainer  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402

CLASSES, SUPERPIXELS = 20, 64
MOST_TIME, MOST_MEMORY, LEAST_GAIN = 1.02, 2.05e9, 1.15


class Convolutions(gluon.HybridBlock):
    """The convolutions of the network as one writes them in Gluon: images -> CAM and top-down score."""

    def __init__(self):
        super().__init__()
        self.backbone, self.branch = (gluon.nn.HybridSequential() for _ in range(2))
        for _i, (count, channels, dilation, stride) in enumerate(
                ((2, 64, 1, 2), (2, 128, 1, 2), (3, 256, 1, 2), (3, 512, 1, 1), (3, 512, 2, None))):
            for _ in range(count):
                self.backbone.add(gluon.nn.Conv2D(channels, 3, padding=dilation, dilation=dilation, activation='relu'))
            if stride:
                self.backbone.add(gluon.nn.MaxPool2D(3, stride, 1))
        self.branch.add(gluon.nn.MaxPool2D(3, 1, 1), gluon.nn.AvgPool2D(3, 1, 1),
                        gluon.nn.Conv2D(1024, 3, padding=1, activation='relu'),
                        gluon.nn.Conv2D(1024, 1, activation='relu'), gluon.nn.Conv2D(CLASSES, 1))
        self.fc6, self.fc7, self.last = (gluon.nn.Conv2D(1024, 3, padding=1, activation='relu'),
                                         gluon.nn.Conv2D(1024, 1, activation='relu'),
                                         gluon.nn.Conv2D(CLASSES, 1, use_bias=False))

    def hybrid_forward(self, F, x):
        feature = self.backbone(F.cast(x, 'float32') - 127)
        first = self.fc6(feature)
        return self.branch(feature), self.last(F.concat(feature, first, self.fc7(first), dim=1))


def batch(count, size):
    """Images, labels and superpixels of random values."""
    rng = np.random.default_rng(0)
    side = size // 8 + 1
    superpixels = np.arange(side)[:, None] * 8 // side * 8 + np.arange(side) * 8 // side
    return (mx.nd.array(rng.integers(0, 256, (count, 3, size, size)), dtype='uint8'),
            mx.nd.array(np.eye(CLASSES)[rng.integers(0, CLASSES, count)]),
            mx.nd.array(np.broadcast_to(superpixels, (count, side, side)), dtype='int32'))


def network(width):
    net = ICDNet(CLASSES, width)
    set_values(net, initialize_missing(net, {}, 0, he=True), mx.cpu())
    return net


def training(count, size, width):
    """A function that takes a training step of the full network and waits for it."""
    images = IcdBatch(*batch(count, size), [], SUPERPIXELS)
    trainer, number = Trainer(IcdTask(network(width)), [mx.cpu()]), iter(range(1 << 30))

    def run():
        trainer.step(images, 1e-5, next(number)).update.wait_to_read()
        mx.nd.waitall()
    return run


def convolving(count, size):
    """A function that takes a training step of the convolutions and waits for it."""
    images, net = batch(count, size)[0], Convolutions()
    net.initialize(mx.init.MSRAPrelu(slope=0))
    net.hybridize(static_alloc=True, static_shape=True)
    net(images)
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1e-9, 'momentum': .9, 'wd': 5e-4})

    def run():
        with autograd.record():
            outputs = net(images)
        autograd.backward(list(outputs))
        trainer.step(count)
        mx.nd.waitall()
    return run


def inference(count, size, width):
    """Functions that infer a batch: as the stage does, and with all outputs."""
    images, labels, superpixels = batch(count, size)
    fitted = geometry.fitted_size(375, 500, size)
    images[:, :, fitted[0]:] = images[:, :, :, fitted[1]:] = geometry.GREY
    net, refine, indices = network(width), SuperpixelRefine(), mx.nd.arange(SUPERPIXELS)
    padded = PaddedInference(ScoreMaps, net, size)
    for block in (net, refine):
        block.hybridize(static_alloc=True, static_shape=True)

    def lean():
        return [output.asnumpy() for output in padded(images, [fitted] * count)]

    def full():
        cam, bottom_up, top_down, feature = net(images)
        score = apply_sign(bottom_up, net.icd_accum_resign_moving_mean.data())
        refined = refine(score, labels, superpixels, indices)
        return [output.asnumpy() for output in (cam, score, refined, top_down, feature)]
    return lean, full


def compare(first, second, rounds):
    """(Processor, clock) seconds of two functions that take turns, after one call of each that does not count."""
    seconds = ([], [])
    for number in range(rounds + 1):
        for function, found in zip((first, second), seconds):
            start = time.process_time(), time.perf_counter()
            function()
            if number:
                found.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return seconds


def report(what, other, seconds):
    """Print medians; their ratio."""
    medians = [[statistics.median(kind) for kind in zip(*found)] for found in seconds]
    for name, (processor, clock) in zip((what, other), medians):
        print(f'{name:<40} {processor:7.2f} s of the processor, {clock:7.2f} s by the clock', flush=True)
    _figures.report(what, medians[0][0], 's')
    return medians[0][0] / medians[1][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7, help='turns a comparison (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--image-size', type=int, default=321)
    parser.add_argument('--infer-size', type=int, default=513)
    parser.add_argument('--only-memory', action='store_true', help='train three steps and print the peak in bytes')
    options = parser.parse_args()
    size = options.batch_size, options.image_size
    if options.only_memory:
        run = training(*size, 1.)
        for _ in range(3):
            run()
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return 0
    printed = subprocess.run([sys.executable, __file__, '--only-memory'] + sys.argv[1:], stdout=subprocess.PIPE,
                          check=True)
    memory = int(printed.stdout.split()[-1])
    threads = os.environ.get('OMP_NUM_THREADS', 'all')
    print(f'batch of {size[0]} at {size[1]} pixels, {threads} threads')
    print(f'{"peak memory of training":<40} {memory / 1e9:7.2f} GB (at most {MOST_MEMORY / 1e9:.2f})')
    ratio = report('training step', 'its convolutions alone',
                 compare(training(*size, 1.), convolving(*size), options.rounds))
    print(f'{"ratio":<40} {ratio:7.3f} (at most {MOST_TIME:.2f})')
    gain = 1 / report('inference of a batch', 'with all outputs', compare(
        *inference(options.batch_size, options.infer_size, 1.), options.rounds))
    print(f'{"gain":<40} {gain:7.3f} (at least {LEAST_GAIN:.2f})')
    _figures.report('peak memory of training', memory / 1e9, 'GB', at_most=MOST_MEMORY / 1e9)
    _figures.report('training step, time', ratio, _figures.RATIO, 'its convolutions alone in Gluon', at_most=MOST_TIME)
    _figures.report('inference, as fast', gain, _figures.RATIO, 'whole input, all outputs', at_least=LEAST_GAIN)
    return int(not (memory <= MOST_MEMORY and ratio <= MOST_TIME and gain >= LEAST_GAIN))


if __name__ == '__main__':
    sys.exit(main())
