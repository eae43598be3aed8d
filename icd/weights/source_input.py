"""What a network expects its input to be: order of the channels, and what was done to their values."""
from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceInput:
    """The input `(pixel * largest / 255 - mean) / std`, pixels 0 to 255.

    channel_order : str
        'RGB' or 'BGR': order of the input's channels, and of `mean` and `std`.
    mean, std : (float, float, float)
        In units of `largest`.
    largest : float
        What a pixel of 255 becomes before the mean is subtracted: 1 or 255, mostly.
    """

    channel_order: str
    mean: tuple
    std: tuple
    largest: float

    def __str__(self):
        def numbers(values):
            values = values[:1] if len(set(values)) == 1 else values
            return ':'.join(f'{value:.10g}' for value in values)
        return ','.join((self.channel_order, numbers(self.mean), numbers(self.std), f'{self.largest:.10g}'))


# This project's networks, and DeepLab's of 2015 on which the original's weights were trained, take 127 from RGB.
ICD = SourceInput('RGB', (127.,) * 3, (1.,) * 3, 255.)
TORCHVISION = SourceInput('RGB', (.485, .456, .406), (.229, .224, .225), 1.)
CAFFE = SourceInput('BGR', (103.939, 116.779, 123.68), (1.,) * 3, 255.)
DEEPLAB = SourceInput('BGR', (104.008, 116.669, 122.675), (1.,) * 3, 255.)
CAFFE_RGB = SourceInput('RGB', CAFFE.mean[::-1], (1.,) * 3, 255.)
# Names for what is common. Keras' VGG16 is a conversion of Caffe's.
KNOWN = {'icd': ICD, 'torchvision': TORCHVISION, 'gluon': TORCHVISION, 'caffe': CAFFE, 'keras': CAFFE,
         'caffe-rgb': CAFFE_RGB, 'deeplab': DEEPLAB}


def parse(text: str) -> SourceInput:
    """Read the text of `--pretrained-input`.

    Parameters
    ----------
    text : str
        A name of `KNOWN`, or ORDER,MEAN,STD,LARGEST with one number for all channels or three between colons, as
        `BGR,103.939:116.779:123.68,1,255` (`str` of a `SourceInput` is such a text).

    Returns
    -------
    SourceInput

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    if text.lower() in KNOWN:
        return KNOWN[text.lower()]
    parts = text.split(',')
    if len(parts) != 4:
        raise ValueError(f"{text!r} is not ORDER,MEAN,STD,LARGEST, as BGR,103.939:116.779:123.68,1,255, nor one of "
                         f"{', '.join(KNOWN)}")
    order, mean, std, largest = parts[0].upper(), _numbers(parts[1]), _numbers(parts[2]), _numbers(parts[3])[0]
    if order not in ('RGB', 'BGR'):
        raise ValueError(f'{text!r}: {parts[0]!r} is not RGB or BGR')
    if min(std) <= 0 or largest <= 0:
        raise ValueError(f'{text!r}: standard deviations and the largest value are above 0')
    return SourceInput(order, mean, std, largest)


def _numbers(text):
    """Three numbers, from one or three."""
    try:
        values = tuple(float(part) for part in text.split(':'))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise ValueError(f'{text!r} is not a number, nor three between colons')
    return values * (3 // len(values))
