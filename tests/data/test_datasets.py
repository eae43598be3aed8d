"""Whole images for inference."""
import numpy as np

from icd import files
from icd.data.datasets import InferenceSet


def test_padding_is_rgb_as_the_images_are(tmp_path):
    files.save_image(str(tmp_path / 'a.jpg'), np.full((8, 16, 3), (200, 100, 50), np.uint8))       # BGR
    image, size, fitted = InferenceSet(['a'], str(tmp_path), 33, (1, 2, 3))[0]
    assert (size, fitted) == ((8, 16), (8, 16)) and image.shape == (3, 33, 33)
    assert image[:, 20, 20].tolist() == [1, 2, 3] and abs(image[:, 4, 4] - np.int64([50, 100, 200])).max() < 3
