"""Time of the dense CRF: absent classes collapsed, compiled and by pydensecrf, against pydensecrf with a label for each
class; and processes against one.

    python tests/benchmarks/crf.py [--images FOLDER_WITH_voc_mini] [--processes 2]

Without photographs it draws images of VOC's usual size. Every process computes on one core.
"""
import argparse
import os
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.dirname(TESTS), TESTS]

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from icd import crf, parallel  # noqa: E402
from tests.test_crf import drawing, every_class, plain_probabilities  # noqa: E402


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


def refine_by_library(image, seed):
    compiled, crf._mean_field = crf._mean_field, None
    try:
        return crf.dense_crf(image, seed, 21)
    finally:
        crf._mean_field = compiled


def compare_labels(pairs):
    """All ways in turns, image by image, so that what else the machine does hits each."""
    spent, largest = {'plain': 0, 'pydensecrf, collapsed': 0, 'compiled, collapsed': 0}, 0
    for image, seed in pairs:
        spent['compiled, collapsed'] += seconds(refine, (image, seed))
        spent['pydensecrf, collapsed'] += seconds(refine_by_library, image, seed)
        spent['plain'] += seconds(plain_probabilities, image, seed)
        full = every_class(*crf.class_probabilities(image, seed, 21), 21)
        largest = max(largest, np.abs(full - plain_probabilities(image, seed)).max())
    for name, time_spent in spent.items():
        print('one core, %d images, %s: %.3f s an image, %.2f times as fast as plain' % (
            len(pairs), name, time_spent / len(pairs), spent['plain'] / time_spent))
    print('probabilities of compiled and plain differ by at most %.1e' % largest)


def refine_file(path):
    """As the seeds are made: a worker reads what it needs itself, and nothing large is sent to it or back."""
    with np.load(path) as file:
        crf.dense_crf(file['image'], file['seed'], 21)


def rate(paths, num_process):
    """Images a second once the processes run (the first of each are not counted), and CPU seconds an image."""
    used = sum(os.times()[:4])
    results = parallel.process_map(refine_file, paths, num_process)
    for _ in range(num_process):
        next(results)
    start = time.perf_counter()
    images_a_second = sum(1 for _ in results) / (time.perf_counter() - start)
    return images_a_second, (sum(os.times()[:4]) - used) / len(paths)


def compare_processes(pairs, num_process, turns=5):
    """One and several processes in turns; medians."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, (image, seed) in enumerate(sorted(pairs, key=lambda pair: -pair[1].size)):
            paths.append(os.path.join(folder, '%d.npz' % number))
            np.savez(paths[-1], image=image, seed=seed)
        paths *= max(1, 120 // len(paths))
        measured = np.array([[rate(paths, count) for count in (1, num_process)] for _ in range(turns)])
    (one, spent_one), (several, spent_several) = np.median(measured, axis=0)
    ratios = measured[:, 1, 0] / measured[:, 0, 0]
    print('1 process: %.2f images a second, %.3f CPU seconds an image' % (one, spent_one))
    print('%d processes on %d cores: %.2f images a second, %.3f CPU seconds an image; %.2f times one (%.2f to %.2f)' % (
        num_process, parallel.number_of_cores(), several, spent_several, np.median(ratios), ratios.min(), ratios.max()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default=os.path.join(os.path.dirname(os.path.dirname(TESTS)), 'shared'))
    parser.add_argument('--processes', type=int, default=min(4, parallel.number_of_cores()))
    options = parser.parse_args()
    if not crf.is_compiled():
        parser.error('icd._mean_field is not compiled: pip install -e .')
    real = os.path.isdir(os.path.join(options.images, 'voc_mini'))
    pairs = list(photographs(options.images) if real else drawings())
    print('%d %s' % (len(pairs), 'photographs' if real else 'drawn images (no photographs at %s)' % options.images))
    parallel.keep_freed_memory()         # as the processes that make seeds do
    compare_labels(pairs)
    compare_processes(pairs, options.processes)


if __name__ == '__main__':
    main()
