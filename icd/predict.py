"""A network over many images and several devices: what score maps, features and predictions are computed with."""
from __future__ import annotations

import collections
from typing import Callable, Iterable, Iterator

from icd.mxnet_setup import gluon, untuned


def predict(loader: Iterable, network: Callable, devices: list) -> Iterator:
    """Run a network over the batches of a loader, one batch ahead of what the caller works on.

    Parameters
    ----------
    loader : iterable of InferenceBatch
    network : callable
        (images, sizes) → tuple of NDArray (N, channels, h, w), from NDArray (N, 3, side, side) uint8 on one of the
        devices, and heights and widths of the images within it; without waiting for what it computes.
        `icd.model.padded_input.PaddedInference` is one. Another can be put on top: one that calls it for several
        scales and the mirrored images, and returns the mean.
    devices : list of mxnet.Context
        Each gets an equal part of a batch, and a batch of fewer images as many devices as it has.

    Yields
    ------
    batch : InferenceBatch
    maps : iterator of tuple of ndarray (channels, h, w)
        For each image of the batch, what the network gives. Reading it waits for the devices; what has been read is
        not kept here.

    Raises
    ------
    UserError
        What the loader raises: an image is missing or damaged.
    """
    with untuned():
        yield from _ahead(loader, network, devices)


def _ahead(loader, network, devices):
    """What `predict` yields."""
    waiting = collections.deque()
    for batch in loader:
        parts = gluon.utils.split_and_load(batch.image, devices[:len(batch.names)], even_split=False)
        sizes, computing, first = batch.scaled_sizes, [], 0
        for part in parts:
            computing.append(network(part, sizes[first:first + len(part)]))
            first += len(part)
        waiting.append((batch, computing))
        if len(waiting) > 1:
            yield _read(*waiting.popleft())         # meanwhile the devices compute
    while waiting:
        yield _read(*waiting.popleft())


def _read(batch, computing):
    def maps():
        while computing:
            yield from zip(*[array.asnumpy() for array in computing.pop(0)])
    return batch, maps()
