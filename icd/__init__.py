"""Intra-Class Discriminator (CVPR 2020) on MXNet: from image labels to pixel-level seeds."""
__version__ = '0.1.0'
