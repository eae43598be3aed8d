"""Every check of a device passes between two that are in order, and finds the fault that is planted in one of them.

No GPU is needed: `cpu(0)` is the CPU that is compared with, `cpu(1)` the device that is checked.
"""
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from icd.doctor import device, network, operators, result, speed
from icd.doctor.network import Size
from icd.doctor.side import Side
from icd.mxnet_setup import mx
from tests.helpers import PROJECT

TINY = Size(1 / 32, 65, 2)
REFERENCE = Side(mx.cpu(0))


def check(name, side, several=False):
    """What the check of this name finds."""
    listed = device.of_several([REFERENCE, side], TINY) if several else device.of_device(side, REFERENCE, TINY)
    where, name, function = next(one for one in listed if one[1] == name)
    return result.run(where, name, function)


class Healthy(Side):
    def __init__(self):
        super().__init__(mx.cpu(1))


class Operators:
    """MXNet's operators, some of them replaced: functions of the right result."""

    def __init__(self, namespace, **wrong):
        self._namespace, self._wrong = namespace, wrong

    def __getattr__(self, name):
        found = getattr(self._namespace, name)
        if name not in self._wrong:
            return found
        return lambda *arguments, **kwargs: self._wrong[name](found(*arguments, **kwargs))


class WrongOperator(Healthy):
    def __init__(self, **wrong):
        super().__init__()
        self.nd = Operators(mx.nd, **wrong)
        self.nd.contrib, self.nd.random = Operators(mx.nd.contrib, **wrong), Operators(mx.nd.random, **wrong)


class ShiftedStream(Healthy):
    """Seeding does not bring all of the random numbers back."""

    seeded = 0

    def seed(self, number):
        self.seeded += 1
        super().seed(number + self.seeded)


class OneStream(Healthy):
    def seed(self, number):
        super().seed(0)


class NoFloat16(Healthy):
    """A GPU without float16."""

    is_gpu = True


class NoNaN(Healthy):
    def put(self, array):
        return super().put(np.nan_to_num(array) if array.dtype == np.float32 else array)


class Fails(Healthy):
    """An error of MXNet at the n-th array that is put on the device or, `reading`, read from it."""

    def __init__(self, text, at=1, reading=False):
        super().__init__()
        self._left, self._text, self._reading = at, text, reading

    def _count(self):
        self._left -= 1
        if self._left == 0:
            raise mx.base.MXNetError('[00:00:00] src/storage.cc:1: ' + self._text)

    def put(self, array):
        if not self._reading:
            self._count()
        return super().put(array)

    def get(self, array):
        if self._reading:
            self._count()
        return super().get(array)


class Misreads(Healthy):
    """From the n-th array on, and for so many of them, what comes from the device is another number."""

    def __init__(self, change, at=1, count=1000):
        super().__init__()
        self._reads, self._range, self._change = 0, range(at, at + count), change

    def get(self, array):
        self._reads += 1
        found = super().get(array)
        return self._change(found) if self._reads in self._range else found


def one_bit(array):
    flat = array.copy().reshape(-1)
    flat[:1] = np.nextafter(flat[:1], np.float32(9))
    return flat.reshape(array.shape)


def noisy(array):
    return array + np.float32(.05 * np.abs(array).max())


def broken(array):
    return array * np.float32('nan')


NO_CODE = 'Check failed: err == cudaSuccess (209 vs. 0) : no kernel image is available for execution on the device'
NO_MEMORY = 'cudaMalloc retry failed: out of memory'
# Fault: (device, check, what is found, what to do)
FAULTS = {
    'convolution': (WrongOperator(Convolution=lambda y: y * 1.001), 'arithmetic', 'convolution of ones', 'reinstall'),
    'convolution, compared': (WrongOperator(Convolution=lambda y: y * 1.001), 'operators',
                              '3 of 21 operators differ by more than 1e-05: .*convolution \\(0.001\\)', 'report'),
    'sum': (WrongOperator(sum=lambda y: y + 1), 'arithmetic', 'sum of 16 ones is', 'reinstall'),
    'argmax': (WrongOperator(argmax=lambda y: y[::-1]), 'operators', 'argmax', 'report'),
    'pooling': (WrongOperator(Pooling=lambda y: y.clip(-1, 1)), 'operators', '3 of 21 .*pooling', 'report'),
    'product over superpixels': (WrongOperator(batch_dot=lambda y: y * 1.01), 'operators', 'superpixels', 'report'),
    'resize': (WrongOperator(BilinearResize2D=lambda y: y.flip(axis=3)), 'operators', 'bilinear resize', 'report'),
    'NaN from an operator': (WrongOperator(sigmoid=lambda y: y * float('nan')), 'operators', 'sigmoid .inf.', 'report'),
    'fusion': (Misreads(one_bit), 'fused operators', 'other values than NumPy', 'MXNET_USE_FUSION=0'),
    'fusion does not compile': (Fails('NVRTC Compilation failed. invalid value for --gpu-architecture'),
                                'fused operators', 'does not know this device', 'MXNET_USE_FUSION=0'),
    'no float16': (NoFloat16(), 'precisions', '^float16: not here .FP16 gemm', 'without --precision float16'),
    'NaN becomes 0': (NoNaN(), 'NaN', 'NaN in the weights is not noticed', 'compare a training'),
    'shifted random stream': (ShiftedStream(), 'dropout', 'the same seed gives other random numbers', 'resumed'),
    'seed without effect': (OneStream(), 'dropout', 'another seed gives the same', 'report'),
    'too much dropout': (WrongOperator(Dropout=lambda y: y * (mx.nd.arange(y.size, ctx=y.context) % 9 > 0)), 'dropout',
                         'dropout drops 0.55', 'report'),
    'no code': (Fails(NO_CODE), 'arithmetic', 'holds no code for this device', '--gpus cpu'),
    'no code for a network': (Fails(NO_CODE), 'inference', 'holds no code for this device', '--gpus cpu'),
    'no code in cuDNN': (Fails('cuDNN: CUDNN_STATUS_EXECUTION_FAILED', 2, True), 'arithmetic', 'cuDNN cannot',
                         '--gpus cpu'),
    'forked too late': (Fails('CUDA: initialization error', 1, True), 'training step', 'after a fork', 'report'),
    'memory at the first array': (Fails(NO_MEMORY), 'operators', 'memory ran out', 'smaller --batch-size'),
    'memory at the ninth': (Fails(NO_MEMORY, 9), 'operators', 'memory ran out', 'smaller --batch-size'),
    'memory in a step': (Fails(NO_MEMORY, 5, True), 'training step', 'memory ran out', 'smaller --batch-size'),
    'unknown error': (Fails('what is this?'), 'operators', 'MXNetError: .*what is this', 'report'),
    'outputs': (Misreads(noisy, 3), 'inference', '2 of 4 outputs differ', 'report'),
    'score maps': (Misreads(noisy, 5, 1), 'score maps', '1 of 10 score maps differ', 'report'),
    'gradient': (Misreads(noisy, 4), 'training step', 'gradients and statistics differ', 'report'),
    'gradient that is not finite': (Misreads(broken, 7), 'training step', 'not finite after a step: ', 'report'),
    'accumulation': (Misreads(noisy, 50), 'accumulation', 'gradients differ', 'report'),
    'resume': (Misreads(one_bit, 84), 'resume', 'of 82 arrays have other bits after a resume', '--deterministic'),
    'wrong after memory ran out': (WrongOperator(sum=lambda y: y + 1), 'out of memory', 'sum of 16', 'reinstall')}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_is_found_and_named(fault):
    side, name, what, remedy = FAULTS[fault]
    found = check(name, side)
    assert (found.state, found.device, found.name) == (result.FAILED, 'cpu(1)', name)
    assert re.search(what, found.found) and remedy in found.remedy, found


@pytest.mark.parametrize('name', [name for _, name, _ in device.of_device(Healthy(), REFERENCE, TINY)])
def test_nothing_is_found_in_a_device_that_is_in_order(name):
    found = check(name, Healthy())
    assert (found.state, found.remedy) == (result.OK, '') and found.found, found


def test_wrong_convolutions_in_half_precision_are_found(bfloat16):
    side = WrongOperator(Convolution=lambda y: y if y.dtype == np.float32 else y * 1.25)
    found = check('precisions', side)
    assert found.state == result.FAILED and '4 of 4 arrays differ by more than 0.02: ' in found.found


def test_devices_that_add_up_wrongly_are_found():
    assert check('sums', Healthy(), True).state == check('training step', Healthy(), True).state == result.OK
    found = check('sums', Misreads(lambda array: array + 1), True)
    assert found.state == result.FAILED and '--kvstore device adds up wrongly' in found.found
    assert 'MXNET_ENABLE_GPU_P2P=0' in found.remedy and found.device == '2 devices'


def test_a_training_that_leaves_memory_behind_is_found(monkeypatch):
    kept, real = [], network.trainer
    monkeypatch.setattr(network, 'trainer', lambda *_, **kwargs: kept.append(real(*_, **kwargs)) or kept[-1])
    found = check('memory after training', Healthy())
    assert found.state == result.FAILED and found.found == 'a network outlives its training'
    monkeypatch.undo()

    class Leaks(Healthy):
        free_bytes = iter([8e9, 5e9, 6e9])

        def free(self):
            return next(self.free_bytes)
    found = check('memory after training', Leaks())
    assert (found.state, found.found) == (result.FAILED, '2.0 GB of 3.0 GB are still taken after training')


def test_an_unknown_error_when_memory_runs_out_is_found():
    def exhaust(side):
        raise mx.base.MXNetError('the dog ate it')
    found = result.run('cpu(1)', 'out of memory', lambda: operators.out_of_memory(Healthy(), exhaust))
    assert found.state == result.FAILED and 'unknown error when memory runs out: the dog ate it' in found.found


def test_speed_says_what_half_precision_gains(bfloat16, monkeypatch):
    found = speed.convolutions(REFERENCE)
    assert re.search(r' GFLOP/s in float32 \(\d+\.\d times as fast in bfloat16\), \d+% of', found)

    def flop_per_second(devices, precision='float32'):
        if precision != 'float32':
            raise mx.base.MXNetError('not here')
        return 1e11
    monkeypatch.setattr(speed.speed, 'flop_per_second', flop_per_second)
    assert speed.convolutions(REFERENCE).startswith('100 GFLOP/s in float32, ')


def test_the_process_of_devices_may_use_matrix_units():
    program = ('from icd.doctor import device\ndevice.precision.use_matrix_units = lambda: print("asked", flush=True)\n'
               'device.checks = lambda *_: []\ndevice.main(["machine", ""])')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT))
    assert done.stdout == 'asked\n'


def test_speed_is_next_to_what_the_arithmetic_allows():
    assert 'GFLOP/s in float32' in result.run('cpu(0)', 'speed', lambda: speed.convolutions(REFERENCE)).found
    assert 'images/s by 1 a step; ' in speed.training([REFERENCE], TINY, 0)
    assert 'images/s of 500x375 pixels' in speed.inference(REFERENCE, Size(1 / 16, 97, 1), 0)
