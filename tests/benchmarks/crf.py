"""Time of the dense CRF: absent classes collapsed against a label for each, and processes against one.

    python tests/benchmarks/crf.py [--images FOLDER_WITH_voc_mini] [--processes 2]

Without photographs it draws images of VOC's usual size. Every process computes on one core.
"""
import argparse
import os
import sys
import time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.dirname(TESTS), TESTS]

import cv2                                                                  # noqa: E402
import numpy as np                                                          # noqa: E402

from icd import crf, runtime                                                # noqa: E402
from test_crf import drawing, plain_probabilities                           # noqa: E402


def photographs(folder):
    """Photographs (RGB) with seeds that have undefined pixels."""
    seeds = os.path.join(folder, 'parity_voc', 'seeds', 'sal')
    for name in sorted(os.listdir(seeds)):
        image = cv2.imread(os.path.join(folder, 'voc_mini', 'JPEGImages', name[:-4] + '.jpg'))
        yield np.ascontiguousarray(image[:, :, ::-1]), cv2.imread(os.path.join(seeds, name), cv2.IMREAD_UNCHANGED)


def drawings(count=12):
    for i in range(count):
        yield drawing(i, 375, 500, num_present=2 + i % 2)


def refine(pair):
    return crf.dense_crf(pair[0], pair[1], 21)


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare_labels(pairs):
    """Collapsed and plain CRF in turns, image by image, so that what else the machine does hits both."""
    collapsed, plain, largest = 0, 0, 0
    for image, seed in pairs:
        collapsed += seconds(refine, (image, seed))
        plain += seconds(plain_probabilities, image, seed)
        present, probability = crf.class_probabilities(image, seed, 21)
        full = np.repeat(probability[-1:], 21, axis=0)
        full[present] = probability[:-1]
        largest = max(largest, np.abs(full - plain_probabilities(image, seed)).max())
    print('one core, %d images: 21 labels %.3f s an image, collapsed %.3f s: %.2f times as fast; '
          'probabilities differ by at most %.1e' % (len(pairs), plain / len(pairs), collapsed / len(pairs),
                                                    plain / collapsed, largest))


def rate(pairs, num_process):
    """Images a second once the processes run (the first of each are not counted), and CPU seconds an image."""
    used = sum(os.times()[:4])
    results = runtime.process_map(refine, pairs, num_process)
    for _ in range(num_process):
        next(results)
    start = time.perf_counter()
    images_a_second = sum(1 for _ in results) / (time.perf_counter() - start)
    return images_a_second, (sum(os.times()[:4]) - used) / len(pairs)


def compare_processes(pairs, counts):
    pairs = sorted(pairs, key=lambda pair: -pair[1].size) * max(1, 96 // len(pairs))
    rates = {count: rate(pairs, count) for count in counts}
    for count in counts:
        print('%d processes: %.2f images a second, %.2f times one; %.3f CPU seconds an image (%d cores here)' % (
            count, rates[count][0], rates[count][0] / rates[counts[0]][0], rates[count][1],
            runtime.number_of_cores()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default=os.path.join(os.path.dirname(os.path.dirname(TESTS)), 'shared'))
    parser.add_argument('--processes', type=int, default=min(4, runtime.number_of_cores()))
    options = parser.parse_args()
    real = os.path.isdir(os.path.join(options.images, 'voc_mini'))
    pairs = list(photographs(options.images) if real else drawings())
    print('%d %s' % (len(pairs), 'photographs' if real else 'drawn images (no photographs at %s)' % options.images))
    compare_labels(pairs)
    compare_processes(pairs, [1, options.processes])


if __name__ == '__main__':
    main()
