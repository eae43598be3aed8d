"""Settings that suit a set of images and a machine, and about what a run with them takes.

The paper's settings are for 10,582 images and GPUs. A small set needs more epochs for as many steps; a CPU needs
smaller crops and batches to be done in hours. What is chosen depends on the number of images, their sizes and the kind
of device alone, so that the same command chooses the same again; the machine's speed changes the estimate only.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

from icd import gpu_memory
from icd.data.geometry import STRIDE

_FEWEST_STEPS = 150         # after 185, seeds of 300 images were good (docs/msrc.md)
_FEWEST_EPOCHS = 5
_EPOCHS = 20                # the paper's
_SUPERPIXELS = 625          # raw ones an image, as the paper's K = 75 gives on PASCAL VOC
_LARGEST_INPUT = 513
STEP_FLOP = 364e9           # of a training step an image at 321x321, full width; two thirds of it are backward
_CONVOLUTIONS = .8          # of a forward pass: what merging computes
_SEED_SECONDS, _SUPERPIXEL_SECONDS = .25, .02           # an image and core
_PARAMETERS = 41e6          # of the full network
_CHECKPOINTS = 3            # on the disk at once, each with its momentum
_LEAST_BYTES, _IMAGE_BYTES = 12 * 26.3e6, 4 * 37e6     # of the full network, and an image of 321x321: least_memory


@dataclass(frozen=True)
class Settings:
    """What a run is made with.

    raw_size : int
        Smallest raw superpixel, pixels.
    infer_size : int
        Side of the network's input that holds whole images, 8k+1.
    image_size : int
        Side of training crops, 8k+1.
    batch_size, epochs : int
    """

    raw_size: int
    infer_size: int
    image_size: int
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Estimate:
    """About what a run takes: seconds by stage, in the order they run, and bytes on the disk."""

    seconds: dict
    disk: float


def choose(sizes: Sequence[tuple], devices: int, gpu_bytes: float | None = None) -> Settings:
    """Settings for a run.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Height and width of every image, pixels.
    devices : int
        How many compute.
    gpu_bytes : float, optional
        Free memory of the smallest GPU; None on CPUs.

    Returns
    -------
    Settings
    """
    middle = sorted(height * width for height, width in sizes)[len(sizes) // 2]
    longest = sorted(max(size) for size in sizes)[int(.95 * (len(sizes) - 1))]
    infer_size = min(_LARGEST_INPUT, STRIDE * math.ceil((max(longest, 97) - 1) / STRIDE) + 1)
    if gpu_bytes is None:
        image_size, a_device = min(193, infer_size), max(1, 8 // devices)
    else:
        image_size = 321
        fitting = [n for n in range(1, 33) if gpu_memory.expected(least_bytes(n)) <= gpu_bytes]
        a_device = min(32 // devices, max(fitting, default=1))
    batch = devices * max(1, min(a_device, len(sizes) // devices))
    return Settings(max(10, round(middle / (4 * _SUPERPIXELS))), infer_size, image_size, batch,
                    epochs(len(sizes), batch, gpu_bytes is not None))


def least_bytes(images: int) -> float:
    """What a training step of so many images of 321x321 takes at the least, with the full network."""
    return _LEAST_BYTES + images * _IMAGE_BYTES


def epochs(count: int, batch_size: int, gpu: bool) -> int:
    """Epochs over `count` images that give a training enough steps."""
    return max(_EPOCHS if gpu else _FEWEST_EPOCHS, math.ceil(_FEWEST_STEPS / max(1, count // batch_size)))


def estimate(settings: Settings, sizes: Sequence[tuple], width: float, flop_per_second: float, cores: int,
             labels: float, segment: bool) -> Estimate:
    """About what a run takes.

    Parameters
    ----------
    settings : Settings
    sizes : see `choose`
    width : float
        Multiplier of the network's channels.
    flop_per_second : float
        Of convolutions, on all devices together.
    cores : int
    labels : float
        Classes an image, mean.
    segment : bool
        Whether a segmentation network is trained, too.

    Returns
    -------
    Estimate
    """
    count = len(sizes)
    pixels = sum(min(1, (settings.infer_size / max(size)) ** 2) * size[0] * size[1] for size in sizes) / 321 ** 2
    pass_seconds = STEP_FLOP * width ** 2 / 3 / flop_per_second            # forward, an image of 321x321
    training = 3 * pass_seconds * count * settings.epochs * (settings.image_size / 321) ** 2
    seconds = {'superpixels': _SUPERPIXEL_SECONDS * count / cores, 'merging': _CONVOLUTIONS * pass_seconds * pixels,
               'training': training, 'scores': pass_seconds * pixels, 'seeds': _SEED_SECONDS * count / cores}
    if segment:
        seconds.update({'segmentation': training, 'predictions': 6.25 * pass_seconds * pixels +
                        2 * _SEED_SECONDS * count / cores})
    networks = 2 if segment else 1
    side = (settings.infer_size - 1) / STRIDE + 1
    disk = 8 * _PARAMETERS * width ** 2 * _CHECKPOINTS * networks + count * (40e3 + 8 * side ** 2 * labels)
    return Estimate(seconds, disk)


def duration(seconds: float) -> str:
    """A duration as one says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f'{max(1, round(seconds))} s'
    return f'{round(seconds / 60)} min' if seconds < 90 * 60 else f'{seconds / 3600:.1f} h'
