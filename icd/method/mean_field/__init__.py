"""Mean field in a fully connected CRF, by one of two back ends.

pydensecrf defines the result. `icd.method._mean_field`, compiled from the C++ in this folder when the package is
installed, does the same arithmetic in a fifth of the time.
"""
from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
import pydensecrf.densecrf

try:
    from icd.method import _mean_field
except ImportError:
    _mean_field = None

_BLOCK = 4                  # labels that pydensecrf computes with at once
_NEVER = np.inf             # energy of a label that never occurs


def _compiled(image, unary, kind, weights, iterations, gaussian, bilateral):
    """Mean-field probabilities (L, H, W) float32; `weights` (L,) float32 times a compatibility is a label's attraction
    to itself. `unary` is (L, H, W), or (L, 256), with the column of each pixel in `kind` (H, W) uint8, else None."""
    probability = np.empty((len(unary),) + image.shape[:2], np.float32)
    _mean_field.infer(image, unary, kind, *image.shape[:2], np.float32(gaussian[1]) * weights,
                      np.float32(bilateral[2]) * weights, gaussian[0], bilateral[0], bilateral[1], iterations,
                      probability)
    return probability


def _by_library(image, unary, kind, weights, iterations, gaussian, bilateral):
    """As `_compiled`, by pydensecrf."""
    if kind is not None:
        unary = unary.take(kind, axis=1)
    num_labels, height, width = unary.shape
    # Labels that never occur fill the last block up: they change nothing but the code that takes exponentials.
    idle = -num_labels % _BLOCK
    unary = np.concatenate([unary, np.full((idle, height, width), _NEVER, np.float32)])
    weights = np.concatenate([weights, np.zeros(idle, np.float32)])
    field = pydensecrf.densecrf.DenseCRF2D(width, height, len(unary))
    field.setUnaryEnergy(unary.reshape(len(unary), -1))
    # A vector of compatibilities is pydensecrf's diagonal matrix; equal labels attract, so it is negative.
    field.addPairwiseGaussian(sxy=gaussian[0], compat=-gaussian[1] * weights)
    field.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=-bilateral[2] * weights)
    pixels = np.asarray(field.inference(iterations))        # (labels, pixels), pixel by pixel in memory
    return np.array(pixels[:num_labels], np.float32, order='C').reshape(num_labels, height, width)


class Backend(NamedTuple):
    """What computes mean field.

    infer : function of image, unary, kind, weights, iterations, gaussian, bilateral
    reach : positions in standard deviations, from which a lattice's coordinates no longer fit into its keys. (Of
        colours half of them, since each coordinate sums up all positions.)
    """
    infer: Callable
    reach: int


# By name, the fastest first. pydensecrf's keys have 16 bits a coordinate; for the other see lattice.h.
BACKENDS = {'pydensecrf': Backend(_by_library, 1 << 12)}
if _mean_field is not None:
    BACKENDS = {'compiled': Backend(_compiled, 1 << 18), **BACKENDS}


def backend(name: str | None = None) -> Backend:
    """A back end by its name, the fastest one without; ValueError where it is not installed."""
    if name is None:
        return next(iter(BACKENDS.values()))
    if name not in BACKENDS:
        raise ValueError(f'no CRF back end {name!r} here: choose from {", ".join(BACKENDS)}')
    return BACKENDS[name]
