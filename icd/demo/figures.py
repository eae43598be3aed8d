"""How good the demo's seeds are: figures by the exact truth, and a table of them."""
from __future__ import annotations

from icd import cli
from icd.steps import evaluate

_FIGURES = ('mIoU', 'IoU', 'precision', 'recall', 'ignored')


def compute(cam: dict, icd: str, truth: str, data_list: str, class_names: str, seed: int) -> dict:
    """Figures of the ICD seeds and of the class activation map seeds at their best threshold.

    Parameters
    ----------
    cam : dict of float to str
        Folders of class activation map seeds by threshold.
    icd, truth : str
        Folders of the ICD seeds and of the truth.
    data_list, class_names : str
        Files with a name a line.
    seed : int
        Of the images that are drawn again and again for the interval.

    Returns
    -------
    dict
        In percent: `cam` and `icd` with `mIoU`, `IoU` by class, `precision`, `recall` and `ignored`; `cam` also with
        its `threshold` and the mIoU at all `thresholds`; `difference` and its 95 % `difference_interval`.
    """
    def evaluated(**more):
        return evaluate.run(cli.defaults(cli.EVALUATE, truth=truth, list=data_list, class_names=class_names, seed=seed,
                                         num_process=1, **more))

    at_threshold = {threshold: evaluated(pred=folder) for threshold, folder in cam.items()}
    best = max(at_threshold, key=lambda threshold: at_threshold[threshold]['mIoU'])
    result = evaluated(pred=icd, versus=cam[best])
    of_cam = {name: at_threshold[best][name] for name in _FIGURES}
    of_cam.update(threshold=best, thresholds={f'{t:g}': found['mIoU'] for t, found in at_threshold.items()})
    return {'unit': 'percent', 'images': result['images'], 'seed': seed, 'cam': of_cam,
            'icd': {name: result[name] for name in _FIGURES}, 'difference': result['versus']['difference'],
            'difference_interval': result['versus']['difference_interval']}


def table(result: dict) -> str:
    """The figures of `compute` as text, a line for each kind of seed and one for the difference."""
    header = ' '.join(f'{name:>10}' for name in result['icd']['IoU'])
    lines = [f"{'IoU of the seeds, %':34} {'mean':>6}  {header}"]
    for name, found in ((f"CAM, best threshold {result['cam']['threshold']:g}", result['cam']), ('ICD', result['icd'])):
        # A class that no picture of a tiny demo shows has no figure.
        cells = ' '.join(f"{'-' if value is None else format(value, '.1f'):>10}" for value in found['IoU'].values())
        lines.append(f"{name:34} {found['mIoU']:6.1f}  {cells}")
    low, high = result['difference_interval']
    lines.append(f"{'difference':34} {result['difference']:+6.1f}  "
                 f'(95 % of resampled data sets: {low:+.1f} to {high:+.1f})')
    return '\n'.join(lines)
