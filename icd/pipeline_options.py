"""Options of `icd-pipeline`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

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
        OF_RUN['--pretrained-input'],
    ],
    'Run': [
        Option('--segment', False, 'then train a segmentation network on the seeds, and predict all images with it'),
        Option('--image-size', None, 'side of the training crops, 8k+1' + _CHOSEN, types.image_size),
        Option('--batch-size', None, 'images a step, over all devices' + _CHOSEN, types.POSITIVE),
        Option('--num-epoch', None, 'epochs' + _CHOSEN, types.POSITIVE),
        Option('--learning-rate', 1e-3, 'learning rate of the first epoch', types.ABOVE_ZERO),
        OF_RUN['--width'], OF_RUN['--seed'],
        Option('--dry-run', False, 'check every input, print the plan and the commands, and stop'),
    ],
    'Machine': [OF_RUN['--gpus'], OF_RUN['--precision'], OF_RUN['--deterministic'], OF_RUN['--num-process']],
}
