"""The demo's second stage: small segmentation networks, compared on images that nothing was trained on.

Three networks start from the same weights and see the same training images by the same settings. They differ in what
they are taught: seeds of class activation maps, ICD's seeds, or the truth, which nobody has who needs seeds. Those
weights are the trained ICD's, fc6 and fc7 of its class activation maps included: what pre-training on loose parts gives
in place of ImageNet is too little for a training of minutes.
"""
from __future__ import annotations

import dataclasses
import os

from icd import cli, console, parallel, segment_options
from icd.data import masks, voc
from icd.demo import dataset
from icd.outputs import Input, Outputs
from icd.steps import own_process, predict_segmentation, train_segmentation
from icd.train.checkpoint import Checkpoints

_OTHER_SEED = 1000          # added to the demo's, it draws the unseen images
_MODEL = 'deeplab'


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the second stage is.

    Attributes
    ----------
    unseen : int
        Images to compare the networks on.
    epochs, batch : int
        Of each training.
    image_size : int
        Side of the training crops, 8k+1.
    """

    unseen: int
    epochs: int
    batch: int
    image_size: int


def draw_unseen(folder: str, scale: Scale, seed: int) -> list:
    """Draw images that are none of the demo's training images, with their truth; their names.

    Parameters
    ----------
    folder : str
        See `icd.demo.dataset.draw`.
    scale : Scale
    seed : int
        The demo's.
    """
    return dataset.draw(folder, scale.unseen, seed + _OTHER_SEED, parallel.number_of_cores())


def run(teachers: dict, unseen: str, run_options: cli.Options, scale: Scale) -> dict:
    """Train a network by each teacher (`icd-segment train`) and let it segment unseen images (`icd-segment predict`).

    Parameters
    ----------
    teachers : dict of str to str
        Folders of masks of the training images, by name.
    unseen : str
        Of `draw_unseen`.
    run_options : Options
        `icd.cli.RUN` of the demo, which is trained: images, width and device are the same.
    scale : Scale

    Returns
    -------
    dict of str to str
        Folders of predictions, `raw` and `crf` in each, by teacher; one whose masks are background alone teaches
        nothing and is left out.
    """
    predictions, start = {}, Checkpoints(run_options.snapshot, run_options.model).path(run_options.num_epoch - 1)
    for name, folder in teachers.items():
        if not _teaches(folder, voc.read_list(run_options.data_list)):
            console.log(f'{folder}: nothing but background, from which no network learns')
            continue
        snapshot = os.path.join(run_options.snapshot, 'segmentation', name)
        _make_way(snapshot, start, dataclasses.asdict(scale))
        own_process.stage('icd.steps.segment', segment_options.SEGMENT_TRAIN,
                          _train_options(run_options, scale, start, folder, snapshot), train_segmentation.run, 'train')
        predictions[name] = os.path.join(snapshot, 'predictions')
        own_process.stage('icd.steps.segment', segment_options.SEGMENT_PREDICT, _predict_options(
            run_options, unseen, snapshot, predictions[name]), predict_segmentation.run, 'predict')
    return predictions


def _teaches(folder, names):
    """Whether any mask holds anything but background."""
    return any(masks.read_mask(os.path.join(folder, name + '.png')).any() for name in names)


def _make_way(snapshot, start, settings):
    """Remove a training with other settings or from other weights: it cannot be continued."""
    outputs, made_from = Outputs(snapshot, 'demo', settings), Input(start)
    if not outputs.is_current(_MODEL, [], [made_from]):
        with outputs.writing([_MODEL]):
            checkpoints = Checkpoints(snapshot, _MODEL)
            checkpoints.remove_within()
            checkpoints.remove_epochs()
            outputs.record(_MODEL, [made_from.identity()])


def _train_options(run_options, scale, start, seed_root, snapshot):
    return cli.defaults(
        segment_options.SEGMENT_TRAIN, image_root=run_options.image_root, data_list=run_options.data_list,
        class_names=run_options.class_names, pretrained=start, width=run_options.width, seed=run_options.seed,
        seed_root=seed_root, snapshot=snapshot, model=_MODEL, image_size=scale.image_size, batch_size=scale.batch,
        num_epoch=scale.epochs, num_save=1,
        # On two devices a step uses two cores where they are, and computes the same where there is one.
        gpus='cpu:2' if run_options.gpus == 'cpu' else run_options.gpus,
        # Few steps must suffice: larger ones, creatures that weigh as much as the background, and no time for the
        # backbone, whose features serve.
        learning_rate=.02, class_balance=True, backbone_lr=0., clip_gradient=2., ramp_epochs=1., augment=('mirror',))


def _predict_options(run_options, unseen, snapshot, out):
    return cli.defaults(
        segment_options.SEGMENT_PREDICT, snapshot=snapshot, image_root=os.path.join(unseen, 'JPEGImages'),
        data_list=os.path.join(unseen, 'list.txt'), out=out, gpus=run_options.gpus,
        infer_size=run_options.infer_size, scales=(1.,), infer_batch_size=8)
