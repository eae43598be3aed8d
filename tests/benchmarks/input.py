"""How fast training images are read: `python tests/benchmarks/input.py`.

Makes 200 images of VOC's size (500x375, JPEG of about 100 KB) with superpixel maps, reads training batches of
321-pixel crops with 0, 1, 2, ... workers, and prints images per second and core, against the 40 of the original's one
thread; then whether batches are the same bits for every number of workers, and whether memory stays flat.
"""
import argparse
import hashlib
import os
import sys
import tempfile
import time

import cv2
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from icd import files, parallel
from icd.data import superpixel_map  # noqa: E402
from icd.data.datasets import IcdTrainingSet  # noqa: E402
from icd.data.loader import BatchLoader, EpochSampler  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402

ORIGINAL = 40               # images a second
HEIGHT, WIDTH, CROP, BATCH, CLASSES = 375, 500, 321, 32, 20


def texture(rng):
    """Noise with the falling spectrum of natural images, in three nearly equal channels: uint8."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)) + 1 / WIDTH
    channels = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((HEIGHT, WIDTH))) / frequency ** 1.15,
                              s=(HEIGHT, WIDTH)) for _ in range(2)]
    channels = [channel / channel.std() for channel in channels]
    grey, tint = channels
    return np.clip(118 + 55 * np.stack([grey - .3 * tint, grey, grey + .3 * tint], -1), 0, 255).astype(np.uint8)


def superpixels(image):
    """About 64 superpixels with uneven borders: cells of a grid, shifted by the picture."""
    soft = cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + .25 * (soft[..., :2].transpose(2, 0, 1) - 118)
    cells = np.clip(y // 47, 0, 7) * 8 + np.clip(x // 63, 0, 7)
    return superpixel_map.renumber(cells.astype(np.int32))


def make(folder, count):
    """Write `count` images and maps; their names and the mean sizes of the files."""
    names, sizes = [f'noise_{i:03d}' for i in range(count)], np.zeros((count, 2))
    for i, name in enumerate(names):
        image = texture(np.random.default_rng(i))
        paths = os.path.join(folder, name + '.jpg'), superpixel_map.path(folder, name)
        if not all(map(os.path.exists, paths)):
            files.save_image(paths[0], image, cv2.IMWRITE_JPEG_QUALITY, 88)
            superpixel_map.write(paths[1], superpixels(image))
        sizes[i] = [os.path.getsize(path) for path in paths]
    return names, sizes.mean(axis=0)


def memory(processes):
    """Resident megabytes of each process; what several use is counted in part (PSS)."""
    found = []
    for pid in processes:
        with open(f'/proc/{pid}/smaps_rollup', encoding='ascii') as file:
            found.append(next(int(line.split()[1]) for line in file if line.startswith('Pss:')) / 1024)
    return found


def busy(processes):
    """Seconds of a core all processes have used so far: means more than the clock on a busy machine."""
    total = 0
    for pid in processes:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            total += sum(map(int, file.read().rsplit(')', 1)[1].split()[11:13]))
    return total / os.sysconf('SC_CLK_TCK')


def measure(dataset, workers, batches):
    """Images a second by the clock and of a core's time, digest of all batches, memory early on and at the end."""
    loader = BatchLoader(dataset, EpochSampler(len(dataset), BATCH, 0, batches * BATCH), workers)
    pids = [os.getpid()] + [process.pid for process in loader.processes]
    digest, early = hashlib.sha256(), None
    start, busy_before = time.perf_counter(), busy(pids)
    for number, batch in enumerate(loader.epoch(0)):
        for array in batch[:3]:
            digest.update(array.asnumpy()[..., ::16].tobytes())
        if number == batches // 5:
            early = memory(pids)
    images = batches * BATCH
    rates = images / (time.perf_counter() - start), images / (busy(pids) - busy_before)
    late = memory(pids)
    loader.close()
    return rates, digest.hexdigest(), early, late


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', help='where the files are kept (default: made anew in a temporary folder)')
    parser.add_argument('--count', type=int, default=200, help='images (default: %(default)s)')
    parser.add_argument('--batches', type=int, default=200, help='batches a measurement (default: %(default)s)')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2, 4])
    options = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        names, sizes = make(folder, options.count)
        jpeg, png = sizes / 1e3
        print(f'{len(names)} images {WIDTH}x{HEIGHT}: JPEG {jpeg:.0f} KB, superpixels {png:.0f} KB; crops of {CROP}, '
              f'batches of {BATCH}; {parallel.number_of_cores()} cores')
        labels = np.eye(len(names), CLASSES, dtype=np.float32)
        dataset = IcdTrainingSet(names, labels, folder, folder, CROP, seed=0)
        digests = set()
        print('workers | images/s | images/s of a core | of the original | MB of each process after '
              f'{options.batches // 5}, {options.batches} batches')
        for workers in options.workers:
            (rate, a_core), digest, early, late = measure(dataset, workers, options.batches)
            digests.add(digest)
            _figures.report(f'training images, {workers} workers, a second and core', a_core, 'images/s',
                            f'original release: {ORIGINAL}', more_is_better=True)
            _figures.report(f'training images, {workers} workers, a second', rate, 'images/s', more_is_better=True)
            memory = ', '.join(' '.join(f'{m:.0f}' for m in when) for when in (early, late))
            print(f'{workers:7d} | {rate:8.0f} | {a_core:18.0f} | {a_core / ORIGINAL:14.1f}x | {memory}')
        print(f'batches: {"the same bits for every number of workers" if len(digests) == 1 else "DIFFERENT"}')
    return len(digests) != 1


if __name__ == '__main__':
    sys.exit(main())
