"""Networks in ONNX files, run by onnxruntime over many images. MXNet is not needed, nor imported.

The files are those of `icd-export onnx` (`icd.weights.onnx_export`), which tell what they are in their metadata.
"""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import os
from typing import Callable, Iterator, Sequence

import numpy as np

from icd import parallel
from icd.data import images
from icd.data.datasets import InferenceSet
from icd.errors import UserError

# What computes, the fastest first, of what the installed onnxruntime has; all can do what the graph needs.
_PROVIDERS = ('CUDAExecutionProvider', 'ROCMExecutionProvider', 'DmlExecutionProvider', 'CoreMLExecutionProvider',
              'CPUExecutionProvider')
_AGAIN = 'give a file of icd-export onnx'


def recognises(path: str) -> bool:
    """Whether a file may be an ONNX model: it begins with the field of the version, or the name says so."""
    return images.read_bytes(path, 'check the path', 1) == b'\x08' or path.lower().endswith('.onnx')


class OnnxNetwork:
    """A network of an ONNX file.

    Parameters
    ----------
    path : str
        A file of `icd-export onnx`.
    gpus : str, optional
        `'0,1'` for CUDA devices, `'cpu'`, `'cpu:2'` for two at a time; by default the best that onnxruntime has.

    Attributes
    ----------
    path, network : str
    class_names : tuple of str
        One a score.
    width : float
    checksum : str
        CRC-32 of the checkpoint it was made from, hexadecimal.
    padding : list of int
        RGB of what images are padded with.

    Raises
    ------
    UserError
        When onnxruntime is not installed, or the file is missing, damaged, or something else.
    """

    def __init__(self, path: str, gpus: str | None = None):
        images.read_bytes(path, 'check the path', 1)
        runtime = _runtime()
        self.path, self._sessions = path, []
        for providers in _devices(runtime, gpus):
            self._sessions.append(_open(runtime, path, providers))
        found = self._sessions[0].get_modelmeta().custom_metadata_map
        try:
            self.network, self.width = found['network'], float(found['width'])
            self.class_names = tuple(json.loads(found['class_names']))
            self.padding, self.checksum = json.loads(found['padding']), found['weights_crc32']
            (image,), outputs = self._sessions[0].get_inputs(), self._sessions[0].get_outputs()
            known = image.type == 'tensor(uint8)' and {output.shape[1] for output in outputs} == {len(self.class_names)}
        except (KeyError, ValueError, TypeError, IndexError):
            known = False
        if not known:
            raise UserError('an ONNX model, but not one that was exported here', path, _AGAIN)

    def run(self, image: np.ndarray, outputs: Sequence[str], device: int = 0) -> list:
        """Scores (N, C, h, w) float32 of images (N, 3, H, W) uint8, RGB, of sides 8k + 1: an array for each of the
        names of `outputs`."""
        return self._sessions[device].run(list(outputs), {'image': np.ascontiguousarray(image)})

    def predict(self, names: Sequence[str], image_root: str, side: int, compute: Callable) -> Iterator:
        """Compute on every image of a list; what is read and computed is a few images ahead.

        Parameters
        ----------
        names : sequence of str
        image_root : str
            Folder of the images.
        side : int
            Of the square that the image lies in the top left corner of, 8k + 1.
        compute : callable
            (run, image, fitted) → anything, from `run` bound to a device, (1, 3, side, side) uint8, and the height and
            width of the image in it.

        Yields
        ------
        name : str
        size, fitted : (int, int)
            Height and width of the image, and of it in the square.
        object
            What `compute` returns.

        Raises
        ------
        UserError
            When an image is missing or damaged.
        """
        dataset, devices = InferenceSet(names, image_root, side, self.padding), len(self._sessions)
        with contextlib.ExitStack() as stack:
            readers = stack.enter_context(concurrent.futures.ThreadPoolExecutor(devices + 1))
            computers = [stack.enter_context(concurrent.futures.ThreadPoolExecutor(1)) for _ in self._sessions]
            waiting = collections.deque()
            stack.callback(lambda: [future.cancel() for _, future in waiting])
            for index, name in enumerate(names):
                device = index % devices
                image = readers.submit(dataset.__getitem__, index)
                waiting.append((name, computers[device].submit(self._compute, compute, device, image)))
                if len(waiting) > 2 * devices:
                    name, future = waiting.popleft()
                    yield (name, *future.result())
            while waiting:
                name, future = waiting.popleft()
                yield (name, *future.result())

    def _compute(self, compute, device, reading):
        image, size, fitted = reading.result()
        return size, fitted, compute(lambda *arguments: self.run(*arguments, device), image[None], fitted)


def _runtime():
    """onnxruntime, with warnings left out: they are about the graph, not about what the user did."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError('onnxruntime is not installed', remedy='pip install -e .[onnx]') from None
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def _devices(runtime, gpus):
    """The providers of each session."""
    there = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
    if gpus is None:
        return [there]
    kind, _, count = gpus.partition(':')
    if kind == 'cpu' and (not count and ':' not in gpus or count.isdigit() and int(count)):
        return [['CPUExecutionProvider']] * int(count or 1)
    indices = gpus.split(',')
    if not all(index.isascii() and index.isdigit() for index in indices) or len(set(indices)) < len(indices):
        raise UserError('not a list of different devices', f'--gpus {gpus}',
                        'give GPU indices like 0,1, or cpu, or cpu:2')
    if 'CUDAExecutionProvider' not in there:
        raise UserError('the installed onnxruntime has no CUDA', f'--gpus {gpus}',
                        'pip install onnxruntime-gpu in its stead, or give cpu')
    return [[('CUDAExecutionProvider', {'device_id': index}), 'CPUExecutionProvider'] for index in indices]


def _open(runtime, path, providers):
    settings = runtime.SessionOptions()
    threads = os.environ.get('OMP_NUM_THREADS', '')
    # By itself it takes the processors of the whole machine where a container may use a few.
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else parallel.physical_cores()
    settings.log_severity_level = 3
    try:
        return runtime.InferenceSession(path, settings, providers=providers)
    except Exception as error:      # of several classes of its own, which share no other base
        reason = ' '.join(str(error).split())[:120]
        raise UserError(f'not a model that onnxruntime can run ({reason})', path, _AGAIN) from None
