"""The command `icd-run` (`python run_icd.py`): train, then infer, then make seeds."""
import importlib
import os

from icd import distributed
from icd import options as option_tables
from icd import runtime
from icd.errors import UserError
from icd.steps import export, pictures, preflight
from icd.steps.schedule import Schedule


def main(arguments):
    """Run the stages that the command line asks for; each reads and writes files only."""
    options = option_tables.parse(option_tables.RUN, 'icd-run', 'ICD: from image labels to seeds.', arguments)
    run(options)


def run(options):
    """Run the stages that `options` ask for, after a check of all they need.

    Of the machines of a distributed training, the first worker goes on with what follows.
    """
    if distributed.role() in distributed.SERVING:
        distributed.serve(options.kvstore)
        return
    only = {'train': options.only_train, 'infer': options.only_infer, 'seeds': options.only_gen_seeds}
    if sum(only.values()) > 1:
        raise UserError('--only-train, --only-infer, --only-gen-seeds: each leaves the others out: give one of them')
    stages = [stage for stage in only if only[stage]] or list(only)
    inputs = preflight.check(options, stages)
    if options.dry_run:
        print(plan(options, stages, len(inputs.names)))
        return
    for stage in stages:
        # Each is imported when its turn comes: making seeds needs no MXNet.
        if importlib.import_module('icd.steps.' + stage).run(options, inputs) is False:
            return
        if stage == 'train':
            log, curves = (os.path.join(options.snapshot, name) for name in ('log.csv', 'curves.png'))
            if not runtime.up_to_date(curves, log):
                pictures.curves(log, curves)
    if options.export_scores and stages != ['train']:
        export.run(options, inputs)


def plan(options, stages, num_names):
    """What a run would do, as text: its command line, its stages, the training's schedule.

    Parameters
    ----------
    options : Options
    stages : sequence of str
        Some of 'train', 'infer' and 'seeds'.
    num_names : int

    Returns
    -------
    str
    """
    lines = ['options: ' + (option_tables.command_line(option_tables.RUN, options) or '(the defaults)'),
             'stages: %s, %d images, in %s' % (', '.join(stages), num_names, options.snapshot)]
    if 'train' in stages:
        lines.append(str(Schedule(options, num_names)))
    return '\n'.join(lines)


def door():
    """Entry point: the exit code of `main`."""
    return runtime.door(main)
