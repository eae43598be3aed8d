"""The command `icd-segment`: a segmentation network from seeds; its stages are chosen by the first word."""
from __future__ import annotations

import importlib

from icd import __version__, gpu
from icd.errors import UserError

STAGES = {              # module of each, and what it does
    'train': ('icd.steps.train_segmentation', 'images and seeds to a network'),
    'predict': ('icd.steps.predict_segmentation', 'images to masks, with and without a CRF'),
    'evaluate': ('icd.steps.evaluate', 'compare masks with truth (icd-evaluate)'),
    'submit': ('icd.steps.submit', "predictions to the archive that VOC's evaluation server takes"),
}


def usage() -> str:
    """The help of the command."""
    width = max(map(len, STAGES))
    lines = [f'  {name:{width}}  {text}' for name, (_, text) in STAGES.items()]
    return '\n'.join(['usage: icd-segment STAGE OPTIONS', '', 'From seeds to a segmentation network (DeepLab-v2).', '',
                      'stages:', *lines, '', '`icd-segment STAGE --help` lists the options of a stage.'])


def main(arguments: list):
    """Run the stage that the command line names.

    Raises
    ------
    UserError
        When there is no such stage, and what the stage raises.
    """
    first = arguments[0] if arguments else None
    if first in (None, '-h', '--help'):
        print(usage())
    elif first == '--version':
        print('icd ' + __version__)
    elif first not in STAGES:
        raise UserError(f"no stage {first!r}: choose from {', '.join(STAGES)}", 'icd-segment',
                        'icd-segment --help describes them')
    else:
        if '--deterministic' in arguments:      # before the stage imports MXNet
            gpu.make_deterministic()
        importlib.import_module(STAGES[first][0]).main(arguments[1:])
