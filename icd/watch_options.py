"""Options of `icd-watch`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import Option

WATCH = {
    'Run': [Option('snapshot', None, 'folder of a training, of several, or of icd-pipeline --out; may come later',
                   types.path, metavar='SNAPSHOT')],
    'Page': [
        Option('--port', 8600, 'port of this machine that the page is at; 0: any that is free',
               types.number(int, 0, 65535)),
        Option('--once', None, 'write the page as it is now to this file, and stop', types.path, metavar='FILE'),
    ],
}
