"""Every option of `icd-segment` and `icd-export`, once; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option
from icd.evaluate_options import EVALUATE

NETWORKS = 'vgg16_largefov', 'vgg16_aspp', 'resnet101_largefov', 'resnet101_aspp'
RECIPES = 'author', 'deeplab'
_TRAIN = ('train',)


def _options(*flags):
    """Options that are those of `icd-run`."""
    return [OF_RUN[flag] for flag in flags]


NETWORK = Option('--network', 'vgg16_largefov', 'backbone and head', str, choices=NETWORKS, changes=_TRAIN)
SNAPSHOT = Option('--snapshot', './snapshot/deeplab', 'folder for everything the training writes', types.path)
MODEL = Option('--model', 'deeplab', "first part of the checkpoints' names", types.plain_name)

SEGMENT_TRAIN = {
    'Files': [
        *_options('--image-root'),
        Option('--seed-root', './snapshot/icd/results/seeds/crf', 'folder of NAME.png: seeds, or other masks to learn '
               'from; 255 is ignored', types.path, changes=_TRAIN),
        *_options('--data-list', '--class-names'),
        Option('--pretrained', None, 'pretrained weights of the backbone; none: a random start (default: '
               './data/pretrained/vgg16_20M.params, resnet101_v1b.params for ResNet-101)', types.path, changes=_TRAIN),
        *_options('--pretrained-input'),
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
    'Machine': _options('--gpus', '--kvstore', '--num-workers', '--precision', '--deterministic', '--num-process',
                        '--cache'),
    'Watching': _options('--profile', '--tensorboard', '--dry-run'),
}

SEGMENT_PREDICT = {
    'Files': [
        Option('--snapshot', './snapshot/deeplab', 'folder of a training of icd-segment train', types.path),
        Option('--model', None, 'weights in place of --snapshot: a checkpoint, or an ONNX file of icd-export, which '
               'onnxruntime runs without MXNet', types.path),
        Option('--epoch', None, 'checkpoint of this epoch, from 0 (default: the last)', types.COUNT),
        Option('--image-root', None, 'folder of the images', types.path, required=True),
        Option('--data-list', None, 'names, one a line (default: all images below --image-root)', types.path),
        Option('--out', None, 'folder to write to: raw/NAME.png, and crf/NAME.png', types.path, required=True),
        Option('--class-names', None, 'class names, one a line, background left out (default: those recorded with the '
               'network)', types.path),
        Option('--annotation-root', None, 'folder of NAME.xml, for --only-known-classes', types.path),
        *_options('--labels'),
    ],
    'Prediction': [
        Option('--infer-size', 513, 'side of the padded network input at scale 1, 8k+1; larger images are scaled down '
               'to it, and their scores back', types.image_size),
        Option('--scales', (.75, 1., 1.25), 'scales of the input, separated by commas', types.scales),
        Option('--no-flip', False, 'do not average with the scores of mirrored images'),
        Option('--fusion', 'mean+max', 'one score from those of all scales: their mean, their largest, or the mean of '
               'them and of their largest', str, choices=('mean', 'max', 'mean+max')),
        Option('--infer-batch-size', 4, 'images a batch; ONNX files take one at a time', types.POSITIVE),
        Option('--only-known-classes', False, 'exclude the classes that an image is not annotated with: for seeds of a '
               'second round'),
    ],
    'CRF': [
        Option('--crf', 'both', 'none: masks of the scores alone, raw; only: refined by a dense CRF, crf; both', str,
               choices=('none', 'only', 'both')),
        Option('--crf-iterations', None, "mean-field iterations (default: the network's)", types.number(int, 0, 10000)),
        Option('--crf-gaussian', None, "SXY,COMPAT of the Gaussian pairwise term (default: the network's)",
               types.numbers(2, 1)),
        Option('--crf-bilateral', None, "SXY,SRGB,COMPAT of the bilateral pairwise term (default: the network's)",
               types.numbers(3, 2)),
    ],
    'Outputs': [
        Option('--colour', False, 'also write copies in VOC colours and overlays for the eye'),
        Option('--save-logits', 'none', 'also write logits/NAME.npy, the fused scores: at every eighth pixel of the '
               'network input, or at all of them', str, choices=('none', 'eighth', 'full')),
        *_options('--force'),
    ],
    'Machine': _options('--gpus', '--num-workers', '--precision', '--num-process', '--shard'),
}

SEGMENT_SUBMIT = {
    'Files': [
        Option('--pred', None, 'folder of NAME.png: the predictions', types.path, required=True),
        Option('--data-list', None, 'names of the test set, one a line', types.path, required=True),
        Option('--out', './results.tgz', 'archive to write, .tgz or .tar.gz', types.path, metavar='FILE.tgz'),
        Option('--image-root', None, 'folder of the images, to compare sizes with', types.path),
    ],
    'Task': [
        Option('--competition', 'comp6', 'comp6: trained with other data, too, such as ImageNet weights; comp5: VOC '
               'alone', str, choices=('comp6', 'comp5')),
    ],
}

EXPORT = {
    'Files': [
        Option('--snapshot', None, 'folder of a training, of icd-run or icd-segment train', types.path),
        Option('--model', None, 'a checkpoint in place of --snapshot', types.path, metavar='FILE'),
        Option('--epoch', None, 'checkpoint of this epoch, from 0 (default: the last)', types.COUNT),
        Option('--class-names', None, 'class names, one a line, background left out (default: those recorded with the '
               "network, or VOC's)", types.path),
    ],
}

# Tables by the second word of the command line.
COMMANDS = {'train': SEGMENT_TRAIN, 'predict': SEGMENT_PREDICT, 'evaluate': EVALUATE, 'submit': SEGMENT_SUBMIT}
