"""`small_data` with a trained segmentation network and ONNX files, and the command lines for them."""
import importlib
import os
import shutil

import cv2
import numpy as np

from icd import console, files
from icd.data import voc
from tests.helpers import small_data

SIZES = {'a': (36, 44), 'b': (49, 49), 'c': (40, 90), 'sub/d': (20, 31)}        # c is larger than the letterbox
SIDE = 49


def make(root, valid):
    """Fill the folder `root`, which does not exist, beginning with the data set `valid`."""
    import mxnet

    from icd.model import deeplab
    from icd.model.initial import initialize_missing, set_values
    from icd.weights import load, onnx_export, trained
    shutil.copytree(valid, root)
    rng = np.random.RandomState(0)
    for name, (height, width) in SIZES.items():
        image = cv2.resize(rng.randint(0, 255, (5, 7, 3), np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        files.save_image(os.path.join(root, 'images', name + '.jpg'), image)
        files.save_image(os.path.join(root, 'masks', name + '.png'),
                         rng.choice([0, 12], (height, width)).astype(np.uint8))
    net = deeplab.create('vgg16_largefov', 21, 1 / 32)
    values = initialize_missing(net, {}, 0, he=True)
    values['fc8_weight'] = rng.randn(*values['fc8_weight'].shape).astype(np.float32) * 4
    set_values(net, values, mxnet.cpu())
    load.save(os.path.join(root, 'segment', 'net-0001.params'), net)
    files.save_json(os.path.join(root, 'segment', 'net.json'), {'class_names': voc.CATEGORIES})
    for path, name in ('segment/net-0001.params', 'segment.onnx'), ('snap/vgg16_icd-0000.params', 'icd.onnx'):
        found = trained.read(os.path.join(root, path))
        onnx_export.write(os.path.join(root, name), found.arrays, found.class_names,
                          files.checksum(os.path.join(root, path)))


_PREDICT = ('--image-root images --data-list list.txt --out out --infer-size 49 --scales 1 --no-flip --gpus cpu '
            '--num-workers 0 --num-process 1').split()
COMMANDS = {
    'predict': ('icd.steps.predict_segmentation', ['--snapshot', 'segment', *_PREDICT]),
    'predict onnx': ('icd.steps.predict_segmentation', ['--model', 'segment.onnx', *_PREDICT]),
    'submit': ('icd.steps.submit', '--pred masks --data-list list.txt --image-root images'.split()),
    'export': ('icd.steps.export_onnx', ['onnx', 'out.onnx']),
    'infer onnx': ('icd.steps.run', [*small_data.COMMANDS['infer'][1], '--onnx', 'icd.onnx']),
}


def run(command, *extra, without=()):
    """Exit code of a command, run in this process; `without` some of its arguments."""
    module, arguments = COMMANDS[command]
    given = [argument for argument in arguments if argument not in without]
    return console.run_command(importlib.import_module(module).main, given + list(extra))
