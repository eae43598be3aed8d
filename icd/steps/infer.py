"""Inference: images and weights to score maps."""
from __future__ import annotations

import contextlib
import os

import numpy as np

from icd import cli, console, files, gpu_memory, mxnet_setup, parallel, precision
from icd.data import augment, geometry, images, superpixel_map
from icd.data.inputs import Inputs, check_superpixels
from icd.data.loader import InferenceLoader
from icd.errors import Problems, UserError
from icd.model.icd_blocks import SuperpixelRefine, apply_sign
from icd.model.icd_net import ICDNet
from icd.model.multi_scale import PaddedMultiScale
from icd.model.padded_input import BottomUpMaps, ScoreMaps
from icd.mxnet_setup import mx
from icd.outputs import Input, Outputs, Value
from icd.predict import predict
from icd.steps import score_files
from icd.train.checkpoint import Checkpoints
from icd.viz import previews
from icd.weights import load

_PREVIEW_ROWS = 20      # single-label images a class's preview shows


def check(options: cli.Options, inputs: Inputs, problems: Problems, upcoming: tuple = ()) -> int:
    """Record in `problems` what inference lacks; see `icd.steps`."""
    if 'train' not in upcoming:
        if not options.no_superpixel:
            check_superpixels(options.superpixel_root, inputs, problems)
        try:
            precision.check(options.precision, mxnet_setup.devices(options.gpus))
            load.read_trained(_trained(options), ICDNet(inputs.num_classes, options.width))
        except UserError as error:
            problems.add_error(error)
    return score_files.check(options, inputs, problems)


def run(options: cli.Options, inputs: Inputs) -> bool:
    """Write the score maps of every image of the list and the previews.

    `SNAPSHOT/results/scores_cam/NAME.npy` and `scores_icd/NAME.npy` hold float32 (labels, h, w), the image's own
    classes in ascending order; positions that the image does not reach are 0. Files that were made from the same
    image, classes and weights with the same settings are kept. A `--shard` writes no previews.

    Raises
    ------
    UserError
        When the checkpoint of the last epoch or an image turns out to be unusable, or a device runs out of memory.
    """
    contexts = mxnet_setup.devices(options.gpus)
    with mxnet_setup.computing(contexts, gpu_memory.smaller_batch('--infer-batch-size', options.infer_batch_size,
                                                                  '--infer-size')):
        _run(options, inputs, contexts)
    return True


def _run(options, inputs, contexts):
    weights = _trained(options)
    outputs = score_files.outputs(options, inputs, options.width, f'{files.checksum(weights):08x}')
    wanted = score_files.wanted(options, inputs, outputs)
    with score_files.writing(inputs, outputs, wanted):
        net = _score(options, inputs, outputs, wanted, weights, contexts)
    if options.shard:
        return
    with mxnet_setup.untuned(), console.ornament('a preview of scores'):
        _write_previews(options, inputs, weights, net, contexts)


def _trained(options):
    """The weights after the last epoch."""
    return Checkpoints(options.snapshot, options.model).existing(
        options.num_epoch - 1, 'train to the last epoch first, or give the --num-epoch it was trained with')


def _score(options, inputs, outputs, wanted, weights, contexts):
    """Write the score maps of the images `wanted` (inputs by index); the network, or None when there were none."""
    if not wanted:
        console.log(f'scores: all {len(inputs.names)} are up to date')
        return None
    net = ICDNet(inputs.num_classes, options.width, precision=options.precision)
    views = score_files.views(options)
    network = PaddedMultiScale(ScoreMaps if options.infer_branch == 'top-down' else BottomUpMaps, net, views)
    loader = InferenceLoader([inputs.names[i] for i in wanted], options.image_root, options.infer_size,
                             options.infer_batch_size, parallel.number_of_readers(options.num_workers),
                             [inputs.sizes[i] for i in wanted], network.group)
    indices = {inputs.names[i]: i for i in wanted}
    with contextlib.closing(loader), console.progress(total=len(wanted), desc='scores') as bar:
        load.load_trained(weights, net, contexts)
        for batch, maps in predict(loader, network, contexts):
            for name, fitted, found in zip(batch.names, batch.scaled_sizes, maps):
                # CAM and the other score take turns.
                scores = [views.mean(found[kind::2], fitted) for kind in range(2)]
                score_files.write(options, inputs, outputs, indices[name], wanted, fitted, scores)
                bar.update()
    return net


# ------------------------------------------------------------------------------------------------------- previews
def _write_previews(options, inputs, weights, net, contexts):
    """`scores_demo/class_C.jpg`: single-label images with all their score maps, positive and negative part."""
    folder, single = os.path.join(options.snapshot, 'results', 'scores_demo'), inputs.labels.sum(axis=1) == 1
    settings = {'infer_size': options.infer_size, 'no_superpixel': options.no_superpixel,
                'weights': f'{files.checksum(weights):08x}', **precision.setting(options.precision)}
    outputs = Outputs(folder, 'previews of scores', settings)
    shown, stale = {}, {}
    for c in range(inputs.num_classes):
        path = os.path.join(folder, f'class_{c}.jpg')
        names = [inputs.names[i] for i in np.flatnonzero(single & (inputs.labels[:, c] > 0))[:_PREVIEW_ROWS]]
        if not names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)                         # of images that were shown before
            continue
        made_from = [Value(','.join(names))] + [Input(source) for name in names for source in _sources(options, name)]
        if options.force or not outputs.is_current(f'class_{c}', [path], made_from):
            shown[path], stale[f'class_{c}'] = (c, names), made_from
    with outputs.writing(stale):
        if shown:
            _draw(options, inputs, weights, net, contexts, outputs, zip(shown.items(), stale.items()),
                  sum(len(names) for _, names in shown.values()))


def _draw(options, inputs, weights, net, contexts, outputs, wanted, count):
    """Write the previews `wanted`, which show `count` images in all."""
    if net is None:
        net = ICDNet(inputs.num_classes, options.width, precision=options.precision)
        load.load_trained(weights, net, contexts)
    with console.progress(total=count, desc='previews of scores') as bar:
        for (path, (c, names)), (name, made_from) in wanted:
            identities = [one.identity() for one in made_from]
            label, rows = (np.arange(inputs.num_classes) == c).astype(np.float32), []
            for image in names:
                rows.append(_preview_row(options, net, contexts[0], image, label, c))
                bar.update()
            files.save_image(path, previews.vstack(rows))
            outputs.record(name, identities)


def _sources(options, name):
    """Files that a row of a preview is made from."""
    superpixels = () if options.no_superpixel else (superpixel_map.path(options.superpixel_root, name),)
    return (images.image_path(options.image_root, name), *superpixels)


def _preview_row(options, net, device, name, label, c):
    """Image | CAM | calibrated bottom-up | refined | top-down score of class `c`."""
    image = images.read_image(images.image_path(options.image_root, name))
    square, fitted = augment.letterbox(image, options.infer_size)
    x = mx.nd.array(square[..., ::-1].transpose(2, 0, 1)[None], ctx=device, dtype='uint8')
    cam, bottom_up, top_down, _ = net(x)
    score = apply_sign(bottom_up, net.icd_accum_resign_moving_mean.data(device))
    partition = ()
    if not options.no_superpixel:
        partition = _partition(options, name, fitted, device)
    refined = SuperpixelRefine(options.no_superpixel)(score, mx.nd.array(label[None], ctx=device), *partition)
    rows, columns = map(geometry.feature_size, fitted)
    maps = [m[0, c, :rows, :columns].asnumpy() for m in (cam, score, refined, top_down)]
    return previews.row(image, maps)


def _partition(options, name, fitted, device):
    """Superpixels (1, h, w) at the network's stride and their numbers; padding is a superpixel of its own."""
    labels = superpixel_map.read(superpixel_map.path(options.superpixel_root, name))
    height, width = fitted
    rows = (np.arange(height) * labels.shape[0] // height)[:, None]
    labels = labels[rows, np.arange(width) * labels.shape[1] // width]
    square = np.full((options.infer_size,) * 2, labels.max() + 1, np.int32)
    square[:height, :width] = labels
    sampled = superpixel_map.renumber(superpixel_map.sample(square))
    return (mx.nd.array(sampled[None], ctx=device, dtype='int32'), mx.nd.arange(int(sampled.max()) + 1, ctx=device))
