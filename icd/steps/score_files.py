"""The score maps of inference as files: what has to be made, and writing it. Whatever computes them; no MXNet here."""
from __future__ import annotations

import os
from typing import ContextManager, Sequence

import numpy as np

from icd import checks, cli, console, files, precision
from icd.data import geometry, images, score_map
from icd.data.inputs import Inputs
from icd.errors import Problems
from icd.method.multi_scale import Views
from icd.outputs import Input, Outputs, Value


def check(options: cli.Options, inputs: Inputs, problems: Problems) -> int:
    """Record in `problems` where score maps cannot be written; about how many bytes they will take."""
    folders = [score_map.folder(options.snapshot, kind) for kind in score_map.KINDS]
    side = geometry.feature_size(options.infer_size)
    checks.check_output_folders(problems, folders, inputs.names)
    num_labels = inputs.labels.sum(1)
    return sum(checks.missing_bytes(folder, '.npy', inputs.names, (
        4 * side * side * count if size else None for size, count in zip(inputs.sizes, num_labels)))
        for folder in folders)


def outputs(options: cli.Options, inputs: Inputs, width: float, checksum: str) -> Outputs:
    """The score maps of a run, by weights of this width and checksum."""
    settings = {'width': width, 'num_cls': inputs.num_classes, 'weights': checksum, **how_seen(options)}
    if options.infer_branch != 'top-down':
        settings.update(infer_branch=options.infer_branch)
    return Outputs(os.path.join(options.snapshot, 'results'), 'scores', settings, options.shard)


def how_seen(options: cli.Options) -> dict:
    """What the settings of outputs say of how scores are computed: nothing of what is as the original does it."""
    settings = {'infer_size': options.infer_size, **precision.setting(options.precision)}
    if not views(options).plain:        # those of a network that saw each image once stay as they are
        settings.update(infer_scales=options.infer_scales, infer_flip=options.infer_flip)
    return settings


def views(options: cli.Options) -> Views:
    """What the network sees of every image."""
    return Views(options.infer_size, options.infer_scales, options.infer_flip)


def wanted(options: cli.Options, inputs: Inputs, made: Outputs) -> dict:
    """What the score maps that are out of date are made from, by the index of their image; shards are reported."""
    found = {}
    for i, name in enumerate(console.patient_progress(inputs.names, 'scores that are there')):
        made_from = [Value(','.join(map(str, np.flatnonzero(inputs.labels[i])))),
                     Input(images.image_path(options.image_root, name))]
        paths = [score_map.path(options.snapshot, kind, name) for kind in score_map.KINDS]
        if options.force or not made.is_current(name, paths, made_from):
            found[i] = made_from
    made.report_missing(inputs.names, {inputs.names[i] for i in found})
    return found


def writing(inputs: Inputs, made: Outputs, missing: dict) -> ContextManager:
    """Hold the folder while the score maps that are `wanted` are written."""
    parts = {os.path.join(f'scores_{kind}', part)
             for kind in score_map.KINDS for part in files.sub_folders(inputs.names)}
    return made.writing([inputs.names[i] for i in missing], parts)


def write(options: cli.Options, inputs: Inputs, made: Outputs, index: int, missing: dict, fitted: tuple,
          scores: Sequence[np.ndarray]):
    """Write and record the score maps of one image.

    Parameters
    ----------
    options : Options
        `icd.cli.RUN`.
    inputs, made, missing
        The images of the run, its `outputs`, and those that are `wanted`.
    index : int
        Of the image.
    fitted : (int, int)
        Height and width of the image in the network's input.
    scores : ndarray (C, h, w) float32, one of each of `icd.data.score_map.KINDS`
        Of all classes; h and w reach as far as the image, at least.
    """
    name, identities = inputs.names[index], [one.identity() for one in missing[index]]
    own, (rows, columns) = np.flatnonzero(inputs.labels[index]), geometry.resized_positions(fitted, options.infer_size)
    side = geometry.feature_size(options.infer_size)
    for kind, score in zip(score_map.KINDS, scores):
        maps = np.zeros((len(own), side, side), np.float32)     # what the image does not reach is 0
        maps[:, :rows, :columns] = score[own, :rows, :columns]
        files.save_npy(score_map.path(options.snapshot, kind, name), maps)
    made.record(name, identities)
