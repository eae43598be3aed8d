"""Every option of `icd-seeds`, once; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

STEPS = tuple(step / 20 for step in range(1, 20))       # of a sweep, where none are given


def _options(*flags):
    """Options that are those of `icd-run`."""
    return [OF_RUN[flag] for flag in flags]


SEEDS = {
    'Files': [
        Option('--from-maps', None, 'folder of NAME.npy, the class maps of any method (docs/seeds.md), or of '
               'SNAPSHOT/results; several times for --sweep; NAME=DIR names it there', types.path, action='append',
               required=True, metavar='DIR'),
        *_options('--image-root', '--annotation-root', '--labels', '--unlabelled', '--data-list', '--class-names'),
        Option('--out', None, 'folder for the folders of seeds: raw_0.30, crf_0.30, ...; without threshold raw, crf',
               types.path),
    ],
    'Seeds': [
        Option('--threshold', (.3,), "fractions of a map's maximum below which a pixel is background, separated by "
               'commas', types.fractions),
        Option('--by-sign', False, 'no threshold: foreground is where a map is positive, background where all are '
               "negative, as for ICD's scores; with --sweep besides the thresholds"),
        Option('--seeds', None, 'raw (before the CRF), crf, or both, separated by a comma (default: crf; raw for '
               '--sweep)', types.choices('raw', 'crf')),
        *_options('--confidence', '--crf-iterations', '--crf-gaussian', '--crf-bilateral', '--colour', '--force'),
    ],
    'Sweep': [
        Option('--sweep', None, 'write no seeds, but compare those of each of these thresholds with --truth or '
               '--against (without values: 0.05, 0.10, ... 0.95)', types.fractions, nargs='?', const=STEPS,
               metavar='X,X,...'),
        Option('--truth', None, 'folder of NAME.png: ground truth', types.path),
        Option('--against', None, "folder of NAME.png: seeds, ICD's say; the threshold at which maps agree most with "
               'them is chosen without truth', types.path),
        Option('--csv', None, 'write the figures to this file', types.path, metavar='FILE'),
        Option('--plot', None, 'draw them to this file: .png or .svg', types.path, metavar='FILE'),
    ],
    'Machine': _options('--num-process'),
}
