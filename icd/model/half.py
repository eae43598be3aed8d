"""Convolutions in half precision, and everything else in float32.

Weights, gradients and momentum stay float32: a convolution casts its input, its weight and its bias, and gradients come
back through the casts. MXNet's AMP casts by operator instead, `mxnet.contrib.amp.init` by replacing the operators of
the whole process: what is imported would change what is computed, one process could not hold networks of two
precisions, and the projections of ICD, which are convolutions to MXNet, would be cast like all others. So the casts
stand here, made of AMP's operator (`amp_cast`). Beside convolutions only ReLU and pooling see halves: AMP's lists leave
these as they come, too.
"""
from __future__ import annotations

import functools
from typing import Any

import numpy as np

from icd.mxnet_setup import Block, HybridBlock, nn
from icd.precision import FLOAT32

BYTES = {'float32': 4, 'float16': 2, 'bfloat16': 2}         # of a value


def lowered(F: Any, precision: str, *arrays: Any) -> list:
    """Arrays, or symbols, or None, cast to `precision`; as they are for float32."""
    return [x if x is None or precision == FLOAT32 else F.amp_cast(x, dtype=precision) for x in arrays]


def raised(F: Any, precision: str, x: Any) -> Any:
    """An array of `precision`, or a symbol, cast to float32."""
    return x if precision == FLOAT32 else F.amp_cast(x, dtype=FLOAT32)


def lower(block: HybridBlock, precision: str, raises: bool = False) -> None:
    """Let all convolutions of a block compute in `precision`; for float32 nothing is changed.

    Parameters
    ----------
    block : HybridBlock
        Not hybridized yet.
    precision : {'float32', 'float16', 'bfloat16'}
    raises : bool
        Whether what comes out of each, and of its ReLU, is float32 again; by default the next layer gets it as it is.
    """
    if precision != FLOAT32:
        block.apply(functools.partial(_lower, precision=precision, raises=raises))


def copied_bytes(net: Block) -> int:
    """What the casts of a network's parameters take, which backward looks at; `net.precision` says in which."""
    values = sum(int(np.prod(p.shape)) for p in net.collect_params().values())
    return 0 if net.precision == FLOAT32 else BYTES[net.precision] * values


def _lower(block, precision, raises):
    """A method of this one object, not of a class: GluonCV makes the convolutions of its blocks itself."""
    if not isinstance(block, nn.Conv2D):
        return
    convolve = block.hybrid_forward

    def hybrid_forward(F, x, weight, bias=None):
        found = convolve(F, *lowered(F, precision, x, weight, bias))
        return raised(F, precision, found) if raises else found
    block.hybrid_forward = hybrid_forward
