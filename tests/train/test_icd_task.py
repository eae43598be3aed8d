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
