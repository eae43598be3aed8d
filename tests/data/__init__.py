"""What tests of files have in common."""
import cv2
import numpy as np
import pytest

from icd.data import augment, superpixel_map
from icd.errors import UserError


def refused(path, *parts):
    """Expect a `UserError` of one line that names the file and holds `parts`."""
    return pytest.raises(UserError, match='(?s)^(?!.*\n){}.*{}'.format(str(path).replace('\\', '.'), '.*'.join(parts)))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def random_mask(seed=0, shape=(31, 47)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def encoded_image(shape=(40, 60, 3), ending='.jpg'):
    return cv2.imencode(ending, random_mask(1, shape))[1].tobytes()


def cut(image, superpixel, view):
    """A view of an image and of its superpixels, all of them."""
    labels = augment.pad_labels(augment.cut_labels(superpixel, view), view.size)
    return augment.cut_image(image, view), superpixel_map.renumber(labels)
