"""Scores of a segmentation network by MXNet, for prediction; `icd.onnx_predict` gives the same without it."""
from __future__ import annotations

import contextlib
from typing import Iterator, Sequence

from icd import gpu_memory, mxnet_setup, parallel
from icd import precision as precisions
from icd.data.loader import InferenceLoader
from icd.model import deeplab
from icd.model.initial import set_values
from icd.model.multi_scale import MultiScale
from icd.predict import predict
from icd.weights import load, resnet101_names
from icd.weights.trained import Trained


def check(trained: Trained, gpus: str | None, precision: str):
    """Raise a `UserError` when the weights do not fit their network, or a device cannot be used."""
    precisions.check(precision, mxnet_setup.devices(gpus))
    load.read_trained(trained.path, _create(trained, precision))


def _create(trained, precision):
    return deeplab.create(trained.network, len(trained.class_names), trained.width,
                          resnet_variant=resnet101_names.variant_of(trained.arrays), precision=precision)


def scores(trained: Trained, names: Sequence[str], image_root: str, sizes: Sequence[tuple], side: int,
           scales: Sequence[float], flip: bool, batch_size: int, num_workers: int | None,
           gpus: str | None, precision: str) -> Iterator[tuple]:
    """Scores of images at every scale.

    Parameters
    ----------
    trained : Trained
        Checked.
    names, image_root, sizes
        The images; heights and widths, pixels.
    side : int
        Of the letterbox, 8k + 1.
    scales, flip
        As in `MultiScale`.
    batch_size, num_workers, gpus, precision
        Options of these names.

    Yields
    ------
    name : str
    fitted : (int, int)
        Height and width of the image in the letterbox.
    maps : list of ndarray (C, h, w) float32
        One a scale, of the whole letterbox.

    Raises
    ------
    UserError
        When an image is missing or damaged, or was replaced, or a device runs out of memory.
    """
    devices = mxnet_setup.devices(gpus)
    with mxnet_setup.computing(devices, gpu_memory.smaller_batch('--infer-batch-size', batch_size, '--infer-size')):
        yield from _scores(trained, names, image_root, sizes, side, scales, flip, batch_size, num_workers, devices,
                           precision)


def _scores(trained, names, image_root, sizes, side, scales, flip, batch_size, num_workers, devices, precision):
    net = _create(trained, precision)
    loader = InferenceLoader(names, image_root, side, batch_size, parallel.number_of_readers(num_workers), sizes,
                             padding=net.padding)
    with contextlib.closing(loader):
        set_values(net, trained.arrays, devices)
        net.hybridize()         # sizes change from scale to scale, so the graph is not bound to one
        for batch, maps in predict(loader, MultiScale(net, side, scales, flip), devices):
            for name, fitted, scores_of_image in zip(batch.names, batch.scaled_sizes, maps):
                yield name, fitted, list(scores_of_image)
