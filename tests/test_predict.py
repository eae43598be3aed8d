"""Batches over devices: every image gets the maps of its own, and the devices are one batch ahead."""
import collections

import mxnet as mx
import numpy as np
import pytest

from icd.predict import predict

Batch = collections.namedtuple('Batch', 'names image scaled_sizes')


def batches(*counts):
    start = 0
    for count in counts:
        numbers = range(start, start + count)
        start += count
        image = mx.nd.array(np.broadcast_to(np.arange(start - count, start)[:, None, None, None], (count, 3, 2, 2)))
        yield Batch([str(i) for i in numbers], image, [(i, 2 * i) for i in numbers])


def double(images, sizes):
    """Twice the images and, as one number each, their heights; checks that sizes are those of these images."""
    assert [size[0] for size in sizes] == images[:, 0, 0, 0].asnumpy().tolist()
    return 2 * images, mx.nd.array([[size[0]] for size in sizes], ctx=images.context)


@pytest.mark.parametrize('devices', [1, 2, 3])
def test_every_image_gets_its_own_maps(devices):
    seen = []
    for batch, maps in predict(batches(4, 3, 1), double, [mx.cpu(i) for i in range(devices)]):
        maps = list(maps)
        assert len(maps) == len(batch.names)
        for name, (doubled, height) in zip(batch.names, maps):
            assert doubled.shape == (3, 2, 2) and (doubled == 2 * int(name)).all() and height == [int(name)]
            seen.append(name)
    assert seen == [str(i) for i in range(8)]


def test_batches_are_split_over_no_more_devices_than_images():
    used = []

    def network(images, sizes):
        used.append((images.context, len(images)))
        return images,
    for _ in predict(batches(4, 5, 1), network, [mx.cpu(0), mx.cpu(1)]):
        pass
    assert used == [(mx.cpu(0), 2), (mx.cpu(1), 2), (mx.cpu(0), 3), (mx.cpu(1), 2), (mx.cpu(0), 1)]


def test_the_next_batch_computes_while_the_caller_works():
    begun = []

    def network(images, sizes):
        begun.append(len(images))
        return images,
    ahead = [len(begun) - number for number, _ in enumerate(predict(batches(1, 1, 1, 1), network, [mx.cpu()]))]
    assert ahead == [2, 2, 2, 1]
    assert list(predict(batches(), network, [mx.cpu()])) == []
