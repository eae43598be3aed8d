"""A small, valid data set with everything the commands read, and the command lines for it."""
import importlib
import os
import re

import cv2
import numpy as np

from icd import console, files
from icd.data import superpixel_map, voc

NAMES = ('a', 'b', 'c', 'sub/d')
ANNOTATION = '<annotation><object><name>%s</name><difficult>0</difficult></object></annotation>'


def make(root):
    """Fill a folder with everything the commands read: images, annotations, superpixels, weights, scores."""
    import mxnet  # noqa: F401

    from icd.model.icd_net import ICDNet
    from icd.model.initial import initialize_missing, set_values
    from icd.weights import load
    rng = np.random.RandomState(0)

    def put(folder, name, image):
        files.save_image(os.path.join(root, folder, name), image)
    for _i, name in enumerate(NAMES):
        put('images', name + '.jpg', cv2.resize(rng.randint(0, 255, (5, 7, 3), np.uint8), (44, 36)))
        files.save_bytes(os.path.join(root, 'annotations', name + '.xml'), (ANNOTATION % 'dog').encode())
        labels = (np.arange(36)[:, None] // 9 * 4 + np.arange(44) // 11).astype(np.int32)
        for folder in ('superpixels', 'raw'):
            superpixel_map.write(os.path.join(root, folder, name + '.png'), labels)
        put('saliency', name + '.png', rng.randint(0, 255, (36, 44), np.uint8))
        put('truth', name + '.png', rng.choice([0, 12, 255], (36, 44)).astype(np.uint8))
        put('pred', name + '.png', rng.choice([0, 12], (36, 44)).astype(np.uint8))
        for kind in ('icd', 'cam'):
            files.save_npy(os.path.join(root, 'snap', 'results', 'scores_' + kind, name + '.npy'),
                             rng.randn(1, 7, 7).astype(np.float32))
    files.save_bytes(os.path.join(root, 'list.txt'), '\n'.join(NAMES).encode())
    files.save_bytes(os.path.join(root, 'names.txt'), '\n'.join(voc.CATEGORIES).encode())
    net = ICDNet(20, 1 / 32)
    set_values(net, initialize_missing(net, {}, 0, he=True), mxnet.cpu())
    load.save(os.path.join(root, 'pretrained.params'), net)
    load.save(os.path.join(root, 'snap', 'vgg16_icd-0000.params'), net)


RUN = ('--image-root images --annotation-root annotations --superpixel-root superpixels --saliency-root saliency '
       '--data-list list.txt --pretrained pretrained.params --snapshot snap --num-epoch 1 --batch-size 2 '
       '--image-size 33 --infer-size 49 --width 0.03125 --gpus cpu --num-workers 0 --num-process 1 --resume no').split()
COMMANDS = {
    'train': ('icd.steps.run', RUN + ['--only-train']),
    'infer': ('icd.steps.run', RUN + ['--only-infer']),
    'seeds': ('icd.steps.run', RUN + ['--only-gen-seeds']),
    'run': ('icd.steps.run', RUN),
    'merge': ('icd.steps.merge_superpixels', '--image-root images --superpixel-root raw --save-superpixel-root merged '
              '--data-list list.txt --pretrained pretrained.params --width 0.03125 --image-size 49 --gpus cpu '
              '--num-process 1 --max-superpixel-num 4'.split()),
    'evaluate': ('icd.steps.evaluate', '--pred pred --truth truth --list list.txt --num-process 1'.split()),
    'lists': ('icd.data.voc_lists', '--out lists'.split()),
    'weights': ('icd.steps.weights', []),
}


def run(command, extra=()):
    """Exit code of a command, run in this process."""
    module, arguments = COMMANDS[command]
    return console.run_command(importlib.import_module(module).main, arguments + list(extra))


def assert_refused(call, message, capfd, one_line=True):
    """`call` ends with exit code 2 and what `message` matches, in one line beside bars and notes; no file changes."""
    before = list_files('.')
    code = call()
    printed = capfd.readouterr().err
    assert code == 2, printed
    assert re.search(message, printed), printed
    assert 'Traceback' not in printed
    if one_line:
        lines = [line for line in printed.splitlines() if line and '%|' not in line and 'in no image of' not in line]
        assert len(lines) == 1, printed
    assert list_files('.') == before


def list_files(root):
    """Paths of all files below a folder."""
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
