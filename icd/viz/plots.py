"""Plots of the report, drawn by matplotlib: numbers in, `<svg>` elements out. One unit of length is one pixel."""
from __future__ import annotations

import functools
import io
import re
import warnings
from typing import Mapping, Sequence

import numpy as np

_INK, _FAINT, _GRID = '#1f2933', '#66717f', '#e4e8ee'
FIRST, SECOND = '#2f6fde', '#c2570c'            # the seeds, the other seeds
_DARKEST = '#164094'                            # of the confusion matrix
MOST_CLASSES = 40                               # in a confusion matrix that can still be read
_LONGEST = 22                                   # letters of a class name that have room
_SMALL, _NORMAL = 11, 12                        # sizes of text
_SMALLEST = .75                                 # of its size that a narrow screen shrinks a plot to


def _as_svg(draw):
    """Let a function that draws a figure return it as SVG: the same bytes for the same numbers, on every machine."""
    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        import matplotlib
        # What a user's matplotlibrc sets must not show; the backend is not asked for, so that none is chosen.
        style = {key: matplotlib.rcParamsDefault[key] for key in matplotlib.rcParamsDefault
                 if not key.startswith(('backend', 'toolbar', 'interactive'))}
        # Class names are text, never formulas; text stays text, for readers and for fonts that have its letters.
        style.update({'svg.hashsalt': draw.__name__, 'svg.fonttype': 'none', 'text.parse_math': False,
                      'font.sans-serif': ['DejaVu Sans'], 'font.size': _NORMAL, 'text.color': _INK,
                      'axes.labelcolor': _INK})
        data = io.StringIO()
        with matplotlib.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Glyph|Matplotlib currently')
            draw(*args, **kwargs).savefig(data, format='svg', metadata=dict.fromkeys(
                ('Creator', 'Date', 'Format', 'Type')))
        svg = data.getvalue()
        # Nothing refers to the groups, and their names would occur once in each plot of a page.
        svg = re.sub(r'<g id="[\w.]+"', '<g', svg[svg.index('<svg'):])
        return re.sub(r'width="([\d.]+)pt" height="[\d.]+pt"', lambda match: (
            f'width="{match[1]}" style="min-width: {_SMALLEST * float(match[1]):g}px"'), svg, count=1)
    return drawn


def _axes(width, height, left, top, right, bottom):
    """A figure of `width` x `height` pixels and axes without frame or ticks, by their edges from the left and top."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    axes = figure.add_axes([left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height])
    for patch in (figure.patch, axes.patch, *axes.spines.values()):
        patch.set_visible(False)
    axes.tick_params(length=0, labelsize=_SMALL, labelcolor=_FAINT, pad=6)
    axes.set_axisbelow(True)
    return figure, axes


def _short(name):
    """A class name, of a long one the start."""
    return name if len(name) <= _LONGEST else name[:_LONGEST - 1] + '…'


def _room(names):
    """Width of the longest of some class names as `_short` writes them."""
    return 7 * min(_LONGEST, max(map(len, names)))


def _row_names(axes, names, colours):
    """Class names left of the rows 0, 1, …, behind their colours, from the left edge of the figure."""
    from matplotlib.transforms import IdentityTransform, blended_transform_factory
    at = blended_transform_factory(IdentityTransform(), axes.transData)
    rows = range(len(names))
    axes.scatter([9.5] * len(names), rows, 11 ** 2, [np.divide(colours[name], 255) for name in names], marker='s',
                 transform=at, clip_on=False, linewidths=.5, edgecolors='#0003')
    for row, name in zip(rows, names):
        axes.text(22, row, _short(name), transform=at, va='center_baseline')
    axes.set_yticks([])


def percent(value: float | None, digits: int = 1) -> str:
    """A percentage for the eye; an en dash for None."""
    return '–' if value is None else f'{value:.{digits}f}'


@_as_svg
def bars(series: Sequence[tuple[Mapping, Mapping]], colours: Mapping[str, tuple], width: int = 460) -> str:
    """A bar a class, or two for two sorts of seeds.

    Parameters
    ----------
    series : list of (dict, dict)
        One or two. Percent or None by class name: the bars with their figures, and what is marked on them where it
        differs.
    colours : dict of (R, G, B) by class name
    width : int
        Pixels.

    Returns
    -------
    str
        An `<svg>` element.
    """
    names, row, top, figures = list(series[0][0]), 24, 22, 40 * len(series)
    height = top + row * len(names) + 6
    figure, axes = _axes(width, height, 30 + _room(names), top, width - 4 - figures, height - 6)
    axes.set(xlim=(0, 100), ylim=(len(names) - .5, -.5), xticks=range(0, 101, 20))
    axes.xaxis.tick_top()
    axes.grid(axis='x', color=_GRID, lw=1)
    _row_names(axes, names, colours)
    thick = .68 / len(series)
    edge = axes.get_window_extent().x1
    for j, ((values, marks), colour) in enumerate(zip(series, (FIRST, SECOND))):
        middle = np.arange(len(names)) + thick * (j - (len(series) - 1) / 2)
        axes.barh(middle, [values[name] or 0 for name in names], thick * .94, color=colour)
        for y, name in enumerate(names):
            axes.annotate(percent(values[name]), (edge + 40 * (j + 1), y), xycoords=('figure pixels', 'data'),
                          ha='right', va='center_baseline', size=_SMALL, color=colour, annotation_clip=False)
        marked = [(marks[name], y) for name, y in zip(names, middle)
                  if marks[name] is not None and abs(marks[name] - values[name]) >= .05]
        for x, y in marked:
            axes.plot([x, x], [y - .6 * thick, y + .6 * thick], color=_INK, lw=1.6, clip_on=False)
    return figure


@_as_svg
def precision_coverage(points: Mapping[str, list], width: int = 460, height: int = 460) -> str:
    """Precision of the pixels that are kept against the fraction of ignored ones, threshold by threshold.

    Parameters
    ----------
    points : dict
        Of `icd.method.metrics.precision_coverage_curve`.

    Returns
    -------
    str
        An `<svg>` element.
    """
    known = [p for p in zip(*(points[key] for key in ('threshold', 'ignored', 'precision'))) if p[2] is not None]
    figure, axes = _axes(width, height, 52, 16, width - 26, height - 46)
    axes.set(xlim=(0, 100), xticks=range(0, 101, 20))
    # The axis begins a little below the curve, and shows four percent even of a curve without a fall.
    axes.set_ylim(100 - min(100, max(4, 1.1 * (100 - min([p[2] for p in known], default=100)))), 100)
    axes.locator_params('y', nbins=6, steps=[1, 2, 5, 10])
    axes.grid(color=_GRID, lw=1)
    axes.set_xlabel('ignored pixels, %', size=_NORMAL)
    axes.set_ylabel('precision of the others, %', size=_NORMAL)
    axes.plot([p[1] for p in known], [p[2] for p in known], color=FIRST, lw=2.2, solid_joinstyle='round', clip_on=False)
    last = (-99, -99)
    for threshold, ignored, precision in known[::10]:
        axes.plot(ignored, precision, 'o', ms=8, mfc='white', mec=FIRST, mew=2, clip_on=False)
        x, y = axes.transData.transform((ignored, precision))
        if abs(x - last[0]) > 22 or abs(y - last[1]) > 14:          # as many thresholds as have room
            axes.annotate(f'{threshold:.1f}', (ignored, precision), (5, -16), textcoords='offset points',
                          size=_SMALL, color=_FAINT, annotation_clip=False)
            last = (x, y)
    return figure


@_as_svg
def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str], colours: Mapping[str, tuple],
                     width: int = 1140, row: int = 27) -> str:
    """The confusion matrix, rows in percent of the true class.

    Parameters
    ----------
    counts : list of lists of int, (C + 1) x (C + 1)
        Pixels; the last row, what the truth ignores, is not drawn.
    names : list of C str
    colours : dict of (R, G, B) by class name
    width, row : int
        Pixels of the plot and of the height of a row. Cells are 18 to 46 pixels wide.

    Returns
    -------
    str
        An `<svg>` element. Of more than 40 classes, the 40 with most true pixels.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    counts = np.asarray(counts)
    shown = np.sort(np.argsort(-counts[:-1].sum(1), kind='stable')[:MOST_CLASSES])
    rows, columns = [names[i] for i in shown], [*(names[i] for i in shown), 'ignored']
    n, room = len(shown), _room(columns)
    left, top = 36 + room, 14 + round(.8 * room)
    cell = min(46, max(18, (width - left - 60) / (n + 1)))
    gap = 8 / cell                                                  # before the column of ignored pixels
    right, bottom = left + cell * (n + 1 + gap), top + row * n
    figure, axes = _axes(round(right) + 50, bottom + 4, left, top, right, bottom)
    axes.set(xlim=(0, n + 1 + gap), ylim=(n - .5, -.5))
    fractions = counts[np.ix_(shown, [*shown, -1])] / np.maximum(counts[shown].sum(1, keepdims=True), 1)
    colour = dict(cmap=LinearSegmentedColormap.from_list('fraction', ['white', _DARKEST]),
                  norm=PowerNorm(.5, 0, 1), edgecolors=_GRID, linewidth=1)     # the root shows small confusions, too
    edges = np.arange(n + 1) - .5
    axes.pcolormesh(edges + .5, edges, fractions[:, :n], **colour)
    axes.pcolormesh([n + gap, n + gap + 1], edges, fractions[:, n:], **colour)
    middles = np.arange(n + 1) + .5 + gap * (np.arange(n + 1) == n)
    for (i, j), fraction in np.ndenumerate(fractions):
        if round(100 * fraction):
            axes.text(middles[j], i, f'{100 * fraction:.0f}', size=10, ha='center', va='center_baseline',
                      color='white' if fraction > .62 ** 2 else _INK)
    axes.set_xticks(middles, [_short(name) for name in columns], rotation=50, ha='left', rotation_mode='anchor',
                    color=_INK)
    axes.xaxis.tick_top()
    axes.annotate('truth ↓ seeds →', (left - 8, bottom - top + 4 + 8), xycoords='figure pixels', ha='right', size=10,
                  color=_FAINT)
    _row_names(axes, rows, colours)
    return figure
