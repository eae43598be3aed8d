"""Every option of every command, once: name, default, help and check.

The command lines, docs/options.md (`python -m icd.cli`) and the header of the run log all come from here.
"""
import argparse
import os
import shlex

from icd import __version__, console


class Options(argparse.Namespace):
    """Values of a command's options, by name with underscores: `options.image_root`."""


# ------------------------------------------------------------------------------------------------------ checks
def _number(kind, low, high=None, above=False):
    """A type for argparse: an int or float at least `low` (more than `low` with `above`), at most `high`."""
    want = '%s %s %g' % ({int: 'a whole number', float: 'a number'}[kind], '>' if above else '>=', low)
    want += '' if high is None else ' and <= %g' % high

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (value > low if above else value >= low) or value == float('inf') or (
                high is not None and value > high):
            raise argparse.ArgumentTypeError('%r is not %s' % (text, want))
        return value
    convert.metavar = {int: 'N', float: 'X'}[kind]
    return convert


def _image_size(text):
    """Network inputs are 8k+1: then feature-map positions fall on every eighth pixel (ORIGINAL layout)."""
    value = _number(int, 33)(text)
    if value % 8 != 1:
        raise argparse.ArgumentTypeError('%r is not 8k+1: take %d or %d' % (
            text, value - (value - 1) % 8, value - (value - 1) % 8 + 8))
    return value


def _choices(*names):
    """A comma-separated choice of `names`."""
    def convert(text):
        chosen = [part.strip() for part in text.split(',')]
        if any(c not in names for c in chosen):
            raise argparse.ArgumentTypeError('%r: choose from %s, separated by commas' % (text, ', '.join(names)))
        return tuple(n for n in names if n in chosen)
    return convert


def _path(text):
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError('%r is not a path' % text)
    return os.path.expanduser(text)


def _numbers(count, deviations):
    """`count` positive numbers separated by commas: first standard deviations of at least 1, then weights."""
    def convert(text):
        values = text.split(',')
        if len(values) != count:
            raise argparse.ArgumentTypeError('%r is not %d numbers separated by commas' % (text, count))
        return tuple((_deviation if i < deviations else _weight)(v) for i, v in enumerate(values))
    return convert


def _shares(text):
    """Different numbers above 0, at most 1, with at most four decimals, separated by commas."""
    shares = tuple(_number(float, 0, 1, above=True)(t) for t in text.split(','))
    if len(set(shares)) < len(shares) or any(s != round(s, 4) for s in shares):
        raise argparse.ArgumentTypeError('%r: give different numbers with at most four decimals' % text)
    return shares


_image_size.metavar = 'N'
_positive, _count = _number(int, 1), _number(int, 0)
_not_negative, _above_zero = _number(float, 0), _number(float, 0, above=True)
_deviation, _weight = _number(float, 1, 1e6), _number(float, 0, 1e6, above=True)


# ------------------------------------------------------------------------------------------------------ the table
class Option:
    """One option: `flag`, `default`, `text` for the help, `type` (None: a switch) and further argparse words.

    `changes` names the stages of which it changes the numbers: what was made with another value is of no use to them.
    """

    def __init__(self, flag, default, text, type=None, changes=(), **words):
        self.flag, self.default, self.text, self.type, self.words = flag, default, text, type, words
        self.changes = changes

    @property
    def name(self):
        return self.flag.lstrip('-').replace('-', '_')

    @property
    def shown(self):
        """The default as one would type it; empty for a switch and where there is none."""
        if self.default is None or self.default is False:
            return ''
        return ','.join('%g' % v if isinstance(v, float) else str(v) for v in self.default) if isinstance(
            self.default, tuple) else str(self.default)

    def _placeholder(self):
        """What stands for the value in the usage line."""
        if self.type is _path:
            return 'DIR' if self.text.startswith('folder') else 'FILE'
        return getattr(self.type, 'metavar', self.name.rpartition('_')[2].upper())

    def add_to(self, parser):
        note = ' (required)' if self.words.get('required') else ' (default: %s)' % self.shown if self.shown else ''
        words = dict(self.words, help=(self.text + note).replace('%', '%%'))
        if self.type is None:
            words['action'] = 'store_true'
        else:
            words.update(type=self.type)
            words.setdefault('default', self.default)
            if 'choices' not in words:
                words.setdefault('metavar', self._placeholder())
        parser.add_argument(self.flag, **words)


_TRAIN = ('train',)
_DATA_LIST = Option('--data-list', './data/VOC2012/train_aug.txt', 'names, one a line', _path, changes=_TRAIN)
_IMAGE_ROOT = Option('--image-root', './data/VOC2012/JPEGImages', 'folder of NAME.jpg', _path)
_PRETRAINED = Option('--pretrained', './data/pretrained/vgg16_20M.params',
                     "pretrained VGG16 in the original's format; none: a random start", _path, changes=_TRAIN)
_GPUS = Option('--gpus', None, 'devices: 0,1 for GPUs, cpu, cpu:2 for two CPU devices '
               '(default: all GPUs, else the CPU)', str)
_SEED = Option('--seed', 0, 'seed of everything random', _number(int, 0, 2 ** 31 - 1), changes=_TRAIN)
_PROCESSES = Option('--num-process', None, 'worker processes (default: one a core)', _positive)
_WIDTH = Option('--width', 1., "multiplier of the network's channels; 1 is the paper's VGG16",
                _number(float, 0, 4, above=True), changes=_TRAIN)
_CLASS_NAMES = Option('--class-names', None, "class names of another data set in VOC layout, one a line, background "
                      "left out (default: VOC's 20)", _path)
_NUM_CLS = Option('--num-cls', None, 'classes, background not counted (default: as many as there are class names)',
                  _number(int, 1, 254), changes=_TRAIN)
_FORCE = Option('--force', False, 'make outputs again that are already there and up to date')

RUN = {
    'Files': [
        _IMAGE_ROOT,
        Option('--annotation-root', './data/VOC2012/Annotations', 'folder of NAME.xml (VOC annotations)', _path,
               changes=_TRAIN),
        Option('--superpixel-root', './data/superpixels/voc_superpixels', 'folder of NAME.png: merged superpixels',
               _path),
        Option('--saliency-root', './data/saliency/saliency_aug', 'folder of NAME.png: saliency, 0 to 255', _path),
        _DATA_LIST,
        _PRETRAINED,
        Option('--snapshot', './snapshot/icd', 'folder for everything the run writes', _path),
        _CLASS_NAMES,
    ],
    'Network': [
        Option('--model', 'vgg16_icd', "first part of the checkpoints' names", str),
        _NUM_CLS,
        _WIDTH,
        Option('--no-superpixel', False, 'ablation: refine every pixel alone', changes=_TRAIN),
        Option('--freeze-bn', False, 'feat_bn uses its running statistics in training, too', changes=_TRAIN),
        Option('--sync-bn', False, 'feat_bn takes its statistics over all devices of the node', changes=_TRAIN),
    ],
    'Training': [
        Option('--image-size', 321, 'side of the training crops, 8k+1', _image_size, changes=_TRAIN),
        Option('--batch-size', 32, 'images a step, over all devices and nodes', _positive, changes=_TRAIN),
        Option('--accumulate', 1, 'batches whose gradients and calibration statistics are added up for one step '
               '(batch normalisation still sees each batch alone)', _positive, changes=_TRAIN),
        Option('--learning-rate', 1e-3, 'learning rate of the first epoch', _above_zero, changes=_TRAIN),
        Option('--num-epoch', 20, 'epochs', _positive, changes=_TRAIN),
        Option('--begin-epoch', 0, 'first epoch; above 0 the checkpoint of the epoch before is loaded', _count,
               changes=_TRAIN),
        Option('--num-sample', 0, "images an epoch; 0: the list's length", _count, changes=_TRAIN),
        Option('--num-save', 5, 'newest checkpoints to keep', _positive),
        Option('--log-frequency', 0, 'batches between log lines; 0: a twentieth of an epoch, at least 5 or '
               'an epoch', _count),
        Option('--resume', 'auto', 'auto: continue from the newest whole checkpoint of the snapshot folder, if there '
               'is one; no: start over, which removes them', str, nargs='?', const='auto', choices=('auto', 'no')),
        Option('--checkpoint-every', 0, 'batches between checkpoints within an epoch; 0: none', _count),
        Option('--augment', ('scale', 'mirror'), 'random changes of a training image: scale, mirror, or both, '
               'separated by a comma', _choices('scale', 'mirror'), changes=_TRAIN),
        Option('--backbone-lr', 1., "multiplier of the backbone's learning rate", _not_negative, changes=_TRAIN),
        Option('--clip-gradient', 0., 'largest norm of the gradient an image, bottom-up weight left out; 0: no limit',
               _not_negative, changes=_TRAIN),
        Option('--ramp-epochs', 0., 'epochs over which the learning rate rises linearly from a tenth', _not_negative,
               changes=_TRAIN),
        Option('--only-train', False, 'stop after training'),
        _SEED,
    ],
    'Machine': [
        _GPUS,
        Option('--kvstore', 'device', 'how gradients are added up', str,
               choices=('device', 'local', 'nccl', 'dist_sync', 'dist_device_sync')),
        Option('--num-workers', None, 'processes that read training images; 0: the main one (default: one a core, '
               'at most 8)', _count),
        _PROCESSES,
        Option('--cache', 'none', 'ram keeps the read files in memory', str, choices=('none', 'ram')),
    ],
    'Watching': [
        Option('--profile', False, "write MXNet's profile of ten steps to SNAPSHOT/profile.json"),
        Option('--tensorboard', False, 'write TensorBoard events to SNAPSHOT/tensorboard'),
        Option('--dry-run', False, 'check every input, print what would be run, and stop'),
    ],
    'Inference': [
        Option('--infer-size', 513, 'side of the padded network input, 8k+1', _image_size),
        Option('--infer-batch-size', 4, 'images a batch', _positive),
        Option('--only-infer', False, 'skip training; stop after inference'),
        Option('--export-scores', None, 'also write the score maps for other programs: a folder (NAME.npz each) or '
               'one FILE.npz', _path, metavar='DIR|FILE.npz'),
        Option('--export-full-size', False, 'exported maps at image size, too'),
    ],
    'Seeds': [
        Option('--only-gen-seeds', False, 'skip training and inference'),
        Option('--use-sal', False, 'saliency seeds (the folder sal) in place of CRF seeds'),
        Option('--seeds', None, 'folders to write: crf, sal, raw (before the CRF), cam (from the class activation '
               'maps, to compare with), separated by commas (default: crf, or sal with --use-sal)',
               _choices('crf', 'sal', 'raw', 'cam')),
        Option('--cam-threshold', (.3,), 'for --seeds cam: fractions of the maximum below which CAM is background, '
               'separated by commas; a folder cam_0.30 each', _shares),
        Option('--confidence', .5, "probability the CRF's unary gives a seed's class",
               _number(float, 0, 1, above=True)),
        Option('--crf-iterations', 10, 'mean-field iterations', _number(int, 0, 10000)),
        Option('--crf-gaussian', (3., 3.), 'SXY,COMPAT of the Gaussian pairwise term', _numbers(2, 1)),
        Option('--crf-bilateral', (80., 13., 10.), 'SXY,SRGB,COMPAT of the bilateral pairwise term', _numbers(3, 2)),
        Option('--colour', False, 'also write copies in VOC colours and overlays for the eye'),
        _FORCE,
    ],
}


SUPERPIXEL = {
    'Files': [
        Option('--superpixel-root', './external/superpixel/data/VOC', 'folder of NAME.png: raw superpixels', _path),
        _IMAGE_ROOT, _DATA_LIST, _PRETRAINED,
        Option('--save-superpixel-root', './data/superpixels/voc_superpixels', 'folder for the merged superpixels',
               _path),
        Option('--save-feature-root', './data/cache/features', 'accepted for old command lines; nothing is written '
               'there', _path),
    ],
    'Merging': [
        Option('--max-superpixel-num', 64, 'superpixels to keep an image', _number(int, 1, 65535)),
        Option('--image-size', 513, 'side of the padded network input, 8k+1; larger images are scaled down to it',
               _image_size),
        Option('--batch-size', 4, 'images a batch', _positive),
        _WIDTH, _SEED, _FORCE,
    ],
    'Machine': [_GPUS, _PROCESSES],
}

EVALUATE = {
    'Files': [
        Option('--pred', None, 'folder of NAME.png: the seeds to evaluate', _path, required=True),
        Option('--truth', None, "folder of NAME.png: ground truth, or somebody's released seeds", _path, required=True),
        Option('--list', None, 'names, one a line', _path, required=True),
        Option('--versus', None, 'folder of NAME.png: other seeds, to compare both with the truth on the same images',
               _path),
        _CLASS_NAMES,
    ],
    'Counting': [
        Option('--num-cls', None, 'classes, background counted (default: 21, or one more than --class-names has)',
               _number(int, 2, 255)),
        Option('--skip-bad', False, 'leave out names whose masks are missing, damaged or do not fit, and report which; '
               'otherwise they end the command'),
        Option('--resamples', 1000, "draws of the images for the interval of --versus", _number(int, 20, 100000)),
        _SEED,
    ],
    'Report': [
        Option('--json', None, 'write the figures to this file', _path, metavar='FILE'),
        Option('--html', None, 'write a page with plots and overlays to this file', _path, metavar='FILE'),
        Option('--image-root', None, 'folder of NAME.jpg: images for the page', _path),
        Option('--worst', 24, 'images to show: those that differ most', _number(int, 1, 1000)),
    ],
    'Confidence': [
        Option('--scores', None, 'folder of NAME.npy (SNAPSHOT/results/scores_icd): precision when pixels of low '
               'confidence are ignored, threshold by threshold; needs --annotation-root', _path),
        Option('--annotation-root', None, 'folder of NAME.xml: which classes the scores are of', _path),
        Option('--infer-size', 513, 'side of the network input the scores were made with, 8k+1', _image_size),
    ],
    'Machine': [_PROCESSES],
}

DEMO = {
    'Demo': [
        _SEED,
        Option('--snapshot', './snapshot/demo', 'folder for everything the demo writes', _path),
        Option('--gpus', 'cpu', 'devices: 0,1 for GPUs, cpu, cpu:2 for two CPU devices', str),
    ],
}


# ----------------------------------------------------------------------------------------------------- parsing
def parser(groups, prog, description):
    """An argument parser of the options in `groups` (one of the tables of this module)."""
    made = console.ArgumentParser(prog, description=description, allow_abbrev=False)
    made.add_argument('--version', action='version', version='icd ' + __version__)
    for title, options in groups.items():
        group = made.add_argument_group(title)
        for option in options:
            option.add_to(group)
    return made


def parse(groups, prog, description, arguments):
    """Read a command line.

    Parameters
    ----------
    groups : dict
        `RUN`, `SUPERPIXEL`, `EVALUATE` or `DEMO`.
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


def defaults(groups, **values):
    """Options with their defaults, changed by `values`: how Python code calls a stage."""
    made = Options(**{o.name: o.default for options in groups.values() for o in options})
    unknown = set(values) - set(vars(made))
    if unknown:
        raise TypeError('no such option: %s' % ', '.join(sorted(unknown)))
    vars(made).update(values)
    return made


def names_of(groups, changes):
    """Names of the options that change the numbers of the stage `changes`."""
    return [o.name for options in groups.values() for o in options if changes in o.changes]


def command_line(groups, options):
    """The command line that gives `options`: differences from the defaults, quoted for a shell."""
    words = []
    for option in (o for options_ in groups.values() for o in options_):
        value = getattr(options, option.name)
        if value == option.default:
            continue
        words.append(option.flag)
        if option.type is not None:
            words.append(','.join(map(str, value)) if isinstance(value, tuple) else str(value))
    return ' '.join(shlex.quote(w) for w in words)


def tables():
    """The tables of docs/options.md.

    Yields
    ------
    (str, str)
        Command and Markdown table.
    """
    for title, groups in (('run_icd.py', RUN), ('generate_superpixel.py', SUPERPIXEL), ('icd-evaluate', EVALUATE)):
        lines = ['| option | default | meaning |', '|---|---|---|']
        for options in groups.values():
            for o in options:
                text = o.text + (': ' + ', '.join(o.words['choices']) if 'choices' in o.words else '')
                lines.append('| `%s` | %s | %s |' % (o.flag, '`%s`' % o.shown if o.shown else '', text))
        yield title, '\n'.join(lines)


if __name__ == '__main__':
    for _title, _table in tables():
        print('### `%s`\n\n%s\n' % (_title, _table))
