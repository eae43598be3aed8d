"""Label maps of `makeSuperpixel` as files: any reader finds the labels, and a map on the disk alone has a name."""
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.superpixels import felzenszwalb, slic
from tests.superpixel.superpixel_program import NAMES, draw, labels_of, make, summary
from tests.superpixel.test_superpixel_runs import preloaded

SYNCS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static void note(const char *what, const char *path) {
    char line[4200];
    int length = snprintf(line, sizeof line, "%%s %%s\\n", what, strrchr(path, '/') + 1);
    int file = open("calls.txt", O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (write(file, line, length) != length) _exit(9);
    close(file);
}
int fsync(int file) {
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%%d", file);
    if (readlink(link, path, sizeof path - 1) < 0) _exit(9);
    note("sync", path);
    if (strstr(path, "%s")) { errno = EIO; return -1; }
    return fdatasync(file);
}
int rename(const char *from, const char *to) {
    note("rename", to);
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
"""


def chunks(content):
    """The chunks of a PNG [(letters, bytes)], whose lengths and checksums are right."""
    assert content[:8] == b'\x89PNG\r\n\x1a\n'
    found, at = [], 8
    while at < len(content):
        length, = struct.unpack('>I', content[at:at + 4])
        body = content[at + 4:at + 8 + length]
        assert content[at + 8 + length:at + 12 + length] == struct.pack('>I', zlib.crc32(body))
        found.append((body[:4], body[4:]))
        at += 12 + length
    return found


def images():
    rng = np.random.RandomState(0)
    return {'drawn': draw(90, 130), 'noise': rng.randint(0, 256, (270, 260, 3), np.uint8), 'pixel': draw(1, 1),
            'row': draw(1, 400), 'column': draw(400, 1), 'flat': np.full((60, 300, 3), 9, np.uint8)}


@pytest.mark.parametrize('method, cut', [('slic', slic), ('graph', felzenszwalb)])
@pytest.mark.parametrize('size', [1, 30])
def test_every_reader_finds_the_labels(method, cut, size, made, tmp_path):
    """Also where every pixel has a label of its own, which takes all three bytes."""
    os.makedirs(str(tmp_path / 'images'))
    for name, image in images().items():
        cv2.imwrite(str(tmp_path / 'images' / (name + '.png')), image)
    labels_of(tmp_path, list(images()), str(tmp_path / 'images'), '--method', method, min_size=size)
    for name, image in images().items():
        path = str(tmp_path / 'labels' / (name + '.png'))
        expected = cut(image[..., ::-1], min_size=size)
        assert (cv2.imread(path, cv2.IMREAD_UNCHANGED) @ np.array([1, 256, 65536]) == expected).all()
        assert (np.asarray(Image.open(path), int) @ np.array([65536, 256, 1]) == expected).all()
        with open(path, 'rb') as file:
            found = chunks(file.read())
        assert [letters for letters, _ in found] == [b'IHDR', b'tEXt', b'IDAT', b'IEND']
        height, width = expected.shape
        assert len(zlib.decompress(found[2][1])) == height * (3 * width + 1)    # which compares a checksum
    if size == 1 and method == 'graph':
        assert cut(images()['noise'], min_size=1).max() > 65535


def test_maps_are_small(made, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), draw(375, 500))
    labels = labels_of(tmp_path, ['a'], str(tmp_path))['a']
    bgr = np.stack([labels & 255, labels >> 8, labels >> 16], -1).astype(np.uint8)
    assert os.path.getsize(str(tmp_path / 'labels/a.png')) < .9 * len(cv2.imencode('.png', bgr)[1])


@pytest.mark.parametrize('threads', ['1', '3'])
def test_a_map_gets_its_name_when_it_is_on_the_disk(threads, root):
    assert make(root, '--force', '--threads', threads, env=preloaded(root, SYNCS % '//'))[0] == 0
    calls = (root / 'calls.txt').read_text().splitlines()
    for name in (os.path.basename(name) + '.png' for name in NAMES):
        assert calls.index(f'sync .{name}.part') < calls.index(f'rename {name}')


def test_a_map_that_the_disk_does_not_take_is_none(root):
    before = (root / 'out/inputs.tsv').read_text().splitlines()
    code, lines = make(root, '--force', '--threads', '1', env=preloaded(root, SYNCS % '.b.png'))
    assert code == 2 and len(lines) == 1 and lines[0].startswith('makeSuperpixel: out/b.png: '), lines
    assert not [name for name in os.listdir(str(root / 'out')) if name.startswith('.')]
    calls = (root / 'calls.txt').read_text().splitlines()
    assert 'sync .b.png.part' in calls and 'rename b.png' not in calls
    assert make(root) == (0, [summary(0, 3)]) and (root / 'out/inputs.tsv').read_text().splitlines() == before


def test_the_disk_is_waited_for_beside_the_work(root):
    """Maps are made while others are synced, and those that came meanwhile are synced together."""
    source = (SYNCS % '//').replace('note("sync", path);', 'note("sync", path); usleep(20000);')
    names = [f'n{i}' for i in range(12)]
    for name in names:
        cv2.imwrite(str(root / 'images' / (name + '.png')), draw(40, 40))
    (root / 'list.txt').write_text('\n'.join(names))
    assert make(root, '--threads', '1', env=preloaded(root, source))[0] == 0
    calls = [call.split()[0] for call in (root / 'calls.txt').read_text().splitlines() if '.png' in call]
    assert calls.count('rename') == 12 and 'sync sync sync' in ' '.join(calls)
