"""What a training tells of the signs of its classes: `SNAPSHOT/margins.csv`, and lines for the log. No MXNet here."""
from __future__ import annotations

import contextlib
import csv
import io
from typing import Sequence

import numpy as np

from icd import console, files
from icd.data.image_labels import ImageLabels
from icd.method import calibration

COLUMNS = ('epoch', 'class', 'positive', 'negative', 'margin', 'alone')
_NAMED = 10         # classes in a line


class Margins:
    """The margins of every class after every epoch.

    Parameters
    ----------
    path : str
        The table to write.
    class_names : sequence of C str
        Background not counted.
    labels : ImageLabels (N, C)
        Of the training.
    epochs : int
        Of the whole training.
    """

    def __init__(self, path: str, class_names: Sequence[str], labels: ImageLabels, epochs: int):
        self._path, self._class_names, self._epochs = path, tuple(class_names), epochs
        self._held, self._alone = labels.sum(0) > 0, labels.alone().astype(int)

    def before(self) -> list:
        """Lines for the log when a training starts."""
        never = [name for name, held, alone in zip(self._class_names, self._held, self._alone) if held and not alone]
        if not never:
            return []
        return [f'no image holds one of these classes alone: {_some(never)}. The bottom-up score of a class learns '
                'from no other images and stays as it was drawn: add such images (docs/seeds.md)']

    def after_epoch(self, epoch: int, state: np.ndarray) -> list:
        """Write the table up to this epoch; lines for the log.

        Parameters
        ----------
        epoch : int
            From 0.
        state : ndarray (C, 2) float
            See `icd.method.calibration.margins`.
        """
        margins = calibration.margins(state)
        rows = [(epoch, name, f'{positive:.7g}', f'{negative:.7g}', '' if np.isnan(margin) else f'{margin:.7g}', alone)
                for name, (positive, negative), margin, alone in zip(self._class_names, state, margins, self._alone)]
        with console.ornament('margins.csv'):
            self._write(epoch, rows)
        return self._undecided(state, margins) if epoch == self._epochs - 1 else []

    def _write(self, epoch, rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows(self._earlier(epoch))
        writer.writerows(rows)
        files.save_bytes(self._path, text.getvalue().encode())

    def _earlier(self, epoch):
        """Rows that are there of epochs before this one; none of another table."""
        with contextlib.suppress(FileNotFoundError), files.named(self._path):
            with open(self._path, encoding='utf-8', errors='replace', newline='') as file:
                header, *rows = list(csv.reader(file)) or [[]]
            if header == list(COLUMNS):
                return [row for row in rows if len(row) == len(COLUMNS) and row[1] in self._class_names and
                        row[0].isdecimal() and int(row[0]) < epoch]
        return []

    def _undecided(self, state, margins):
        found = [f'{self._class_names[i]} ({state[i][0]:.3g} and {state[i][1]:.3g}, margin {margins[i]:.2f}, '
                 f'{self._alone[i]} images hold it alone)' for i in np.flatnonzero(margins < calibration.UNDECIDED)]
        if not found:
            return []
        return ['the sign of these classes is undecided, as CAM responds about as much on both sides of the bottom-up '
                f'score: {_some(found)}. Look at their seeds, compare them with those of --seeds cam; images that '
                'hold such a class alone decide it (docs/seeds.md)']


def _some(items):
    return ', '.join(items[:_NAMED]) + (f' and {len(items) - _NAMED} more' if len(items) > _NAMED else '')
