"""Dynamic loss scaling: gradients of float16 convolutions neither vanish nor overflow.

Halves end at 65504 below infinity and at 6e-8 above zero. So backward starts with a large number in place of 1, which
the gradients are divided by before they are used. A step whose gradients are not finite is skipped, and the number is
halved; after many good steps it is doubled (Micikevicius et al. 2018, "Mixed precision training"; the numbers are those
of MXNet's AMP). AMP looks at a value in every step, which waits for the device. Here all of it stays on the devices:
they hold the same sums of gradients and so decide alike, on every node.
"""
from __future__ import annotations

from typing import NamedTuple, Sequence

from icd.mxnet_setup import mx

FIGURES = 'loss_scale', 'skipped_steps'     # columns of the log
LINE = 'loss scale {loss_scale:g}, {skipped_steps:.0f} steps skipped'
_MOST, _GOOD_STEPS = 2. ** 24, 2000.
_CHECKED = 200              # arrays that MXNet looks at in one operation, at most
LEAST = 2. ** -10           # a training that has come here has no finite gradients at any scale


class Scaling(NamedTuple):
    """Where a loss scaler stands.

    scale : float
        Of the next step, a power of two.
    good : int
        Steps since the scale changed or one was skipped.
    skipped : int
        Steps skipped in all.
    """

    scale: float = 2. ** 16
    good: int = 0
    skipped: int = 0


START = Scaling()


def all_finite(arrays: Sequence[mx.nd.NDArray]) -> mx.nd.NDArray:
    """1, an array (1,), where all values of arrays on one device are finite, else 0."""
    finite = mx.nd.ones((1,), ctx=arrays[0].context)
    for first in range(0, len(arrays), _CHECKED):
        some = arrays[first:first + _CHECKED]
        mx.nd.multi_all_finite(*some, num_arrays=len(some), init_output=False, out=finite)
    return finite


class LossScaler:
    """The scale on every device, moved by whether gradients are finite.

    Parameters
    ----------
    devices : sequence of mxnet.Context
    start : Scaling

    Attributes
    ----------
    finite : dict of mxnet.Context to NDArray (1,)
        Whether the gradients that were last unscaled are finite: 1 or 0, the same on every device.
    """

    def __init__(self, devices: Sequence[mx.Context], start: Scaling = START):
        self._states = {device: [mx.nd.full((1,), value, ctx=device) for value in start] for device in devices}
        self.finite = {}

    def scale(self, device: mx.Context) -> mx.nd.NDArray:
        """What backward starts with on a device: (1,) float32."""
        return self._states[device][0]

    def unscale(self, device: mx.Context, gradients: Sequence[mx.nd.NDArray]) -> None:
        """Divide the gradients on a device, sums over all of them, by the scale, and see whether they are finite."""
        self.finite[device] = all_finite(gradients)
        for gradient in gradients:
            gradient[:] = mx.nd.broadcast_div(gradient, self.scale(device).reshape((1,) * gradient.ndim))

    def update(self) -> None:
        """A step is done, or skipped."""
        for device, (scale, good, skipped) in self._states.items():
            fine = self.finite[device]
            good = fine * (good + 1)
            grows = good >= _GOOD_STEPS
            # Powers of two, whose products are exact.
            scale = mx.nd.minimum(scale * (fine * (1 + grows) + (1 - fine) / 2), _MOST)
            self._states[device] = [scale, good * (1 - grows), skipped + 1 - fine]

    def figures(self) -> dict:
        """`FIGURES`: the scale of the next step, and the steps skipped so far; NDArrays (1,)."""
        scale, _, skipped = next(iter(self._states.values()))
        return dict(zip(FIGURES, (scale, skipped)))

    def state(self) -> Scaling:
        """Where it stands; waits for the device."""
        scale, good, skipped = (array.asscalar() for array in next(iter(self._states.values())))
        return Scaling(float(scale), int(good), int(skipped))


class SkippingSgd(mx.optimizer.SGD):
    """Stochastic gradient descent that leaves weights and momentum as they are where gradients are not finite.

    Parameters
    ----------
    scaler : LossScaler
        Has unscaled the gradients.
    kwargs : of `mxnet.optimizer.SGD`
    """

    def __init__(self, scaler: LossScaler, **kwargs):
        super().__init__(**kwargs)
        self._scaler = scaler

    def update_multi_precision(self, index, weight, grad, state):
        """See `mxnet.optimizer.Optimizer`; `weight` and `state` are an array each, or lists of them."""
        arrays = [*weight, *state] if isinstance(weight, (list, tuple)) else [weight, state]
        arrays = [array for array in arrays if array is not None]       # there is no state without momentum
        before = [array.copy() for array in arrays]
        super().update_multi_precision(index, weight, grad, state)
        for array, kept in zip(arrays, before):
            finite = self._scaler.finite[array.context].broadcast_to(array.shape[:1])
            array[:] = mx.nd.where(finite, array, kept)
