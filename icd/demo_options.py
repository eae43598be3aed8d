"""Options of the demo, `python -m icd.demo`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

DEMO = {
    'Demo': [
        OF_RUN['--seed'],
        Option('--snapshot', './snapshot/demo', 'folder for everything the demo writes', types.path),
        Option('--gpus', 'cpu', 'devices: 0,1 for GPUs, cpu, cpu:2 for two CPU devices', str),
    ],
}
