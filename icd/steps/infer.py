"""Inference: images and weights to score maps."""
from __future__ import annotations

import contextlib

from icd import cli, console, files, gpu_memory, mxnet_setup, parallel, precision
from icd.data.inputs import Inputs, check_superpixels
from icd.data.loader import InferenceLoader
from icd.errors import Problems, UserError
from icd.model.all_score_maps import AllScoreMaps
from icd.model.icd_blocks import apply_sign
from icd.model.icd_net import ICDNet
from icd.model.multi_scale import PaddedMultiScale
from icd.model.padded_input import ScoreMaps
from icd.mxnet_setup import mx
from icd.predict import predict
from icd.steps import infer_previews, score_files
from icd.train.checkpoint import Checkpoints
from icd.weights import load


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
    previews = infer_previews.Previews(options, inputs, f'{files.checksum(weights):08x}')
    with score_files.writing(inputs, outputs, wanted):
        net = _score(options, inputs, outputs, wanted, previews, weights, contexts)
    if net is not None:
        with mxnet_setup.untuned(), console.ornament('a preview of scores'):
            previews.write(net.icd_accum_resign_moving_mean.data(contexts[0]))


def _trained(options):
    """The weights after the last epoch."""
    return Checkpoints(options.snapshot, options.model).existing(
        options.num_epoch - 1, 'train to the last epoch first, or give the --num-epoch it was trained with')


def _score(options, inputs, outputs, wanted, previews, weights, contexts):
    """Write the score maps of the images `wanted` (inputs by index), and give the previews what they lack.

    Returns
    -------
    ICDNet or None
        The network, when there was anything to compute.
    """
    if not wanted:
        console.log(f'scores: all {len(inputs.names)} are up to date')
    computed = sorted({*wanted, *previews.images})
    if not computed:
        return None
    net = ICDNet(inputs.num_classes, options.width, precision=options.precision)
    views = score_files.views(options)
    bottom_up = options.infer_branch == 'bottom-up'
    network = PaddedMultiScale(AllScoreMaps if previews.images or bottom_up else ScoreMaps, net, views)
    loader = InferenceLoader([inputs.names[i] for i in computed], options.image_root, options.infer_size,
                             options.infer_batch_size, parallel.number_of_readers(options.num_workers),
                             [inputs.sizes[i] for i in computed], network.group)
    indices = {inputs.names[i]: i for i in computed}
    title = 'scores' if wanted else 'scores for previews'
    with contextlib.closing(loader), console.progress(total=len(computed), desc=title) as bar:
        load.load_trained(weights, net, contexts)
        for batch, maps in predict(loader, network, contexts):
            for name, fitted, found in zip(batch.names, batch.scaled_sizes, maps):
                # Of everything that is seen: CAM, top-down score and, where it is wanted, bottom-up score.
                kinds = len(found) // views.count
                scores, i = [views.mean(found[kind::kinds], fitted) for kind in range(kinds)], indices[name]
                if i in wanted:
                    written = scores[0], _calibrated(scores[2], net) if bottom_up else scores[1]
                    score_files.write(options, inputs, outputs, i, wanted, fitted, written)
                if i in previews.images:
                    previews.keep(i, fitted, scores)
                bar.update()
    return net


def _calibrated(score, net):
    """A bottom-up score (C, h, w) whose signs are those of the network's state."""
    state = net.icd_accum_resign_moving_mean.list_data()[0].as_in_context(mx.cpu())
    return apply_sign(mx.nd.array(score[None]), state)[0].asnumpy()
