"""Draw the README's picture of the two superpixel methods: python docs/draw_superpixels.py OUT.jpg PHOTOGRAPH ...

A row a photograph: the photograph, SLIC and the graph method with K = 75, boundaries over it, and the number of
superpixels. The README's photographs are `chelsea` (Stefan van der Walt) and `coffee` (Rachel Michetti), both CC0,
from scikit-image.
"""
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PROJECT)

from icd.viz import previews
from icd.data import superpixel_map     # noqa: E402

HEIGHT, K = 260, 75


def outlined(image, labels):
    """The image with the boundaries of the superpixels in yellow."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn = image.copy()
    drawn[edge] = (0, 230, 255)
    return drawn


def titled(picture, title):
    cv2.rectangle(picture, (0, HEIGHT - 26), (14 + 9 * len(title), HEIGHT), (255, 255, 255), -1)
    cv2.putText(picture, title, (6, HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, .5, (30, 30, 30), 1, cv2.LINE_AA)
    return picture


def superpixels(image, method):
    """Labels (H, W) that the program gives with the method."""
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(os.path.join(folder, 'image.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
        with open(os.path.join(folder, 'list.txt'), 'w') as file:
            file.write('image\n')
        program = os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel')
        subprocess.run([program, os.path.join(folder, 'list.txt'), folder, folder, str(K), '--method', method],
                       check=True)
        return superpixel_map.read(os.path.join(folder, 'image.png'))


def row(path):
    image = cv2.imread(path)
    image = cv2.resize(image, (500, round(500 * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
    size = (round(500 * HEIGHT / image.shape[0]), HEIGHT)
    pictures = [titled(cv2.resize(image, size), 'photograph')]
    for method in ('slic', 'graph'):
        labels = superpixels(image, method)
        drawn = cv2.resize(outlined(image, labels), size, interpolation=cv2.INTER_AREA)
        pictures.append(titled(drawn, '%s: %d superpixels' % (method, labels.max() + 1)))
    return previews.hstack(pictures)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    cv2.imwrite(sys.argv[1], previews.vstack([row(path) for path in sys.argv[2:]]), [cv2.IMWRITE_JPEG_QUALITY, 90])
