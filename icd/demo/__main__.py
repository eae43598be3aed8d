"""The demo (`make demo`): photographs to seeds on a small drawn data set, through the same stages as a real run.

It draws the pictures, pre-trains a narrow VGG16 (no ImageNet is at hand), makes and merges superpixels, trains,
infers, makes seeds from ICD's scores and, for comparison, from the class activation maps at several thresholds, all
with the same dense CRF, and judges them by the exact truth. Every stage keeps what is finished, so the demo can be
stopped and repeated.
"""
import collections
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np

from icd import cli, console, files, parallel
from icd.data import images, masks, score_map, voc
from icd.demo import creatures
from icd.errors import UserError
from icd.outputs import Outputs, Value
from icd.steps import evaluate, merge_superpixels, run as real_run, seeds
from icd.train.checkpoint import Checkpoints
from icd.viz import overlay
from icd.demo import pretrain
from icd.viz import previews

PICTURE, FIGURES = 'demo.jpg', os.path.join('results', 'evaluation.json')
_PROGRAM = os.path.join(os.path.dirname(__file__), '..', '..', 'external', 'superpixel', 'makeSuperpixel')
_RAW_SIZE = '75'            # K: the smallest superpixel, in pixels

Scale = collections.namedtuple(
    'Scale', 'pictures parts part_epochs width epochs batch image_size infer_size thresholds')
Scale.__doc__ = """How large the demo is: `FULL`, or less to test it.

pictures, parts : int, pictures to train on, and of loose parts to pre-train on
part_epochs, epochs : int, epochs of pre-training and of training
width : float, multiplier of the network's channels
batch : int, images a step
image_size, infer_size : int, sides of the network's input, 8k+1
thresholds : tuple of float, at which seeds are made of class activation maps: shares of the maximum
"""
# An activation map falls off steeply around a head; its best threshold may be next to nothing.
FULL = Scale(200, 1000, 6, .125, 10, 10, creatures.SIZE, creatures.SIZE, (.0001, .001, .003, .01, .03, .1, .2, .3))


# ------------------------------------------------------------------------------------------------------- options
def _data(options, *parts):
    return os.path.join(options.snapshot, 'data', *parts)


def _run_options(options, scale):
    """Options of the real run, for `icd-run`."""
    return cli.defaults(
        cli.RUN, image_root=_data(options, 'JPEGImages'), annotation_root=_data(options, 'Annotations'),
        data_list=_data(options, 'list.txt'), class_names=_data(options, 'class_names.txt'),
        superpixel_root=os.path.join(options.snapshot, 'superpixels', 'merged'),
        pretrained=os.path.join(options.snapshot, 'pretrained.params'), snapshot=options.snapshot,
        width=scale.width, gpus=options.gpus, seed=options.seed,
        image_size=scale.image_size, infer_size=scale.infer_size, infer_batch_size=8, batch_size=scale.batch,
        # A narrow network that starts almost from nothing needs larger steps than one that knows ImageNet, and its
        # few good features need protection from them.
        learning_rate=.008, backbone_lr=.1, clip_gradient=2., ramp_epochs=1., augment=('mirror',),
        num_epoch=scale.epochs, seeds=('crf', 'cam'), cam_threshold=scale.thresholds)


def _merge_options(options, scale, run):
    """Options of the merging of superpixels, for `icd-superpixel`."""
    return cli.defaults(
        cli.SUPERPIXEL, superpixel_root=os.path.join(options.snapshot, 'superpixels', 'raw'),
        save_superpixel_root=run.superpixel_root, image_root=run.image_root, data_list=run.data_list,
        pretrained=run.pretrained, width=scale.width, image_size=scale.infer_size, batch_size=8, gpus=options.gpus)


# -------------------------------------------------------------------------------------------------------- stages
def _say(number, text):
    console.log('\n[%d/6] %s' % (number, text))


def _pretrain(options, scale, run):
    """Pre-train for these settings. A training from other weights cannot be continued, so it makes way."""
    settings = dict(scale._asdict(), seed=options.seed)
    outputs, made_from = Outputs(options.snapshot, 'demo', settings), Value('drawn parts')
    if not outputs.is_current('pretrained', [run.pretrained], [made_from]):
        with outputs.writing(['pretrained']):
            checkpoints = Checkpoints(run.snapshot, run.model)
            checkpoints.remove_within()
            checkpoints.remove_epochs()
            pretrain.run(run.pretrained, scale.width, options.seed, scale.parts, scale.part_epochs)
            outputs.record('pretrained', [made_from.identity()])


def _program():
    """Path of the superpixel program."""
    found = _PROGRAM if os.path.isfile(_PROGRAM) else shutil.which('makeSuperpixel')
    if not found:
        raise UserError('not built', os.path.normpath(_PROGRAM), 'run `make -C external/superpixel`')
    return found


def _raw_superpixels(program, run, folder):
    done = subprocess.run([program, run.data_list, run.image_root, folder, _RAW_SIZE])
    if done.returncode:
        raise UserError(f'ended with exit code {done.returncode}', program, 'see what it says above')


def run(options, scale=FULL):
    """Run the demo.

    Writes everything below `options.snapshot`; at last `results/evaluation.json`, figures in percent, and `demo.jpg`,
    rows of photograph, class activation map, its seed, ICD score, its seed and truth.

    Parameters
    ----------
    options : Options
        `icd.cli.DEMO`.
    scale : Scale

    Returns
    -------
    dict
        What `evaluation.json` holds.

    Raises
    ------
    UserError
        When the superpixel program is not built, or a stage says so.
    """
    program, run_options = _program(), _run_options(options, scale)

    _say(1, 'drawing %d pictures of creatures, with image labels and exact masks' % scale.pictures)
    names = creatures.draw(_data(options), scale.pictures, options.seed, parallel.number_of_cores())
    _say(2, 'pre-training a VGG16 of 1/%g the width on loose parts, in place of ImageNet' % (1 / scale.width))
    _pretrain(options, scale, run_options)
    _say(3, 'superpixels: makeSuperpixel, then merging to 64 a picture (icd-superpixel)')
    merging = _merge_options(options, scale, run_options)
    _raw_superpixels(program, run_options, merging.superpixel_root)
    merge_superpixels.run(merging)
    _say(4, 'training, inference and seeds (icd-run)')
    real_run.run(run_options)
    _say(5, 'judging the seeds by the truth (icd-evaluate)')
    result = _judge(options, run_options)
    files.save_json(os.path.join(options.snapshot, FIGURES), result)
    _say(6, 'drawing the picture')
    labels = voc.read_labels(names, run_options.annotation_root, creatures.CLASS_NAMES)
    draw(os.path.join(options.snapshot, PICTURE), options, run_options, shown(names, labels),
         result['cam']['threshold'])
    return result


# ------------------------------------------------------------------------------------------------------- figures
def _judge(options, run):
    """Figures of the ICD seeds and of the class activation map seeds at their best threshold.

    Returns
    -------
    dict
        In percent: `cam` and `icd` with `mIoU`, `IoU` by class, `precision`, `recall` and `ignored`; `cam` with its
        `threshold` and the mIoU of all `thresholds`, too; `difference` and its 95 % `difference_interval`.
    """
    def figures(**words):
        return evaluate.run(cli.defaults(
            cli.EVALUATE, truth=_data(options, 'SegmentationClass'), list=run.data_list,
            class_names=run.class_names, seed=options.seed, num_process=1, **words))

    folders = seeds.seed_folders(run)
    of_threshold = {threshold: figures(pred=folders['cam', threshold]) for threshold in run.cam_threshold}
    best = max(run.cam_threshold, key=lambda threshold: of_threshold[threshold]['mIoU'])
    icd = figures(pred=folders['crf', None], versus=folders['cam', best])
    words = ('mIoU', 'IoU', 'precision', 'recall', 'ignored')
    cam = {word: of_threshold[best][word] for word in words}
    cam.update(threshold=best, thresholds={'%g' % t: made['mIoU'] for t, made in of_threshold.items()})
    return {'unit': 'percent', 'images': icd['images'], 'seed': options.seed, 'cam': cam,
            'icd': {word: icd[word] for word in words}, 'difference': icd['versus']['difference'],
            'difference_interval': icd['versus']['difference_interval']}


def table(result):
    """The figures as text.

    Parameters
    ----------
    result : dict
        Of `run`.

    Returns
    -------
    str
    """
    lines = ['%-34s %6s  %s' % ('IoU of the seeds, %', 'mean', ' '.join('%10s' % n for n in result['icd']['IoU']))]
    for name, figures in (('CAM, best threshold %g' % result['cam']['threshold'], result['cam']),
                          ('ICD', result['icd'])):
        # A class that no picture of a tiny demo shows has no figure.
        cells = ' '.join('%10s' % ('-' if value is None else '%.1f' % value) for value in figures['IoU'].values())
        lines.append('%-34s %6.1f  %s' % (name, figures['mIoU'], cells))
    lines.append('%-34s %+6.1f  (95 %% of resampled data sets: %+.1f to %+.1f)' % (
        ('difference', result['difference']) + tuple(result['difference_interval'])))
    return '\n'.join(lines)


# ------------------------------------------------------------------------------------------------------- picture
_HEADINGS = ('image', 'CAM', 'CAM seed', 'ICD score', 'ICD seed', 'truth')
_ROW_HEIGHT, _HEADING_HEIGHT = 176, 30
_PAIRS = 2                  # rows with two classes


def shown(names, labels):
    """The names the picture shows: the first of each class alone, and the first two that show two classes.

    They are not chosen by how well they came out.

    Parameters
    ----------
    names : list of str
    labels : ndarray (len(names), classes)
        1 where the picture shows a class.

    Returns
    -------
    list of str
    """
    count = labels.sum(1)
    single = [np.flatnonzero((count == 1) & (labels[:, c] > 0))[:1] for c in range(labels.shape[1])]
    return [names[i] for i in np.concatenate(single + [np.flatnonzero(count == 2)[:_PAIRS]])]


def draw(path, options, run, names, threshold):
    """Draw the demo's picture.

    Parameters
    ----------
    path : str
    options, run : Options
        Of the demo and of its `icd-run`.
    names : list of str
        A row each.
    threshold : float
        Of the class activation map seeds.
    """
    rows = [_row(options, run, name, threshold) for name in names]
    files.save_image(path, previews.vstack([_heading_row(rows[0].shape[1])] + rows), cv2.IMWRITE_JPEG_QUALITY, 88)


def _heading_row(width):
    heading = np.full((_HEADING_HEIGHT, width, 3), 255, np.uint8)
    column, font = width / len(_HEADINGS), (cv2.FONT_HERSHEY_DUPLEX, .55)
    for i, text in enumerate(_HEADINGS):
        (length, _), _ = cv2.getTextSize(text, *font, 1)
        cv2.putText(heading, text, (round(column * (i + .5) - length / 2), _HEADING_HEIGHT - 9), *font, (40, 40, 40), 1,
                    cv2.LINE_AA)
    return heading


def _row(options, run, name, threshold):
    image = images.read_image(images.image_path(run.image_root, name))
    classes = voc.read_annotation(os.path.join(run.annotation_root, name + '.xml'), creatures.CLASS_NAMES)
    folders = seeds.seed_folders(run)

    def heat(kind):
        """The positive scores of the picture's classes, each a share of its maximum, in one map."""
        scores = score_map.read(score_map.path(run.snapshot, kind, name), len(classes), run.infer_size)
        positive = np.maximum(score_map.at_image_size(scores, image.shape[:2], run.infer_size), 0)
        return previews.heat(image, (positive / np.maximum(positive.max((1, 2), keepdims=True), 1e-5)).max(0))

    def over(folder):
        return overlay.blend(image, masks.read_mask(os.path.join(folder, name + '.png')))
    columns = [image, heat('cam'), over(folders['cam', threshold]), heat('icd'), over(folders['crf', None]),
               over(_data(options, 'SegmentationClass'))]
    width = round(image.shape[1] * _ROW_HEIGHT / image.shape[0])
    return previews.hstack([cv2.resize(column, (width, _ROW_HEIGHT), interpolation=cv2.INTER_AREA)
                          for column in columns])


# --------------------------------------------------------------------------------------------------- the command
def main(arguments):
    """Run the demo with a list of command-line arguments; print its table and where its picture is."""
    options = cli.parse(cli.DEMO, 'python -m icd.demo',
                                  'From photographs to seeds on a small drawn data set.', arguments)
    result = run(options)
    print('\n%s\n' % table(result))
    print('figures: %s\npicture: %s' % (os.path.join(options.snapshot, FIGURES),
                                        os.path.join(options.snapshot, PICTURE)))


if __name__ == '__main__':
    sys.exit(console.run_command(main))
