"""The figures of a comparison as text, for a terminal."""
from __future__ import annotations

import functools
import textwrap

_WIDTH = 96                 # characters of a line
CALIBRATION = ('margin: how much more CAM responds on one side of the bottom-up score than on the other; CAM '
               "agreement: correlation of the class's score with its CAM over the images that hold it")
_TITLES = {'pred': 'seeds', 'truth': 'truth', 'versus': 'versus'}


def folders(result: dict) -> dict[str, str]:
    """Folders of masks by role ('pred', 'truth', 'versus') of a result of `icd.steps.evaluate.run`."""
    found = {'pred': result['pred'], 'truth': result['truth']}
    if 'versus' in result:
        found['versus'] = result['versus']['folder']
    return found


def columns(result: dict) -> list[tuple[str, dict, float | None]]:
    """Columns of the table of classes: title, value by class name, mean."""
    found = [('IoU', result['IoU'], result['mIoU']), ('defined', result['IoU_defined'], result['mIoU_defined']),
             ('precision', result['precision'], None), ('recall', result['recall'], None),
             ('swapped', result['exchanged']['IoU'], result['exchanged']['mIoU'])]
    if 'versus' in result:
        found.append(('versus', result['versus']['IoU'], result['versus']['mIoU']))
    if 'calibration' in result:
        found += [('margin', result['calibration']['margin'], None),
                  ('CAM agreement', result['calibration']['agreement'], None)]
    return found


def _cell(value, width=0):
    return '-'.rjust(width) if value is None else f'{value:{width}.2f}'


def as_text(result: dict) -> str:
    """The figures as text.

    Parameters
    ----------
    result : dict
        Of `icd.steps.evaluate.run`.

    Returns
    -------
    str
        Several lines: the folders, a table with a row a class, and what it has no column for.
    """
    found = columns(result)
    width = max(map(len, ('background', *result['IoU'])))
    wide = [max(10, len(title) + 2) for title, _, _ in found]
    lines = [f'{_TITLES[role]:10}{folder}' for role, folder in folders(result).items()]
    lines += ['', 'percent'.ljust(width) + ''.join(title.rjust(w) for (title, _, _), w in zip(found, wide))]
    lines += [name.ljust(width) + ''.join(_cell(values[name], w) for (_, values, _), w in zip(found, wide))
              for name in result['IoU']]
    lines += ['mean'.ljust(width) + ''.join(_cell(mean, w) for (_, _, mean), w in zip(found, wide)), '']
    for sentence in _sentences(result):
        lines += textwrap.wrap(sentence, _WIDTH, subsequent_indent='  ', break_long_words=False,
                               break_on_hyphens=False)
    return '\n'.join(lines)


def _sentences(result):
    """The figures without a column, and what the columns mean."""
    show = functools.partial(map, _cell)
    versus = result.get('versus')
    meaning = ('IoU: pixels the seeds ignore are missed; defined: IoU over the pixels both define; swapped: IoU with '
               'seeds and truth swapped')
    yield meaning + ('; versus: IoU of the other seeds' if versus else '')
    if 'calibration' in result:
        yield CALIBRATION
    accuracy, ignored, of_truth = show(result[key] for key in ('pixel_accuracy', 'ignored', 'ignored_truth'))
    yield (f'images: {result["images"]}, pixel accuracy {accuracy}, ignored {ignored} of the seeds, {of_truth} of the '
           'truth')
    everywhere, defined = show((result['agreement'], result['agreement_defined']))
    yield f'agreement: {everywhere} over all pixels, {defined} over those both define'
    if versus:
        low, high = versus['difference_interval']
        yield (f'mIoU minus that of versus: {versus["difference"]:+.2f}, {versus["level"]}% interval {low:+.2f} to '
               f'{high:+.2f} ({versus["resamples"]} draws of the images)')
    if result['absent']:
        yield (f'in neither folder, so not in the mean: {", ".join(result["absent"])} (counted as 0, mIoU is '
               f'{_cell(result["mIoU_absent_as_zero"])})')
    extra = [f'{_TITLES[role]} {len(names)}' for role, names in result['extra'].items() if names]
    if extra:
        yield 'masks that are not in the list: ' + ', '.join(extra)
    if result['left_out']:
        kinds = ', '.join(f'{len(items)} {what}' for what, items in result['problems'].items())
        yield f'names left out: {len(result["left_out"])} (files: {kinds})'
