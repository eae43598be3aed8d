"""IoU of a segmentation network on images with truth, while it trains: for the log, and for nothing else."""
from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Callable, Sequence

import cv2

from icd.data import geometry, masks
from icd.data.loader import InferenceLoader
from icd.data.segmentation_set import mask_path
from icd.method import metrics
from icd.mxnet_setup import HybridBlock
from icd.predict import predict

_LARGEST = 1025         # side of the input; larger images are scaled down to it
_BATCH = 4


@dataclass(frozen=True)
class Validation:
    """Images with truth.

    names : sequence of str
    sizes : sequence of (int, int)
        Height and width of the images.
    image_root, truth_root : str
        Folders of the images and of NAME.png.
    class_names : sequence of str
        Background first.
    """

    names: Sequence[str]
    sizes: Sequence[tuple]
    image_root: str
    truth_root: str
    class_names: Sequence[str]

    def of(self, net: HybridBlock, devices: list) -> Callable:
        """What compares the predictions of a network, at one scale and without CRF, with the truth at the images' size.

        Parameters
        ----------
        net : DeepLab
            Initialised on `devices`.
        devices : list of mxnet.Context

        Returns
        -------
        callable
            (epoch) -> list of the line for the log.
        """
        longest = min(max(max(size) for size in self.sizes), _LARGEST)
        labels = _Labels(net, longest + (1 - longest) % geometry.STRIDE)
        labels.hybridize()
        return functools.partial(self._lines, labels, devices)

    def _lines(self, labels, devices, epoch):
        total, side = 0, labels.side
        loader = InferenceLoader(self.names, self.image_root, side, min(_BATCH * len(devices), len(self.names)), 0,
                                 padding=labels.net.padding)
        with contextlib.closing(loader):
            for batch, maps in predict(loader, lambda images, _: (labels(images),), devices):
                for name, (height, width), (predicted,) in zip(batch.names, batch.scaled_sizes, maps):
                    truth = masks.read_mask(mask_path(self.truth_root, name))
                    predicted = cv2.resize(predicted[:height, :width], truth.shape[::-1],
                                           interpolation=cv2.INTER_NEAREST)
                    total = total + metrics.confusion_matrix(truth, predicted, len(self.class_names))
        figures = metrics.figures(total, self.class_names)
        of_class = ', '.join(f'{name} {value:.1f}' for name, value in figures['IoU'].items()
                             if value is not None)
        return [f"epoch {epoch} on {len(self.names)} images of --val-list: mIoU {figures['mIoU']:.1f} ({of_class})"]


class _Labels(HybridBlock):
    """Images (N, 3, side, side) -> the class of each pixel (N, side, side) uint8."""

    def __init__(self, net, side):
        super().__init__(prefix='')
        self.net, self.side = net, side

    def hybrid_forward(self, F, image):
        scores = F.contrib.BilinearResize2D(self.net(image), height=self.side, width=self.side)
        return F.cast(F.argmax(scores, axis=1), 'uint8')
