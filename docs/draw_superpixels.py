"""Draw the picture of the two superpixel methods in docs/superpixels.md.

    python docs/draw_superpixels.py OUT.jpg IMAGE ...

A row an image: the image, SLIC and the graph method with K = 75, boundaries over it, and the number of superpixels. The
picture's images are `chelsea` (Stefan van der Walt) and `coffee` (Rachel Michetti), both CC0, from scikit-image.
"""
import sys

import cv2
import numpy as np

from icd.superpixels import felzenszwalb, slic
from icd.viz import previews

HEIGHT, WIDTH, K = 260, 500, 75


def outlined(image, labels):
    """The image with the boundaries of the superpixels in yellow."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn = image.copy()
    drawn[edge] = 0, 230, 255
    return drawn


def titled(picture, title):
    """The picture with a title in its lower left corner."""
    cv2.rectangle(picture, (0, HEIGHT - 26), (14 + 9 * len(title), HEIGHT), (255, 255, 255), -1)
    cv2.putText(picture, title, (6, HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, .5, (30, 30, 30), 1, cv2.LINE_AA)
    return picture


def row(path):
    """An image and its superpixels, side by side."""
    image = cv2.imread(path)
    image = cv2.resize(image, (WIDTH, round(WIDTH * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)
    size = round(WIDTH * HEIGHT / image.shape[0]), HEIGHT
    pictures = [titled(cv2.resize(image, size), 'image')]
    for name, method in (('slic', slic), ('graph', felzenszwalb)):
        labels = method(image[..., ::-1], K)
        drawn = cv2.resize(outlined(image, labels), size, interpolation=cv2.INTER_AREA)
        pictures.append(titled(drawn, f'{name}: {labels.max() + 1} superpixels'))
    return previews.hstack(pictures)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    cv2.imwrite(sys.argv[1], previews.vstack([row(path) for path in sys.argv[2:]]), [cv2.IMWRITE_JPEG_QUALITY, 90])
