"""Time of the dense CRF, everything in turns in one run.

Seeds: absent classes collapsed, compiled and by pydensecrf, against pydensecrf with a label for each of 21 classes.
Unaries of every pixel (as a network gives them), 21 labels: compiled against pydensecrf. And processes against one.

    python tests/benchmarks/crf.py [--images FOLDER_WITH_voc_mini] [--processes 2]

Without images it draws some of VOC's usual size. Every process computes on one core, and times of one are processor
time. Ends with exit code 1 when a compiled seed takes more than 0.05 s.
"""
import argparse
import os
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(TESTS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from icd import parallel  # noqa: E402
from icd.method import crf  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402
from tests.method.test_crf import drawing, every_class, plain_crf, plain_probabilities  # noqa: E402
from tests.method.test_dense_crf import scores  # noqa: E402

LIMIT = .05                     # seconds of one core, a seed of 500x375


def read_pairs(folder):
    """Images (RGB) with seeds that have undefined pixels."""
    seeds = os.path.join(folder, 'parity_voc', 'seeds', 'sal')
    for name in sorted(os.listdir(seeds)):
        image = cv2.imread(os.path.join(folder, 'voc_mini', 'JPEGImages', name[:-4] + '.jpg'))
        yield np.ascontiguousarray(image[:, :, ::-1]), cv2.imread(os.path.join(seeds, name), cv2.IMREAD_UNCHANGED)


def drawings(count=12):
    for i in range(count):
        yield drawing(i, 375, 500, num_present=2 + i % 2)


def timed(spent, name, function, *args, **kwargs):
    """Call the function, add its processor time to `spent[name]`, and hand on what it returns."""
    start = time.process_time()
    result = function(*args, **kwargs)
    spent[name] = spent.get(name, 0) + time.process_time() - start
    return result


def report(title, spent, count, reference):
    for name, seconds in spent.items():
        _figures.report(f'{title}, {name}', seconds / count, 's')
        if name != reference:
            _figures.report(f'{title}, {name}, as fast', spent[reference] / seconds, _figures.RATIO,
                            f'{reference}: {spent[reference] / count:.3f} s', more_is_better=True)
        print(f'one core, {count} images, {title}, {name}: {seconds / count:.3f} s an image, '
              f'{spent[reference] / seconds:.2f} times as fast as {reference}')


def compare_seeds(pairs):
    """All ways in turns, image by image, so that what else the machine does hits each."""
    spent, largest = {}, 0
    for image, seed in pairs:
        timed(spent, 'compiled, collapsed', crf.refine_seed, image, seed, 21, backend='compiled')
        timed(spent, 'pydensecrf, collapsed', crf.refine_seed, image, seed, 21, backend='pydensecrf')
        plain = timed(spent, 'plain pydensecrf', plain_probabilities, image, seed)
        largest = max(largest, np.abs(every_class(*crf.seed_probabilities(image, seed, 21), 21) - plain).max())
    report('seeds', spent, len(pairs), 'plain pydensecrf')
    print(f'probabilities of seeds, compiled and plain, differ by at most {largest:.1e}')
    _figures.report('probabilities of seeds, largest difference', largest, '', 'plain pydensecrf', at_most=1e-5)
    return spent['compiled, collapsed'] / len(pairs)


def compare_dense(pairs, num_labels=21):
    """As `compare_seeds`, for unaries of every pixel."""
    spent, largest = {}, 0
    for number, (image, _) in enumerate(pairs):
        unary = scores(number, num_labels, *image.shape[:2])
        compiled = timed(spent, 'compiled', crf.dense_crf, image, unary, backend='compiled')
        plain = timed(spent, 'plain pydensecrf', plain_crf, image, unary)
        largest = max(largest, np.abs(compiled - plain).max())
    report(f'{num_labels} labels a pixel', spent, len(pairs), 'plain pydensecrf')
    print(f'probabilities of {num_labels} labels, compiled and plain, differ by at most {largest:.1e}')


def refine_file(path):
    """As the seeds are made: a worker reads what it needs itself, and nothing large is sent to it or back."""
    with np.load(path) as file:
        crf.refine_seed(file['image'], file['seed'], 21)


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
            paths.append(os.path.join(folder, f'{number}.npz'))
            np.savez(paths[-1], image=image, seed=seed)
        paths *= max(1, 120 // len(paths))
        measured = np.array([[rate(paths, count) for count in (1, num_process)] for _ in range(turns)])
    (one, spent_one), (several, spent_several) = np.median(measured, axis=0)
    ratios = measured[:, 1, 0] / measured[:, 0, 0]
    _figures.report(f'seeds, {num_process} processes, as many a second', np.median(ratios), _figures.RATIO,
                    f'one process: {one:.1f} a second', more_is_better=True)
    print(f'1 process: {one:.2f} images a second, {spent_one:.3f} CPU seconds an image')
    print(f'{num_process} processes on {parallel.number_of_cores()} cores: {several:.2f} images a second, '
          f'{spent_several:.3f} CPU seconds an image; {np.median(ratios):.2f} times one '
          f'({ratios.min():.2f} to {ratios.max():.2f})')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default=os.path.join(os.path.dirname(os.path.dirname(TESTS)), 'shared'))
    parser.add_argument('--processes', type=int, default=min(4, parallel.number_of_cores()))
    options = parser.parse_args()
    if not crf.is_compiled():
        parser.error('icd.method._mean_field is not compiled: pip install -e .')
    real = os.path.isdir(os.path.join(options.images, 'voc_mini'))
    pairs = list(read_pairs(options.images) if real else drawings())
    print(f'{len(pairs)} images' if real else f'{len(pairs)} drawn images (no images at {options.images})')
    parallel.keep_freed_memory()         # as the processes that make seeds do
    seconds = compare_seeds(pairs)
    compare_dense(pairs)
    compare_processes(pairs, options.processes)
    print(f'a seed: {seconds:.3f} s (at most {LIMIT} s)')
    return 0 if seconds <= LIMIT else 1


if __name__ == '__main__':
    sys.exit(main())
