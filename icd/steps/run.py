"""The command `icd-run` (`python run_icd.py`): train, then infer, then make seeds."""
from __future__ import annotations

import importlib
import shlex

from icd import checks, cli, console, gpu
from icd.data.inputs import Inputs, read_inputs
from icd.errors import Problems, UserError
from icd.steps import own_process
from icd.train import distributed

STAGES = 'train', 'infer', 'seeds'


def main(arguments: list):
    """Run the stages that the command line asks for."""
    run(cli.parse(cli.RUN, 'icd-run', 'ICD: from image labels to seeds.', arguments))


def run(options: cli.Options):
    """Run the stages (`icd.steps`) that `options` ask for, after a check of all they need."""
    if options.deterministic:
        gpu.make_deterministic()
    if distributed.serves(options.kvstore):
        distributed.serve(options.kvstore)
        return
    names = stages(options)
    # Each is imported only when it is asked for: making seeds needs no MXNet.
    modules = [importlib.import_module('icd.steps.' + ('infer_onnx' if name == 'infer' and options.onnx else name))
               for name in names]
    problems = Problems()
    inputs = read_inputs(options.data_list, options.image_root, options.annotation_root, options.class_names,
                         options.num_cls, problems, options.labels, options.unlabelled, options.shard)
    needed = sum(module.check(options, inputs, problems, names[:i]) for i, module in enumerate(modules))
    checks.check_folder(problems, options.snapshot, needed)
    problems.raise_if_any()
    for note in inputs.notes:
        console.log(note)
    if options.dry_run:
        print(plan(options, names, modules, inputs))
        return
    for name, module in zip(names, modules):
        # Inference forks processes that read images, which one that has computed on a GPU had better not do.
        if name == 'infer' and 'train' in names and own_process.needed(options.gpus):
            own_process.run('icd.steps.run', [*shlex.split(cli.command_line(cli.RUN, options)), '--only-infer'])
        elif not module.run(options, inputs):
            return


def stages(options: cli.Options) -> tuple:
    """Names of the stages that `options` ask for, in the order they run.

    Raises
    ------
    UserError
        When the options exclude each other.
    """
    only = {'train': options.only_train, 'infer': options.only_infer, 'seeds': options.only_gen_seeds}
    if sum(only.values()) > 1:
        raise UserError('these options exclude each other', '--only-train, --only-infer, --only-gen-seeds',
                        'give one of them only')
    if options.export_full_size and not options.export_scores:
        raise UserError('nothing is exported', '--export-full-size', 'give --export-scores, too')
    if options.onnx and (options.only_train or options.only_gen_seeds):
        raise UserError('an ONNX file serves inference', f'--onnx {options.onnx}',
                        'leave --only-train and --only-gen-seeds out')
    names = tuple(name for name in STAGES if only[name]) or (STAGES[1:] if options.onnx else STAGES)
    if options.shard and 'train' in names:
        raise UserError('training is not divided so', f'--shard {options.shard}', 'train first, on several nodes with '
                        '--kvstore dist_sync; --only-infer and --only-gen-seeds take a shard')
    exports = options.export_scores and names != ('train',) and not options.shard
    return names + ('export',) if exports else names


def plan(options: cli.Options, names: tuple, modules: list, inputs: Inputs) -> str:
    """What a run would do, as text: its command line, its stages, and the plans of those that have one."""
    lines = ['options: ' + (cli.command_line(cli.RUN, options) or '(the defaults)'),
             f"stages: {', '.join(names)}, {len(inputs.names)} images, in {options.snapshot}"]
    return '\n'.join(lines + [module.plan(options, inputs) for module in modules if hasattr(module, 'plan')])
