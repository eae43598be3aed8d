"""Intra-Class Discriminator (CVPR 2020) on MXNet: from image labels to pixel-level seeds."""
import os

import numpy

from icd import gpu

# MXNet 1.9.1 names `numpy.bool`, which NumPy dropped in 1.24. It was an alias of `bool`; giving it back
# before MXNet is imported is all that the releases up to 1.26 need.
if 'bool' not in vars(numpy):
    numpy.bool = bool
gpu.watch_import()
# MXNet gives every CPU device four scratch buffers, each as large as the largest operator needs: 120 MB for nothing,
# since operators of one device run one after the other.
os.environ.setdefault('MXNET_CPU_TEMP_COPY', '1')

__version__ = '0.1.0'
