"""Intra-Class Discriminator (CVPR 2020) on MXNet: from image labels to pixel-level seeds."""
import numpy

from icd import gpu

# MXNet 1.9.1 names `numpy.bool`, which NumPy dropped in 1.24. It was an alias of `bool`; giving it back
# before MXNet is imported is all that the releases up to 1.26 need.
if 'bool' not in vars(numpy):
    numpy.bool = bool
gpu.watch_import()

__version__ = '0.1.0'
