"""Options of `icd-doctor`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

DOCTOR = {
    'Checks': [
        OF_RUN['--gpus'],
        Option('--folder', '.', 'folder on the disk that outputs will be written to', types.path, metavar='DIR'),
        Option('--no-speed', False, 'leave out how fast devices are'),
        Option('--json', None, 'also write what was found to this file', types.path, metavar='FILE'),
    ],
}
