"""A device that is checked, and another one that it is compared with."""
from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np

from icd.doctor.result import Failed
from icd.mxnet_setup import free_memory, mx


@contextlib.contextmanager
def error_once() -> Iterator[None]:
    """An `MXNetError` is raised, and does not wait in what was asked for after it."""
    try:
        yield
    except mx.base.MXNetError:
        with contextlib.suppress(mx.base.MXNetError):
            mx.nd.waitall()
        raise


class Side:
    """A device. All that goes there, comes from there and is computed by single operators passes through here.

    So tests can give a check a device that is out of order.

    Parameters
    ----------
    context : mxnet.Context

    Attributes
    ----------
    nd : module
        Operators on arrays.
    """

    def __init__(self, context: mx.Context):
        self.context, self.nd = context, mx.nd

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.context.device_type == 'gpu'

    def put(self, array: Any) -> mx.nd.NDArray:
        """An array on the device."""
        array = np.asarray(array)
        return mx.nd.array(array, ctx=self.context, dtype=array.dtype)

    def get(self, array: mx.nd.NDArray) -> np.ndarray:
        """The values of an array of the device."""
        return array.asnumpy()

    def seed(self, number: int):
        """Seed the random numbers of the device."""
        mx.random.seed(number, ctx=self.context)

    def free(self) -> int | None:
        """Free bytes of a GPU."""
        return free_memory([self.context]).get(self.context.device_id)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, in units of the largest value of `theirs`; infinite where values are not finite."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float('inf')
    return float(np.abs(np.float64(ours) - theirs).max() / max(np.abs(np.float64(theirs)).max(), 1e-30))


def compare(what: str, ours: dict, theirs: dict, limit: float) -> str:
    """Compare arrays by name.

    Parameters
    ----------
    what : str
        Of what they are, in the plural.
    ours, theirs : dict of str to ndarray
    limit : float
        Largest `difference`.

    Returns
    -------
    str
        The largest one, and of which.

    Raises
    ------
    Failed
        Naming those beyond the limit.
    """
    found = {name: difference(ours[name], theirs[name]) for name in theirs}
    worst = max(found, key=found.get)
    wrong = [name for name in sorted(found, key=found.get, reverse=True) if found[name] > limit]
    if wrong:
        raise Failed(f'{len(wrong)} of {len(found)} {what} differ by more than {limit:g}: '
                     + ', '.join(f'{name} ({found[name]:.2g})' for name in wrong[:4]))
    return f'{len(found)} {what} differ by {found[worst]:.2g} at most ({worst})'
