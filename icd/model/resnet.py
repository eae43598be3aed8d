"""The ResNet-101 backbone in its DeepLab form (He et al. 2016; Chen et al. 2018), of GluonCV's blocks."""
from __future__ import annotations

from icd.errors import UserError
from icd.model import half
from icd.model.vgg import scaled
from icd.mxnet_setup import HybridBlock, nn

# Stages of bottlenecks: (their number, channels at width 1 of their 3x3 convolution, stride of the first, dilation).
STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (23, 256, 1, 2), (3, 512, 1, 4))
VARIANTS = 'v1b', 'v1'
EXPANSION = 4           # a bottleneck has so many times more channels outside than inside
STEM = 64               # channels at width 1 of the convolution before the stages
# What the Gluon model zoo and torchvision feed their networks: (RGB / 255 - mean) / deviation.
MEAN, DEVIATION = (.485, .456, .406), (.229, .224, .225)
PADDING = tuple(round(255 * mean) for mean in MEAN)     # the colour that the normalisation makes (about) 0


def _bottleneck():
    """GluonCV's block; imported here because that takes seconds and is not installed everywhere."""
    try:
        from gluoncv.model_zoo.resnetv1b import BottleneckV1b
    except ImportError:
        raise UserError('GluonCV is not installed', 'ResNet-101', 'pip install -e .[resnet]') from None
    return BottleneckV1b


class ResNet101(HybridBlock):
    """ResNet-101 up to its last stage, at an output stride of 8, batch normalisation frozen.

    Every unit of a stage has the stage's dilation: GluonCV's own `dilated=True` gives the first unit of the last two
    half of it. Batch normalisation uses its running statistics in training, too; gamma and beta are not learned.
    Parameters are called `stem_conv0_weight` and `stem_batchnorm0_gamma` before the stages and, for example,
    `layer3_22_conv1_weight` in the 23rd unit of stage 3 and `layer3_0_down_conv0_weight` in the shortcut of its first.

    Weights were trained with the stride of a stage in the 3x3 convolution of its first unit (v1b) or in the 1x1
    convolution before it (v1). At an output stride of 8 one stride is left, that of stage 2. The shortcut has it, too,
    so in v1 every second row and column of the unit's input is all that it sees. The unit is called `layer2_0v1`
    then: weights of one variant do not fit a network of the other.

    Parameters
    ----------
    width : float
        Multiplier of the channels.
    variant : {'v1b', 'v1'}
    precision : {'float32', 'float16', 'bfloat16'}
        Of the convolutions; batch normalisation stays float32.

    Inputs
    ------
    data (N, 3, H, W) uint8 or float32 : RGB, 0..255; H and W of the form 8k+1

    Outputs
    -------
    (N, 2048 * width, h, w) float32

    Attributes
    ----------
    channels : int
        Of the output.

    Raises
    ------
    UserError
        Where GluonCV is not installed.
    ValueError
        When there is no such variant.
    """

    def __init__(self, width: float = 1., variant: str = 'v1b', precision: str = half.FLOAT32):
        super().__init__(prefix='')
        if variant not in VARIANTS:
            raise ValueError(f"no variant {variant!r}: choose from {', '.join(VARIANTS)}")
        bottleneck = _bottleneck()
        self.channels = scaled(STEM, width)
        self.layers = nn.HybridSequential(prefix='')
        with nn.HybridSequential(prefix='stem_').name_scope():
            self.layers.add(nn.Conv2D(self.channels, 7, 2, 3, in_channels=3, use_bias=False),
                            nn.BatchNorm(in_channels=self.channels, use_global_stats=True),
                            nn.Activation('relu'), nn.MaxPool2D(3, 2, 1))
        for number, (count, channels, stride, dilation) in enumerate(STAGES, 1):
            first = f'layer{number}_0_'
            if stride > 1 and variant == 'v1':
                self.layers.add(nn.MaxPool2D(1, stride))        # of one position: takes every second
                stride, first = 1, f'layer{number}_0v1_'
            for i in range(count):
                self.layers.add(self._unit(bottleneck, f'layer{number}_{i}_' if i else first, scaled(channels, width),
                                           1 if i else stride, dilation, i == 0))
        for name, parameter in self.collect_params().items():
            if name.endswith(('_gamma', '_beta')):
                parameter.grad_req = 'null'
        half.lower(self.layers, precision, raises=True)

    def _unit(self, bottleneck, prefix, channels, stride, dilation, projects):
        """A bottleneck; `self.channels` are its input's and become its output's."""
        inputs, outputs, down = self.channels, channels * EXPANSION, None
        if projects:
            down = nn.HybridSequential(prefix=prefix + 'down_')
            with down.name_scope():
                down.add(nn.Conv2D(outputs, 1, stride, in_channels=inputs, use_bias=False),
                         nn.BatchNorm(in_channels=outputs, use_global_stats=True))
        with nn.HybridSequential(prefix=prefix).name_scope():       # GluonCV's block names its layers by the one around
            unit = bottleneck(channels, stride, dilation, down, norm_layer=nn.BatchNorm,
                              norm_kwargs={'use_global_stats': True})
        for convolution, count in ((unit.conv1, inputs), (unit.conv2, channels), (unit.conv3, channels)):
            convolution.weight.shape = (*convolution.weight.shape[:1], count, *convolution.weight.shape[2:])
        self.channels = outputs
        return unit

    def hybrid_forward(self, F, x):
        x = F.cast(x, 'float32') / 255
        return self.layers(F.concat(*((channel - mean) / deviation for channel, mean, deviation in zip(
            F.split(x, 3, axis=1), MEAN, DEVIATION)), dim=1))
