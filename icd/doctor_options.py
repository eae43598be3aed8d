"""Options of `icd-doctor`; see `icd.cli` for what an option is."""
from __future__ import annotations

import itertools

from icd import cli
from icd import option_types as types
from icd.cli import Option

_OF_ICD = {option.flag: option for option in itertools.chain.from_iterable(cli.RUN.values())}

DOCTOR = {
    'Checks': [
        _OF_ICD['--gpus'],
        Option('--folder', '.', 'folder on the disk that outputs will be written to', types.path, metavar='DIR'),
        Option('--no-speed', False, 'leave out how fast devices are'),
        Option('--json', None, 'also write what was found to this file', types.path, metavar='FILE'),
    ],
}
