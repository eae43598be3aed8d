"""The backbone where a photograph covers only the top left part of the network's input.

What lies beside the photograph is grey in every image. Positions that see nothing else are the same for all of them
and are computed once, for a grey image; positions that no wanted one sees are left out. The wanted ones come out as
they do from the whole input.
"""
import collections


from icd.data.geometry import GREY, STRIDE, feature_size
from icd.model.vgg import BLOCKS
from icd.mxnet_setup import HybridBlock, mx

_STEP = 8                           # extents are multiples of this: few graphs serve all photographs
_FILLED = (2, 3)                    # blocks after whose pooling the positions that see only grey are put in place

Layer = collections.namedtuple('Layer', 'size reach stride block')
Layer.__doc__ = """What a layer does along one axis.

Parameters
----------
size : int
    Positions of its whole output.
reach : int
    Its windows reach this many positions of its input to either side.
stride : int
    Of its windows.
block : int or None
    The block of convolutions it is the pooling of.
"""


def _layers(side):
    """The backbone's layers on an input of `side` pixels."""
    layers, size = [], side
    for block, (count, _, dilation, stride) in enumerate(BLOCKS, 1):
        layers += [Layer(size, dilation, 1, None)] * count
        if stride:
            size = (size - 1) // stride + 1
            layers.append(Layer(size, 1, stride, block))
    return layers


def _plan(side, covered, wanted):
    """What every layer computes along one axis.

    Parameters
    ----------
    side : int
        Pixels of the whole input.
    covered : int
        Pixels of it that may show the photograph.
    wanted : int
        Positions of the backbone's output.

    Returns
    -------
    pixels : int
        Part of the input that is looked at.
    extents : list of (int, int)
        Of every layer: how many positions must be right, and how many of these see the photograph and are computed;
        the others see grey.
    """
    layers = _layers(side)
    seen, reach, stride = [], 0, 1
    for layer in layers:
        reach += layer.reach * stride
        stride *= layer.stride
        seen.append(min((covered - 1 + reach) // stride + 1, layer.size))
    extents = []
    for number in reversed(range(len(layers))):
        layer = layers[number]
        computed = min(wanted, seen[number]) if layer.block in _FILLED else wanted
        extents.append((wanted, computed))
        before = layers[number - 1].size if number else side
        wanted = min(layer.stride * (computed - 1) + layer.reach + 1, before)
    return wanted, extents[::-1]


def extents(cells, side):
    """Height and width of the part of the feature map to compute.

    Parameters
    ----------
    cells : (int, int)
        Height and width of the part wanted.
    side : int
        Pixels of the whole input.

    Returns
    -------
    (int, int)
        At least `cells`, of few values.
    """
    whole = feature_size(side)
    rounded = (-(-length // _STEP) * _STEP for length in cells)
    return tuple(whole if length > whole - _STEP else length for length in rounded)


def cut(F, x, lengths, wanted):
    """The top left part (N, c, *wanted) of maps (N, c, *lengths)."""
    if tuple(lengths) == tuple(wanted):
        return x
    return F.slice(x, begin=(None, None, 0, 0), end=(None, None) + tuple(wanted))


def _fill(F, x, canvas, inner, outer):
    """Maps (N, c, *inner) with what is beside and below them on a canvas (1, c, H, W): (N, c, *outer)."""
    for axis, first, last in ((3, (0, inner[1]), (inner[0], outer[1])), (2, (inner[0], 0), outer)):
        if first[axis - 2] < last[axis - 2]:
            beside = F.slice(canvas, begin=(None, None) + first, end=(None, None) + tuple(last))
            x = F.concat(x, F.broadcast_like(beside, x, lhs_axes=(0,), rhs_axes=(0,)), dim=axis)
    return x


class _Start(HybridBlock):
    """Of an image, what the layers before each canvas make."""

    def __init__(self, backbone, side, shift):
        super().__init__(prefix='')
        self.backbone = backbone
        self._side, self._shift = side, shift

    def hybrid_forward(self, F, x):
        x = F.cast(x, 'float32') - self._shift
        found = []
        for layer, what in zip(self.backbone.layers, _layers(self._side)):
            x = layer(x)
            if what.block in _FILLED:
                found.append(x)
            if len(found) == len(_FILLED):
                return found


def canvases(backbone, side, device, shift=0.):
    """What goes beside the photograph, the same for all of them.

    Parameters
    ----------
    backbone : VGG16
    side : int
        Side of the whole input.
    device : mxnet.Context
    shift : float
        Subtracted from the input first.

    Returns
    -------
    list of NDArray
        (1, c, h, w), for `CoveredVGG16`.
    """
    grey = mx.nd.full((1, 3, side, side), GREY, ctx=device, dtype='uint8')
    return _Start(backbone, side, shift)(grey)


class CoveredVGG16(HybridBlock):
    """`VGG16` on a photograph in the top left corner of an input that is grey (127) elsewhere.

    Parameters
    ----------
    backbone : VGG16
        Shares its parameters.
    side : int
        Side of the whole input, 8k + 1.
    extents : (int, int)
        Positions of the feature map wanted, vertically and horizontally; the photograph's pixels are above and left
        of 8 times these. See the function `extents`.
    margin : int
        Positions wanted beyond these.
    shift : float
        Subtracted from the input first.

    Inputs
    ------
    data (N, 3, side, side) uint8 or float32 : RGB, 0..255
    canvases (1, c, h, w) float32 : those of `canvases` that are `needed`

    Outputs
    -------
    (N, 512 * width, h, w) float32 : the top left part of conv5_3 after ReLU. `extents` and the margin of it are what
    the whole network gives, where there is as much; what lies beyond is not.

    Attributes
    ----------
    lengths : tuple of int
        h and w.
    """

    def __init__(self, backbone, side, extents, margin=0, shift=0.):
        super().__init__(prefix='')
        self.backbone = backbone
        self._side, self._shift = side, shift
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

    def hybrid_forward(self, F, x, *canvases):
        x = F.cast(cut(F, x, (self._side,) * 2, self._pixels), 'float32') - self._shift
        canvases = iter(canvases)
        for layer, what, (made, computed, wanted, passed) in zip(
                self.backbone.layers, _layers(self._side), self._steps()):
            x = layer(x)
            if computed != wanted:
                x = _fill(F, cut(F, x, made, computed), next(canvases), computed, wanted)
            else:
                x = cut(F, x, made, passed)
        return x

    def needed(self, canvases):
        """Those of the canvases that this part of the input calls for."""
        pairs = [pair for pair, what in zip(self._plans, _layers(self._side)) if what.block in _FILLED]
        return [canvas for canvas, (wanted, computed) in zip(canvases, pairs) if computed != wanted]
