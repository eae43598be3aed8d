"""The command `icd-run` (`python run_icd.py`): train, then infer, then make seeds."""
import importlib

from icd import checks, cli, console
from icd.data.inputs import read_inputs
from icd.errors import Problems, UserError
from icd.train import distributed

STAGES = 'train', 'infer', 'seeds'


def main(arguments):
    """Run the stages that the command line asks for; each reads and writes files only."""
    run(cli.parse(cli.RUN, 'icd-run', 'ICD: from image labels to seeds.', arguments))


def run(options):
    """Run the stages that `options` ask for, after a check of all they need.

    A stage is a module of `icd.steps` with two functions. `check(options, inputs, problems, upcoming)` looks at
    everything that the stage needs, changes nothing, and returns about how many bytes it will add to the snapshot
    folder; `upcoming` are the stages that run before it, whose outputs need not be there yet. `run(options, inputs)`
    does the work and returns whether this process goes on: of several nodes only the first worker does.
    """
    if distributed.role() in distributed.SERVING:
        distributed.serve(options.kvstore)
        return
    names = stages(options)
    # Each is imported only when it is asked for: making seeds needs no MXNet.
    modules = [importlib.import_module('icd.steps.' + name) for name in names]
    problems = Problems()
    inputs = read_inputs(options.data_list, options.image_root, options.annotation_root, options.class_names,
                         options.num_cls, problems)
    needed = sum(module.check(options, inputs, problems, names[:i]) for i, module in enumerate(modules))
    checks.check_folder(problems, options.snapshot, needed)
    problems.raise_if_any()
    if options.dry_run:
        print(plan(options, names, modules, inputs))
        return
    for module in modules:
        if not module.run(options, inputs):
            return


def stages(options):
    """Names of the stages that `options` ask for, in the order they run.

    Raises
    ------
    UserError
        When the options exclude each other.
    """
    only = {'train': options.only_train, 'infer': options.only_infer, 'seeds': options.only_gen_seeds}
    if sum(only.values()) > 1:
        raise UserError('each leaves the others out', '--only-train, --only-infer, --only-gen-seeds',
                        'give one of them')
    if options.export_full_size and not options.export_scores:
        raise UserError('nothing is exported', '--export-full-size', 'give --export-scores, too')
    names = tuple(name for name in STAGES if only[name]) or STAGES
    return names + ('export',) if options.export_scores and names != ('train',) else names


def plan(options, names, modules, inputs):
    """What a run would do, as text: its command line, its stages, and what each of them has to say."""
    lines = ['options: ' + (cli.command_line(cli.RUN, options) or '(the defaults)'),
             f"stages: {', '.join(names)}, {len(inputs.names)} images, in {options.snapshot}"]
    return '\n'.join(lines + [module.plan(options, inputs) for module in modules if hasattr(module, 'plan')])


def command():
    """Entry point of `icd-run`: its exit code."""
    return console.run_command(main)
