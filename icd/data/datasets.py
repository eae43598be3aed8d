"""What training and inference look at: from files to arrays, sample by sample. No MXNet here.

A data set for training (`icd.data.loader.BatchLoader`) has

- `len()`, and `dataset[epoch, position, index]`: the arrays of a sample,
- `Batch`: a `NamedTuple` of all that a batch consists of,
- `layout(count)`: shapes and dtypes of the arrays of a batch of `count` samples, by field of `Batch`; images are their
  first axis,
- `fill(keys, arrays)`: writes samples into such arrays, and returns the other fields of `Batch`.

Chance depends on a sample's key alone, so a batch is the same whoever reads it.
"""
from __future__ import annotations

import mmap
import os
from typing import Any, NamedTuple, Sequence

import numpy as np

from icd.data import augment, geometry, images, superpixel_map
from icd.data.image_labels import ImageLabels
from icd.errors import UserError

VIEW = 2                # first word of the seeds of views; that of orders is another (`icd.data.loader.EpochSampler`)
_SAMPLE = 3             # and that of samples


class IcdBatch(NamedTuple):
    """Images, image labels and superpixels.

    image : (N, 3, size, size) uint8
        RGB, padded with 127.
    label : (N, C) float32
        1 for classes in the image.
    superpixel : (N, h, w) int32
        Dense labels at every eighth pixel.
    names : list of str
    num_superpixels : int
        More than the largest label in `superpixel`.
    """

    image: Any
    label: Any
    superpixel: Any
    names: list
    num_superpixels: int


class TrainingSet:
    """What data sets for training have in common: an image and a map of its size, read and cut to one random view.

    Another one gives `Batch`, `_paths(name)` (the image first), `layout`, `fill` and `__getitem__`.

    Parameters
    ----------
    names : sequence of str
    size : int
        Side of the crops, 8k + 1.
    seed : int
    scale, mirror : bool
        Which random changes are made.
    cache : {'none', 'ram'}
        'ram' reads every file once, now, and keeps it in memory as it is on disk.

    Raises
    ------
    UserError
        With `cache='ram'`, when a file is missing or the memory does not suffice.
    """

    def __init__(self, names: Sequence[str], size: int, seed: int, scale: bool, mirror: bool, cache: str):
        if size % geometry.STRIDE != 1:
            raise ValueError(f'size {size} is not 8k + 1')
        self.names, self._size, self._side, self._seed = list(names), size, geometry.feature_size(size), seed
        self._changes, self._files = (scale, mirror), Disk
        if cache == 'ram':
            paths = [path for name in self.names for path in self._paths(name)]
            self._files = Memory(paths, 'check the folder and the list of names')

    def __len__(self):
        return len(self.names)

    def _image(self, key):
        """The whole image (H, W, 3) of a sample, BGR, and the view of it."""
        epoch, position, index = key
        rng = np.random.default_rng([VIEW, self._seed, epoch, position])
        path = self._paths(self.names[index])[0]
        image = images.decode_image(self._read(path), path)
        return image, augment.random_view(image.shape[0], image.shape[1], self._size, rng, *self._changes)

    def _read(self, path):
        return self._files.read(path, 'restore it, or take its name from the list')


def check_fits(shape: tuple, image: np.ndarray, path: str, remedy: str):
    """Raise a `UserError` unless the map in the file `path`, of a `shape` (H, W, ...), has the size of its image."""
    if shape[:2] != image.shape[:2]:
        raise UserError(f'{shape[1]}x{shape[0]}, but the image is {image.shape[1]}x{image.shape[0]}', path, remedy)


class IcdTrainingSet(TrainingSet):
    """Augmented images with their image labels and superpixels.

    Parameters
    ----------
    names : sequence of str
    labels : ImageLabels or ndarray (len(names), C) float32
        1 for classes in the image.
    image_root : str
        Folder of images.
    superpixel_root : str or None
        Folder of NAME.png; None makes every position of the feature map a superpixel of its own.
    size : int
        Side of the crops, 8k + 1.
    seed : int
    scale, mirror : bool
        Which random changes are made.
    cache : {'none', 'ram'}
        'ram' reads every file once, now, and keeps it in memory as it is on disk.

    Raises
    ------
    UserError
        With `cache='ram'`, when a file is missing or the memory does not suffice.
    """

    Batch = IcdBatch

    def __init__(self, names: Sequence[str], labels: ImageLabels | np.ndarray, image_root: str,
                 superpixel_root: str | None, size: int, seed: int, scale: bool = True, mirror: bool = True,
                 cache: str = 'none'):
        if len(labels) != len(names):
            raise ValueError(f'{len(labels)} labels for {len(names)} names')
        self.labels = labels
        self._image_root, self._superpixel_root = image_root, superpixel_root
        super().__init__(names, size, seed, scale, mirror, cache)

    def _paths(self, name):
        image = images.image_path(self._image_root, name)
        return (image, superpixel_map.path(self._superpixel_root, name)) if self._superpixel_root else (image,)

    def layout(self, count: int) -> dict:
        """Shapes and dtypes of a batch of `count` samples."""
        return {'image': ((count, 3, self._size, self._size), np.uint8),
                'label': ((count, self.labels.shape[1]), np.float32),
                'superpixel': ((count, self._side, self._side), np.int32)}

    def fill(self, keys: Sequence[tuple], arrays: dict) -> dict:
        """Write the samples of `keys` into the arrays of a batch; the rest of `IcdBatch`."""
        for i, key in enumerate(keys):
            arrays['image'][i], arrays['label'][i], arrays['superpixel'][i] = self[key]
        return {'names': [self.names[index] for _, _, index in keys],
                'num_superpixels': int(arrays['superpixel'].max()) + 1}

    def __getitem__(self, key):
        """A sample.

        Parameters
        ----------
        key : (int, int, int)
            Epoch, position within the epoch, index of the name. Chance depends on the seed, epoch and position.

        Returns
        -------
        image : ndarray (3, size, size) uint8
        label : ndarray (C,) float32
        superpixel : ndarray (h, w) int32
            See `IcdBatch`.

        Raises
        ------
        UserError
            When a file is missing or damaged, or the superpixels have another size than the image.
        """
        image, view = self._image(key)
        superpixel = np.arange(self._side ** 2, dtype=np.int32).reshape(self._side, self._side)
        if self._superpixel_root:
            path = self._paths(self.names[key[2]])[1]
            pixels = superpixel_map.decode_pixels(self._read(path), path)
            check_fits(pixels.shape, image, path, 'make the superpixels again')
            labels = superpixel_map.labels_of(augment.cut_labels(pixels, view, geometry.STRIDE))
            superpixel = superpixel_map.renumber(augment.pad_labels(labels, self._side))
        return augment.cut_image(image, view)[..., ::-1].transpose(2, 0, 1), self.labels[key[2]], superpixel


class InferenceSet:
    """Whole images, padded to a square.

    Parameters
    ----------
    names : sequence of str
    image_root : str
        Folder of images.
    size : int
        Side of the square. Larger images are scaled down to it.
    padding : sequence of 3 int
        RGB.
    """

    def __init__(self, names: Sequence[str], image_root: str, size: int,
                 padding: Sequence[int] = (geometry.GREY,) * 3):
        self.names, self.size, self.image_root, self.padding = list(names), size, image_root, tuple(padding)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        """The image (3, size, size) uint8 RGB, its size (H, W) on disk and its size (h, w) in the square."""
        image = images.read_image(images.image_path(self.image_root, self.names[index]))
        square, scaled = augment.letterbox(image, self.size, self.padding[::-1])
        return square[..., ::-1].transpose(2, 0, 1), image.shape[:2], scaled


def samples(dataset: Sequence, seed: int, count: int) -> list:
    """Some samples, as a training sees them; the same ones for the same seed.

    Parameters
    ----------
    dataset : data set for training
    seed : int
    count : int
        How many; where the data set has fewer, all.

    Returns
    -------
    list of ndarray (count, ...)
        The arrays of a sample, each for all of them; images come first.
    """
    chosen = np.random.default_rng([_SAMPLE, seed]).permutation(len(dataset))[:count]
    drawn = [dataset[0, position, int(index)] for position, index in enumerate(chosen)]
    return [np.stack(arrays) for arrays in zip(*drawn)]


# ------------------------------------------------------------------------------------------------- reading files
class Disk:
    """Reads a file whenever it is asked for."""

    read = staticmethod(images.read_bytes)


class Memory:
    """Holds the content of files, in one piece that forked processes share without copying.

    Parameters
    ----------
    paths : sequence of str
    remedy : str
        What the user can do when one is missing.

    Raises
    ------
    UserError
        When a file is missing or the memory does not suffice.
    """

    def __init__(self, paths: Sequence[str], remedy: str):
        sizes = [os.stat(path).st_size if os.path.isfile(path) else 0 for path in paths]
        free = free_memory()
        if free is not None and sum(sizes) > .8 * free:
            raise UserError(f'the files take {sum(sizes) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free', '--cache ram',
                            'use --cache none')
        self._store, self._slices, start = mmap.mmap(-1, sum(sizes) + 1), {}, 0
        for path, size in zip(paths, sizes):
            data = images.read_bytes(path, remedy)
            if len(data) != size:
                raise UserError('the file changes while it is read', path, 'wait until it is complete')
            self._store[start:start + size] = data
            self._slices[path] = slice(start, start + size)
            start += size

    def read(self, path: str, remedy: str) -> bytes:
        """Content of one of the files; nothing can be missing any more."""
        return self._store[self._slices[path]]


def free_memory() -> int | None:
    """Bytes of memory that can be had without swapping, or None where the system does not report it."""
    try:
        with open('/proc/meminfo', encoding='ascii') as file:
            lines = dict(line.split(':', 1) for line in file)
        return 1024 * int(lines['MemAvailable'].split()[0])
    except (OSError, KeyError, ValueError):
        return None
