"""What a trainer knows of a network: a task, the base of `icd.train.icd_task.IcdTask` and of every other."""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from icd.mxnet_setup import Block

SLOW = .1                   # of the usual rate: what was given, below layers that were drawn


class Fit(NamedTuple):
    """How weights of which a file gave a part were fitted to the training images before the first step.

    slowed : sequence of str
        Names of the parameters that learn at `SLOW` times their rate: what was given.
    factors : dict of str to float
        What drawn weights were multiplied with, by name.
    """

    slowed: Sequence[str] = ()
    factors: Mapping[str, float] = {}


UNFITTED = Fit()


class Losses(NamedTuple):
    """What a task makes of the network's outputs for the images on one device.

    loss : NDArray (1,)
        Backward starts from it.
    figures : dict of str to NDArray or float
        By the names in `Task.figures`; arrays may have any shape.
    shown : object
        What `Task.preview` needs later. It is kept for a few steps: no more than that.
    """

    loss: Any
    figures: dict
    shown: Any = None


class Task:
    """A network and how it is trained. A new network needs `loss` and `figures`; the rest has sensible defaults.

    A batch is a named tuple of arrays whose first axis is the images (`icd.data.loader.BatchLoader`). The trainer cuts
    it into parts, one for every device and accumulated batch; the methods see one part at a time.

    Nothing here may wait for a device: no `asnumpy` but in `preview`.

    Parameters
    ----------
    net : gluon.Block
        Initialised on all devices. Its parameters carry their own `lr_mult`, `wd_mult` and `grad_req`.

    Attributes
    ----------
    blocks : sequence of gluon.HybridBlock
        Blocks beside `net` that `measure`, `prepare` and `loss` call; the trainer hybridizes all of them.
    figures : tuple of str
        Names of the figures to watch: columns of the log, in this order. Over the parts of a batch the log takes the
        smallest where a name ends in `_min`, the largest where it ends in `_max`, else the mean. They must be finite.
    line, bar : str
        How the log file and the progress bar show them, for `str.format`.
    shared : dict of str to tuple
        Names and shapes of the float32 arrays of `measure`, which are added up over the whole batch.
    measures_outputs : bool
        Whether `measure` looks at the network's outputs. If so, accumulated batches take a forward pass of their own.
    unclipped : tuple of str
        Names of the parameters that do not count for the norm of the gradient and are not clipped.
    mean_over_images : bool
        True: `loss` sums over images, and the trainer divides the gradient by their number in the whole batch.
        False: the gradient is taken as it is.
    notes : sequence of str
        Lines for the log when a training starts: where the weights come from.
    fit : Fit
        What the data did to the weights before the first step. Checkpoints remember it.
    """

    blocks = ()
    figures = ('loss',)
    line = bar = 'loss {loss:.4f}'
    shared = {}
    measures_outputs = False
    unclipped = ()
    mean_over_images = True
    notes = ()
    fit = UNFITTED

    def __init__(self, net: Block):
        self.net = net

    def forward(self, batches: list) -> list:
        """Outputs of the network for a part of the batch on every device."""
        return [self.net(batch[0]) for batch in batches]

    def measure(self, outputs: Any, batch: tuple) -> dict:
        """The arrays of `shared` for one part of the batch, so that their sum is that of the whole batch.

        Parameters
        ----------
        outputs : object
            One of those of `forward`; may be None unless `measures_outputs`.
        batch : namedtuple

        Returns
        -------
        dict of str to NDArray
        """
        return {}

    def prepare(self, step: int, sums: dict):
        """Get ready for the losses of a step; called once, before the first of them.

        Parameters
        ----------
        step : int
            Steps done before.
        sums : dict of str to list of NDArray
            Sums of `measure` over all images of the batch, on all devices and nodes: an array for each device here.
        """

    def loss(self, outputs: Any, batch: tuple) -> Losses:
        """The loss of one part of the batch, under `autograd.record`."""
        raise NotImplementedError

    def preview(self, shown: Any) -> list:
        """Rows, (h, w, 3) uint8 BGR, of the epoch's preview from the `Losses.shown` of a log step."""
        return []

    def after_epoch(self, epoch: int) -> list:
        """Lines for the log after an epoch, on the first node. It may wait for devices, and must change nothing."""
        return []

    def running(self) -> list:
        """Parameters that each device moves for itself while it trains; checkpoints hold their mean over devices.

        By default the running statistics of Gluon's batch normalisation; give an empty list where it is frozen.
        """
        return [p for name, p in self.net.collect_params().items()
                if p.grad_req == 'null' and name.endswith(('running_mean', 'running_var'))]

    def least_memory(self, layout: dict) -> int:
        """Bytes that a device needs at the very least; by default for parameters, gradients and momentum.

        Parameters
        ----------
        layout : dict of str to (shape, dtype)
            Of the batch one device computes at once.
        """
        return 12 * sum(int(np.prod(p.shape)) for p in self.net.collect_params().values())
