"""What is ICD's in a training: the sign calibration, its losses, its figures and its preview."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from icd.model import half
from icd.model.icd_blocks import CalibrationStatistics, CalibrationUpdate
from icd.model.icd_net import AUXILIARY, STATE, ICDNet
from icd.model.losses import ICDLoss, warm_up
from icd.model.sync_bn import forward_synchronised
from icd.model.vgg import BLOCKS, scaled
from icd.mxnet_setup import autograd, mx
from icd.train.margins import Margins
from icd.train.task import UNFITTED, Fit, Losses, Task
from icd.viz import previews

_SUPERPIXELS = 64                           # their number is rounded up to a multiple: the graph sees few shapes
_SHOWN_IMAGES, _SHOWN_LABELS = 2, 2         # a log step shows this many images with at most this many labels


def warm_up_steps(images: int, batch: int) -> int:
    """Steps over which the gradient of the top-down branch is faded in: two epochs (`icd.model.losses.warm_up`)."""
    return 2 * images // batch


class IcdTask(Task):
    """ICD on image labels and superpixels; batches are `icd.data.datasets.IcdBatch`.

    The calibration state moves once a step, by the statistics of the whole batch, before any loss is computed.

    Parameters
    ----------
    net : icd.model.icd_net.ICDNet
    warm_up_steps : int
        See the function of this name.
    pixelwise : bool
        `--no-superpixel`.
    sync_bn : bool
        Batch normalisation takes its statistics over all devices of this node.
    notes : sequence of str
    fit : Fit
        See `Task`.
    margins : icd.train.margins.Margins, optional
        Is given the calibration state after every epoch.
    calibrated : bool
        Without it the state stays as it is: that of no image, which turns no sign (`--no-sign-calibration`).
    """

    figures = ('warm_up', 'loss', 'ranking', 'score_min', 'score_max', 'state_min', 'state_max', 'flipped')
    line = ('loss {loss:.4f}, ranking {ranking:.4f}, score {score_min:.3f} to {score_max:.3f}, '
            'flipped {flipped:.2f}')
    bar = 'loss {loss:.3f}, ranking {ranking:.3f}'
    measures_outputs = True
    unclipped = ('icd_bu_weight',)

    def __init__(self, net: ICDNet, warm_up_steps: int = 0, pixelwise: bool = False, sync_bn: bool = False,
                 notes: Sequence[str] = (), fit: Fit = UNFITTED, margins: Margins | None = None,
                 calibrated: bool = True):
        super().__init__(net)
        self.notes, self.fit, self._margins = notes, fit, margins
        self._state = net.collect_params()[STATE]
        self._statistics, self._update_state = CalibrationStatistics(), CalibrationUpdate()
        self._loss = ICDLoss(net.num_classes, pixelwise)
        self.blocks = self._statistics, self._update_state, self._loss
        self.shared = {'sums': (net.num_classes, 2), 'counts': (net.num_classes,)}
        self._sync_bn, self._warm_up_steps = sync_bn, warm_up_steps
        self._warm_up, self._labels, self._calibrated = 1., {}, calibrated

    def running(self):
        return [self.net.collect_params()[name] for name in AUXILIARY if name != STATE]

    def forward(self, batches):
        images = [batch.image for batch in batches]
        if self._sync_bn and len(images) > 1:
            return forward_synchronised(self.net, images)
        return [self.net(x) for x in images]

    def measure(self, outputs, batch):
        cam, bottom_up = outputs[:2]
        sums, counts = self._statistics(bottom_up, cam, batch.label)
        return {'sums': sums, 'counts': counts}

    def prepare(self, step, sums):
        self._warm_up = warm_up(step, self._warm_up_steps)
        if self._calibrated:
            for state, s, c in zip(self._state.list_data(), sums['sums'], sums['counts']):
                state[:] = self._update_state(state, s, c)

    def loss(self, outputs, batch):
        device = batch.image.context
        top_down = outputs[2]
        found = self._loss(*outputs, self.net.icd_bu_weight.data(device), batch.label, batch.superpixel,
                           self._superpixel_labels(batch.num_superpixels, device), self._state.data(device),
                           mx.nd.full((1,), self._warm_up, ctx=device))
        with autograd.pause():
            state = self._state.data(device).copy()
            figures = dict(
                warm_up=self._warm_up, loss=found.cam_loss, ranking=found.ranking_accuracy, score_min=found.score_min,
                score_max=found.score_max, state_min=state, state_max=state, flipped=state[:, 0] < state[:, 1])
        return Losses(found.loss, figures, (batch.image, batch.label, found.calibrated, top_down))

    def _superpixel_labels(self, count, device):
        """0, 1, 2, ... for at least `count` superpixels and the padding beside them."""
        count = _SUPERPIXELS * max(1, -(-(count - 1) // _SUPERPIXELS)) + 1
        if (count, device) not in self._labels:
            self._labels[count, device] = mx.nd.arange(count, ctx=device)
        return self._labels[count, device]

    def preview(self, shown):
        """Image, calibrated bottom-up and top-down score, a row a label."""
        images, labels, calibrated, top_down = shown
        labels, rows = labels.asnumpy(), []
        for i in [i for i in range(len(labels)) if 0 < labels[i].sum() <= _SHOWN_LABELS][:_SHOWN_IMAGES]:
            image = np.ascontiguousarray(images[i].asnumpy().transpose(1, 2, 0)[..., ::-1])
            scores = calibrated[i].asnumpy(), top_down[i].asnumpy()
            rows += [previews.row(image, [score[c] for score in scores]) for c in np.flatnonzero(labels[i])]
        return rows

    def after_epoch(self, epoch):
        return self._margins.after_epoch(epoch, self._state.list_data()[0].asnumpy()) if self._margins else []

    def least_memory(self, layout):
        """Parameters, gradients and momentum, and what backward looks at again. A step takes about twice as much."""
        images, _, side, _ = layout['image'][0]
        values, width = 0, self.net.width
        for count, channels, _, stride in BLOCKS:
            values += count * scaled(channels, width) * side ** 2
            side = (side - 1) // (stride or 1) + 1
        # fc6, fc7, fc6_ft, fc7_ft: float32 or, in half precision, the first two twice, before and after a cast.
        heads = 16 * scaled(1024, width) * side ** 2
        return (images * (half.BYTES[self.net.precision] * values + heads) + half.copied_bytes(self.net) +
                super().least_memory(layout))
