"""What is a segmentation network's in a training: its loss, its figures and its preview."""
from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from icd.model import half
from icd.model.deeplab import ASPP, DeepLab
from icd.model.resnet import EXPANSION, STAGES, STEM
from icd.model.segmentation_loss import PIXELS, CountPixels, Scales, SegmentationLoss
from icd.model.vgg import BLOCKS, scaled
from icd.train.task import UNFITTED, Fit, Losses, Task
from icd.viz import previews

_SHOWN = 2                                  # images of a log step in the preview


class SegmentationTask(Task):
    """A segmentation network on masks; batches are `icd.data.segmentation_set.SegmentationBatch`.

    Parameters
    ----------
    net : icd.model.deeplab.DeepLab
    balanced : bool
        See `icd.model.segmentation_loss.SegmentationLoss`.
    multi_scale_side : int, optional
        Side of the crops, 32k+1, where the multi-scale loss is wanted.
    notes : sequence of str
    fit : Fit
        See `Task`.
    validate : callable, optional
        (epoch) -> lines for the log, once after each epoch; nothing else is done with what it finds.
    """

    figures = ('loss', 'accuracy', 'foreground_accuracy', 'valid')
    line = ('loss {loss:.4f}, right pixels {accuracy:.4f}, of the foreground {foreground_accuracy:.4f}, '
            'known {valid:.2f}')
    bar = 'loss {loss:.3f}, right pixels {accuracy:.3f}'
    shared = {'counts': (PIXELS,)}
    mean_over_images = False

    def __init__(self, net: DeepLab, balanced: bool = False, multi_scale_side: int | None = None,
                 notes: Sequence[str] = (), validate: Callable | None = None, fit: Fit = UNFITTED):
        super().__init__(net)
        self._count, self._loss = CountPixels(), SegmentationLoss(balanced)
        self._scales = Scales(multi_scale_side) if multi_scale_side else None
        self.blocks = (self._count, self._loss) + ((self._scales,) if self._scales else ())
        self.notes, self.fit = tuple(notes), fit
        self._validate, self._counts = validate, {}

    def running(self):
        return []                           # batch normalisation is frozen

    def forward(self, batches):
        return [[self.net(x) for x in (batch.image, *(self._scales(batch.image) if self._scales else ()))]
                for batch in batches]

    def measure(self, outputs, batch):
        return {'counts': self._count(batch.label)}

    def prepare(self, step, sums):
        self._counts = {counts.context: counts for counts in sums['counts']}

    def loss(self, outputs, batch):
        found = self._loss(batch.label, self._counts[batch.label.context], *outputs)
        figures = dict(loss=found.shown, accuracy=found.accuracy, foreground_accuracy=found.foreground_accuracy,
                       valid=found.valid)
        return Losses(found.loss, figures, (batch.image, batch.label, outputs[0]))

    def preview(self, shown):
        """Image, label and prediction, a row an image."""
        images, labels, scores = shown
        return [previews.mask_row(np.ascontiguousarray(images[i].asnumpy().transpose(1, 2, 0)[..., ::-1]),
                                  [labels[i].asnumpy(), scores[i].asnumpy().argmax(0).astype(np.uint8)])
                for i in range(min(_SHOWN, len(images)))]

    def after_epoch(self, epoch):
        return self._validate(epoch) if self._validate else []

    def least_memory(self, layout):
        """Parameters, gradients and momentum, and what backward looks at again at scale 1."""
        images, _, side, _ = layout['image'][0]
        precision, width = self.net.precision, self.net.width
        if self.net.architecture == 'vgg16':
            an_image = _vgg16_bytes(side, width, precision, len(ASPP) if self.net.network.endswith('aspp') else 1)
        else:
            an_image = _resnet101_bytes(side, width, precision)
        return images * an_image + half.copied_bytes(self.net) + super().least_memory(layout)


def _vgg16_bytes(side, width, precision, branches):
    values = 0
    for count, channels, _, stride in BLOCKS:
        values += count * scaled(channels, width) * side ** 2
        side = (side - 1) // (stride or 1) + 1
    heads = 2 * branches * scaled(1024, width) * side ** 2                     # fc6, fc7, whose ReLU gives float32
    return half.BYTES[precision] * values + (4 + _of_cast(precision)) * heads


def _of_cast(precision):
    """Bytes of a float32 value that is there once more in half precision, as the next convolution reads it."""
    return 0 if precision == half.FLOAT32 else half.BYTES[precision]


def _resnet101_bytes(side, width, precision):
    side = (side - 1) // 2 + 1
    values, side = 2 * scaled(STEM, width) * side ** 2, (side - 1) // 2 + 1     # convolution and normalisation
    for count, channels, stride, _ in STAGES:
        side = (side - 1) // stride + 1
        values += 2 * count * (2 + EXPANSION) * scaled(channels, width) * side ** 2
    # Batch normalisation reads and gives float32; what it gives, half of the values, is then cast.
    return 4 * values + _of_cast(precision) * values // 2
