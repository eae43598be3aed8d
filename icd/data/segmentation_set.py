"""What a segmentation network is trained on: images and masks, seeds mostly."""
from __future__ import annotations

import os
from typing import Any, NamedTuple, Sequence

import numpy as np

from icd.data import augment, geometry, images, masks
from icd.data.datasets import TrainingSet, check_fits


class SegmentationBatch(NamedTuple):
    """Images and the classes of their pixels.

    image : (N, 3, size, size) uint8
        RGB, padded with the data set's colour.
    label : (N, h, w) uint8
        Classes at every eighth pixel; 255 where none is decided, and in the padding.
    names : list of str
    """

    image: Any
    label: Any
    names: list


def mask_path(root: str, name: str) -> str:
    """File of a mask."""
    return os.path.join(root, name + '.png')


class SegmentationTrainingSet(TrainingSet):
    """Augmented images with their masks; see `icd.data.datasets` for what a data set is.

    Image and mask are scaled (bilinear, nearest), mirrored, padded right and below and cropped alike. Of the mask
    every eighth pixel is kept, where the positions of the scores are: what no pixel of it holds, no label holds.

    Parameters
    ----------
    names : sequence of str
    image_root, mask_root : str
        Folders of the images and of NAME.png.
    size : int
        Side of the crops, 8k + 1.
    seed : int
    scale, mirror : bool
        Which random changes are made.
    padding : (int, int, int)
        RGB beside the image: what the network takes for nothing.
    cache : {'none', 'ram'}
        'ram' reads every file once, now, and keeps it in memory as it is on disk.

    Raises
    ------
    UserError
        With `cache='ram'`, when a file is missing or the memory does not suffice.
    """

    Batch = SegmentationBatch

    def __init__(self, names: Sequence[str], image_root: str, mask_root: str, size: int, seed: int,
                 scale: bool = True, mirror: bool = True, padding: tuple = (geometry.GREY,) * 3, cache: str = 'none'):
        self._image_root, self._mask_root, self._padding = image_root, mask_root, padding[::-1]
        super().__init__(names, size, seed, scale, mirror, cache)

    def _paths(self, name):
        return images.image_path(self._image_root, name), mask_path(self._mask_root, name)

    def layout(self, count: int) -> dict:
        """Shapes and dtypes of a batch of `count` samples."""
        return {'image': ((count, 3, self._size, self._size), np.uint8),
                'label': ((count, self._side, self._side), np.uint8)}

    def fill(self, keys: Sequence[tuple], arrays: dict) -> dict:
        """Write the samples of `keys` into the arrays of a batch; the rest of `SegmentationBatch`."""
        for i, key in enumerate(keys):
            arrays['image'][i], arrays['label'][i] = self[key]
        return {'names': [self.names[index] for _, _, index in keys]}

    def __getitem__(self, key):
        """A sample.

        Parameters
        ----------
        key : (int, int, int)
            Epoch, position within the epoch, index of the name. Chance depends on the seed, epoch and position.

        Returns
        -------
        image : ndarray (3, size, size) uint8
        label : ndarray (h, w) uint8
            See `SegmentationBatch`.

        Raises
        ------
        UserError
            When a file is missing or damaged, or the mask has another size than the image.
        """
        image, view = self._image(key)
        path = self._paths(self.names[key[2]])[1]
        labels = masks.decode_mask(self._read(path), path)
        check_fits(labels.shape, image, path, 'make it again from this image')
        label = augment.pad_labels(augment.cut_labels(labels, view, geometry.STRIDE), self._side, geometry.IGNORE)
        return augment.cut_image(image, view, self._padding)[..., ::-1].transpose(2, 0, 1), label.astype(np.uint8)
