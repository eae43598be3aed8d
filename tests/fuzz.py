"""Damaged files for every reader: `python tests/fuzz.py --cases 20000 --seed 1`.

Each case takes a valid file, damages it in a few places and reads it. A reader may return what it promises or raise
a `UserError` of one line that names the file; everything else is a bug, and the damaged file is kept.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time

import cv2
import numpy as np

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from icd.data import (  # noqa: E402
    class_maps,
    coco,
    images,
    labels,
    masks,
    msrc,
    restricted_pickle,
    score_map,
    superpixel_map,
    voc,
)
from icd.errors import UserError  # noqa: E402
from icd.weights import formats, mxnet_params, npz_file, safetensors_file  # noqa: E402
from tests.helpers import map_files  # noqa: E402
from tests.helpers import weights_files as sources  # noqa: E402
from tests.helpers.small_data import ANNOTATION  # noqa: E402


def _encoded(ending, image):
    return cv2.imencode(ending, image)[1].tobytes()


def _saved(write, ending=''):
    """Bytes of the file that `write(path)` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'file' + ending)
        write(path)
        with open(path, 'rb') as file:
            return file.read()


def weights_files() -> dict:
    """Valid weights of every format and their reader, as in `valid_files`."""
    arrays = {'a.weight': np.ones((4, 3), np.float32), 'a.bias': np.ones(4, np.float32), 'n': np.array(3)}
    layer = sources.model([sources.tensor(name, arrays[name]) for name in ('a.weight', 'a.bias')],
                          [('Gemm', ('x', 'a.weight', 'a.bias'), 'y')])

    def numbers(path):
        return all(isinstance(name, str) and array.dtype.kind in 'biufcSU'
                   for name, array in formats.read(path).items())

    def dictionary(path):
        return isinstance(restricted_pickle.read_npy_dictionary(path), dict)
    contents = {
        'archive of PyTorch': lambda path: sources.write_torch(path, arrays),
        'pickles of PyTorch': lambda path: sources.write_torch(path, arrays, legacy=True),
        'safetensors': lambda path: safetensors_file.write(path, arrays),
        'npz': lambda path: npz_file.write(path, arrays),
        'packed npz': lambda path: np.savez_compressed(path, **arrays),
        'HDF5': lambda path: sources.write_keras(path, arrays)}
    found = {name: (_saved(write, '.npz' if 'npz' in name else ''), numbers) for name, write in contents.items()}
    pickled = _saved(lambda path: np.save(path, arrays), '.npy')
    return {**found, 'ONNX': (layer, numbers), 'dictionary of arrays': (pickled, dictionary)}


def maps_files() -> dict:
    """Valid class maps and their reader, as in `valid_files`."""
    maps = np.random.RandomState(0).rand(2, 4, 5).astype(np.float32)

    def shape(path):
        folder, name = os.path.split(path)
        found = class_maps.read(class_maps.Source('maps', folder), name[:-len('.npy')], (1,), 'ab', (4, 5))
        return found.maps.shape == (1, 4, 5) and np.isfinite(found.maps).all()
    contents = {'tensors.npy': {'keys': map_files.tensor(np.arange(2)), 'high_res': map_files.tensor(maps)},
                'by class.npy': {0: maps[0], 2: maps[1]}, 'all classes.npy': maps}
    return {name: (_saved(lambda path, value=value: map_files.save(path, value), '.npy'), shape)
            for name, value in contents.items()}


def valid_files() -> dict:
    """Valid content and reader by kind; a reader returns whether what it read is as promised."""
    rng = np.random.RandomState(0)
    pixels = cv2.resize(rng.randint(0, 255, (6, 8, 3), np.uint8), (40, 30))
    partition = rng.randint(0, 70000, (9, 11)).astype(np.int32)

    def image(path):
        read = images.read_image(path)
        return read.dtype == np.uint8 and read.shape == (*images.image_size(path), 3)

    def size(path):
        return len(images.image_size(path)) == 2

    def names(path):
        return all(not os.path.isabs(n) and '..' not in n.split('/') for n in voc.read_list(path))

    def mask(path):
        return masks.read_mask(path).dtype == np.uint8

    def weights(read):
        return lambda path: all(isinstance(name, str) for name in read(path))
    xml = ANNOTATION.replace('<object>', '<folder>VOC</folder><object><bndbox><xmin>3</xmin></bndbox>', 1) % 'dog'
    params = _saved(lambda path: mxnet_params.write(path, {'arg:a': np.ones((3, 2), np.float32),
                                                           'aux:b': np.ones(4, np.float32)}))

    def sources(path):
        found = labels.classes_of(labels.read_source(path), ['2007_000032', 'b'], ('cat', 'dog'))
        return all(isinstance(one, (tuple, UserError)) for one in found)

    def instances(path):
        class_names, pictures = coco.read(path)
        return all(isinstance(name, str) for name in class_names) and all(
            coco.draw(one).shape == (one.height, one.width) for one in pictures if one.height * one.width < 1 << 20)
    of_coco = json.dumps({
        'images': [{'id': 3, 'file_name': 'b.jpg', 'height': 9, 'width': 8}], 'categories': [{'id': 1, 'name': 'cat'}],
        'annotations': [
            {'image_id': 3, 'category_id': 1, 'segmentation': [[1, 1, 4, 1, 4, 5.5]], 'iscrowd': 0, 'area': 9},
            {'image_id': 3, 'category_id': 1, 'segmentation': {'counts': [9, 3, 60], 'size': [9, 8]}, 'iscrowd': 1},
            {'image_id': 3, 'category_id': 1, 'segmentation': {'counts': '93Z1', 'size': [9, 8]}}]}).encode()
    truth = np.zeros((9, 11, 3), np.uint8)
    truth[2:, 3:] = msrc.COLOURS['cow'][::-1]
    return {
        'csv': (b'name,class\r\n2007_000032.jpg,cat;dog\nb,"dog"\n', sources),
        'columns': (b'name,cat,dog\n2007_000032,1,0\nx/b,0,1\n', sources),
        'indices': (b'2007_000032 0 1\nb 1\n', sources), 'json': (b'{"2007_000032": ["cat"], "b": [0, 1]}', sources),
        'coco labels': (of_coco, sources), 'coco instances': (of_coco, instances),
        'cls_labels': (_saved(lambda path: np.save(path, {'2007_000032': np.ones(2, np.float32), 7: np.zeros(2)},
                                                   allow_pickle=True), '.npy'), sources),
        'msrc truth': (_encoded('.bmp', truth), lambda path: msrc.read_mask(path).dtype == np.uint8),
        'bmp': (_encoded('.bmp', pixels), image), 'webp': (_encoded('.webp', pixels), image),
        'tiff': (_encoded('.tif', pixels), image),
        'list': (b'a\nb/c\r\n\n2007_000032\n', names),
        'class names': (b'cat\ndog\nbird\n', lambda path: len(voc.read_class_names(path)) > 0),
        'annotation': (xml.encode(), lambda path: set(voc.read_annotation(path, voc.CATEGORIES)) <= set(range(20))),
        'jpeg': (_encoded('.jpg', pixels), image),
        'png': (_encoded('.png', pixels), image),
        'header of a jpeg': (_encoded('.jpg', pixels)[:200], size),
        'header of a png': (_encoded('.png', pixels)[:60], size),
        'superpixels': (_saved(lambda path: superpixel_map.write(path, partition), '.png'),
                        lambda path: superpixel_map.read(path).dtype == np.int32),
        'mask': (_encoded('.png', rng.randint(0, 21, (9, 11), np.uint8)), mask),
        'colour mask': (_saved(lambda path: masks.save_colour(path, rng.randint(0, 21, (9, 11), np.uint8)), '.png'),
                        mask),
        'scores': (_saved(lambda path: np.save(path, rng.randn(2, 7, 7).astype(np.float32)), '.npy'),
                   lambda path: score_map.read(path, 2, 49).shape == (2, 7, 7)),
        'weights': (params, weights(formats.read)),
        '.params': (params, weights(mxnet_params.read)),
        **weights_files(), **maps_files(),
    }


def damage(content: bytes, rng: np.random.RandomState) -> bytes:
    """A copy of `content` (bytes) with one to four of: bits turned, bytes set, a piece removed, doubled or foreign."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        kind, start = rng.randint(6), rng.randint(len(data) + 1)
        length = int(min(len(data) - start, 2 ** rng.uniform(0, 8)))
        if kind == 0 and length:
            data[start] ^= 1 << rng.randint(8)
        elif kind == 1:
            data[start:start + length] = bytes(length * [int(rng.choice([0, 1, 10, 32, 60, 127, 128, 255]))])
        elif kind == 2:
            del data[start:start + length]
        elif kind == 3:
            data[start:start] = data[start:start + length]
        elif kind == 4:
            data[start:start + length] = rng.bytes(length)
        else:
            del data[start:]
    return bytes(data)


def check(kind: str, content: bytes, reader, folder: str) -> str | None:
    """Read one damaged file; a text on what went wrong, or None."""
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
        return f'{kind}: {error!r}'
    if time.monotonic() - start > 10:
        return f'{kind}: took {time.monotonic() - start:.0f} s'
    return None if fine else f'{kind}: neither what is promised nor a message of one line'


def fuzz(cases: int, seed: int, keep: str = '.') -> list:
    """Run `cases` cases over all kinds; texts of those that failed, whose files are kept in `keep`."""
    rng, bad = np.random.RandomState(seed), []
    kinds = list(valid_files().items())
    with tempfile.TemporaryDirectory() as folder:
        for number in range(cases):
            kind, (content, reader) = kinds[number % len(kinds)]
            damaged = damage(content, rng)
            found = check(kind, damaged, reader, folder)
            if found:
                name = os.path.join(keep, f'fuzz-{seed}-{number}')
                with open(name, 'wb') as file:
                    file.write(damaged)
                bad.append(f'{found} (kept as {name})')
    return bad


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', type=int, default=20000)
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args()
    failures = fuzz(given.cases, given.seed)
    print('\n'.join(failures + [f'{given.cases} cases, {len(failures)} failed']))
    sys.exit(bool(failures))
