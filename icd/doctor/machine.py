"""Checks of the machine that need no MXNet: versions, processors, memory, disk, and the compiled parts."""
from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata

import cv2
import numpy as np

from icd import cpu_quota, files, parallel
from icd.doctor.result import Failed, Note
from icd.errors import UserError
from icd.superpixels import program

PACKAGES = 'icd-seeds', 'mxnet', 'numpy', 'opencv-python', 'opencv-python-headless', 'onnxruntime', 'gluoncv'
_LEAST_MEMORY, _ENOUGH_MEMORY = 1.5e9, 4e9      # a training step of the defaults, four images at a time, takes 2 GB
_LEAST_DISK = 2e9                               # a few checkpoints
_TRIAL = 64 << 20                               # bytes that are written
_SLOW_DISK, _FEW_FILES = 30e6, 20               # bytes and files a second
_LIMITS = 'sys/fs/cgroup/memory.max', 'sys/fs/cgroup/memory/memory.limit_in_bytes'       # of a container
_PORT_WIDTH = {'avx512f': 32, 'avx2': 16, 'avx': 8}         # multiplications and additions of a unit a cycle


def versions() -> dict:
    """Versions of Python, the system and the installed packages, by name."""
    found = {'python': platform.python_version(), 'system': f'{platform.system()} {platform.release()}'}
    names = {dist.metadata['Name'] for dist in metadata.distributions()}
    for name in sorted(names & set(PACKAGES) | {name for name in names if name and name.startswith('mxnet')}):
        found[name] = metadata.version(name)
    return found


def software() -> str | Note:
    """Python and packages."""
    text = ', '.join(f'{name} {version}' for name, version in versions().items())
    if not (3, 8) <= sys.version_info[:2] <= (3, 12):
        return Note(text, 'take a Python from 3.8 to 3.12, for which there are wheels of all packages')
    return text


def processors(root: str = '/') -> str:
    """Processors that this process may use; `root` as for `icd.parallel.number_of_cores`."""
    quota = cpu_quota.cpu_quota(root)
    text = (f'{_fields(root, "proc/cpuinfo").get("model name", platform.machine())}: {parallel.number_of_cores(root)} '
            f'processors on {parallel.physical_cores(root)} cores')
    return text + (f', by a quota of {quota}' if quota else '')


def flop_per_second(root: str = '/') -> float:
    """Arithmetic limit of the cores: float32 multiplications and additions a second, of two units a core."""
    fields = _fields(root, 'proc/cpuinfo')
    width = next((width for flag, width in _PORT_WIDTH.items() if flag in fields.get('flags', '').split()), 4)
    return 2 * width * parallel.physical_cores(root) * 1e6 * float(fields.get('cpu MHz', 2000))


def memory(root: str = '/') -> str | Note:
    """Free memory, within the limit of the container."""
    free = 1024 * int(_fields(root, 'proc/meminfo').get('MemAvailable', '0').split()[0])
    limit = min(filter(None, (_number(root, name) for name in _LIMITS)), default=None)
    free = min(free, limit or free)
    text = f'{free / 1e9:.1f} GB are free' + (f', of the {limit / 1e9:.1f} GB of a container' if limit == free else '')
    if free < _LEAST_MEMORY:
        raise Failed(text, 'end other programs, or take a machine with at least 4 GB')
    if free < _ENOUGH_MEMORY:
        return Note(text, 'on the CPU train with --batch-size 4 --accumulate 8 and --num-workers 1')
    return text


def shared_memory(root: str = '/') -> str:
    """/dev/shm, which is small in containers; nothing here uses it."""
    try:
        return f"{shutil.disk_usage(os.path.join(root, 'dev/shm')).total / 1e6:.0f} MB in /dev/shm, which is not used"
    except OSError:
        return 'no /dev/shm, which is not used'


def disk(folder: str) -> str | Note:
    """Space and speed of the disk below a folder."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as trial:
            free, data = shutil.disk_usage(trial).free, np.random.default_rng(0).bytes(_TRIAL)
            if free < _LEAST_DISK:
                raise Failed(f'{free / 1e9:.1f} GB are free', 'free some space, or give another --folder')
            begun = time.perf_counter()
            files.save_bytes(os.path.join(trial, 'large'), data)
            rate, begun = _TRIAL / (time.perf_counter() - begun), time.perf_counter()
            for number in range(10):
                files.save_bytes(os.path.join(trial, f'{number}'), data[:4096])
            count = 10 / (time.perf_counter() - begun)
    except OSError as error:
        raise Failed(f'{folder}: {error.strerror}', 'give a --folder that can be written') from None
    text = f'{free / 1e9:.0f} GB are free, {rate / 1e6:.0f} MB and {count:.0f} small files are written a second'
    if rate < _SLOW_DISK or count < _FEW_FILES:
        return Note(text, 'write to a local disk: this one slows inference and seeds down')
    return text


def compiled_parts() -> str | Note:
    """The C++ of the package, and the program makeSuperpixel."""
    compiler = 'install g++, then `pip install -e .` again'
    missing = []
    for module in ('icd._superpixel', 'icd.method._mean_field', 'icd.method._merging'):
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(module)
    if missing:
        raise Failed(f"{' and '.join(missing)} not compiled", compiler)
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = 200, 120, 40
    labels = importlib.import_module('icd.superpixels').slic(image, min_size=100)
    if set(labels[:, :38].ravel()) & set(labels[:, 42:].ravel()):
        raise Failed('superpixels cross the edge between two colours', compiler)
    unary = np.stack([image[..., 0] / 200. - .5, .5 - image[..., 0] / 200.]).astype(np.float32)
    found = importlib.import_module('icd.method.crf').dense_crf(image, unary).argmax(0)
    if not np.array_equal(found, image[..., 0] > 0):
        raise Failed('the CRF crosses the edge between two colours', compiler)
    try:
        subprocess.run([program.find(), '--help'], stdout=subprocess.DEVNULL, check=True)
    except (UserError, OSError, subprocess.SubprocessError):
        return Note('superpixels and CRF from Python are right; the program makeSuperpixel does not start',
                    'run `make -C external/superpixel`')
    return f'superpixels, CRF and makeSuperpixel; OpenCV with {cv2.getNumThreads()} threads'


def unused_gpus(cuda: bool, root: str = '/') -> str | Note:
    """Whether there are GPUs that the installed MXNet cannot use; `cuda`: it was built for them."""
    try:
        count = len(os.listdir(os.path.join(root, 'proc/driver/nvidia/gpus')))
    except OSError:
        return 'none of NVIDIA'
    if count and not cuda:
        return Note(f'{count} of NVIDIA, but the installed MXNet computes on the CPU only',
                    'pip uninstall mxnet; pip install .[cu117] (docs/gpus.md)')
    return f'{count} of NVIDIA'


def _fields(root, name):
    """`name: value` lines of a file, the first of each name."""
    found = {}
    try:
        with open(os.path.join(root, name), encoding='utf-8', errors='replace') as file:
            for line in file:
                key, _, value = line.partition(':')
                found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    return found


def _number(root, name):
    try:
        with open(os.path.join(root, name), encoding='ascii') as file:
            text = file.read().strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() and int(text) < 1 << 50 else None
