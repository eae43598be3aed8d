"""Exported networks on the devices of onnxruntime: time, memory, and how far their scores are from the CPU's.

    python tests/benchmarks/onnx_devices.py FILE.onnx [FILE.onnx ...] [--images FOLDER_OF_JPG] [--gpus 0]

FILE is what `icd-export onnx` writes. MXNet is neither needed nor imported, so this runs where MXNet does not. Times
are seconds by the clock, medians of several runs after two that are not counted. GPUs of compute capability 8.0 on
compute with TF32, as onnxruntime does by default; `--no-tf32` without. Without images it draws some.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from icd import files  # noqa: E402
from icd.data.datasets import InferenceSet  # noqa: E402
from icd.onnx_predict import OnnxNetwork  # noqa: E402
from icd.weights import trained  # noqa: E402

CASES = (321, 1), (321, 16), (513, 1), (513, 8)         # side and images at once
COMPARED = 4                                            # images whose scores are compared
TURNS = 7


def drawn(folder, count):
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        files.save_image(os.path.join(folder, f'{i}.jpg'), cv2.resize(coarse, (320, 213)))


def seconds(network, images, outputs):
    """Median over runs of a batch."""
    found = []
    for turn in range(TURNS + 2):
        start = time.perf_counter()
        network.run(images, outputs)
        found.append(time.perf_counter() - start)
        if turn > 3 and sum(found) > 20:
            break
    return float(np.median(found[2:]))


def memory():
    """Memory in use on the GPUs in MiB, by NVIDIA's tool."""
    listed = subprocess.run(['nvidia-smi', '--query-gpu=memory.used', '--format=csv,noheader,nounits'],
                            capture_output=True, text=True, check=True).stdout
    return sum(map(int, listed.split()))


def compare(path, root, names, gpus):
    """Print a network's figures on the CPU and on a GPU."""
    on_cpu = OnnxNetwork(path, 'cpu')
    outputs = ['cam', 'top_down'] if on_cpu.network == trained.ICD else ['logits']
    before = memory() if gpus != 'cpu' else 0
    on_gpu = OnnxNetwork(path, gpus)
    for side, count in CASES:
        dataset = InferenceSet(names, root, side, on_cpu.padding)
        images = np.stack([dataset[i % len(names)][0] for i in range(count)])
        slow, fast = seconds(on_cpu, images[:1], outputs), seconds(on_gpu, images, outputs) / count
        line = f'{on_cpu.network}, {side}x{side}, {count} at once: {1000 * fast:.2f} ms an image on --gpus {gpus}'
        if gpus != 'cpu':
            line += f', {slow / fast:.0f} times as fast as the CPU ({slow:.2f} s), {memory() - before} MiB'
        print(line, flush=True)
    dataset = InferenceSet(names, root, CASES[0][0], on_cpu.padding)
    images = np.stack([dataset[i][0] for i in range(min(COMPARED, len(names)))])
    for name in outputs:
        one, other = on_cpu.run(images, [name])[0], on_gpu.run(images, [name])[0]
        apart = np.abs(one - other).max() / np.abs(one).max()
        classes = (one.argmax(axis=1) != other.argmax(axis=1)).mean()
        print(f'{on_cpu.network}, {name}: {apart:.1e} of the largest apart from the CPU, best class differs at '
              f'{1e4 * classes:.1f} of 10,000 positions', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+')
    parser.add_argument('--images')
    parser.add_argument('--gpus', default='cpu')
    parser.add_argument('--no-tf32', action='store_true')
    options = parser.parse_args()
    if options.no_tf32:
        os.environ['NVIDIA_TF32_OVERRIDE'] = '0'
    with tempfile.TemporaryDirectory() as folder:
        root = options.images or folder
        if not options.images:
            drawn(folder, max(COMPARED, 8))
        names = sorted(name[:-4] for name in os.listdir(root) if name.endswith('.jpg'))
        print(f"TF32 {'off' if options.no_tf32 else 'where the device has it'}, {len(names)} images", flush=True)
        for path in options.files:
            compare(path, root, names, options.gpus)


if __name__ == '__main__':
    main()
