"""The scores of inference with the bottom-up score besides, for previews and an ablation."""
from __future__ import annotations

from icd.model.icd_net import ICDNet
from icd.model.padded_input import ScoreMaps


class AllScoreMaps(ScoreMaps):
    """As `ScoreMaps`, with a third map: the bottom-up score before its calibration."""

    def __init__(self, net: ICDNet, side: int, extents: tuple):
        super().__init__(net, side, extents)
        self.bottom_up, self.icd_bu_weight = net.layers.bottom_up, net.layers.icd_bu_weight
        self.params.update({self.icd_bu_weight.name: self.icd_bu_weight})

    def _others(self, feature, icd_bu_weight):
        return (self.bottom_up(feature, icd_bu_weight),)
