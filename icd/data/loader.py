"""Loaders: samples of a data set in, batches for a network out."""
from __future__ import annotations

import functools
from typing import Callable, Iterator, NamedTuple, Sequence

import numpy as np

from icd.data import geometry, images
from icd.data.datasets import InferenceSet
from icd.data.workers import Workers
from icd.errors import UserError
from icd.mxnet_setup import gluon, nd

# First word of the seeds of orders; NumPy takes missing words as zeros, so it must differ from that of views.
ORDER = 1


# ------------------------------------------------------------------------------------------------------- training
class EpochSampler(gluon.data.Sampler):
    """Keys of a data set's samples, batch by batch, for one epoch after another.

    An epoch is a random permutation of all names (several, one after another, when more samples are asked for).
    Its last incomplete batch is dropped. Each of `num_parts` nodes gets its part of every batch, so together they
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
    size : int
        Images of a batch that are this part's.
    epoch, skip : int
        What the next iteration gives: this epoch without its first `skip` batches.

    Raises
    ------
    UserError
        When a batch cannot be divided evenly, or there are fewer images than one batch.
    """

    def __init__(self, count: int, batch_size: int, seed: int, num_sample: int = 0, part: int = 0,
                 num_parts: int = 1):
        if batch_size % num_parts:
            raise UserError(f'not divisible by {num_parts} nodes', f'--batch-size {batch_size}',
                            f'use a multiple of {num_parts}')
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._num_sample = num_sample or count
        self._part, self.size = part, batch_size // num_parts
        self.epoch = self.skip = 0
        if self._num_sample < batch_size:
            raise UserError(f'an epoch has only {self._num_sample} images', f'--batch-size {batch_size}',
                            'use a smaller batch')

    def __len__(self):
        return self._num_sample // self._batch_size

    def __iter__(self):
        rng = np.random.default_rng([ORDER, self._seed, self.epoch])
        passes = -(-self._num_sample // self._count)
        order = np.concatenate([rng.permutation(self._count) for _ in range(passes)])
        for batch in range(self.skip, len(self)):
            first = batch * self._batch_size + self._part * self.size
            yield [(self.epoch, position, int(order[position])) for position in range(first, first + self.size)]


def _fill(dataset, names, keys, *arrays):
    return dataset.fill(keys, dict(zip(names, arrays)))


class BatchLoader(gluon.data.DataLoader):
    """Batches of a data set for training, read by worker processes that live as long as the loader.

    A Gluon DataLoader with other workers underneath (why: `icd.data.workers.Workers`). The batches do not depend
    on the number of workers, nor on how many were skipped.

    Parameters
    ----------
    dataset : icd.data.datasets.IcdTrainingSet or another
        See `icd.data.datasets` for what it must have.
    sampler : EpochSampler
    num_workers : int
        0 reads in the calling process. The workers are forked now: do this before MXNet gets busy.
    """

    def __init__(self, dataset, sampler: EpochSampler, num_workers: int = 0):
        super().__init__(dataset, batch_sampler=sampler)
        layout = dataset.layout(sampler.size)
        self._names = tuple(layout)
        self._workers = Workers(functools.partial(_fill, dataset, self._names), list(layout.values()), num_workers)

    def __iter__(self):
        for others, arrays in self._workers.map(self._batch_sampler):
            # nd.array copies before it returns, so a worker may write into the same memory again.
            yield self._dataset.Batch(
                **{name: nd.array(array, dtype=array.dtype) for name, array in zip(self._names, arrays)}, **others)

    def epoch(self, epoch: int, skip: int = 0):
        """Batches of an epoch.

        Parameters
        ----------
        epoch : int
        skip : int
            Leave out this many batches at its start, without reading them.

        Returns
        -------
        iterator of namedtuple
            `dataset.Batch` with NDArrays for the arrays of its layout.

        Raises
        ------
        UserError
            While iterating: when a file is missing or damaged, or a worker was killed.
        """
        self._batch_sampler.epoch, self._batch_sampler.skip = epoch, skip
        return iter(self)

    def layout(self, count: int) -> dict:
        """Shape and dtype of the arrays of a batch of `count` images, by name."""
        return self._dataset.layout(count)

    @property
    def processes(self) -> list:
        """The workers, of `multiprocessing.Process`."""
        return self._workers.processes

    def close(self):
        """End the worker processes."""
        self._workers.close()


# ------------------------------------------------------------------------------------------------------ inference
class InferenceBatch(NamedTuple):
    """Whole images, each in the upper left corner of a square.

    names : list of str
    image : NDArray (len(names), 3, size, size) uint8
        RGB, padded.
    scaled_sizes : list of (int, int)
        Height and width of each image in the square.
    """

    names: list
    image: nd.NDArray
    scaled_sizes: list


def _fill_inference(dataset, indices, pixels):
    sizes = []
    for i, index in enumerate(indices):
        pixels[i], original, scaled = dataset[index]
        sizes.append((original, scaled))
    return sizes


class InferenceLoader(gluon.data.DataLoader):
    """All images of a list once, read by worker processes.

    Parameters
    ----------
    names : sequence of str
    image_root : str
        Folder of images.
    size : int
        Side of the network's input.
    batch_size : int
    num_workers : int
        0 reads in the calling process. The workers are forked now: do this before MXNet gets busy.
    sizes : sequence of (int, int), optional
        Heights and widths of the images, needed with `group`.
    group : callable, optional
        From the height and width of the part of the input that shows an image to something hashable. The
        images come group by group; only those of one group share a batch, so the last batch of each may be
        smaller. By default all are one group, None.
    padding : sequence of 3 int
        RGB of what lies beside the images.
    """

    def __init__(self, names: Sequence[str], image_root: str, size: int, batch_size: int, num_workers: int,
                 sizes: Sequence[tuple] | None = None, group: Callable | None = None,
                 padding: Sequence[int] = (geometry.GREY,) * 3):
        dataset = InferenceSet(names, image_root, size, padding)
        self._sizes, members = sizes, {}
        for i in range(len(names)):
            key = group and group(geometry.fitted_size(*sizes[i], size=size))
            members.setdefault(key, []).append(i)
        batches = [indices[first:first + batch_size] for indices in members.values()
                   for first in range(0, len(indices), batch_size)]
        super().__init__(dataset, batch_sampler=batches)
        self._workers = Workers(functools.partial(_fill_inference, dataset),
                                [((batch_size, 3, size, size), np.uint8)], num_workers)

    def __iter__(self) -> Iterator[InferenceBatch]:
        """Batches; `UserError` when an image is missing, damaged or not of its size, or a worker was killed."""
        filled = self._workers.map(self._batch_sampler)
        for indices, (sizes, (pixels,)) in zip(self._batch_sampler, filled):
            names = [self._dataset.names[i] for i in indices]
            for i, name, (size, _) in zip(indices, names, sizes):
                if self._sizes and tuple(self._sizes[i]) != tuple(size):
                    raise UserError('was replaced by another image meanwhile',
                                    images.image_path(self._dataset.image_root, name), 'run the same command again')
            yield InferenceBatch(names, nd.array(pixels[:len(names)], dtype=np.uint8), [scaled for _, scaled in sizes])

    def close(self):
        """End the worker processes."""
        self._workers.close()
