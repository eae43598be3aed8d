"""How good the demo's seeds and networks are: figures by the exact truth, and a table of them."""
from __future__ import annotations

from icd import cli
from icd.evaluate_options import EVALUATE
from icd.steps import evaluate

_FIGURES = ('mIoU', 'IoU', 'precision', 'recall', 'ignored')
_TAUGHT_BY = {'cam': "CAM's seeds", 'icd': "ICD's seeds", 'truth': 'the truth'}
_NAME = 34                  # characters of a line's name


def of_seeds(cam: dict, icd: str, truth: str, data_list: str, class_names: str, seed: int) -> dict:
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
        return _evaluated(truth, data_list, class_names, seed, **more)

    at_threshold = {threshold: evaluated(pred=folder) for threshold, folder in cam.items()}
    best = max(at_threshold, key=lambda threshold: at_threshold[threshold]['mIoU'])
    result = evaluated(pred=icd, versus=cam[best])
    of_cam = {name: at_threshold[best][name] for name in _FIGURES}
    of_cam.update(threshold=best, thresholds={f'{t:g}': found['mIoU'] for t, found in at_threshold.items()})
    return {'unit': 'percent', 'images': result['images'], 'seed': seed, 'cam': of_cam,
            'icd': {name: result[name] for name in _FIGURES}, 'difference': result['versus']['difference'],
            'difference_interval': result['versus']['difference_interval']}


def of_networks(predictions: dict, truth: str, data_list: str, class_names: str, seed: int) -> dict:
    """Figures of what segmentation networks make of images.

    Parameters
    ----------
    predictions : dict of str to str
        Folders that `icd-segment predict` wrote to, by what the network was trained on.
    truth, data_list, class_names, seed
        See `of_seeds`.

    Returns
    -------
    dict
        `images`; `networks`: by what it was trained on, and by `raw` and `crf`, the figures of `of_seeds`.
    """
    networks, count = {}, 0
    for name, folder in predictions.items():
        found = _evaluated(truth, data_list, class_names, seed, pred=folder)        # crf, and raw as `versus`
        networks[name] = {kind: {figure: figures[figure] for figure in _FIGURES}
                          for kind, figures in (('raw', found['versus']), ('crf', found))}
        count = found['images']
    return {'images': count, 'networks': networks}


def _evaluated(truth, data_list, class_names, seed, **more):
    return evaluate.run(cli.defaults(EVALUATE, truth=truth, list=data_list, class_names=class_names, seed=seed,
                                     num_process=1, **more))


def table(result: dict) -> str:
    """The figures as text: a line for each kind of seed, one for the difference, two for each network.

    Parameters
    ----------
    result : dict
        Of `of_seeds`, with that of `of_networks` as `unseen`.
    """
    header = ' '.join(f'{name:>10}' for name in result['icd']['IoU'])
    low, high = result['difference_interval']
    lines = [f"{'IoU of the seeds, %':{_NAME}} {'mean':>6}  {header}",
             _line(f"CAM, best threshold {result['cam']['threshold']:g}", result['cam']),
             _line('ICD', result['icd']),
             f"{'difference':{_NAME}} {result['difference']:+6.1f}  "
             f'(95 % of resampled data sets: {low:+.1f} to {high:+.1f})',
             '', f"IoU of networks on {result['unseen']['images']} unseen images, %"]
    for name, found in result['unseen']['networks'].items():
        lines += [_line('trained on ' + _TAUGHT_BY[name], found['raw']), _line('  and a CRF', found['crf'])]
    return '\n'.join(lines)


def _line(name, found):
    # A class that no picture of a tiny demo shows has no figure.
    cells = ' '.join(f"{'-' if value is None else format(value, '.1f'):>10}" for value in found['IoU'].values())
    return f"{name:{_NAME}} {found['mIoU']:6.1f}  {cells}"
