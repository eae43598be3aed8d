"""Options of `icd-pipeline`; see `icd.cli` for what an option is."""
from __future__ import annotations

import itertools

from icd import cli
from icd import option_types as types
from icd.cli import Option

_OF_ICD = {option.flag: option for option in itertools.chain.from_iterable(cli.RUN.values())}
_CHOSEN = ' (default: what suits the images and the machine)'

PIPELINE = {
    'Files': [
        Option('--image-root', None, 'folder of images', types.path, required=True),
        Option('--labels', None, 'image labels: VOC XML, class folders, CSV, JSON, COCO, cls_labels.npy or a list '
               '(docs/data.md)', types.path, required=True, metavar='SOURCE'),
        Option('--pretrained', None, 'pretrained VGG16, of any format; none: a random start', types.path,
               required=True),
        Option('--out', None, 'folder for everything the run writes', types.path, required=True),
        Option('--class-names', None, 'class names, one a line, background left out (default: those of the labels)',
               types.path),
        _OF_ICD['--pretrained-input'],
    ],
    'Run': [
        Option('--segment', False, 'then train a segmentation network on the seeds, and predict all images with it'),
        Option('--image-size', None, 'side of the training crops, 8k+1' + _CHOSEN, types.image_size),
        Option('--batch-size', None, 'images a step, over all devices' + _CHOSEN, types.POSITIVE),
        Option('--num-epoch', None, 'epochs' + _CHOSEN, types.POSITIVE),
        Option('--learning-rate', 1e-3, 'learning rate of the first epoch', types.ABOVE_ZERO),
        _OF_ICD['--width'], _OF_ICD['--seed'],
        Option('--dry-run', False, 'check every input, print the plan and the commands, and stop'),
    ],
    'Machine': [_OF_ICD['--gpus'], _OF_ICD['--precision'], _OF_ICD['--deterministic'], _OF_ICD['--num-process']],
}
