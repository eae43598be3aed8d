"""Training curves, drawn from the log of any training."""
from __future__ import annotations

import csv
import io
import math
import re
from typing import Sequence

import numpy as np

from icd import files
from icd.data import images
from icd.errors import UserError

_POSITION = ('epoch', 'batch', 'step')
_FIRST, _LAST = ('loss',), ('learning_rate', 'images_per_second')       # panels of every log; the task's lie between
_NOT_DRAWN = _POSITION + ('warm_up', 'state_min', 'state_max', 'seconds_left', 'input_s', 'compute_s', 'update_s')
_TITLES = {'ranking': 'CAM ranking accuracy', 'score': 'calibrated score',
           'flipped': 'fraction of classes with flipped sign', 'images_per_second': 'images a second'}
_MOST_STARTS = 100                                                      # lines of epochs' beginnings that are drawn
_ACROSS, _WIDTH, _HEIGHT = 3, 500, 360                                  # panels in a row; their size, pixels


def panels(columns: Sequence[str]) -> dict[str, list[str]]:
    """What is drawn of a log.

    Parameters
    ----------
    columns : sequence of str
        Columns of the log: position, figures of the task, timing.

    Returns
    -------
    dict
        Titles of the panels in order, and the columns drawn in each: one, or a pair `NAME_min`, `NAME_max`.

    Examples
    --------
    >>> panels(['epoch', 'batch', 'step', 'learning_rate', 'loss', 'score_min', 'score_max', 'accuracy'])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'loss': ['loss'], 'calibrated score': ['score_min', 'score_max'], 'accuracy': ['accuracy'],
     'learning rate': ['learning_rate'], 'images a second': ['images_per_second']}
    """
    of_task = [name for name in columns if name and name not in _FIRST + _LAST + _NOT_DRAWN]
    found = {}
    for name in (*_FIRST, *of_task, *_LAST):
        stem = re.sub('_(min|max)$', '', name)
        found.setdefault(_TITLES.get(stem, stem.replace('_', ' ')), []).append(name)
    return found


def read(csv_path: str) -> dict[str, np.ndarray]:
    """Columns of a log, while it is being written, too.

    Parameters
    ----------
    csv_path : str
        `SNAPSHOT/log.csv`. A half-written last line is left out.

    Returns
    -------
    dict of str to ndarray (lines,) float64
        Position, loss, learning rate and speed are always there; what is no number is NaN.

    Raises
    ------
    UserError
        When there is no log, or a file that is none.
    """
    text = images.read_bytes(csv_path, 'train first').decode('utf-8', 'replace')
    try:
        reader = csv.DictReader(io.StringIO(text.replace('\0', ''), newline=''))
        rows = [row for row in reader if None not in row.values()]
    except csv.Error as error:
        raise UserError(f'not a log of a training: {error}', csv_path, 'remove it') from None

    def number(cell):
        try:
            return float(cell)
        except (TypeError, ValueError):
            return math.nan
    return {name: np.array([number(row.get(name)) for row in rows])
            for name in dict.fromkeys((*_POSITION, *_FIRST, *(reader.fieldnames or ()), *_LAST))}


def epoch_starts(values: dict) -> np.ndarray:
    """Steps done when each epoch but the first begins, as far as the log shows it: float64, ascending.

    Parameters
    ----------
    values : dict
        See `read`.
    """
    steps, epochs, batches = (values[name] for name in ('step', 'epoch', 'batch'))
    starts = (steps - batches - 1)[1:][epochs[1:] != epochs[:-1]]
    return starts[np.isfinite(starts)]


def _draw_panel(axes, title, columns, values):
    """One panel: `columns` over the steps, the beginnings of epochs marked."""
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_xlabel('step (dotted: an epoch begins)', fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color='.92')
    axes.spines[['top', 'right']].set_visible(False)
    steps = values['step']
    drawn = [name for name in columns if np.isfinite(values[name] + steps).any()]
    for name in drawn:
        axes.plot(steps, values[name], marker='.' if len(steps) < 40 else None, lw=1.3, label=name.replace('_', ' '))
    starts = epoch_starts(values)
    for step in starts if len(starts) < _MOST_STARTS else ():
        axes.axvline(step, color='.45', lw=.9, ls=':', zorder=1.7)
    if not drawn:
        axes.text(.5, .5, 'no values yet', ha='center', va='center', transform=axes.transAxes, color='.5')
    elif len(drawn) > 1:
        axes.legend(fontsize=8, frameon=False)


def draw(csv_path: str, png_path: str):
    """Draw the training curves of a log.

    Parameters
    ----------
    csv_path : str
        `SNAPSHOT/log.csv`: a header, then a line a log step. A column without numbers is an empty panel.
    png_path : str
        Where the picture goes: three panels of 500 x 360 pixels in a row.

    Raises
    ------
    UserError
        When there is no log.
    """
    # Takes half a second, and worker processes import this package.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    values = read(csv_path)
    shown = panels(list(values))
    rows = math.ceil(len(shown) / _ACROSS)
    figure = Figure(figsize=(_ACROSS * _WIDTH / 100, rows * _HEIGHT / 100), dpi=100)
    figure.subplots_adjust(.04, .14 / rows, .985, 1 - .1 / rows, .16, .28)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, _ACROSS, squeeze=False).flat
    for axes, (title, columns) in zip(grid, shown.items()):
        _draw_panel(axes, title, columns, values)
    for axes in grid[len(shown):]:
        axes.set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format='png')
    files.save_bytes(png_path, data.getvalue())
