"""Building and calling `makeSuperpixel`, and images to call it on."""
import os
import subprocess
import zlib

import cv2
import numpy as np

from icd.data import superpixel_map

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                      'external', 'superpixel')
PROGRAM = os.path.join(FOLDER, 'makeSuperpixel')
# The images of the fixture `root`.
NAMES = ('a', 'b', 'sub/with space')
PATHS = {'a': 'images/a.jpg', 'b': 'images/b.png', 'sub/with space': 'images/sub/with space.jpg'}


def build(*goals):
    """`make` the goals, the program by default; what is up to date is not made again."""
    made = subprocess.run(['make', '-j2', '-C', FOLDER] + list(goals), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert made.returncode == 0, made.stdout
    return made.stdout


def call(*arguments, **kwargs):
    """Exit code and lines on standard error of the program; `kwargs` go to `subprocess.run`."""
    done = subprocess.run([PROGRAM] + [str(a) for a in arguments], capture_output=True, text=True, timeout=120,
                          **kwargs)
    return done.returncode, done.stderr.splitlines()


def files(folder):
    """All files in a folder {relative path: bytes}."""
    found = {}
    for where, _, names in os.walk(str(folder)):
        for name in names:
            path = os.path.join(where, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, str(folder))] = file.read()
    return found


def maps(folder):
    """The label maps in a folder {relative path: bytes}, where the record is all else there is."""
    found = files(folder)
    assert found.pop('settings.json') and 'inputs.tsv' in found
    del found['inputs.tsv']
    return found


def labels_of(folder, names, images, *options, min_size=75):
    """Label maps {name: (H, W) int32} that the program makes of `images`/NAME.*, written to `folder`."""
    with open(os.path.join(str(folder), 'list.txt'), 'w') as file:
        file.write('\n'.join(names))
    target = os.path.join(str(folder), 'labels')
    code, lines = call(file.name, images, target, min_size, '--force', *options)
    assert code == 0, lines
    return {name: superpixel_map.read(os.path.join(target, name + '.png')) for name in names}


def draw(height, width, seed=0):
    """An image (H, W, 3) uint8 with smooth patches, edges and some noise."""
    rng = np.random.RandomState(seed)
    rough = cv2.resize(rng.randint(0, 256, (height // 24 + 2, width // 24 + 2, 3), np.uint8), (width, height),
                       interpolation=cv2.INTER_CUBIC)
    rough[(rough[..., :1] > 128)[..., 0]] //= 2
    return np.clip(rough + rng.normal(0, 4, rough.shape), 0, 255).astype(np.uint8)


def encoded(ending, height=1, width=1):
    """Bytes of a drawn image."""
    return cv2.imencode(ending, draw(height, width))[1].tobytes()


def write(path, seed, modified=None):
    """Write a drawn image; all PNG files of these have one size."""
    cv2.imwrite(str(path), draw(60, 80, seed), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    if modified is not None:
        os.utime(str(path), ns=(modified, modified))


def make(root, *options, min_size='75', **kwargs):
    return call('list.txt', 'images', 'out', min_size, *options, cwd=str(root), **kwargs)


def summary(made, kept, bad=0):
    return f'makeSuperpixel: {made} made, {kept} already there, {bad} bad'


def record(root):
    """Lines of the record {name: identity}."""
    lines = (root / 'out/inputs.tsv').read_text(encoding='utf-8').split('\n')
    assert lines.pop() == ''
    return dict(line.rsplit('\t', 1) for line in lines)


def identity(path):
    """The identity of a file as Python computes it."""
    status = os.stat(str(path))
    return f'{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns},{zlib.crc32(path.read_bytes()):08x}'
