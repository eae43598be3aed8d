"""Gluon data sets and loaders: files in, batches for the network out."""
import collections
import functools
import mmap
import os

import numpy as np

from icd.data import augment, geometry, images, superpixel_map
from icd.data.workers import Workers
from icd.errors import UserError
from icd.mxnet_setup import gluon, nd

TrainingBatch = collections.namedtuple('TrainingBatch', 'image label superpixel names regions')
InferenceBatch = collections.namedtuple('InferenceBatch', 'names group image sizes scaled_sizes')

# First words of the seeds of all random numbers here; numpy takes missing words as zeros, so they must differ.
_ORDER, _VIEW = 1, 2


# ------------------------------------------------------------------------------------------------- reading files
class _Disk:
    """Reads a file whenever it is asked for."""

    read = staticmethod(images.read_bytes)


class _Memory:
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

    def __init__(self, paths, remedy):
        sizes = [os.stat(path).st_size if os.path.isfile(path) else 0 for path in paths]
        free = _free_memory()
        if free is not None and sum(sizes) > .8 * free:
            raise UserError(f'the files take {sum(sizes) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free', '--cache ram',
                            'use --cache none')
        self._store, self._place, start = mmap.mmap(-1, sum(sizes) + 1), {}, 0
        for path, size in zip(paths, sizes):
            data = images.read_bytes(path, remedy)
            if len(data) != size:
                raise UserError('the file changes while it is read', path, 'wait until it is complete')
            self._store[start:start + size] = data
            self._place[path] = slice(start, start + size)
            start += size

    def read(self, path, _):
        return self._store[self._place[path]]


def _free_memory():
    """Bytes of memory that can be had without swapping, or None where the system does not tell."""
    try:
        with open('/proc/meminfo', encoding='ascii') as file:
            lines = dict(line.split(':', 1) for line in file)
        return 1024 * int(lines['MemAvailable'].split()[0])
    except (OSError, KeyError, ValueError):
        return None


# ------------------------------------------------------------------------------------------------------- training
class TrainingSet(gluon.data.Dataset):
    """Augmented photographs with their image labels and superpixels.

    Parameters
    ----------
    names : sequence of str
    labels : ndarray (len(names), num_classes) float32
        1 for classes in the image (`icd.data.voc.read_labels`).
    image_root : str
        Folder of NAME.jpg.
    superpixel_root : str
        Folder of NAME.png; not used without `superpixels`.
    size : int
        Side of the crops, 8k + 1.
    num_classes : int
    seed : int
    scale, mirror : bool
        Which random changes are made.
    cache : {'none', 'ram'}
        'ram' reads every file once, now, and keeps it in memory as it is on disk.
    superpixels : bool
        False makes every position of the feature map a superpixel of its own.

    Raises
    ------
    UserError
        With `cache='ram'`, when a file is missing or the memory does not suffice.
    """

    def __init__(self, names, labels, image_root, superpixel_root, size, num_classes, seed, scale=True, mirror=True,
                 cache='none', superpixels=True):
        if labels.shape != (len(names), num_classes):
            raise ValueError('labels of shape %s for %d names and %d classes' % (
                labels.shape, len(names), num_classes))
        if size % geometry.STRIDE != 1:
            raise ValueError('size %d is not 8k + 1' % size)
        self.names, self.labels = list(names), np.ascontiguousarray(labels, np.float32)
        self.size, self.seed = size, seed
        self.side = geometry.feature_size(size)
        self._image_root, self._superpixel_root = image_root, superpixel_root
        self._changes, self._superpixels = (scale, mirror), superpixels
        self._files = _Disk
        if cache == 'ram':
            paths = [path for name in self.names for path in self._paths(name)]
            self._files = _Memory(paths, 'check the folder and the list of names')

    def __len__(self):
        return len(self.names)

    def _paths(self, name):
        image = images.image_path(self._image_root, name)
        return (image, superpixel_map.path(self._superpixel_root, name)) if self._superpixels else (image,)

    def __getitem__(self, key):
        """A sample.

        Parameters
        ----------
        key : (int, int, int)
            Epoch, position within the epoch, index of the name. Chance depends on the seed, epoch and position.

        Returns
        -------
        image : ndarray (3, size, size) uint8
            RGB, padded with 127.
        label : ndarray (num_classes,) float32
        superpixel : ndarray (side, side) int32
            Dense labels at every eighth pixel of the crop.

        Raises
        ------
        UserError
            When a file is missing or damaged, or the superpixels have another size than the photograph.
        """
        epoch, position, index = key
        rng = np.random.default_rng([_VIEW, self.seed, epoch, position])
        paths = self._paths(self.names[index])
        remedy = 'restore it, or take its name from the list'
        image = images.decode_image(self._files.read(paths[0], remedy), paths[0])
        view = augment.random_view(image.shape[0], image.shape[1], self.size, rng, *self._changes)
        superpixel = np.arange(self.side ** 2, dtype=np.int32).reshape(self.side, self.side)
        if self._superpixels:
            pixels = superpixel_map.decode_pixels(self._files.read(paths[1], remedy), paths[1])
            if pixels.shape != image.shape:
                raise UserError(f'{pixels.shape[1]}x{pixels.shape[0]}, but the image is '
                                f'{image.shape[1]}x{image.shape[0]}', paths[1], 'make the superpixels again')
            labels = superpixel_map.labels_of(augment.cut_labels(pixels, view, geometry.STRIDE))
            superpixel = superpixel_map.renumber(augment.pad_labels(labels, self.side))
        return augment.cut_image(image, view)[..., ::-1].transpose(2, 0, 1), self.labels[index], superpixel


class EpochSampler(gluon.data.Sampler):
    """Keys of a `TrainingSet`, batch by batch, for one epoch after another.

    An epoch is a random permutation of all names (several, one after another, when more samples are asked for).
    Its last incomplete batch is dropped. Of every batch each of `num_parts` machines gets a share, so together they
    train on the batches a single one would see.

    Parameters
    ----------
    count : int
        Number of names.
    batch_size : int
        Images of a whole batch, over all parts.
    seed : int
    num_sample : int
        Images an epoch; 0 means all names once.
    part, num_parts : int

    Attributes
    ----------
    epoch, skip : int
        What the next iteration gives: this epoch without its first `skip` batches.

    Raises
    ------
    UserError
        When a batch cannot be dealt out evenly, or there are fewer images than one batch.
    """

    def __init__(self, count, batch_size, seed, num_sample=0, part=0, num_parts=1):
        if batch_size % num_parts:
            raise UserError(f'cannot be dealt out evenly to {num_parts} machines', f'--batch-size {batch_size}',
                            f'take a multiple of {num_parts}')
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._num_sample = num_sample or count
        self._part, self._share = part, batch_size // num_parts
        self.epoch = self.skip = 0
        if self._num_sample < batch_size:
            raise UserError(f'an epoch has only {self._num_sample} images', f'--batch-size {batch_size}',
                            'take a smaller batch')

    def __len__(self):
        return self._num_sample // self._batch_size

    def __iter__(self):
        rng = np.random.default_rng([_ORDER, self._seed, self.epoch])
        passes = -(-self._num_sample // self._count)
        order = np.concatenate([rng.permutation(self._count) for _ in range(passes)])
        for batch in range(self.skip, len(self)):
            first = batch * self._batch_size + self._part * self._share
            yield [(self.epoch, position, int(order[position])) for position in range(first, first + self._share)]


def _fill_training(dataset, keys, images, superpixels):
    for i, key in enumerate(keys):
        images[i], _, superpixels[i] = dataset[key]
    return [index for _, _, index in keys]


class TrainingLoader(gluon.data.DataLoader):
    """Batches of a `TrainingSet`, read by worker processes that live as long as the loader.

    A Gluon DataLoader with other workers underneath (`icd.data.workers.Workers` says why). The batches depend on
    the seed alone, not on the number of workers, and on how many were skipped.

    Parameters
    ----------
    dataset : TrainingSet
    batch_size : int
        Images of a whole batch, over all parts.
    num_workers : int
        0 reads in the calling process. The workers are forked now: do this before MXNet gets busy.
    num_sample : int
        Images an epoch; 0 means all names once.
    part, num_parts : int
        Which machine's share of each batch this is.

    Raises
    ------
    UserError
        As `EpochSampler`.
    """

    def __init__(self, dataset, batch_size, num_workers, num_sample=0, part=0, num_parts=1):
        sampler = EpochSampler(len(dataset), batch_size, dataset.seed, num_sample, part, num_parts)
        super().__init__(dataset, batch_sampler=sampler)
        share = batch_size // num_parts
        layout = [((share, 3, dataset.size, dataset.size), np.uint8), ((share, dataset.side, dataset.side), np.int32)]
        self._workers = Workers(functools.partial(_fill_training, dataset), layout, num_workers)

    def __iter__(self):
        for indices, (pixels, superpixels) in self._workers.map(self._batch_sampler):
            # nd.array copies before it returns, so a worker may write into the same place again.
            yield TrainingBatch(nd.array(pixels, dtype=np.uint8), nd.array(self._dataset.labels[indices]),
                                nd.array(superpixels, dtype=np.int32), [self._dataset.names[i] for i in indices],
                                int(superpixels.max()) + 1)

    def epoch(self, epoch, skip=0):
        """Batches of an epoch.

        Parameters
        ----------
        epoch : int
        skip : int
            Leave out this many batches at its start, without reading them.

        Returns
        -------
        iterator of TrainingBatch
            image : NDArray (n, 3, size, size) uint8, RGB; label : NDArray (n, num_classes) float32;
            superpixel : NDArray (n, side, side) int32; names : list of str; regions : int, more than the largest
            superpixel label. n is the share of the batch.

        Raises
        ------
        UserError
            While iterating: when a file is missing or damaged, or a worker was killed.
        """
        self._batch_sampler.epoch, self._batch_sampler.skip = epoch, skip
        return iter(self)

    def close(self):
        """End the worker processes."""
        self._workers.close()


# ------------------------------------------------------------------------------------------------------ inference
class InferenceSet(gluon.data.Dataset):
    """Whole photographs, padded with 127 to a square.

    Parameters
    ----------
    names : sequence of str
    image_root : str
        Folder of NAME.jpg.
    size : int
        Side of the square. Larger photographs are scaled down to it.
    """

    def __init__(self, names, image_root, size):
        self.names, self.size, self.image_root = list(names), size, image_root

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        """The image (3, size, size) uint8 RGB, its size (H, W) on disk and its size (h, w) in the square."""
        image = images.read_image(images.image_path(self.image_root, self.names[index]))
        square, scaled = augment.letterbox(image, self.size)
        return square[..., ::-1].transpose(2, 0, 1), image.shape[:2], scaled


def _fill_inference(dataset, indices, images):
    sizes = []
    for i, index in enumerate(indices):
        images[i], original, scaled = dataset[index]
        sizes.append((original, scaled))
    return sizes


class InferenceLoader(gluon.data.DataLoader):
    """All photographs of a list once, read by worker processes.

    Parameters
    ----------
    names : sequence of str
    image_root : str
        Folder of NAME.jpg.
    size : int
        Side of the network's input.
    batch_size : int
    num_workers : int
        0 reads in the calling process. The workers are forked now: do this before MXNet gets busy.
    sizes : sequence of (int, int), optional
        Heights and widths of the photographs, needed with `group`.
    group : callable, optional
        From the height and width of the part of the input that shows a photograph to something hashable. The
        photographs come group by group; only those of one group share a batch, so the last batch of each may be
        smaller. By default all are one group, None.
    """

    def __init__(self, names, image_root, size, batch_size, num_workers, sizes=None, group=None):
        dataset = InferenceSet(names, image_root, size)
        self._sizes, members = sizes, collections.OrderedDict()
        for i in range(len(names)):
            key = group and group(geometry.fitted_size(*sizes[i], size=size))
            members.setdefault(key, []).append(i)
        self._groups, batches = [], []
        for group, indices in members.items():
            for first in range(0, len(indices), batch_size):
                self._groups.append(group)
                batches.append(indices[first:first + batch_size])
        super().__init__(dataset, batch_sampler=batches)
        self._workers = Workers(functools.partial(_fill_inference, dataset),
                                [((batch_size, 3, size, size), np.uint8)], num_workers)

    def __iter__(self):
        """Iterate over the batches.

        Yields
        ------
        InferenceBatch
            names : list of str; group : theirs; image : NDArray (len(names), 3, size, size) uint8, RGB;
            sizes, scaled_sizes : lists of (int, int), one for each of `names`: height and width of the photograph
            and of the upper left part of the input that shows it.

        Raises
        ------
        UserError
            When a photograph is missing or damaged or has another size than was said, or a worker was killed.
        """
        filled = self._workers.map(self._batch_sampler)
        for indices, group, (sizes, (pixels,)) in zip(self._batch_sampler, self._groups, filled):
            for i, (size, _) in zip(indices, sizes):
                if self._sizes and tuple(self._sizes[i]) != tuple(size):
                    raise UserError('was replaced by another photograph meanwhile',
                                    images.image_path(self._dataset.image_root, self._dataset.names[i]),
                                    'run the same command again')
            yield InferenceBatch([self._dataset.names[i] for i in indices], group,
                                 nd.array(pixels[:len(indices)], dtype=np.uint8), [s for s, _ in sizes],
                                 [s for _, s in sizes])

    def close(self):
        """End the worker processes."""
        self._workers.close()
