"""What 80 classes (COCO) cost next to 20 (VOC): `python tests/benchmarks/classes.py`.

- A training step with losses and refinement, and the peak memory of its process, each number of classes in a process
  of its own, which take turns.
- Refinement by superpixels alone.
- A CRF seed of an image of three classes, 500x375: absent classes are one label of the CRF.

Medians of the processor's time. A narrow network (--width) makes what depends on classes a larger part of a step.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

import numpy as np  # noqa: E402

from tests.benchmarks import _figures  # noqa: E402

NUMBERS, SUPERPIXELS, COUNT, SIZE = (20, 80), 64, 4, 321


def cpu(run, times):
    """Median processor time of calls, the first one left out, in seconds."""
    taken = []
    for _ in range(times + 1):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def superpixels(count, side):
    grid = np.arange(side)[:, None] * 8 // side * 8 + np.arange(side) * 8 // side
    return np.broadcast_to(grid, (count, side, side))


def labels(classes):
    """Three classes an image, (COUNT, classes)."""
    rng = np.random.default_rng(0)
    return np.stack([np.isin(np.arange(classes), rng.choice(classes, 3, replace=False)) for _ in range(COUNT)])


def measure(classes, width, steps):
    """Print seconds of a step, of refinement and of a seed, and megabytes at the peak of training."""
    from icd.data.datasets import IcdBatch
    from icd.method import crf
    from icd.model.icd_blocks import SuperpixelRefine
    from icd.model.icd_net import ICDNet
    from icd.model.initial import initialize_missing, set_values
    from icd.mxnet_setup import mx
    from icd.train.icd_task import IcdTask
    from icd.train.trainer import Trainer
    from tests.method.test_crf import drawing
    net, side, rng = ICDNet(classes, width), SIZE // 8 + 1, np.random.default_rng(0)
    set_values(net, initialize_missing(net, {}, 0, he=True), mx.cpu())
    image = mx.nd.array(rng.integers(0, 256, (COUNT, 3, SIZE, SIZE)), dtype='uint8')
    batch = IcdBatch(image, mx.nd.array(labels(classes)), mx.nd.array(superpixels(COUNT, side), dtype='int32'), [],
                     SUPERPIXELS)
    trainer, number = Trainer(IcdTask(net), [mx.cpu()]), iter(range(1 << 30))

    def step():
        trainer.step(batch, 1e-5, next(number)).update.wait_to_read()
        mx.nd.waitall()
    of_step = cpu(step, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    refine, score = SuperpixelRefine(), mx.nd.array(rng.normal(0, 1, (COUNT, classes, side, side)))
    of_refinement = cpu(lambda: refine(score, batch.label, batch.superpixel, mx.nd.arange(SUPERPIXELS)).wait_to_read(),
                        5 * steps)
    pixels, seed = drawing(0, 375, 500, num_present=3)
    of_seed = cpu(lambda: crf.refine_seed(pixels, seed, classes + 1), steps)
    print(of_step, of_refinement, of_seed, peak)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--width', type=float, default=.25)
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--classes', type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.classes:
        measure(given.classes, given.width, given.steps)
        return
    found = {classes: [] for classes in NUMBERS}
    for _ in range(given.rounds):
        for classes in NUMBERS:
            done = subprocess.run([sys.executable, os.path.abspath(__file__), '--classes', str(classes), '--width',
                                   str(given.width), '--steps', str(given.steps)], stdout=subprocess.PIPE, text=True,
                                  check=True, cwd=ROOT, env=dict(os.environ, PYTHONPATH=ROOT))
            found[classes].append([float(one) for one in done.stdout.split()])
    few, many = (np.median(found[classes], axis=0) for classes in NUMBERS)
    for name, unit, a, b in zip(('step', 'refinement', 'CRF seed', 'peak memory'), ('s', 's', 's', 'MB'), few, many):
        print(f'{name:12s} {NUMBERS[0]} classes {a:9.4f} {unit}, {NUMBERS[1]} {b:9.4f} {unit}, ratio {b / a:.3f}')
        _figures.report(f'{name}, {NUMBERS[1]} classes', b / a, _figures.RATIO, f'{NUMBERS[0]} classes: {a:.3g} {unit}')


if __name__ == '__main__':
    main()
