"""The VGG16 backbone in its DeepLab-LargeFOV form (Simonyan & Zisserman 2015; Chen et al. 2015)."""
from __future__ import annotations

from icd.model import half
from icd.mxnet_setup import HybridBlock, nn

# Blocks of 3x3 convolutions: (number of convolutions, channels at width 1, dilation, stride of the pooling after).
BLOCKS = ((2, 64, 1, 2), (2, 128, 1, 2), (3, 256, 1, 2), (3, 512, 1, 1), (3, 512, 2, None))


def scaled(channels: int, width: float) -> int:
    """Channels of a layer in a network `width` times as wide as the paper's (at least 1)."""
    return max(1, int(round(channels * width)))


def convolution(name: str, in_channels: int, channels: int, kernel: int = 3, dilation: int = 1,
                relu: bool = True, **kwargs) -> nn.Conv2D:
    """A convolution that keeps height and width, with parameters `NAME_weight` and `NAME_bias`."""
    return nn.Conv2D(channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, in_channels=in_channels,
                     activation='relu' if relu else None, prefix=f'{name}_', **kwargs)


class VGG16(HybridBlock):
    """conv1_1 to conv5_3 of VGG16 at an output stride of 8.

    Max-poolings are 3x3 with padding 1; the one after block 4 has stride 1 and block 5 is dilated by 2 instead.
    A side of 8k+1 pixels becomes k+1, and position i of the map is centred on pixel 8i.

    Parameters
    ----------
    width : float
        Multiplier of the channels.
    mean : float
        Subtracted from the input first. (Merging superpixels feeds 0..255 as it is, as the original does.)
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions, and of ReLU and pooling between them.

    Inputs
    ------
    data (N, 3, H, W) uint8 or float32 : RGB, 0..255

    Outputs
    -------
    (N, 512 * width, h, w) float32 : conv5_3 after ReLU.

    Attributes
    ----------
    channels : int
        Of the output.
    mean, precision
    """

    def __init__(self, width: float = 1., mean: float = 0., precision: str = half.FLOAT32):
        super().__init__(prefix='')
        self.mean, self.precision = mean, precision
        self.layers = nn.HybridSequential(prefix='')
        self.channels = 3
        for i, (count, channels, dilation, stride) in enumerate(BLOCKS, 1):
            for j in range(1, count + 1):
                in_channels, self.channels = self.channels, scaled(channels, width)
                self.layers.add(convolution(f'conv{i}_{j}', in_channels, self.channels, dilation=dilation))
            if stride:
                self.layers.add(nn.MaxPool2D(3, stride, 1, prefix=f'pool{i}_'))
        half.lower(self.layers, precision)

    def hybrid_forward(self, F, x):
        return half.raised(F, self.precision, self.layers(F.cast(x, 'float32') - self.mean))
