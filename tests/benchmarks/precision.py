"""What a training step and an inference cost in every precision that this processor computes in.

Trainings of the full network take turns, and so do inferences; medians of the processor's time. Peak memory is that of
a process that takes three steps. How far scores are from those of float32 is for drawn weights. OMP_NUM_THREADS=1 is
steadiest.
"""
import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from icd.data import geometry
from icd.data.datasets import IcdBatch
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.padded_input import PaddedInference, ScoreMaps
from icd.mxnet_setup import mx
from icd.precision import PRECISIONS, try_devices, use_matrix_units
from icd.train.icd_task import IcdTask
from icd.train.trainer import Trainer
from tests.benchmarks import _figures  # noqa: E402
from tests.benchmarks.training import CLASSES, SUPERPIXELS, batch


def network(precision):
    net = ICDNet(CLASSES, precision=precision)
    set_values(net, initialize_missing(net, {}, 0, he=True), mx.cpu())
    return net


def training(precision, count, size):
    """A function that takes a training step."""
    images, number = IcdBatch(*batch(count, size), [], SUPERPIXELS), iter(range(1 << 30))
    trainer = Trainer(IcdTask(network(precision)), [mx.cpu()])

    def run():
        trainer.step(images, 1e-5, next(number)).update.wait_to_read()
        mx.nd.waitall()
    return run


def inference(precision, size):
    """A function that gives the scores of an image of 500x375 pixels."""
    images, fitted = batch(1, size)[0], geometry.fitted_size(375, 500, size)
    images[:, :, fitted[0]:] = images[:, :, :, fitted[1]:] = geometry.GREY
    padded = PaddedInference(ScoreMaps, network(precision), size)
    return lambda: [output.asnumpy() for output in padded(images, [fitted])]


def medians(functions, rounds):
    """Seconds of the processor of functions that take turns, after a call of each that does not count."""
    seconds = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            begun = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - begun)
    return {name: statistics.median(found) for name, found in seconds.items()}


def memory(precision, options):
    """Peak bytes of a process that trains."""
    done = subprocess.run([sys.executable, '-m', 'tests.benchmarks.precision', '--only-memory', precision,
                           '--batch-size',
                           str(options.batch_size), '--image-size', str(options.image_size)], stdout=subprocess.PIPE,
                          check=True)
    return int(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='turns (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--image-size', type=int, default=321)
    parser.add_argument('--infer-size', type=int, default=513)
    parser.add_argument('--only-memory', choices=PRECISIONS, help='train three steps and print the peak in bytes')
    options = parser.parse_args()
    size = options.batch_size, options.image_size
    use_matrix_units()
    if options.only_memory:
        run = training(options.only_memory, *size)
        for _ in range(3):
            run()
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    here = [name for name in PRECISIONS if not try_devices(name, 'cpu:0')]
    peaks = {name: memory(name, options) for name in here}
    steps = medians({name: training(name, *size) for name in here}, options.rounds)
    runs = {name: inference(name, options.infer_size) for name in here}
    scores, reference = medians(runs, options.rounds), runs[PRECISIONS[0]]()
    print(f'steps of {size[0]} images of {size[1]} pixels; scores of an image of 500x375')
    print('| precision | a step | peak memory | scores | largest difference of scores |\n|---|---|---|---|---|')
    for name in here:
        difference = max(np.abs(ours - theirs).max() / np.abs(theirs).max()
                         for ours, theirs in zip(runs[name](), reference))
        if name != PRECISIONS[0]:
            for what, taken in (('a step', steps), ('scores', scores)):
                _figures.report(f'{what}, {name}, as fast', taken[PRECISIONS[0]] / taken[name], _figures.RATIO,
                                f'{PRECISIONS[0]}: {taken[PRECISIONS[0]]:.2f} s', more_is_better=True)
        print(f'| {name} | {steps[name]:.2f} s | {peaks[name] / 1e9:.2f} GB | {scores[name]:.2f} s | '
              f'{difference:.1%} |')


if __name__ == '__main__':
    main()
