"""Damaged files for every reader: `python tests/fuzz.py --cases 20000 --seed 1`.

Each case takes a valid file, damages it in a few places and reads it. A reader may return what it promises or raise
a `UserError` of one line that names the file; everything else is a bug, and the damaged file is kept.
"""
import argparse
import os
import sys
import tempfile
import time

import cv2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
if __name__ == '__main__':
    sys.path[:0] = [HERE, os.path.dirname(HERE)]

from icd.data import images, masks
from icd.data import score_map, superpixel_map, voc     # noqa: E402
from icd.errors import UserError                        # noqa: E402
from icd.weights import params                          # noqa: E402
from tests.helpers.small_data import ANNOTATION                       # noqa: E402


# ------------------------------------------------------------------------------------------------- valid files
def _encoded(ending, image):
    return cv2.imencode(ending, image)[1].tobytes()


def _saved(write):
    """Bytes of the file that `write(path)` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'file.npy')
        write(path)
        with open(path, 'rb') as file:
            return file.read()


def valid_files():
    """Valid content and reader by kind; a reader returns whether what it read is as promised."""
    import mxnet as mx
    rng = np.random.RandomState(0)
    photograph = cv2.resize(rng.randint(0, 255, (6, 8, 3), np.uint8), (40, 30))
    labels = rng.randint(0, 70000, (9, 11)).astype(np.int32)

    def image(path):
        size, read = images.image_size(path), images.read_image(path)
        return read.dtype == np.uint8 and read.shape == tuple(size) + (3,)

    def names(path):
        return all(not os.path.isabs(n) and '..' not in n.split('/') for n in voc.read_list(path))

    def mask(path):
        return masks.read_mask(path).dtype == np.uint8

    def arrays(path):
        return all(isinstance(name, str) for name in params.read(path))
    xml = ANNOTATION.replace('<object>', '<folder>VOC</folder><object><bndbox><xmin>3</xmin></bndbox>', 1) % 'dog'
    return {
        'list': (b'a\nb/c\r\n\n2007_000032\n', names),
        'class names': (b'cat\ndog\nbird\n', lambda path: len(voc.read_class_names(path)) > 0),
        'annotation': (xml.encode(), lambda path: set(voc.read_annotation(path, voc.CATEGORIES)) <= set(range(20))),
        'jpeg': (_encoded('.jpg', photograph), image),
        'png': (_encoded('.png', photograph), image),
        'superpixels': (_saved(lambda path: superpixel_map.write(path[:-4] + '.png', labels) or os.rename(
            path[:-4] + '.png', path)), lambda path: superpixel_map.read(path).dtype == np.int32),
        'mask': (_encoded('.png', rng.randint(0, 21, (9, 11), np.uint8)), mask),
        'colour mask': (_saved(lambda path: masks.save_colour(path[:-4] + '.png', rng.randint(
            0, 21, (9, 11)).astype(np.uint8)) or os.rename(path[:-4] + '.png', path)), mask),
        'scores': (_saved(lambda path: np.save(path, rng.randn(2, 7, 7).astype(np.float32))),
                   lambda path: score_map.read(path, 2, 49).shape == (2, 7, 7)),
        'parameters': (_saved(lambda path: mx.nd.save(path, {'arg:a': mx.nd.ones((3, 2)), 'aux:b': mx.nd.ones(4)})),
                       arrays),
    }


# ------------------------------------------------------------------------------------------------------- damage
def damage(content, rng):
    """A copy of `content` (bytes) with one to four of: bits turned, bytes set, a piece cut out, doubled or foreign."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        kind, place = rng.randint(6), rng.randint(len(data) + 1)
        length = int(min(len(data) - place, 2 ** rng.uniform(0, 8)))
        if kind == 0 and length:
            data[place] ^= 1 << rng.randint(8)
        elif kind == 1:
            data[place:place + length] = bytes(length * [int(rng.choice([0, 1, 10, 32, 60, 127, 128, 255]))])
        elif kind == 2:
            del data[place:place + length]
        elif kind == 3:
            data[place:place] = data[place:place + length]
        elif kind == 4:
            data[place:place + length] = rng.bytes(length)
        else:
            del data[place:]
    return bytes(data)


def check(kind, content, reader, folder):
    """Read one damaged file; a text saying what went wrong, or None."""
    path = os.path.join(folder, kind.replace(' ', '_'))
    with open(path, 'wb') as file:
        file.write(content)
    start = time.monotonic()
    try:
        fine = reader(path)
    except UserError as error:
        text = str(error)
        fine = path in text and '\n' not in text
    except Exception as error:      # whatever it is, the case is reported
        return '%s: %r' % (kind, error)
    if time.monotonic() - start > 10:
        return '%s: took %.0f s' % (kind, time.monotonic() - start)
    return None if fine else '%s: neither what is promised nor a message of one line' % kind


def fuzz(cases, seed, keep='.'):
    """Run `cases` cases over all kinds; texts of those that failed, whose files are kept in `keep`."""
    rng, bad = np.random.RandomState(seed), []
    kinds = list(valid_files().items())
    with tempfile.TemporaryDirectory() as folder:
        for number in range(cases):
            kind, (content, reader) = kinds[number % len(kinds)]
            damaged = damage(content, rng)
            found = check(kind, damaged, reader, folder)
            if found:
                name = os.path.join(keep, 'fuzz-%d-%d' % (seed, number))
                with open(name, 'wb') as file:
                    file.write(damaged)
                bad.append('%s (kept as %s)' % (found, name))
    return bad


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', type=int, default=20000)
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args()
    failures = fuzz(given.cases, given.seed)
    print('\n'.join(failures + ['%d cases, %d failed' % (given.cases, len(failures))]))
    sys.exit(bool(failures))
