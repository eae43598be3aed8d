"""How fast devices are said to be, before a run."""
import types

import pytest

from icd import speed
from icd.mxnet_setup import mx

TAKES = {('float32', False): 1., ('float32', True): 3., ('bfloat16', True): .75, ('float16', True): .5}


@pytest.mark.parametrize('precision, gain', [('float32', 1), ('bfloat16', 4), ('float16', 6)])
@pytest.mark.parametrize('kind, count, together', [('cpu', 3, 1), ('gpu', 3, 3)])
def test_half_precision_counts_by_what_a_convolution_with_gradients_gains(precision, gain, kind, count, together,
                                                                          monkeypatch):
    monkeypatch.setattr(speed, 'convolution_seconds', lambda device, precision, gradients: TAKES[precision, gradients])
    devices = [types.SimpleNamespace(device_type=kind)] * count
    assert speed.flop_per_second(devices, precision) == 2 * (256 * 40 * 3) ** 2 * gain * together


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_gradients_take_longer(precision, bfloat16):
    alone, both = (min(speed.convolution_seconds(mx.cpu(), precision, gradients) for _ in range(2))
                   for gradients in (False, True))
    assert 0 < alone < both
