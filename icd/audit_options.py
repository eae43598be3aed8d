"""Options of `icd-audit`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

AUDIT = {
    'Files': [
        Option('--snapshot', './snapshot/icd', 'folder of a run of icd-run, with its score maps', types.path),
        Option('--seed-root', None, 'folder of NAME.png: the seeds (default: SNAPSHOT/results/seeds/crf)', types.path),
        *(OF_RUN[flag] for flag in ('--image-root', '--annotation-root', '--labels', '--unlabelled',
                                     '--superpixel-root', '--data-list', '--class-names')),
    ],
    'Audit': [
        Option('--no-superpixel', False, 'without superpixels, and without the part that needs them'),
        Option('--infer-size', 513, 'side of the network input the scores were made with, 8k+1', types.image_size),
    ],
    'Report': [
        Option('--html', None, 'write a page of the most suspicious images to this file', types.path, metavar='FILE'),
        Option('--csv', None, 'write all images to this file, the most suspicious first', types.path, metavar='FILE'),
        Option('--worst', 60, 'images to show, and beside them the first three of every class and reason',
               types.number(int, 1, 1000)),
    ],
    'Machine': [OF_RUN['--num-process']],
}
