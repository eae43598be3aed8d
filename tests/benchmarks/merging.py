"""Time pooling and merging of one image against doing both the straightforward way, on one core.

    python tests/benchmarks/merging.py [--rounds 7] [--no-plain]

A drawn image of 500x375 with 470 ragged superpixels and a feature map of 512 channels, as VOC's are at width 1, and
features of 2,000 superpixels. Ends with exit code 1 when pooling and merging together take more than 0.02 s, merging
2,000 superpixels more than 0.6 s, or when the two ways differ.

The straightforward way is the original's: features are scaled up to pixels and multiplied with a one-hot matrix of
pixels x superpixels; every round of merging builds such a matrix anew to count pixels, and all similarities with it.
"""
import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'                 # before NumPy is imported: one core is what is measured

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from icd.method import merging  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402

LIMIT, LIMIT_OF_MANY = .02, .6               # seconds
MANY = 2000                                 # superpixels
HEIGHT, WIDTH, SUPERPIXELS, CHANNELS, KEPT, SIDE = 375, 500, 470, 512, 64, 65


def draw(rng):
    """Labels (H, W) of exactly `SUPERPIXELS` ragged superpixels, and a smooth feature map without negatives."""
    def noise(sigma):
        field = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigma)
        return field / field.std()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    y, x = y + 4 * noise(4) + noise(1), x + 4 * noise(4) + noise(1)
    points = rng.random((SUPERPIXELS, 2)) * [HEIGHT, WIDTH]
    nearest = np.stack([(y - a) ** 2 + (x - b) ** 2 for a, b in points]).argmin(0)
    order = np.argsort(np.unique(nearest, return_index=True)[1])    # as raw maps: numbered by first appearance
    labels = np.argsort(order).astype(np.int32)[np.unique(nearest, return_inverse=True)[1].reshape(nearest.shape)]
    feature = rng.standard_normal((CHANNELS, SIDE, SIDE)).astype(np.float32)
    return labels, np.stack([np.maximum(cv2.GaussianBlur(one, (0, 0), 1.5), 0) for one in feature])


def draw_many(rng):
    """Features (`MANY`, `CHANNELS`) of superpixels of 40 kinds, and their pixels."""
    likes = rng.standard_normal((40, CHANNELS))[rng.integers(0, 40, MANY)]
    features = np.maximum(rng.standard_normal((MANY, CHANNELS)) + .3 * likes, 0).astype(np.float32)
    return features, rng.integers(20, 200, MANY)


def plain_pool(labels, feature):
    """Mean features by scaling up and a one-hot matrix."""
    eye = np.eye(SIDE)
    rows, columns = [np.stack([np.interp(np.arange(side) / 8, np.arange(SIDE), one) for one in eye], axis=1)
                     .astype(np.float32) for side in labels.shape]
    dense = (rows @ feature) @ columns.T
    one_hot = (labels.reshape(-1, 1) == np.arange(labels.max() + 1)).astype(np.float32)
    return (dense.reshape(len(feature), -1) @ one_hot / one_hot.sum(0)).T


def plain_merge(labels, features, largest):
    """Greedy merging with everything computed anew in every round."""
    labels, features = labels.copy(), list(features.astype(np.float64))
    while len(features) > largest:
        sizes = (labels.reshape(1, -1) == np.arange(len(features))[:, None]).sum(1)
        unit = np.stack(features)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        value = unit @ unit.T + 1 - np.add.outer(sizes, sizes) / labels.size
        value[np.tril_indices(len(features))] = -np.inf
        i, j = np.unravel_index(value.argmax(), value.shape)
        features[i] = (sizes[i] * features[i] + sizes[j] * features[j]) / (sizes[i] + sizes[j])
        del features[j]
        labels[labels == j] = i
        labels[labels > j] -= 1
    return labels


def seconds(function, rounds):
    """Least processor time of `rounds` calls, and what the last one returned."""
    best = float('inf')
    for _ in range(rounds):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7, help='the best of so many counts (default: %(default)s)')
    parser.add_argument('--no-plain', action='store_true', help='leave the straightforward way out: it takes minutes '
                        'on a busy machine, and 1 GB')
    options = parser.parse_args()
    labels, feature = draw(np.random.default_rng(0))
    pixels = np.bincount(labels.ravel())
    pooling, features = seconds(lambda: merging.pool(labels, feature), options.rounds)
    greedy, groups = seconds(lambda: merging.merge(features, pixels, KEPT), options.rounds)
    print(f'{WIDTH}x{HEIGHT}, {len(pixels)} superpixels, {CHANNELS} features, one core, best of {options.rounds}:')
    print(f'pooling {pooling:.4f} s, merging {greedy:.4f} s, together {pooling + greedy:.4f} s (at most {LIMIT:.2f} s)')
    _figures.report(f'pooling and merging, {SUPERPIXELS} superpixels', pooling + greedy, 's', at_most=LIMIT)
    many = draw_many(np.random.default_rng(1))
    greedy_many, _ = seconds(lambda: merging.merge(*many, KEPT), 2)
    print(f'{MANY:,} superpixels: merging {greedy_many:.3f} s (at most {LIMIT_OF_MANY} s)')
    _figures.report(f'merging, {MANY} superpixels', greedy_many, 's', at_most=LIMIT_OF_MANY)
    same = True
    if not options.no_plain:
        plain_pooling, plain_features = seconds(lambda: plain_pool(labels, feature), 1)
        plain_greedy, plain_labels = seconds(lambda: plain_merge(labels, plain_features, KEPT), 1)
        same = bool((groups[labels] == plain_labels).all())
        print('the straightforward way: pooling {:.2f} s, merging {:.2f} s; {:.0f} times as long, {}'.format(
            plain_pooling, plain_greedy, (plain_pooling + plain_greedy) / (pooling + greedy),
            'the same map' if same else 'ANOTHER MAP'))
        _figures.report('as fast as the straightforward way', (plain_pooling + plain_greedy) / (pooling + greedy),
                        _figures.RATIO, f'the same maps in {plain_pooling + plain_greedy:.1f} s', more_is_better=True)
    return 0 if same and pooling + greedy <= LIMIT and greedy_many <= LIMIT_OF_MANY else 1


if __name__ == '__main__':
    sys.exit(main())
