"""Every option of every command, once: name, default, help and check.

The command lines, docs/options.md (`make options`) and the header of the run log all come from here; the options of
`icd-segment` and `icd-weights` are in `icd.segment_options` and `icd.weights_options`.
"""
from __future__ import annotations

import argparse
import itertools
import shlex
from typing import Any, Callable, Iterator

from icd import __version__, console
from icd import option_types as types
from icd.precision import PRECISIONS


class Options(argparse.Namespace):
    """Values of a command's options, by name with underscores: `options.image_root`."""


# ------------------------------------------------------------------------------------------------------ the table
class Option:
    """One option: `flag`, `default`, `text` for the help, `type` (None: a switch) and further arguments of argparse.

    `changes` names the stages of which it changes the numbers: what was made with another value is of no use to them.
    """

    def __init__(self, flag: str, default: Any, text: str, type: Callable | None = None, changes: tuple = (), **kwargs):
        self.flag, self.default, self.text, self.type, self.kwargs = flag, default, text, type, kwargs
        self.changes = changes

    @property
    def name(self) -> str:
        """Its name in `Options`."""
        return self.flag.lstrip('-').replace('-', '_')

    @property
    def shown(self) -> str:
        """The default as one would type it; empty for a switch and where there is none."""
        if self.default is None or self.default is False:
            return ''
        if isinstance(self.default, tuple):
            return ','.join(f'{value:g}' if isinstance(value, float) else value for value in self.default)
        return str(self.default)

    def _placeholder(self):
        """What stands for the value in the usage line."""
        if self.type is types.path:
            return 'DIR' if self.text.startswith('folder') else 'FILE'
        return getattr(self.type, 'metavar', self.name.rpartition('_')[2].upper())

    def add_to(self, parser):
        """Add the option to an argument parser or a group of one."""
        note = ' (required)' if self.kwargs.get('required') else f' (default: {self.shown})' if self.shown else ''
        kwargs = dict(self.kwargs, help=(self.text + note).replace('%', '%%'))
        if self.type is None:
            kwargs['action'] = 'store_true'
        else:
            kwargs.update(type=self.type)
            kwargs.setdefault('default', self.default)
            if 'choices' not in kwargs:
                kwargs.setdefault('metavar', self._placeholder())
        parser.add_argument(self.flag, **kwargs)


_TRAIN = ('train',)
_DATA_LIST = Option('--data-list', './data/VOC2012/train_aug.txt', 'names, one a line', types.path, changes=_TRAIN)
_IMAGE_ROOT = Option('--image-root', './data/VOC2012/JPEGImages', 'folder of images (docs/formats.md)', types.path)
_LABELS = Option('--labels', None, 'image labels in place of --annotation-root: VOC XML, class folders, CSV, JSON, '
                 'COCO, cls_labels.npy or a list (docs/data.md)', types.path, metavar='SOURCE')
_PRETRAINED = Option('--pretrained', './data/pretrained/vgg16_20M.params',
                     'pretrained VGG16, of any format; none: a random start', types.path, changes=_TRAIN)
_PRETRAINED_INPUT = Option(
    '--pretrained-input', None, 'input the pretrained weights were trained with: icd, torchvision, caffe, keras, '
    'caffe-rgb, or as BGR,103.939:116.779:123.68,1,255 (default: by the names and shapes in the file)',
    types.pretrained_input, changes=_TRAIN)
_GPUS = Option('--gpus', None, 'devices: 0,1 for GPUs, cpu, cpu:2 for two CPU devices '
               '(default: all GPUs, else the CPU)', str)
_PRECISION = Option('--precision', 'float32', 'of convolutions (docs/gpus.md)', str, choices=PRECISIONS, changes=_TRAIN)
_SEED = Option('--seed', 0, 'seed of everything random', types.number(int, 0, 2 ** 31 - 1), changes=_TRAIN)
_PROCESSES = Option('--num-process', None, 'worker processes (default: one a core)', types.POSITIVE)
_WIDTH = Option('--width', 1., "multiplier of the network's channels; 1 is the paper's VGG16",
                types.number(float, 0, 4, above=True), changes=_TRAIN)
_CLASS_NAMES = Option('--class-names', None, "class names of another data set in VOC layout, one a line, background "
                      "left out (default: VOC's 20)", types.path)
_NUM_CLS = Option('--num-cls', None, 'classes, background not counted (default: as many as there are class names)',
                  types.number(int, 1, 254), changes=_TRAIN)
_SHARD = Option('--shard', None, 'only the I-th of N parts of the images, on one of several machines; the same command '
                'without it comes last (docs/machines.md)', types.shard)
_FORCE = Option('--force', False, 'make outputs again that are already there and up to date')

RUN = {
    'Files': [
        _IMAGE_ROOT,
        Option('--annotation-root', './data/VOC2012/Annotations', 'folder of NAME.xml (VOC annotations)', types.path,
               changes=_TRAIN),
        _LABELS,
        Option('--unlabelled', 'refuse', 'what to do with images without any class; kept, they are all background', str,
               choices=('refuse', 'skip', 'keep')),
        Option('--superpixel-root', './data/superpixels/voc_superpixels', 'folder of NAME.png: merged superpixels',
               types.path),
        Option('--saliency-root', './data/saliency/saliency_aug', 'folder of NAME.png: saliency, 0 to 255', types.path),
        _DATA_LIST, _PRETRAINED, _PRETRAINED_INPUT,
        Option('--snapshot', './snapshot/icd', 'folder for everything the run writes', types.path),
        _CLASS_NAMES,
    ],
    'Network': [
        Option('--model', 'vgg16_icd', "first part of the checkpoints' names", types.plain_name),
        _NUM_CLS, _WIDTH,
        Option('--no-superpixel', False, 'ablation: refine every pixel alone', changes=_TRAIN),
        Option('--no-sign-calibration', False, 'ablation: bottom-up scores are never turned', changes=_TRAIN),
        Option('--freeze-bn', False, 'feat_bn uses its running statistics in training, too', changes=_TRAIN),
        Option('--sync-bn', False, 'feat_bn takes its statistics over all devices of the node', changes=_TRAIN),
    ],
    'Training': [
        Option('--image-size', 321, 'side of the training crops, 8k+1', types.image_size, changes=_TRAIN),
        Option('--batch-size', 32, 'images a step, over all devices and nodes', types.POSITIVE, changes=_TRAIN),
        Option('--accumulate', 1, 'batches whose gradients and calibration statistics are added up for one step '
               '(batch normalisation still sees each batch alone)', types.POSITIVE, changes=_TRAIN),
        Option('--learning-rate', 1e-3, 'learning rate of the first epoch', types.ABOVE_ZERO, changes=_TRAIN),
        Option('--num-epoch', 20, 'epochs', types.POSITIVE, changes=_TRAIN),
        Option('--begin-epoch', 0, 'first epoch; above 0 the checkpoint of the epoch before is loaded', types.COUNT,
               changes=_TRAIN),
        Option('--num-sample', 0, "images an epoch; 0: the list's length", types.COUNT, changes=_TRAIN),
        Option('--num-save', 5, 'newest checkpoints to keep', types.POSITIVE),
        Option('--log-frequency', 0, 'batches between log lines; 0: a twentieth of an epoch, at least 5 or '
               'an epoch', types.COUNT),
        Option('--resume', 'auto', 'auto: continue from the newest whole checkpoint of the snapshot folder, if there '
               'is one; no: start over, which removes them', str, nargs='?', const='auto', choices=('auto', 'no')),
        Option('--checkpoint-every', 0, 'batches between checkpoints within an epoch; 0: none', types.COUNT),
        Option('--augment', ('scale', 'mirror'), 'random changes of a training image: scale, mirror, or both, '
               'separated by a comma', types.choices('scale', 'mirror'), changes=_TRAIN),
        Option('--backbone-lr', 1., "multiplier of the backbone's rate; 0: frozen", types.NOT_NEGATIVE, changes=_TRAIN),
        Option('--clip-gradient', 0., 'largest norm of the gradient an image, bottom-up weight left out; 0: no limit',
               types.NOT_NEGATIVE, changes=_TRAIN),
        Option('--ramp-epochs', 0., 'epochs over which the learning rate rises linearly from a tenth',
               types.NOT_NEGATIVE, changes=_TRAIN),
        Option('--only-train', False, 'stop after training'), _SEED,
    ],
    'Machine': [
        _GPUS,
        Option('--kvstore', 'device', 'how gradients are added up', str,
               choices=('device', 'local', 'nccl', 'dist_sync', 'dist_device_sync')),
        Option('--num-workers', None, 'processes that read training images; 0: the main one (default: one a core, '
               'at most 8)', types.COUNT),
        Option('--deterministic', False, 'GPUs compute the same bits again, more slowly; the CPU always does'),
        _PROCESSES, Option('--cache', 'none', 'ram keeps the read files in memory', str, choices=('none', 'ram')),
        _PRECISION, _SHARD,
    ],
    'Watching': [
        Option('--profile', False, "write MXNet's profile of ten steps to SNAPSHOT/profile.json"),
        Option('--tensorboard', False, 'write TensorBoard events to SNAPSHOT/tensorboard'),
        Option('--dry-run', False, 'check every input, print what would be run, and stop'),
    ],
    'Inference': [
        Option('--infer-size', 513, 'side of the padded network input, 8k+1', types.image_size),
        Option('--infer-batch-size', 4, 'images a batch', types.POSITIVE),
        Option('--infer-scales', (1.,), 'scales of that input, separated by commas; their scores are averaged',
               types.scales),
        Option('--infer-flip', False, 'scores are averaged with those of mirrored images'),
        Option('--infer-branch', 'top-down', 'whose scores make seeds; bottom-up: ablation, the calibrated bottom-up '
               'score', str, choices=('top-down', 'bottom-up')),
        Option('--only-infer', False, 'skip training; stop after inference'),
        Option('--onnx', None, 'scores by this file of icd-export: no training, and MXNet is not needed', types.path),
        Option('--export-scores', None, 'also write the score maps for other programs: a folder (NAME.npz each) or '
               'one FILE.npz', types.path, metavar='DIR|FILE.npz'),
        Option('--export-full-size', False, 'exported maps at image size, too'),
    ],
    'Seeds': [
        Option('--only-gen-seeds', False, 'skip training and inference'),
        Option('--use-sal', False, 'saliency seeds (the folder sal) in place of CRF seeds'),
        Option('--seeds', None, 'folders to write: crf, sal, raw (before the CRF), cam (from the class activation '
               'maps, to compare with), separated by commas (default: crf, or sal with --use-sal)',
               types.choices('crf', 'sal', 'raw', 'cam')),
        Option('--cam-threshold', (.3,), 'for --seeds cam: fractions of the maximum below which CAM is background, '
               'separated by commas; a folder cam_0.30 each', types.fractions),
        Option('--confidence', .5, "probability the CRF's unary gives a seed's class",
               types.number(float, 0, 1, above=True)),
        Option('--crf-iterations', 10, 'mean-field iterations', types.number(int, 0, 10000)),
        Option('--crf-gaussian', (3., 3.), 'SXY,COMPAT of the Gaussian pairwise term', types.numbers(2, 1)),
        Option('--crf-bilateral', (80., 13., 10.), 'SXY,SRGB,COMPAT of the bilateral pairwise term',
               types.numbers(3, 2)),
        Option('--colour', False, 'also write copies in VOC colours and overlays for the eye'),
        _FORCE,
    ],
}

SUPERPIXEL = {
    'Files': [
        Option('--superpixel-root', './external/superpixel/data/VOC', 'folder of NAME.png: raw superpixels',
               types.path),
        _IMAGE_ROOT, _DATA_LIST, _PRETRAINED, _PRETRAINED_INPUT,
        Option('--save-superpixel-root', './data/superpixels/voc_superpixels', 'folder for the merged superpixels',
               types.path),
        Option('--save-feature-root', './data/cache/features', 'accepted for old command lines; nothing is written '
               'there', types.path),
    ],
    'Merging': [
        Option('--max-superpixel-num', 64, 'superpixels to keep an image', types.number(int, 1, 65535)),
        Option('--image-size', 513, 'side of the padded network input, 8k+1; larger images are scaled down to it',
               types.image_size),
        Option('--batch-size', 4, 'images a batch', types.POSITIVE),
        _WIDTH, _SEED, _FORCE,
    ],
    'Machine': [_GPUS, _PRECISION, _PROCESSES, _SHARD],
}

OF_RUN = {option.flag: option for options in RUN.values() for option in options}     # by their flags, for other tables


# ----------------------------------------------------------------------------------------------------- parsing
def _all(groups):
    return itertools.chain.from_iterable(groups.values())


def parser(groups: dict, prog: str, description: str) -> console.ArgumentParser:
    """An argument parser of the options in `groups` (one of the tables of this module)."""
    made = console.ArgumentParser(prog, description=description, allow_abbrev=False)
    made.add_argument('--version', action='version', version='icd ' + __version__)
    for title, options in groups.items():
        group = made.add_argument_group(title)
        for option in options:
            option.add_to(group)
    return made


def parse(groups: dict, prog: str, description: str, arguments: list) -> Options:
    """Read a command line.

    Parameters
    ----------
    groups : dict
        `RUN`, `SUPERPIXEL` or `EVALUATE`.
    prog, description : str
        Name and first line of the command, for its help.
    arguments : list of str

    Returns
    -------
    Options

    Raises
    ------
    UserError
        Naming the option that is wrong.
    """
    return parser(groups, prog, description).parse_args(arguments, Options())


def defaults(groups: dict, **values) -> Options:
    """Options with their defaults, changed by `values`: how Python code calls a stage."""
    made = Options(**{option.name: option.default for option in _all(groups)})
    unknown = set(values) - set(vars(made))
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    vars(made).update(values)
    return made


def names_of(groups: dict, changes: str) -> list:
    """Names of the options that change the numbers of the stage `changes`."""
    return [option.name for option in _all(groups) if changes in option.changes]


def command_line(groups: dict, options: Options) -> str:
    """The command line that gives `options`: differences from the defaults, quoted for a shell."""
    parts = []
    for option in _all(groups):
        value = getattr(options, option.name)
        if value == option.default:
            continue
        parts.append(option.flag)
        if option.type is not None:
            parts.append(','.join(map(str, value)) if isinstance(value, tuple) else str(value))
    return ' '.join(map(shlex.quote, parts))


def tables(commands: dict) -> Iterator[tuple]:
    """Tables of options as Markdown, for docs/options.md: (title, table) of each of `commands`, groups by title."""
    for title, groups in commands.items():
        lines = ['| option | default | meaning |', '|---|---|---|']
        for option in _all(groups):
            choices = ': ' + ', '.join(option.kwargs['choices']) if 'choices' in option.kwargs else ''
            shown = f'`{option.shown}`' if option.shown else ''
            lines.append(f'| `{option.flag}` | {shown} | {option.text}{choices} |')
        yield title, '\n'.join(lines)
