"""The network that `icd-segment predict` runs: of a checkpoint through MXNet, or of an ONNX file without it."""
from __future__ import annotations

from typing import Iterator

import numpy as np

from icd import cli, files, onnx_predict, precision
from icd.data import voc
from icd.errors import UserError
from icd.method.multi_scale import resize_letterbox, scaled_side
from icd.weights import trained


def open_network(options: cli.Options) -> MxnetNetwork | OnnxNetwork:
    """The network that the options name.

    Parameters
    ----------
    options : Options
        `icd.segment_options.SEGMENT_PREDICT`.

    Raises
    ------
    UserError
        When it is missing, damaged, another sort of network, or does not fit the class names or the devices.
    """
    path = options.model or trained.newest(options.snapshot, options.epoch)
    network = (OnnxNetwork if onnx_predict.recognises(path) else MxnetNetwork)(path, options)
    if network.network == trained.ICD:
        raise UserError('a network of ICD, whose scores make seeds', path,
                        'give one of icd-segment train; icd-run makes seeds')
    return network


class MxnetNetwork:
    """A checkpoint, run by MXNet.

    Attributes
    ----------
    network : str
    class_names : tuple of str
        Background first.
    checksum : str
        CRC-32 of the checkpoint.
    """

    def __init__(self, path: str, options: cli.Options):
        self._trained = trained.read(path, options.class_names)
        self.network, self.class_names = self._trained.network, self._trained.class_names
        self.checksum = f'{files.checksum(path):08x}'
        if self.network != trained.ICD:
            from icd.steps import mxnet_scores
            mxnet_scores.check(self._trained, options.gpus, options.precision)

    def scores(self, options: cli.Options, names: list, sizes: list) -> Iterator[tuple]:
        """Name, fitted size and scores (C, h, w) at every scale of the images; see `icd.steps.mxnet_scores.scores`."""
        from icd.steps import mxnet_scores
        return mxnet_scores.scores(self._trained, names, options.image_root, sizes, options.infer_size, options.scales,
                                   not options.no_flip, options.infer_batch_size, options.num_workers, options.gpus,
                                   options.precision)


class OnnxNetwork:
    """An ONNX file, run by onnxruntime; attributes as those of `MxnetNetwork`."""

    def __init__(self, path: str, options: cli.Options):
        precision.check_onnx(options.precision, path)
        self._model = onnx_predict.OnnxNetwork(path, options.gpus)
        self.network, self.class_names = self._model.network, self._model.class_names
        self.checksum = self._model.checksum
        known = options.class_names and ('background', *voc.read_class_names(options.class_names))
        if known and known != self.class_names:
            raise UserError('names other classes than the ONNX file', f'--class-names {options.class_names}',
                            'leave it out: the file knows its classes')

    def scores(self, options: cli.Options, names: list, sizes: list) -> Iterator[tuple]:
        """See `MxnetNetwork.scores`."""
        sides = [scaled_side(options.infer_size, scale) for scale in options.scales]

        def compute(run, image, _):
            return [_mean(run, resize_letterbox(image, side), not options.no_flip) for side in sides]
        found = self._model.predict(names, options.image_root, options.infer_size, compute)
        for (name, size, fitted, maps), expected in zip(found, sizes):
            if tuple(size) != tuple(expected):
                raise UserError('was replaced by another image meanwhile', name, 'run the same command again')
            yield name, fitted, maps


def _mean(run, letterbox, flip):
    """Scores (C, h, w) of a letterbox (1, 3, H, W), the mean of it and its mirror image with `flip`."""
    logits, = run(letterbox, ['logits'])
    if flip:
        mirrored, = run(letterbox[..., ::-1], ['logits'])
        logits = (logits + mirrored[..., ::-1]) / np.float32(2)
    return logits[0]
