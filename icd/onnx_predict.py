"""Networks in ONNX files, run by onnxruntime over many images. MXNet is not needed, nor imported.

The files are those of `icd-export onnx` (`icd.weights.onnx_export`), which tell what they are in their metadata.
"""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import io
import json
import os
from typing import Callable, Iterator, Sequence

import numpy as np

from icd import parallel
from icd.data import images
from icd.data.datasets import InferenceSet
from icd.errors import UserError

# What computes, the fastest first, of what the installed onnxruntime has; all can do what the graph needs.
_CUDA = 'CUDAExecutionProvider'
_PROVIDERS = (_CUDA, 'ROCMExecutionProvider', 'DmlExecutionProvider', 'CoreMLExecutionProvider',
              'CPUExecutionProvider')
_AGAIN = 'give a file of icd-export onnx'
_FATAL = 4                  # level of onnxruntime's log
_SHAPES = 12                # that have a session on a CUDA device; about 0.3 GB each
_REMEDY = "check it with nvidia-smi, pip install 'onnxruntime-gpu[cuda,cudnn]', or give cpu"


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
        When onnxruntime is not installed or cannot use a device of `gpus`, or the file is missing, damaged, or
        something else.
    """

    def __init__(self, path: str, gpus: str | None = None):
        images.read_bytes(path, 'check the path', 1)
        runtime = _runtime()
        self.path, self._devices = path, []
        for providers in _devices(runtime, gpus):
            self._devices.append(_Device(runtime, path, providers))
            if gpus and not self._devices[-1].usable():
                raise UserError('onnxruntime cannot compute there', f'--gpus {gpus}', _REMEDY)
        session = self._devices[0].session()
        found = session.get_modelmeta().custom_metadata_map
        try:
            self.network, self.width = found['network'], float(found['width'])
            self.class_names = tuple(json.loads(found['class_names']))
            self.padding, self.checksum = json.loads(found['padding']), found['weights_crc32']
            (image,), outputs = session.get_inputs(), session.get_outputs()
            known = image.type == 'tensor(uint8)' and {output.shape[1] for output in outputs} == {len(self.class_names)}
        except (KeyError, ValueError, TypeError, IndexError):
            known = False
        if not known:
            raise UserError('an ONNX model, but not one that was exported here', path, _AGAIN)

    def run(self, image: np.ndarray, outputs: Sequence[str], device: int = 0) -> list:
        """Scores (N, C, h, w) float32 of images (N, 3, H, W) uint8, RGB, of sides 8k + 1: an array for each of the
        names of `outputs`."""
        session = self._devices[device].session(image.shape)
        return session.run(list(outputs), {'image': np.ascontiguousarray(image)})

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
        dataset, devices = InferenceSet(names, image_root, side, self.padding), len(self._devices)
        with contextlib.ExitStack() as stack:
            readers = stack.enter_context(concurrent.futures.ThreadPoolExecutor(devices + 1))
            computers = [stack.enter_context(concurrent.futures.ThreadPoolExecutor(1)) for _ in self._devices]
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
    """onnxruntime, with its own lines left out: they are about the graph, or devices that it does without."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError('onnxruntime is not installed', remedy='pip install -e .[onnx]') from None
    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime


def _devices(runtime, gpus):
    """The providers of each session."""
    there = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
    if there[0] == _CUDA and hasattr(runtime, 'preload_dlls'):
        with contextlib.redirect_stdout(io.StringIO()):         # it prints what it does not find
            runtime.preload_dlls()          # CUDA's libraries as wheels are not where the linker looks for them
    if gpus is None:
        return [there]
    kind, _, count = gpus.partition(':')
    if kind == 'cpu' and (not count and ':' not in gpus or count.isdigit() and int(count)):
        return [['CPUExecutionProvider']] * int(count or 1)
    indices = gpus.split(',')
    if not all(index.isascii() and index.isdigit() for index in indices) or len(set(indices)) < len(indices):
        raise UserError('not a list of different devices', f'--gpus {gpus}',
                        'give GPU indices like 0,1, or cpu, or cpu:2')
    if _CUDA not in there:
        raise UserError('the installed onnxruntime has no CUDA', f'--gpus {gpus}',
                        'pip install onnxruntime-gpu in its stead, or give cpu')
    return [[(_CUDA, {'device_id': index}), 'CPUExecutionProvider'] for index in indices]


class _Device:
    """A device and the sessions on it.

    On CUDA a session chooses its convolutions' algorithms again whenever the shape of its input changes, which takes a
    hundred times as long as to compute an image. So each of the latest shapes has a session of its own there.
    """

    def __init__(self, runtime, path, providers):
        self._make = functools.partial(_open, runtime, path, providers)
        self._wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        self._first, self._sessions = self._make(), collections.OrderedDict()
        self._alike = _CUDA not in self._first.get_providers()

    def usable(self):
        """Whether it computes there: without its libraries or the device, a session takes the next provider."""
        return self._wanted in self._first.get_providers()

    def session(self, shape=None):
        """A session for images of a shape, or any."""
        if shape is None or self._alike:
            return self._first
        if shape not in self._sessions:
            while len(self._sessions) >= _SHAPES:
                self._sessions.popitem(last=False)
            self._sessions[shape] = self._make() if self._sessions else self._first
        self._sessions.move_to_end(shape)
        return self._sessions[shape]


def _open(runtime, path, providers):
    settings = runtime.SessionOptions()
    threads = os.environ.get('OMP_NUM_THREADS', '')
    # By itself it takes the processors of the whole machine where a container may use a few.
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else parallel.physical_cores()
    settings.log_severity_level = _FATAL
    try:
        return runtime.InferenceSession(path, settings, providers=providers)
    except Exception as error:      # of several classes of its own, which share no other base
        reason = ' '.join(str(error).split())[:120]
        raise UserError(f'not a model that onnxruntime can run ({reason})', path, _AGAIN) from None
