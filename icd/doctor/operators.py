"""Checks of single operators on a device: known answers, and the same as on the CPU."""
from __future__ import annotations

import resource
from typing import Callable

import numpy as np

from icd import gpu_memory
from icd.doctor.result import Failed
from icd.doctor.side import Side, compare, error_once
from icd.model.icd_blocks import SuperpixelRefine, calibration_statistics, calibration_update
from icd.model.losses import bottom_up_gradient, top_down_gradient
from icd.mxnet_setup import HybridBlock, autograd, mx
from icd.precision import PRECISIONS

_LIMIT = 1e-5
_HALF = 2e-2                # of bfloat16's 8 bits; float16 has 11
_DRAWN = 1 << 20            # random numbers: the fraction of zeros is off by 0.0005, the correlation by 0.001
_CLASSES, _CHANNELS, _SIDE, _SUPERPIXELS = 20, 32, 41, 65


def computes(side: Side) -> str:
    """A sum and a convolution with known answers."""
    total = side.get(side.nd.sum(side.put(np.ones((4, 4), np.float32))))
    if total != 16:
        raise Failed(f'the sum of 16 ones is {total}', 'reinstall MXNet (docs/gpus.md)')
    ones = side.put(np.ones((1, 8, 9, 9), np.float32))
    weight = side.put(np.ones((4, 8, 3, 3), np.float32))
    found = side.get(side.nd.Convolution(ones, weight, no_bias=True, kernel=(3, 3), pad=(1, 1), num_filter=4))
    inside = np.pad(np.ones((7, 7)), 1, constant_values=2 / 3)
    inside[::8, ::8] = 4 / 9
    if np.abs(found[0] - 72 * inside).max() > 1e-3:
        raise Failed('a convolution of ones is wrong', 'reinstall MXNet (docs/gpus.md)')
    return 'a sum and a convolution are right'


class _Centred(HybridBlock):
    """Cast and difference, which GPUs compute in one kernel that is compiled when it is first needed."""

    def hybrid_forward(self, F, x):
        return F.relu(F.cast(x, 'float32') - 127) + 1


def fused(side: Side) -> str:
    """A graph of element-wise operators on bytes."""
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 33, 33)).astype(np.uint8)
    block = _Centred()
    block.hybridize(static_alloc=True, static_shape=True)
    for part in (x, x[..., 1:32]):
        if not np.array_equal(side.get(block(side.put(part))), np.maximum(np.float32(part) - 127, 0) + 1):
            raise Failed('a graph of element-wise operators gives other values than NumPy', 'set MXNET_USE_FUSION=0')
    return 'a graph of bytes is equal to NumPy'


def _cases():
    """Operators that the networks are made of: name -> (function of the operators and arrays, arrays)."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)
    x, score = normal(2, _CHANNELS, _SIDE, _SIDE), normal(2, _CLASSES, _SIDE, _SIDE)
    label = np.float32(rng.random((2, _CLASSES)) < .2)
    label[:, 0] = 1
    superpixel = rng.integers(0, _SUPERPIXELS, (2, _SIDE, _SIDE)).astype(np.int32)
    numbers, state = np.arange(_SUPERPIXELS, dtype=np.float32), np.abs(normal(_CLASSES, 2))
    weight, flat = normal(_CLASSES, _CHANNELS), normal(2, _CLASSES, _SIDE ** 2)
    kernel, one = normal(24, _CHANNELS, 3, 3), normal(24, _CHANNELS, 1, 1)

    def convolution(kernel_size, dilation=1, **kwargs):
        return lambda nd, x, w: nd.Convolution(x, w, no_bias=True, num_filter=24, kernel=(kernel_size,) * 2, dilate=(
            dilation,) * 2, pad=(dilation * (kernel_size // 2),) * 2, **kwargs)

    def pooling(kind, stride):
        return lambda nd, x: nd.Pooling(x, kernel=(3, 3), pad=(1, 1), stride=(stride, stride), pool_type=kind)
    return {
        'convolution': (convolution(3), x, kernel), 'dilated convolution': (convolution(3, 2), x, kernel),
        '1x1 convolution': (convolution(1), x, one),
        'max pooling': (pooling('max', 2), x), 'max pooling of stride 1': (pooling('max', 1), x),
        'average pooling': (pooling('avg', 1), x),
        'ReLU': (lambda nd, x: nd.Activation(x, act_type='relu'), x),
        'softplus': (lambda nd, x: nd.Activation(x, act_type='softrelu'), x),
        'sigmoid': (lambda nd, x: nd.sigmoid(x), x),
        'norm': (lambda nd, w: nd.norm(w, axis=1, keepdims=True), weight),
        'batch_dot': (lambda nd, a: nd.batch_dot(a, a, transpose_b=True), flat),
        'argmax': (lambda nd, x: nd.argmax(x, axis=1), score),
        'mean': (lambda nd, x: nd.mean(x, axis=(2, 3)), score),
        'concat and split': (lambda nd, x: nd.concat(*nd.split(x, 4, axis=1)[::-1], dim=1), x),
        'slice': (lambda nd, x: nd.slice(x, begin=(None, None, 1, 3), end=(None, None, 30, 38)), x),
        'comparison': (lambda nd, a: nd.broadcast_equal(nd.expand_dims(a, 1), nd.expand_dims(a, 0)), numbers),
        'bilinear resize': (lambda nd, x: nd.contrib.BilinearResize2D(x, height=97, width=129), score),
        'pooling over superpixels': (lambda nd, *a: SuperpixelRefine().hybrid_forward(nd, *a), score, label, superpixel,
                                     numbers),
        'gradient of the bottom-up weight': (lambda nd, *a: bottom_up_gradient(nd, *a), score, x, weight, label),
        'gradient of the top-down branch': (lambda nd, *a: top_down_gradient(nd, *a), score, normal(*score.shape),
                                            label, np.ones(1, np.float32)),
        'calibration': (lambda nd, s, c, label, state: calibration_update(state, *calibration_statistics(s, c, label)),
                        score, normal(*score.shape), label, state)}


def operators(side: Side, reference: Side) -> str:
    """Every operator of the networks, compared with the CPU."""
    ours, theirs = ({name: one.get(function(one.nd, *map(one.put, arrays)))
                     for name, (function, *arrays) in _cases().items()} for one in (side, reference))
    return compare('operators', ours, theirs, _LIMIT)


def lower_precision(side: Side, precision: str) -> str:
    """A convolution in a precision, and its gradients, compared with float32 on the same device."""
    rng = np.random.default_rng(2)
    shapes = {'x': (2, _CHANNELS, _SIDE, _SIDE), 'weight': (24, _CHANNELS, 3, 3), 'bias': (24,)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    head = rng.normal(size=(2, 24, _SIDE, _SIDE)).astype(np.float32)

    def train(cast):
        inputs = [side.put(array) for array in arrays.values()]
        for array in inputs:
            array.attach_grad()
        with autograd.record():
            y = side.nd.Convolution(*(side.nd.amp_cast(array, dtype=cast) for array in inputs), kernel=(3, 3),
                                    pad=(1, 1), num_filter=24)
            y = side.nd.amp_cast(y, dtype='float32')
        y.backward(side.put(head))
        return {'output': side.get(y), **{f'gradient of the {name}': side.get(array.grad)
                                          for name, array in zip(arrays, inputs)}}
    return compare('arrays', train(precision), train('float32'), _HALF)


def precisions(side: Side) -> str:
    """Which precisions convolutions are computed in; float16 is promised on GPUs only."""
    found = []
    for precision in PRECISIONS[1:]:
        try:
            with error_once():
                found.append(f'{precision}: {lower_precision(side, precision)}')
        except mx.base.MXNetError as error:
            reason = str(error).strip().splitlines()[-1].rpartition('MXNetError: ')[2]
            found.append(f'{precision}: not here ({reason})')
            if side.is_gpu and precision == 'float16':
                raise Failed(found[-1], 'train without --precision float16') from None
    return '; '.join(found)


def not_a_number(side: Side) -> str:
    """Whether training would notice weights that are not finite."""
    arrays = [side.put(np.float32([1, 2])), side.put(np.float32([3, np.nan]))]
    if side.get(side.nd.multi_all_finite(*arrays, num_arrays=2)) or not side.get(
            side.nd.multi_all_finite(arrays[0], num_arrays=1)):
        raise Failed('NaN in the weights is not noticed', 'compare a training on this device with one on the CPU')
    kept = np.isnan(side.get(side.nd.Activation(arrays[1], act_type='relu')))[1]
    return f"noticed in the weights; ReLU {'keeps NaN' if kept else 'makes 0 of NaN'}"


def random_numbers(side: Side) -> str:
    """Dropout drops half, independently, and the same again for the same seed."""
    ones = side.put(np.ones(_DRAWN, np.float32))

    def drawn(seed):
        side.seed(seed)
        with autograd.train_mode():
            return [side.get(side.nd.Dropout(ones, p=.5)) == 0, side.get(side.nd.random.uniform_like(ones, 0, 1)) < .5]
    first, again, other = drawn(5), drawn(5), drawn(6)
    if not all(map(np.array_equal, first, again)):
        raise Failed('the same seed gives other random numbers', 'a training cannot be resumed to the same bits here')
    if any(map(np.array_equal, first, other)):
        raise Failed('another seed gives the same random numbers')
    fractions = [float(one.mean()) for one in first]
    correlation = max(abs(float(np.corrcoef(a, b)[0, 1])) for a, b in ((first[0], first[1]), (first[0], other[0])))
    if max(abs(fraction - .5) for fraction in fractions) > .004 or correlation > .006:
        raise Failed(f'dropout drops {fractions[0]:.4f} and {fractions[1]:.4f} in place of half, correlated by '
                     f'{correlation:.4f}')
    return f'half is dropped ({fractions[0]:.4f}), the same for the same seed'


def out_of_memory(side: Side, exhaust: Callable | None = None) -> str:
    """Memory that runs out is recognised, and the device computes again afterwards.

    Parameters
    ----------
    side : Side
    exhaust : callable, optional
        (side) -> takes more memory than there is; by default, all of a GPU's, and some gigabytes of a CPU's in a
        process that is allowed less.
    """
    try:
        (exhaust or _exhaust)(side)
    except mx.base.MXNetError as error:
        if not gpu_memory.is_out_of_memory(error):
            raise Failed(f'an unknown error when memory runs out: {str(error).strip().splitlines()[-1]}') from None
    else:
        return 'more memory than can be taken here'
    if side.is_gpu:
        side.context.empty_cache()
    computes(side)
    return 'recognised, and it computes again'


def _exhaust(side):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not side.is_gpu:
        with open('/proc/self/statm', encoding='ascii') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), hard))
    try:
        taken = []
        for _ in range(64):
            taken.append(mx.nd.empty((1 << 30,), ctx=side.context))
            taken[-1][:1] = 0
            mx.nd.waitall()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
