"""Options of `icd-evaluate`; see `icd.cli` for what an option is."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

EVALUATE = {
    'Files': [
        Option('--pred', None, 'folder of NAME.png: the seeds to evaluate, or --out of icd-segment predict: with and '
               'without CRF', types.path, required=True),
        Option('--truth', None, "folder of NAME.png: ground truth, or somebody's released seeds",
               types.path, required=True),
        Option('--list', None, 'names, one a line', types.path, required=True),
        Option('--versus', None, 'folder of NAME.png: other seeds, to compare both with the truth on the same images',
               types.path),
        OF_RUN['--class-names'],
    ],
    'Counting': [
        Option('--num-cls', None, 'classes, background counted (default: 21, or one more than --class-names has)',
               types.number(int, 2, 255)),
        Option('--skip-bad', False, 'leave out names whose masks are missing, damaged or do not fit, and report which; '
               'otherwise they end the command'),
        Option('--resamples', 1000, 'draws of the images for the interval of --versus', types.number(int, 20, 100000)),
        OF_RUN['--seed'],
    ],
    'Report': [
        Option('--json', None, 'write the figures to this file', types.path, metavar='FILE'),
        Option('--html', None, 'write a page with plots and overlays to this file', types.path, metavar='FILE'),
        Option('--image-root', None, 'folder of images for the page', types.path),
        Option('--worst', 24, 'images to show: those that differ most', types.number(int, 1, 1000)),
        Option('--snapshot', None, "folder of the run that made the seeds: how well every class's sign is decided, and "
               'how its score agrees with CAM; needs image labels', types.path),
    ],
    'Confidence': [
        Option('--scores', None, 'folder of NAME.npy (SNAPSHOT/results/scores_icd): precision when pixels of low '
               'confidence are ignored, threshold by threshold; needs image labels', types.path),
        Option('--annotation-root', None, 'folder of NAME.xml: which classes the scores are of', types.path),
        OF_RUN['--labels'],
        Option('--infer-size', 513, 'side of the network input the scores were made with, 8k+1', types.image_size),
    ],
    'Machine': [OF_RUN['--num-process'], OF_RUN['--shard']],
}
