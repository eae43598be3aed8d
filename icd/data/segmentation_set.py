"""What a segmentation network is trained on: images and masks, seeds mostly."""
from __future__ import annotations

import os
from typing import Any, NamedTuple, Sequence

import numpy as np

from icd.data import augment, geometry, images, masks
from icd.data.datasets import VIEW, Disk, Memory
from icd.errors import UserError


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


class SegmentationTrainingSet:
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
        if size % geometry.STRIDE != 1:
            raise ValueError(f'size {size} is not 8k + 1')
        self.names, self._size, self._side, self._seed = list(names), size, geometry.feature_size(size), seed
        self._image_root, self._mask_root, self._changes = image_root, mask_root, (scale, mirror)
        self._padding, self._files = padding[::-1], Disk
        if cache == 'ram':
            paths = [path for name in self.names for path in self._paths(name)]
            self._files = Memory(paths, 'check the folder and the list of names')

    def __len__(self):
        return len(self.names)

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
        epoch, position, index = key
        rng = np.random.default_rng([VIEW, self._seed, epoch, position])
        image_path, mask = self._paths(self.names[index])
        remedy = 'restore it, or take its name from the list'
        image = images.decode_image(self._files.read(image_path, remedy), image_path)
        labels = masks.decode_mask(self._files.read(mask, remedy), mask)
        if labels.shape != image.shape[:2]:
            raise UserError(f'{labels.shape[1]}x{labels.shape[0]}, but the image is '
                            f'{image.shape[1]}x{image.shape[0]}', mask, 'make it again from this image')
        view = augment.random_view(image.shape[0], image.shape[1], self._size, rng, *self._changes)
        label = augment.pad_labels(augment.cut_labels(labels, view, geometry.STRIDE), self._side, geometry.IGNORE)
        return augment.cut_image(image, view, self._padding)[..., ::-1].transpose(2, 0, 1), label.astype(np.uint8)
