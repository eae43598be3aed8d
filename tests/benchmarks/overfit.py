"""Twenty images learned by heart: `python tests/benchmarks/overfit.py DATA WEIGHTS OUT`.

A network that cannot learn twenty images has a fault somewhere between masks and scores. VGG16-LargeFOV at full width
is trained on the sixth and every fifteenth image after it of DATA/train.txt, with the true masks, and evaluated on the
same images; DATA and WEIGHTS are as for `tests/benchmarks/msrc.py`. The convolutions stay as they are, which halves the
time of a step. The exit code is 1 when mIoU before the CRF is below 90. What is done is kept.
"""
import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from tests.benchmarks.msrc import CLASS_NAMES, TRUTH, Benchmark, script  # noqa: E402

COUNT, FIRST, EVERY = 20, 5, 15
SIDE, BATCH, EPOCHS, RATE = 321, 5, 35, .003
LEAST = 90.


class Overfit(Benchmark):
    """The stages of this benchmark; see `Benchmark`."""

    def figures(self):
        """mIoU on the training images without and with the CRF."""
        with open(self.data_file('train.txt')) as file:
            names = file.read().split()[FIRST::EVERY][:COUNT]
        with open(self.out_file('list.txt'), 'w') as file:
            file.writelines(name + '\n' for name in names)
        images = ('--image-root', self.data_file('JPEGImages'), '--data-list', self.out_file('list.txt'), '--snapshot',
                  self.out_file('network'), '--gpus', self.gpus)
        self.run('training', sys.executable, 'run_deeplab.py', *images, '--seed-root', self.data_file(*TRUTH),
                 '--class-names', self.data_file(*CLASS_NAMES), '--pretrained', self.weights, '--image-size', str(SIDE),
                 '--batch-size', str(BATCH), '--num-epoch', str(EPOCHS), '--learning-rate', str(RATE), '--augment',
                 'mirror', '--backbone-lr', '0', '--num-save', '1', '--seed', str(self.seeds[0]))
        self.run('prediction', script('icd-segment'), 'predict', *images, '--out', self.out_file('masks'),
                 '--infer-size', str(SIDE), '--scales', '1', '--no-flip')
        return [self.evaluate(kind, self.out_file('masks', kind), self.out_file('list.txt'))['mIoU']
                for kind in ('raw', 'crf')]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data')
    parser.add_argument('weights')
    parser.add_argument('out')
    parser.add_argument('--gpus', default='cpu')
    options = parser.parse_args()
    raw, crf = Overfit(*(os.path.abspath(path) for path in (options.data, options.weights, options.out)), 0, 0, [0],
                       options.gpus).figures()
    print(f'{COUNT} images on themselves: mIoU {raw:.1f} without CRF (at least {LEAST:.0f}), {crf:.1f} with it')
    return int(raw < LEAST)


if __name__ == '__main__':
    sys.exit(main())
