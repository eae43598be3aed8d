"""Time `icd-evaluate` against reading the same masks with Pillow in as many processes.

    python tests/benchmarks/evaluate.py [--images 10000] [--num-process N] [--folder DIR]

Draws pairs of masks of 500x375 (the truth as palette PNGs as VOC's, the seeds as grey PNGs as `icd-run` writes them)
and ends with exit code 1 when evaluating takes more than 1.3 times as long as reading. Both times include starting the
processes.
"""
import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from icd import parallel  # noqa: E402
from icd.data import geometry, masks  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402

LIMIT = 1.3
HEIGHT, WIDTH = 375, 500
DRAWN = 200                 # different pairs; the others are links to them, so that drawing does not take an hour
_READ = """
import sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from PIL import Image

def read(paths):
    return [np.asarray(Image.open(path)).shape for path in paths]

if __name__ == '__main__':
    pred, truth, names, count = sys.argv[1:]
    names = open(names).read().split()
    paths = [folder + '/' + name + '.png' for name in names for folder in (pred, truth)]
    chunks = [paths[i:i + 64] for i in range(0, len(paths), 64)]
    with ProcessPoolExecutor(int(count)) as pool:
        assert sum(len(shapes) for shapes in pool.map(read, chunks)) == len(paths)
"""


def draw_pair(rng):
    """Truth with ignored outlines, and a seed with ragged edges and small holes, as a dense CRF leaves them."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    truth, pred = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    for index in rng.choice(np.arange(1, 21), rng.integers(1, 4), replace=False):
        angle = np.arctan2(y - rng.uniform(80, 290), x - rng.uniform(100, 400))
        wobble = sum(rng.uniform(0, .2) / k * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 12))
        distance = np.hypot(y - rng.uniform(80, 290), x - rng.uniform(100, 400)) / (rng.uniform(40, 120) * (1 + wobble))
        rough = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 3)
        truth[distance < 1] = index
        truth[np.abs(distance - 1) < .04] = geometry.IGNORE
        pred[distance + rough < 1.05] = index
    return truth, pred


def make(folder, number):
    """Draw the masks; returns the folders and the list."""
    rng = np.random.default_rng(0)
    truth_root, pred_root, names = (os.path.join(folder, n) for n in ('truth', 'pred', 'list.txt'))
    for root in (truth_root, pred_root):
        os.makedirs(root)
    for i in range(min(number, DRAWN)):
        truth, pred = draw_pair(rng)
        image = Image.fromarray(truth, 'P')
        image.putpalette(masks.palette().tobytes())
        image.save(os.path.join(truth_root, f'{i:05d}.png'))
        masks.save_mask(os.path.join(pred_root, f'{i:05d}.png'), pred)
    for root in (truth_root, pred_root):
        for i in range(DRAWN, number):
            os.link(os.path.join(root, f'{i % DRAWN:05d}.png'), os.path.join(root, f'{i:05d}.png'))
    with open(names, 'w', encoding='ascii') as file:
        file.writelines(f'{i:05d}\n' for i in range(number))
    return pred_root, truth_root, names


def seconds(command):
    """Wall-clock and processor seconds of a command and its processes."""
    def processor():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    start, used = time.perf_counter(), processor()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return np.array([time.perf_counter() - start, processor() - used])


def measure(folder, number, num_process, rounds):
    """Best wall-clock and processor seconds of reading and of evaluating, taken in turns: (2, 2)."""
    pred, truth, names = make(folder, number)
    reader = os.path.join(folder, 'read.py')
    with open(reader, 'w', encoding='ascii') as file:
        file.write(_READ)
    read = functools.partial(seconds, [sys.executable, reader, pred, truth, names, str(num_process)])
    evaluate = functools.partial(seconds, [
        sys.executable, '-m', 'icd.commands', 'evaluate', '--pred', pred, '--truth', truth, '--list', names,
        '--num-process', str(num_process)])
    return np.min([(read(), evaluate()) for _ in range(rounds)], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=10000)
    parser.add_argument('--num-process', type=int, default=parallel.number_of_cores())
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--folder', help='where to draw the masks (default: the folder for temporary files)')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        reading, evaluating = measure(folder, options.images, options.num_process, options.rounds)
    ratio, ratio_processor = evaluating / reading
    print(json.dumps({'images': options.images, 'processes': options.num_process,
                      'reading_seconds': round(reading[0], 2), 'evaluating_seconds': round(evaluating[0], 2),
                      'ratio': round(ratio, 3), 'limit': LIMIT, 'processor_ratio': round(ratio_processor, 3)}))
    _figures.report(f'evaluating {options.images} images, by the clock', evaluating[0], 's')
    for kind, value, read in zip(('time', 'processor time'), (ratio, ratio_processor), reading):
        _figures.report(f'evaluating {options.images} images, {kind}', value, _figures.RATIO,
                        f'reading the files alone with Pillow: {read:.2f} s', at_most=LIMIT)
    return int(ratio > LIMIT)


if __name__ == '__main__':
    sys.exit(main())
