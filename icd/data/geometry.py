"""Numbers that images, feature maps and masks share."""
from __future__ import annotations

STRIDE = 8              # of the backbone: pixels between two positions of its feature map
GREY = 127              # value of padding, and what the network subtracts from every input: padding becomes 0
IGNORE = 255            # index of a mask that is no class


def feature_size(side: int) -> int:
    """Height or width of the feature map of a network input of `side` pixels; k + 1 of 8k + 1."""
    return (side - 1) // STRIDE + 1


def fitted_size(height: int, width: int, size: int) -> tuple:
    """Height and width that an image has in a letterbox of side `size`: its own where it fits.

    A larger one keeps its aspect; its longer side becomes `size`.
    """
    longer = max(height, width, size)
    return tuple(max(int(side * size / longer + .5), 1) for side in (height, width))
