"""Every option of `icd-segment`, once; see `icd.cli` for what an option is."""
from __future__ import annotations

import itertools

from icd import cli
from icd import option_types as types
from icd.cli import Option

NETWORKS = 'vgg16_largefov', 'vgg16_aspp', 'resnet101_largefov', 'resnet101_aspp'
RECIPES = 'author', 'deeplab'
_TRAIN = ('train',)
_OF_ICD = {option.flag: option for option in itertools.chain.from_iterable(cli.RUN.values())}


def _options(*flags):
    """Options that are those of `icd-run`."""
    return [_OF_ICD[flag] for flag in flags]


NETWORK = Option('--network', 'vgg16_largefov', 'backbone and head', str, choices=NETWORKS, changes=_TRAIN)
SNAPSHOT = Option('--snapshot', './snapshot/deeplab', 'folder for everything the training writes', types.path)
MODEL = Option('--model', 'deeplab', "first part of the checkpoints' names", str)

SEGMENT_TRAIN = {
    'Files': [
        *_options('--image-root'),
        Option('--seed-root', './snapshot/icd/results/seeds/crf', 'folder of NAME.png: seeds, or other masks to learn '
               'from; 255 is ignored', types.path, changes=_TRAIN),
        *_options('--data-list', '--class-names'),
        Option('--pretrained', None, 'pretrained weights of the backbone; none: a random start (default: '
               './data/pretrained/vgg16_20M.params, resnet101_v1b.params for ResNet-101)', types.path, changes=_TRAIN),
        Option('--init-from-icd', None, 'weights of a trained ICD: its convolutions take the place of the pretrained '
               'ones (VGG16 only)', types.path, changes=_TRAIN),
        SNAPSHOT,
        Option('--val-list', None, 'names, one a line: IoU of these images after every epoch goes to the log; it '
               'changes nothing else', types.path),
        Option('--val-root', None, 'folder of NAME.png: their truth', types.path),
    ],
    'Network': [
        NETWORK, MODEL,
        *_options('--width'),
    ],
    'Training': [
        Option('--recipe', 'author', "the author's: 20 epochs, batch 16, a loss at one scale; that of the DeepLab-v2 "
               'paper: 20,000 steps, batch 10, rates that fall every step, biases that learn twice as fast, and for '
               'ResNet-101 the multi-scale loss', str, choices=RECIPES, changes=_TRAIN),
        *_options('--image-size'),
        Option('--batch-size', None, "images a forward pass, over all devices and nodes (default: the recipe's)",
               types.POSITIVE, changes=_TRAIN),
        Option('--accumulate', 1, 'batches whose gradients are added up for one step; the loss is the mean over the '
               'pixels of all of them', types.POSITIVE, changes=_TRAIN),
        Option('--learning-rate', None, 'learning rate of the first epoch (default: 0.001 for VGG16, 0.00025 for '
               'ResNet-101)', types.ABOVE_ZERO, changes=_TRAIN),
        Option('--num-epoch', None, "epochs (default: the recipe's)", types.POSITIVE, changes=_TRAIN),
        Option('--loss', None, "multi-scale: also at 0.75 and half the size, and of the largest scores of the three "
               "(default: the recipe's)", str, choices=('single', 'multi-scale'), changes=_TRAIN),
        Option('--class-balance', False, 'the mean loss of background pixels and that of all others are taken apart '
               'and added up', changes=_TRAIN),
        *_options('--num-sample', '--num-save', '--log-frequency', '--resume', '--checkpoint-every', '--augment',
                  '--backbone-lr'),
        Option('--clip-gradient', 0., 'largest norm of the gradient; 0: no limit', types.NOT_NEGATIVE, changes=_TRAIN),
        *_options('--ramp-epochs', '--seed'),
    ],
    'Machine': _options('--gpus', '--kvstore', '--num-workers', '--num-process', '--cache'),
    'Watching': _options('--profile', '--tensorboard', '--dry-run'),
}

COMMANDS = {'train': SEGMENT_TRAIN}             # tables by the second word of the command line
