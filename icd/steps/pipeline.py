"""The command `icd-pipeline`: from labelled images to masks, with settings that suit the images and the machine.

It runs the commands that one would type, with the arguments that one would give them, and writes them to
`OUT/commands.sh`: superpixels, merging, training, scores and seeds; with `--segment` a segmentation network and its
predictions. Every stage keeps what is finished, so the same command goes on where it was stopped.
"""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import shlex
import tempfile
import time
from typing import Callable

from icd import checks, cli, console, files, gpu, parallel, plan, precision
from icd.data import labels
from icd.data.inputs import read_inputs
from icd.data.labels.contents import class_names_of, contents
from icd.errors import Problems, UserError
from icd.pipeline_options import PIPELINE
from icd.steps import own_process
from icd.superpixels import program
from icd.viz import gallery
from icd.weights import pretrained, source_input

PAGE, COMMANDS, PLAN, LIST, CLASSES = 'index.html', 'commands.sh', 'plan.json', 'list.txt', 'class_names.txt'


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command of the run.

    name : its name in `icd.plan.Estimate.seconds`
    folder : where its outputs go, below `--out`
    program, arguments : what one would type
    main : what runs it, given the arguments
    updates : about how often its progress bars are updated
    """

    name: str
    folder: str
    program: str
    arguments: list
    main: Callable
    updates: int

    def line(self) -> str:
        """What one would type."""
        return f'{self.program} {shlex.join(self.arguments)}'


def run(options: cli.Options) -> dict:
    """Run everything, or say what would be run.

    Parameters
    ----------
    options : Options
        `icd.pipeline_options.PIPELINE`.

    Returns
    -------
    dict
        Folders of masks, by what they are; empty after a dry run.

    Raises
    ------
    UserError
        With all that is wrong with the inputs, and what a stage raises.
    """
    if options.deterministic:
        gpu.make_deterministic()
    with _scratch() if options.dry_run else contextlib.nullcontext(options.out) as folder:
        inputs, class_names, without = _check(options, folder)
    devices, flop_per_second, free = _machine(options)
    settings = _settings(options, inputs, devices, free)
    expected = plan.estimate(settings, inputs.sizes, options.width, flop_per_second, _processes(options),
                             float(inputs.labels.sum(axis=1).mean()), options.segment)
    problems = Problems()
    checks.check_folder(problems, options.out, 0 if os.path.isdir(_icd(options)) else int(expected.disk))
    problems.raise_if_any()
    stages = _stages(options, settings, inputs, apart=free is not None)
    on_cpu_in_full = options.precision == precision.FLOAT32 and free is None
    described = _described(settings, inputs, expected, without, on_cpu_in_full and precision.has_matrix_units())
    console.log(described)
    if options.dry_run:
        console.log('\n'.join(stage.line() for stage in stages))
        return {}
    with files.folder_lock(options.out, 'is running here', 'wait for it, or give another --out'):
        _save_lines(os.path.join(options.out, COMMANDS), [stage.line() for stage in stages])
        files.save_json(os.path.join(options.out, PLAN), {'text': described, 'images': len(inputs.names), 'stages': [
            {'name': stage.name, 'folder': stage.folder, 'command': stage.line(),
             'seconds': round(expected.seconds[stage.name], 3)} for stage in stages]})
        _run_stages(stages, expected.seconds)
        folders = _masks(options)
        gallery.write(os.path.join(options.out, PAGE), gallery.Run(
            inputs.names, class_names, inputs.labels[:], options.image_root, folders,
            [stage.line() for stage in stages]))
    for what, folder in folders.items():
        print(f'{what}: {folder}')
    print(f'page: {os.path.join(options.out, PAGE)}')
    return folders


# ------------------------------------------------------------------------------------------------ before it starts
def _scratch():
    """A folder for the time of the check."""
    try:
        return tempfile.TemporaryDirectory()
    except FileNotFoundError:
        raise UserError('no folder for temporary files can be written', f"TMPDIR {os.environ.get('TMPDIR', '')}",
                        'set it to one that can') from None


def _check(options, folder):
    """Inputs of the run, names of classes, and how many images have none; lists go into `folder`."""
    program.find()
    problems = Problems()
    checks.check_folder(problems, options.out)
    problems.raise_if_any()
    table = labels.read_source(options.labels)
    found = contents(table)
    class_names = class_names_of(table, found, options.class_names)
    names = [name for name in found if found[name]]
    if not names:
        raise UserError('no image has a class', options.labels, 'see docs/data.md')
    _save_lines(os.path.join(folder, LIST), names)
    _save_lines(os.path.join(folder, CLASSES), class_names)
    inputs = read_inputs(os.path.join(folder, LIST), options.image_root, None, os.path.join(folder, CLASSES), None,
                         problems, options.labels)
    if options.pretrained != 'none':
        try:
            pretrained.read(options.pretrained, 'vgg16', options.pretrained_input and
                            source_input.parse(options.pretrained_input))
        except UserError as error:
            problems.add_error(error)
    problems.raise_if_any()
    return inputs, class_names, len(found) - len(names)


def _machine(options):
    """How many devices there are, how fast they are, and the free memory of the smallest GPU; None on the CPU."""
    from icd import mxnet_setup
    precision.check(options.precision, mxnet_setup.devices(options.gpus))
    if own_process.needed(options.gpus):
        from icd.speed import measure
        return own_process.call(measure, options.gpus, options.precision)
    devices = mxnet_setup.devices(options.gpus)
    return len(devices), speed(devices, options.precision), None


def speed(devices: list, chosen: str) -> float:
    """`icd.speed.flop_per_second` of the devices in a precision; MXNet is imported now."""
    from icd.speed import flop_per_second
    return flop_per_second(devices, chosen)


def _settings(options, inputs, devices, free):
    chosen = plan.choose(inputs.sizes, devices, free)
    given = {'image_size': options.image_size, 'batch_size': options.batch_size}
    chosen = dataclasses.replace(chosen, **{name: value for name, value in given.items() if value})
    epochs = options.num_epoch or plan.epochs(len(inputs.names), chosen.batch_size, free is not None)
    return dataclasses.replace(chosen, epochs=epochs)


def _described(settings, inputs, expected, without, units_unused):
    """The plan, as text."""
    left_out = f', {without} without any class left out' if without else ''
    steps = len(inputs.names) // settings.batch_size * settings.epochs
    lines = [f'{len(inputs.names)} images of {inputs.num_classes} classes{left_out}',
             f'training: {settings.epochs} epochs of crops of {settings.image_size} pixels, {settings.batch_size} '
             f'images a step, {steps} steps; scores at {settings.infer_size} pixels',
             f'about {plan.duration(sum(expected.seconds.values()))} on this machine when nothing else runs: ' +
             ', '.join(f'{name} {plan.duration(seconds)}' for name, seconds in expected.seconds.items()),
             f'about {expected.disk / 1e9:.1f} GB on the disk', *inputs.notes]
    if units_unused:
        lines.append('this processor has matrix units: --precision bfloat16 takes about a third of the time')
    return '\n'.join(lines)


# -------------------------------------------------------------------------------------------------- the commands
def _icd(options):
    return os.path.join(options.out, 'icd')


def _masks(options):
    """Folders of masks, by what they are."""
    folders = {'seeds': os.path.join(_icd(options), 'results', 'seeds', 'crf')}
    if options.segment:
        folders['predictions'] = os.path.join(options.out, 'predictions', 'crf')
    return folders


def _stages(options, settings, inputs, apart):
    """The commands of the run, in order; `apart`: each that computes on devices in a process of its own."""
    count, steps = len(inputs.names), len(inputs.names) // settings.batch_size * settings.epochs
    raw, merged = (os.path.join(options.out, 'superpixels', part) for part in ('raw', 'merged'))
    images = ['--image-root', options.image_root, '--data-list', os.path.join(options.out, LIST)]
    machine = [*(['--gpus', options.gpus] if options.gpus else []),
               *(['--precision', options.precision] if options.precision != precision.FLOAT32 else [])]
    bits = ['--deterministic'] if options.deterministic else []
    processes = ['--num-process', str(options.num_process)] if options.num_process else []
    source = ['--pretrained-input', options.pretrained_input] if options.pretrained_input else []
    start = ['--pretrained', options.pretrained, *source, '--width', f'{options.width:g}', '--seed', str(options.seed)]
    classes = ['--class-names', os.path.join(options.out, CLASSES)]
    training = ['--image-size', str(settings.image_size), '--batch-size', str(settings.batch_size), '--num-epoch',
                str(settings.epochs), '--learning-rate', f'{options.learning_rate:g}', '--num-save', '1']
    icd = ['--labels', options.labels, *images, *classes, *start, '--superpixel-root', merged, '--snapshot',
           _icd(options), *training, '--infer-size', str(settings.infer_size), '--colour', *machine, *processes]
    main = functools.partial(_main, apart)
    stages = [
        Stage('superpixels', 'superpixels/raw', 'makeSuperpixel', [
            os.path.join(options.out, LIST), options.image_root, raw, str(settings.raw_size)], _superpixels, 1),
        Stage('merging', 'superpixels/merged', 'icd-superpixel', [
            *images, '--superpixel-root', raw, '--save-superpixel-root', merged, *start, '--image-size',
            str(settings.infer_size), *machine, *processes], main('merge_superpixels'), 2 * count),
        Stage('training', 'icd', 'icd-run', [*icd, *bits, '--only-train'], main('run'), steps),
        Stage('scores', 'icd/results', 'icd-run', [*icd, '--only-infer'], main('run'), count),
        Stage('seeds', 'icd/results/seeds/crf', 'icd-run', [*icd, '--only-gen-seeds'], main('run'), 2 * count)]
    if options.segment:
        network = os.path.join(options.out, 'deeplab')
        stages += [
            Stage('segmentation', 'deeplab', 'icd-segment', [
                'train', *images, *classes, '--seed-root', _masks(options)['seeds'], *start, '--snapshot', network,
                *training, *machine, *bits, *processes], main('segment'), steps),
            Stage('predictions', 'predictions/crf', 'icd-segment', [
                'predict', '--snapshot', network, *images, '--out', os.path.dirname(_masks(options)['predictions']),
                '--infer-size', str(settings.infer_size), '--colour', *machine, *processes], main('segment'), count)]
    return stages


def _main(apart, stage):
    def run_stage(arguments):
        if apart:
            own_process.run('icd.steps.' + stage, arguments)
            return
        importlib.import_module('icd.steps.' + stage).main(arguments)
    return run_stage


def _superpixels(arguments):
    program.run(program.find(), arguments)


def _run_stages(stages, seconds):
    with contextlib.closing(console.Overall(seconds)) as overall:
        for number, stage in enumerate(stages, 1):
            console.log(f'\n[{number}/{len(stages)}] {stage.name}: {stage.line()}')
            begun = time.monotonic()
            with overall.stage(stage.name, stage.updates):
                stage.main(stage.arguments)
            console.log(f'{stage.name}: {plan.duration(time.monotonic() - begun)}, about '
                        f'{plan.duration(seconds[stage.name])} expected')


def _processes(options):
    return options.num_process or parallel.number_of_cores()


def _save_lines(path, lines):
    """Write a text file, unless it is there with these lines."""
    data = ''.join(f'{line}\n' for line in lines).encode()
    try:
        with files.named(path), open(path, 'rb') as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        pass
    files.save_bytes(path, data)


# ---------------------------------------------------------------------------------------------------- the command
def main(arguments: list):
    """Run the pipeline that the command line asks for."""
    run(cli.parse(PIPELINE, 'icd-pipeline', 'From labelled images to masks.', arguments))
