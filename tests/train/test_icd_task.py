"""What is ICD's in a training."""
import numpy as np
import pytest

from icd.model.icd_net import ICDNet
from icd.train.icd_task import IcdTask


def test_least_memory_of_the_paper_network_is_known():
    """By hand: 36.99 million values of layers an image at 321 pixels, 26.6 million parameters."""
    one, four = (IcdTask(ICDNet()).least_memory({'image': ((images, 3, 321, 321), np.uint8)}) for images in (1, 4))
    assert (four - one) / 3 == pytest.approx(4 * 36.9e6, rel=.01)
    assert one - (four - one) / 3 == pytest.approx(12 * 26.3e6, rel=.02)


@pytest.mark.parametrize('precision', ['float16', 'bfloat16'])
def test_least_memory_in_half_precision_is_known(precision):
    """By hand: 30.1 million values of the backbone in halves; of the heads, 1.72 million a layer, two are there in
    float32 and in halves and two in halves; parameters, gradients, momentum, and the parameters in halves."""
    task = IcdTask(ICDNet(precision=precision))
    one, four = (task.least_memory({'image': ((images, 3, 321, 321), np.uint8)}) for images in (1, 4))
    assert (four - one) / 3 == pytest.approx(2 * 30.1e6 + (2 * 6 + 2 * 2) * 1.72e6, rel=.01)
    assert one - (four - one) / 3 == pytest.approx((12 + 2) * 26.3e6, rel=.02)
