"""The command `icd-run` (`python run_icd.py`): train, then infer, then make seeds."""
from icd import options as option_tables
from icd import runtime


def main(arguments):
    """Run the stages that the command line asks for; each reads and writes files only."""
    options = option_tables.parse(option_tables.RUN, 'icd-run', 'ICD: from image labels to seeds.', arguments)
    run(options)


def run(options):
    """Run the stages that `options` ask for."""
    only = [options.only_train, options.only_infer, options.only_gen_seeds]
    every = not any(only)
    if every or options.only_train:
        from icd.steps import train
        train.run(options)
    if every or options.only_infer:
        from icd.steps import infer
        infer.run(options)
    if every or options.only_gen_seeds:
        from icd.steps import seeds
        seeds.run(options)


def door():
    """Entry point: the exit code of `main`."""
    return runtime.door(main)
