"""Inference by an ONNX file: the score maps that `icd.steps.infer` writes, through onnxruntime and without MXNet."""
from __future__ import annotations

import contextlib
import functools

from icd import cli, console, onnx_predict, precision
from icd.data.inputs import Inputs
from icd.errors import Problems, UserError
from icd.steps import score_files
from icd.weights import trained


def _open(options, inputs):
    """The network of the options, which knows the classes of the run."""
    network = onnx_predict.OnnxNetwork(options.onnx, options.gpus)
    if network.network != trained.ICD:
        raise UserError(f'{network.network}, a network that segments', options.onnx,
                        'give an export of ICD, or run icd-segment predict')
    if network.class_names != tuple(inputs.class_names):
        raise UserError(f'gives scores of {len(network.class_names)} other classes', options.onnx,
                        'give the --class-names that it was exported with')
    return network


def check(options: cli.Options, inputs: Inputs, problems: Problems, upcoming: tuple = ()) -> int:
    """Record in `problems` what inference lacks; see `icd.steps`."""
    try:
        precision.check_onnx(options.precision, options.onnx)
        _open(options, inputs)
    except UserError as error:
        problems.add_error(error)
    return score_files.check(options, inputs, problems)


def run(options: cli.Options, inputs: Inputs) -> bool:
    """Write the score maps of every image of the list, as `icd.steps.infer.run` does; there are no previews.

    Score maps that MXNet made of the checkpoint that the file comes from are up to date, too.

    Raises
    ------
    UserError
        When the file or an image turns out to be unusable.
    """
    network = _open(options, inputs)
    made = score_files.outputs(options, inputs, network.width, network.checksum)
    missing = score_files.wanted(options, inputs, made)
    with score_files.writing(inputs, made, missing):
        if missing:
            _score(options, inputs, network, made, missing)
        else:
            console.log(f'scores: all {len(inputs.names)} are up to date')
    return True


def _score(options, inputs, network, made, missing):
    """Write the score maps of the images `missing` (inputs by index)."""
    views, branch = score_files.views(options), options.infer_branch.replace('-', '_')
    with console.progress(total=len(missing), desc='scores') as bar:
        found = network.predict([inputs.names[i] for i in missing], options.image_root, options.infer_size,
                                functools.partial(_scores, views, ('cam', branch)))
        with contextlib.closing(found):
            for index, (name, size, fitted, scores) in zip(missing, found):
                if tuple(size) != tuple(inputs.sizes[index]):
                    raise UserError('was replaced by another image meanwhile', name, 'run the same command again')
                score_files.write(options, inputs, made, index, missing, fitted, scores)
                bar.update()


def _scores(views, outputs, run, image, fitted):
    """Scores (C, h, w) of an image (1, 3, side, side), one of each output, the means over what is seen of it."""
    maps = [[scores[0] for scores in run(seen, outputs)] for seen in views.of(image, fitted)]
    return [views.mean(kind, fitted) for kind in zip(*maps)]
