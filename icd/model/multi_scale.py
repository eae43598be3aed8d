"""A network at several scales and mirrored, for `icd.predict.predict`; `icd.method.multi_scale` fuses what it gives."""
from __future__ import annotations

from typing import Callable, Sequence

from icd.method.multi_scale import Views, scaled_side
from icd.model.padded_input import PaddedInference
from icd.mxnet_setup import HybridBlock, mx


class MultiScale:
    """Scores of letterboxes at several scales, each the mean of the letterbox and its mirror image.

    Mirrored images are computed in a batch of their own, one after the other: memory is that of the largest scale once.
    Scores are turned back and averaged at the stride of the network, which is exact, since mirrored positions fall on
    positions at 8k + 1; resizing them is left to `icd.method.multi_scale.fuse`.

    Parameters
    ----------
    network : callable
        (N, 3, S, S) uint8 → (N, C, h, w) float32, for every S. `icd.model.deeplab.DeepLab` is one.
    side : int
        Of the letterbox, 8k + 1.
    scales : sequence of float
    flip : bool

    Examples
    --------
    >>> network = MultiScale(net, 513, (.75, 1, 1.25), flip=True)                # doctest: +SKIP
    >>> for batch, maps in predict(loader, network, devices): ...                # doctest: +SKIP
    """

    def __init__(self, network: Callable, side: int, scales: Sequence[float] = (1.,), flip: bool = False):
        self._network, self._flip = network, flip
        self.sides = tuple(scaled_side(side, scale) for scale in scales)

    def __call__(self, images: mx.nd.NDArray, sizes: list) -> tuple:
        """Begin to compute the scores of some letterboxes; nothing is waited for.

        Parameters
        ----------
        images : NDArray (N, 3, side, side) uint8
            RGB, on the device that computes.
        sizes : list of (int, int)
            Not needed: letterboxes are seen whole.

        Returns
        -------
        tuple of NDArray (N, C, h, w) float32
            One a scale, of the whole letterbox.
        """
        return tuple(self._mean(resize(images, side)) for side in self.sides)

    def _mean(self, letterbox):
        scores = self._network(letterbox)
        if not self._flip:
            return scores
        mirrored = self._network(mx.nd.flip(letterbox, axis=3))
        return (scores + mx.nd.flip(mirrored, axis=3)) / 2


class PaddedMultiScale:
    """`PaddedInference` on everything that is seen of letterboxes, one after another.

    Memory is that of the largest scale once: no graph keeps its own where there are several.

    Parameters
    ----------
    wanted, net
        As in `PaddedInference`.
    views : Views
    """

    def __init__(self, wanted: type, net: HybridBlock, views: Views):
        self._views, keeps = views, len(views.sides) == 1
        self._networks = [PaddedInference(wanted, net, side, keeps) for side in views.sides]

    def group(self, fitted: tuple) -> tuple:
        """See `PaddedInference.group`."""
        return tuple(network.group(self._views.content(fitted, side))
                     for network, side in zip(self._networks, self._views.sides))

    def __call__(self, images: mx.nd.NDArray, sizes: list) -> tuple:
        """Begin to compute the maps of some images; nothing is waited for.

        Parameters
        ----------
        images, sizes
            As in `PaddedInference`.

        Returns
        -------
        tuple of NDArray (N, channels, h, w)
            Of everything that is seen, in the order of `Views.of`, what `PaddedInference` gives.
        """
        seen, found = [images], []
        if self._views.flip:
            seen.append(mirror(images, [self._views.mirrored_width(fitted) for fitted in sizes]))
        for network, side in zip(self._networks, self._views.sides):
            content = [self._views.content(fitted, side) for fitted in sizes]
            for one in seen:
                found += network(resize(one, side), content)
        return tuple(found)


def mirror(letterbox: mx.nd.NDArray, widths: Sequence[int]) -> mx.nd.NDArray:
    """Letterboxes (N, 3, side, side), the first pixels of each mirrored, as many as `widths` says."""
    made = []
    for one, width in zip(letterbox, widths):
        turned = mx.nd.flip(one[:, :, :width], axis=2)
        made.append(mx.nd.concat(turned, one[:, :, width:], dim=2) if width < one.shape[2] else turned)
    return mx.nd.stack(*made, axis=0)


def resize(letterbox: mx.nd.NDArray, side: int) -> mx.nd.NDArray:
    """`icd.method.multi_scale.resize_letterbox` on the device: (N, 3, side, side) uint8."""
    if letterbox.shape[2:] == (side, side):
        return letterbox
    resized = mx.nd.contrib.BilinearResize2D(letterbox.astype('float32'), height=side, width=side)
    return mx.nd.floor(resized + .5).astype('uint8')
