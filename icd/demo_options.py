"""Options of the demo, `python -m icd.demo`; see `icd.cli` for what an option is."""
from __future__ import annotations

import itertools

from icd import cli
from icd import option_types as types
from icd.cli import Option

_OF_ICD = {option.flag: option for option in itertools.chain.from_iterable(cli.RUN.values())}

DEMO = {
    'Demo': [
        _OF_ICD['--seed'],
        Option('--snapshot', './snapshot/demo', 'folder for everything the demo writes', types.path),
        Option('--gpus', 'cpu', 'devices: 0,1 for GPUs, cpu, cpu:2 for two CPU devices', str),
    ],
}
