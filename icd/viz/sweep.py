"""A sweep of thresholds as text, as CSV, and as a picture."""
from __future__ import annotations

import csv
import io

from icd import files

FIGURES = 'mIoU', 'precision', 'coverage', 'agreement'
_BY_SIGN = 'by sign'
_COLOURS = '#2f6fde', '#c2570c', '#2a9134', '#8e44ad', '#b8860b', '#66717f'
_STYLES = {'raw': '-', 'crf': '--'}
_WIDTH, _HEIGHT = 520, 440                 # of a panel, pixels


def _figures(result):
    """The figures that all rows have."""
    return [key for key in FIGURES if key in result['curves'][0]['rows'][0]]


def _name(result, curve):
    """What a curve is called: its maps, and the kind of its seeds where there are several."""
    kinds = {one['seeds'] for one in result['curves']}
    return curve['maps'] if kinds == {'raw'} else f"{curve['maps']}, {curve['seeds']}"


def _label(name):
    """A name in a legend, from which matplotlib leaves out what begins with an underscore."""
    return ' ' * name.startswith('_') + name


def _at(threshold):
    return _BY_SIGN if threshold is None else f'{threshold:g}'


def _cell(value):
    return '-' if value is None else f'{value:.2f}'


def as_text(result: dict) -> str:
    """A table of all thresholds, and a line a curve on what is best and what can be chosen without truth.

    Parameters
    ----------
    result : dict
        Of `icd.steps.sweep.run`.
    """
    keys, names = _figures(result), [_name(result, curve) for curve in result['curves']]
    width = max(map(len, names))
    lines = [f'{role:10}{result[role]}' for role in ('truth', 'against') if result[role]]
    lines += ['', 'percent'.ljust(width) + 'threshold'.rjust(11) + ''.join(key.rjust(11) for key in keys)]
    for name, curve in zip(names, result['curves']):
        for row in curve['rows']:
            cells = [_at(row['threshold']), *(_cell(row[key]) for key in keys)]
            lines.append(name.ljust(width) + ''.join(cell.rjust(11) for cell in cells))
    lines.append('')
    for name, curve in zip(names, result['curves']):
        lines += [f'{name}: {sentence}' for sentence in _sentences(result, curve)]
    return '\n'.join(lines + [f"images: {result['images']}"])


def _sentences(result, curve):
    """What stands out in a curve."""
    best, chosen = curve.get('best'), curve.get('chosen')
    if best:
        yield f"best by truth at {_at(best['threshold'])}, mIoU {_cell(best['mIoU'])}"
    if chosen:
        there = f", mIoU {_cell(chosen['mIoU'])} there" if best else ''
        yield (f"chosen without truth: {_at(chosen['threshold'])} agrees most with {result['against']} "
               f"({_cell(chosen['agreement'])}){there}")


def as_csv(result: dict) -> str:
    """All figures, a line a threshold, in percent; the threshold of seeds by sign is empty, as is what is not known."""
    keys, text = _figures(result), io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['maps', 'seeds', 'threshold', *keys])
    for curve in result['curves']:
        for row in curve['rows']:
            values = [row['threshold'], *(row[key] for key in keys)]
            writer.writerow([curve['maps'], curve['seeds'], *('' if value is None else value for value in values)])
    return text.getvalue()


def _plot(axes, result, x, y, marked):
    """Curves of one panel; `marked` is the row to mark on each: 'best' or 'chosen'."""
    names = list(dict.fromkeys(curve['maps'] for curve in result['curves']))
    for curve in result['curves']:
        colour = _COLOURS[names.index(curve['maps']) % len(_COLOURS)]
        rows = [row for row in curve['rows'] if row[x] is not None and row[y] is not None]
        points = [(row[x], row[y]) for row in rows if row['threshold'] is not None] or [(None, None)]
        axes.plot(*zip(*points), _STYLES[curve['seeds']], color=colour, lw=1.8, label=_label(_name(result, curve)))
        if curve.get(marked) in rows:
            axes.plot(curve[marked][x], curve[marked][y], 'o', color=colour, ms=7)
        by_sign = next((row for row in curve['rows'] if row['threshold'] is None), None)
        if by_sign and x == 'threshold' and by_sign[y] is not None:
            axes.axhline(by_sign[y], ls=':', color=colour, lw=1.2, label=_label(f'{_name(result, curve)}, {_BY_SIGN}'))
        elif by_sign in rows:
            axes.plot(by_sign[x], by_sign[y], '*', color=colour, ms=12)


def draw(result: dict, path: str):
    """Draw a sweep: mIoU over the threshold and precision over coverage, and agreement where there is any.

    Parameters
    ----------
    result : dict
        Of `icd.steps.sweep.run`. Circles mark the best threshold, that of most agreement in its panel; dotted lines and
        stars are seeds by sign.
    path : str
        The picture, .png or .svg: panels of 520 x 440 pixels in a row.
    """
    # Takes half a second, and worker processes import this package.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    known = _figures(result)
    panels = [panel for panel in (('threshold', 'mIoU', 'best'), ('coverage', 'precision', 'best'),
                                  ('threshold', 'agreement', 'chosen')) if panel[1] in known]
    figure = Figure(figsize=(_WIDTH / 100 * len(panels), _HEIGHT / 100), dpi=100)
    figure.subplots_adjust(.12 / len(panels), .12, 1 - .03 / len(panels), .97, .2)
    FigureCanvasAgg(figure)
    titles = {'mIoU': 'mIoU, %', 'precision': 'precision of the foreground, %', 'coverage': 'foreground covered, %',
              'agreement': 'agreement (mIoU with the seeds), %', 'threshold': 'threshold, fraction of the maximum'}
    data = io.BytesIO()
    with matplotlib.rc_context({'text.parse_math': False}):             # names are text, never formulas
        for axes, (x, y, marked) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels):
            _plot(axes, result, x, y, marked)
            axes.set(xlabel=titles[x], ylabel=titles[y])
            axes.grid(color='.92')
            axes.spines[['top', 'right']].set_visible(False)
            axes.legend(fontsize=8, frameon=False)
        figure.savefig(data, format=path.lower().rpartition('.')[2])
    files.save_bytes(path, data.getvalue())
