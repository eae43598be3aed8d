"""Inference where an image covers only the top left part of the network's input.

What lies beside the image is grey in every input. Positions that see nothing else are the same for all images and
are computed once, for a grey input; positions that no wanted one sees are left out. The wanted ones come out as they
do from the whole input.

`PaddedInference` is what others use, with `ScoreMaps` or `Features` to say which maps are wanted. Inside, along each
axis: *extents* are the positions of the feature map that are wanted, few values in all, so that few graphs serve all
images; a *plan* says what every layer computes for them; *grey maps* are the maps of a grey input.
"""
from __future__ import annotations

from typing import NamedTuple

from icd.data.geometry import GREY, STRIDE, enclosing_positions, feature_size, resized_positions
from icd.model import half
from icd.model.icd_net import ICDNet
from icd.model.vgg import BLOCKS, VGG16
from icd.mxnet_setup import HybridBlock, mx

_STEP = 4                           # extents are multiples of this; of 2, bits would depend on the batch
_FILLED = (2, 3)                    # blocks after whose pooling the positions that see only grey are put in place


class PaddedInference:
    """Maps of images in the top left corner of a square input that is grey (127) elsewhere.

    Parameters
    ----------
    wanted : ScoreMaps or Features
        The class: which maps of which network.
    net : ICDNet or VGG16
        Need not be initialised before the first call.
    side : int
        Side of the input, 8k + 1.
    keeps_memory : bool
        Whether a graph keeps the memory it computes in for the next call, which is faster.

    Examples
    --------
    >>> network = PaddedInference(ScoreMaps, net, 513)                           # doctest: +SKIP
    >>> loader = InferenceLoader(..., group=network.group)                       # doctest: +SKIP
    >>> for batch, maps in predict(loader, network, devices): ...                # doctest: +SKIP
    """

    def __init__(self, wanted: type, net: HybridBlock, side: int, keeps_memory: bool = True):
        self._wanted, self._net, self._side, self._keeps_memory = wanted, net, side, keeps_memory
        self._extents = self._graph = None
        self._grey_maps = {}

    def group(self, fitted: tuple) -> tuple:
        """Something equal for images that can share a batch without more being computed than each needs.

        Parameters
        ----------
        fitted : (int, int)
            Height and width of the image in the input, pixels.
        """
        whole = feature_size(self._side)
        rounded = (-(-length // _STEP) * _STEP for length in self._wanted.positions(fitted, self._side))
        return tuple(min(length, whole) for length in rounded)

    def __call__(self, images: mx.nd.NDArray, sizes: list) -> tuple:
        """Begin to compute the maps of some images; nothing is waited for.

        Parameters
        ----------
        images : NDArray (N, 3, side, side) uint8 or float32
            RGB, 0..255, on the device that computes.
        sizes : list of (int, int)
            Height and width of each image in the input. A new graph is made whenever the largest call for one, so
            batches are best given one `group` after another.

        Returns
        -------
        tuple of NDArray (N, channels, h, w)
            h and w hold at least the positions that the class of maps wants of each image.
        """
        extents = tuple(map(max, zip(*map(self.group, sizes))))
        if extents != self._extents:
            if self._graph:
                self._graph.hybridize(False)        # frees its memory now: blocks wait for the garbage collector
            self._extents, self._graph = extents, self._wanted(self._net, self._side, extents)
            self._graph.hybridize(static_alloc=self._keeps_memory, static_shape=self._keeps_memory)
        device, backbone = images.context, self._graph.backbone
        if device not in self._grey_maps:
            self._grey_maps[device] = _grey_maps(backbone.backbone, self._side, device)
        maps = self._graph(images, *backbone.needed(self._grey_maps[device]))
        return tuple(maps) if isinstance(maps, (tuple, list)) else (maps,)


# ------------------------------------------------------------------------------------------- which maps are wanted
class ScoreMaps(HybridBlock):
    """CAM and top-down score of a network, sharing its parameters: two maps (N, C, h, w).

    Parameters
    ----------
    net : ICDNet
    side : int
        Side of the input.
    extents : (int, int)
        Height and width of the maps.
    """

    positions = staticmethod(resized_positions)

    def __init__(self, net: ICDNet, side: int, extents: tuple):
        super().__init__(prefix='')
        whole = feature_size(side)
        self._extents = tuple(extents)
        self._seen = tuple(min(length + 1, whole) for length in extents)        # the next convolution is 3x3
        # Before it come two poolings of 3x3.
        self.backbone = _PaddedVGG16(net.layers.backbone, side, extents, margin=3)
        self.class_activation = net.layers.class_activation
        self.feature_norm, self.top_down = net.layers.feature_norm, net.layers.top_down

    def hybrid_forward(self, F, x, *grey_maps, **parameters):
        conv5_3, lengths = self.backbone(x, *grey_maps), self.backbone.lengths
        pooled = _cut(F, self.class_activation.pool(conv5_3), lengths, self._seen)
        feature = _cut(F, self.feature_norm(conv5_3), lengths, self._seen)
        return tuple(_cut(F, maps, self._seen, self._extents)
                     for maps in (self.class_activation.classifier(pooled), self.top_down(feature),
                                  *self._others(feature, **parameters)))

    @staticmethod
    def _others(feature):
        """Further maps (N, C, *seen) of the batch-normalised feature."""
        return ()


class Features(HybridBlock):
    """conv5_3 (N, 512 * width, h, w) of a backbone, sharing its parameters.

    Parameters
    ----------
    net : VGG16
    side : int
        Side of the input.
    extents : (int, int)
        Height and width of the map, at least.
    """

    @staticmethod
    def positions(fitted: tuple, side: int) -> tuple:
        """Rows and columns that an image of size `fitted` needs."""
        return enclosing_positions(fitted)

    def __init__(self, net: VGG16, side: int, extents: tuple):
        super().__init__(prefix='')
        self.backbone = _PaddedVGG16(net, side, extents)

    def hybrid_forward(self, F, x, *grey_maps):
        return self.backbone(x, *grey_maps)


# ----------------------------------------------------------------------------------------------- what is computed
class _Layer(NamedTuple):
    """What a layer does along one axis."""

    size: int               # positions of its whole output
    reach: int              # its windows reach this many positions of its input to either side
    stride: int             # of its windows
    block: int | None       # the block of convolutions it is the pooling of


def _layers(side):
    """The backbone's layers on an input of `side` pixels."""
    layers, size = [], side
    for block, (count, _, dilation, stride) in enumerate(BLOCKS, 1):
        layers += [_Layer(size, dilation, 1, None)] * count
        if stride:
            size = (size - 1) // stride + 1
            layers.append(_Layer(size, 1, stride, block))
    return layers


def _plan(side, covered, wanted):
    """What every layer computes along one axis.

    Parameters
    ----------
    side : int
        Pixels of the whole input.
    covered : int
        Pixels of it that may show the image.
    wanted : int
        Positions of the backbone's output.

    Returns
    -------
    pixels : int
        Part of the input that is looked at.
    counts : list of (int, int)
        Of every layer: how many positions must be right, and how many of these see the image and are computed; the
        others see grey.
    """
    layers = _layers(side)
    seen, reach, stride = [], 0, 1
    for layer in layers:
        reach += layer.reach * stride
        stride *= layer.stride
        seen.append(min((covered - 1 + reach) // stride + 1, layer.size))
    counts = []
    for number in reversed(range(len(layers))):
        layer = layers[number]
        computed = min(wanted, seen[number]) if layer.block in _FILLED else wanted
        counts.append((wanted, computed))
        before = layers[number - 1].size if number else side
        wanted = min(layer.stride * (computed - 1) + layer.reach + 1, before)
    return wanted, counts[::-1]


def _cut(F, x, lengths, wanted):
    """The top left part (N, c, *wanted) of maps (N, c, *lengths)."""
    if tuple(lengths) == tuple(wanted):
        return x
    return F.slice(x, begin=(None, None, 0, 0), end=(None, None) + tuple(wanted))


def _fill(F, x, grey_map, inner, outer):
    """Maps (N, c, *inner) with what is right of them and below on a grey map (1, c, H, W): (N, c, *outer)."""
    for axis, first, last in ((3, (0, inner[1]), (inner[0], outer[1])), (2, (inner[0], 0), outer)):
        if first[axis - 2] < last[axis - 2]:
            grey = F.slice(grey_map, begin=(None, None) + first, end=(None, None) + tuple(last))
            x = F.concat(x, F.broadcast_like(grey, x, lhs_axes=(0,), rhs_axes=(0,)), dim=axis)
    return x


class _PaddedVGG16(HybridBlock):
    """`VGG16` on an image in the top left corner of an input that is grey elsewhere.

    Parameters
    ----------
    backbone : VGG16
        Shares its parameters.
    side : int
        Side of the whole input, 8k + 1.
    extents : (int, int)
        Positions of the feature map wanted, vertically and horizontally; the image's pixels are above and left of 8
        times these.
    margin : int
        Positions wanted beyond these.

    Inputs
    ------
    data (N, 3, side, side) uint8 or float32 : RGB, 0..255
    grey_maps (1, c, h, w) : those of `_grey_maps` that are `needed`, of the backbone's precision

    Outputs
    -------
    (N, 512 * width, h, w) float32 : the top left part of conv5_3 after ReLU. `extents` and the margin of it are what
    the whole network gives, where there is as much; what lies beyond is not.

    Attributes
    ----------
    lengths : tuple of int
        h and w.
    """

    def __init__(self, backbone, side, extents, margin=0):
        super().__init__(prefix='')
        self.backbone, self._side = backbone, side
        whole = feature_size(side)
        plans = [_plan(side, min(STRIDE * length, side), min(length + margin, whole)) for length in extents]
        self._pixels = tuple(pixels for pixels, _ in plans)
        self._plans = [tuple(zip(*both)) for both in zip(*(layers for _, layers in plans))]
        self.lengths = self._steps()[-1][-1]

    def _steps(self):
        """Of every layer: its output's lengths, those computed rightly, those wanted, those passed on."""
        steps, lengths = [], self._pixels
        for what, (wanted, computed) in zip(_layers(self._side), self._plans):
            made = tuple((length - 1) // what.stride + 1 for length in lengths)
            # A cut copies the maps, so there is one only where several positions go at once.
            lengths = wanted if what.block and (what.block in _FILLED or what.stride == 1) else made
            steps.append((made, computed, wanted, lengths))
        return steps

    def hybrid_forward(self, F, x, *grey_maps):
        x = F.cast(_cut(F, x, (self._side,) * 2, self._pixels), 'float32') - self.backbone.mean
        grey_maps = iter(grey_maps)
        for layer, _what, (made, computed, wanted, passed) in zip(
                self.backbone.layers, _layers(self._side), self._steps()):
            x = layer(x)
            if computed != wanted:
                x = _fill(F, _cut(F, x, made, computed), next(grey_maps), computed, wanted)
            else:
                x = _cut(F, x, made, passed)
        return half.raised(F, self.backbone.precision, x)

    def needed(self, grey_maps):
        """Those of the grey maps that these extents call for."""
        pairs = [pair for pair, what in zip(self._plans, _layers(self._side)) if what.block in _FILLED]
        return [grey_map for grey_map, (wanted, computed) in zip(grey_maps, pairs) if computed != wanted]


class _GreyMaps(HybridBlock):
    """Of an input, the maps (N, c, h, w) after the blocks of `_FILLED`."""

    def __init__(self, backbone, side):
        super().__init__(prefix='')
        self._filled = [what.block in _FILLED for what in _layers(side)]
        self._mean = backbone.mean
        self.layers = backbone.layers[:len(self._filled) - self._filled[::-1].index(True)]

    def hybrid_forward(self, F, x):
        x, found = F.cast(x, 'float32') - self._mean, []
        for layer, filled in zip(self.layers, self._filled):
            x = layer(x)
            found += [x] * filled
        return found


def _grey_maps(backbone, side, device):
    """What goes beside an image, the same for all of them: maps (1, c, h, w) of a grey input."""
    grey_maps = _GreyMaps(backbone, side)
    grey_maps.hybridize()
    return grey_maps(mx.nd.full((1, 3, side, side), GREY, ctx=device, dtype='uint8'))
