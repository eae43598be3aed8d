"""What the demo does: images to a segmentation network on a small drawn data set, by the stages of a real run.

It draws the images, pre-trains a narrow VGG16 (no ImageNet is at hand), makes and merges superpixels, trains, infers,
makes seeds from ICD's scores and, for comparison, from the class activation maps at several thresholds, all with the
same dense CRF, and evaluates them by the exact truth. Then it trains a segmentation network on either seeds and on the
truth, and evaluates them on images that nothing was trained on. Every stage keeps what is finished, so the demo can be
stopped and repeated.
"""
from __future__ import annotations

import dataclasses
import os

from icd import cli, console, files, parallel
from icd.data import voc
from icd.demo import creatures, dataset, figures, picture, pretrain, segmentation
from icd.outputs import Outputs, Value
from icd.steps import merge_superpixels, own_process, seeds
from icd.steps import run as real_run
from icd.superpixels import program as superpixel_program
from icd.train.checkpoint import Checkpoints

PICTURE, FIGURES = 'demo.jpg', os.path.join('results', 'evaluation.json')
_RAW_SIZE = '75'            # K: the smallest superpixel, in pixels


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the demo is: `FULL`, or less to test it.

    Attributes
    ----------
    pictures, parts : int
        Images to train on, and images of loose parts to pre-train on.
    part_epochs, epochs : int
        Epochs of pre-training and of training.
    width : float
        Multiplier of the network's channels.
    batch : int
        Images a step.
    image_size, infer_size : int
        Sides of the network's input, 8k+1.
    thresholds : tuple of float
        At which seeds are made of class activation maps: fractions of the maximum.
    segmentation : segmentation.Scale
    """

    pictures: int
    parts: int
    part_epochs: int
    width: float
    epochs: int
    batch: int
    image_size: int
    infer_size: int
    thresholds: tuple
    segmentation: segmentation.Scale


# An activation map falls off steeply around a head; its best threshold may be next to nothing.
FULL = Scale(pictures=200, parts=1000, part_epochs=6, width=.125, epochs=10, batch=10, image_size=creatures.SIZE,
             infer_size=creatures.SIZE, thresholds=(.0001, .001, .003, .01, .03, .1, .2, .3),
             segmentation=segmentation.Scale(unseen=100, epochs=12, batch=10, image_size=creatures.SIZE))


def _data(options, *parts):
    return os.path.join(options.snapshot, 'data', *parts)


def _run_options(options, scale):
    """Options of the real run, for `icd-run`."""
    return cli.defaults(
        cli.RUN, image_root=_data(options, 'JPEGImages'), annotation_root=_data(options, 'Annotations'),
        data_list=_data(options, 'list.txt'), class_names=_data(options, 'class_names.txt'),
        unlabelled='keep',              # some images show no creature of a class
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


def _log(number, text):
    console.log(f'\n[{number}/7] {text}')


def _pretrain(options, scale, run):
    """Pre-train for these settings. A training from other weights cannot be continued, so it makes way."""
    settings = dict(dataclasses.asdict(scale), seed=options.seed)
    del settings['segmentation']            # the second stage sees to its own
    outputs, made_from = Outputs(options.snapshot, 'demo', settings), Value('drawn parts')
    if not outputs.is_current('pretrained', [run.pretrained], [made_from]):
        with outputs.writing(['pretrained']):
            checkpoints = Checkpoints(run.snapshot, run.model)
            checkpoints.remove_within()
            checkpoints.remove_epochs()
            pretrain.run(run.pretrained, scale.width, options.seed, scale.parts, scale.part_epochs)
            outputs.record('pretrained', [made_from.identity()])


def run(options: cli.Options, scale: Scale = FULL, program: str = superpixel_program.PROGRAM) -> dict:
    """Run the demo.

    Writes everything below `options.snapshot`; at last `results/evaluation.json`, figures in percent, and `demo.jpg`:
    rows of image, class activation map, its seed, ICD score, its seed and truth; below them unseen images, what the
    networks trained on either seeds and on the truth make of them, and their truth.

    Parameters
    ----------
    options : Options
        `icd.demo_options.DEMO`.
    scale : Scale
    program : str
        Path of makeSuperpixel; where there is none, it is looked for on the PATH.

    Returns
    -------
    dict
        What `evaluation.json` holds: `icd.demo.figures.of_seeds`, and `of_networks` as `unseen`.

    Raises
    ------
    UserError
        When the superpixel program is not built, or a stage raises one.
    """
    program, run_options = superpixel_program.find(program), _run_options(options, scale)

    _log(1, f'drawing {scale.pictures} images of creatures, with image labels and exact masks')
    names = dataset.draw(_data(options), scale.pictures, options.seed, parallel.number_of_cores())
    _log(2, f'pre-training a VGG16 of 1/{1 / scale.width:g} the width on loose parts, in place of ImageNet')
    _pretrain(options, scale, run_options)
    _log(3, 'superpixels: makeSuperpixel, then merging to 64 an image (icd-superpixel)')
    merging = _merge_options(options, scale, run_options)
    superpixel_program.run(program, [run_options.data_list, run_options.image_root, merging.superpixel_root, _RAW_SIZE])
    own_process.stage('icd.steps.merge_superpixels', cli.SUPERPIXEL, merging, merge_superpixels.run)
    _log(4, 'training, inference and seeds (icd-run)')
    own_process.stage('icd.steps.run', cli.RUN, run_options, real_run.run)
    _log(5, 'evaluating the seeds by the truth (icd-evaluate)')
    folders, truth = seeds.seed_folders(run_options), _data(options, 'SegmentationClass')
    result = figures.of_seeds({threshold: folders['cam', threshold] for threshold in scale.thresholds},
                              folders['crf', None], truth, run_options.data_list, run_options.class_names, options.seed)
    taught_by = {'cam': folders['cam', result['cam']['threshold']], 'icd': folders['crf', None], 'truth': truth}
    _log(6, 'segmentation networks from these seeds and from the truth, on unseen images (icd-segment)')
    unseen = os.path.join(options.snapshot, 'unseen')
    unseen_names = segmentation.draw_unseen(unseen, scale.segmentation, options.seed)
    predictions = segmentation.run(taught_by, unseen, run_options, scale.segmentation)
    result['unseen'] = figures.of_networks(predictions, os.path.join(unseen, 'SegmentationClass'),
                                           os.path.join(unseen, 'list.txt'), run_options.class_names, options.seed)
    files.save_json(os.path.join(options.snapshot, FIGURES), result)
    _log(7, 'drawing the picture')
    picture.draw(os.path.join(options.snapshot, PICTURE), _shown(names, _data(options), picture.PAIRS), picture.Sources(
        run_options.image_root, run_options.annotation_root, truth, options.snapshot, scale.infer_size,
        taught_by['cam'], taught_by['icd']), _shown(unseen_names, unseen), picture.Unseen(unseen, {
            name: os.path.join(folder, 'crf') for name, folder in predictions.items()}))
    return result


def _shown(names, folder, pairs=0):
    labels = voc.read_labels(names, os.path.join(folder, 'Annotations'), creatures.CLASS_NAMES)
    return picture.shown(names, labels, pairs)
