"""Compare the mistrust of `icd-audit` with how wrong the seeds are by pixel truth.

    python tests/benchmarks/audit.py TRUTH [options of icd-audit]

For the mistrust and for each part alone: Spearman's rank correlation with the error of an image, and how many of the
worst tenth of the seeds are among the first fifth of the ranking. An image's error is by two figures: its mIoU as
`icd-evaluate` lists it, and the IoU of its foreground classes alone. Both are given for all images and, in brackets, as
the standard deviation over random halves of them. Where the snapshot has seeds of CAM, what their mean agreement with
the seeds gives comes first. Ends with exit code 1 when the mistrust misses its limits by the foreground's IoU.
"""
import os
import sys

import numpy as np
from scipy.stats import spearmanr

from icd import cli
from icd.audit_options import AUDIT
from icd.data import masks
from icd.method import metrics
from icd.steps import audit

LIMITS = .68, .78           # on MSRC v2: rank correlation, part of the worst tenth that is found
THRESHOLDS = '0.05', '0.10', '0.20', '0.30'
WORST, FIRST, HALVES = .1, .2, 20


def counts(folder, other, name, num_cls):
    """`class_counts` of two masks."""
    read = (masks.read_mask(os.path.join(part, name + '.png')) for part in (folder, other))
    return metrics.class_counts(metrics.confusion_matrix(*read, num_cls))


def figures(mistrust, right):
    """Rank correlation, and the part of the worst seeds that come first."""
    worst = np.argsort(right, kind='stable')[:round(WORST * len(right))]
    first = np.argsort(-mistrust, kind='stable')[:round(FIRST * len(right))]
    return np.array([-spearmanr(mistrust, right)[0], np.isin(worst, first).mean()])


def line(title, mistrust, truths):
    """A row of the table."""
    rng, cells = np.random.default_rng(0), []
    halves = [rng.permutation(len(mistrust))[:len(mistrust) // 2] for _ in range(HALVES)]
    for right in truths:
        spread = np.std([figures(mistrust[half], right[half]) for half in halves], axis=0)
        cells += [f'{value:.2f} ({one:.2f})' for value, one in zip(figures(mistrust, right), spread)]
    return f"| {title} | {' | '.join(cells)} |"


def main(arguments):
    truth, options = arguments[0], cli.parse(AUDIT, 'audit', __doc__.splitlines()[0], arguments[1:])
    found = audit.run(options)
    rows, num_cls = found['images'], max(row['index'] for row in found['classes']) + 2
    folder = options.seed_root or os.path.join(options.snapshot, 'results', 'seeds', 'crf')
    right = np.array([counts(truth, folder, row['name'], num_cls) for row in rows])
    foreground = metrics.mean_iou(right[..., 1:])
    truths = metrics.mean_iou(right), np.where(np.isnan(foreground), 100, foreground)
    print('| | mIoU: correlation | worst found | foreground: correlation | worst found |\n|---|---|---|---|---|')
    cam = [os.path.join(options.snapshot, 'results', 'seeds', 'cam_' + threshold) for threshold in THRESHOLDS]
    if all(map(os.path.isdir, cam)):
        agreement = np.array([[metrics.mean_iou(counts(one, folder, row['name'], num_cls)) for one in cam]
                              for row in rows])
        print(line('mean agreement with CAM', -agreement.mean(1), truths))
    for part in rows[0]['parts']:
        print(line(part, np.array([row['parts'][part] for row in rows]), truths))
    mistrust = np.array([row['mistrust'] for row in rows])
    print(line('**mistrust**', mistrust, truths))
    with_background = right[:, 1, 0] > 0
    print(f'{with_background.sum()} of {len(rows)} images have any background in the truth: ' + ', '.join(
        f'{value:.2f}' for one in truths for value in figures(mistrust[with_background], one[with_background])))
    return int((figures(mistrust, truths[1]) < LIMITS).any())


if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1].startswith('-'):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
