"""Pictures for the eye: seeds in VOC colours, seeds over photographs, training curves. Nothing reads them back."""
import csv
import io
import math

import cv2
import numpy as np

from icd.data import images, masks
from icd import files
from icd.errors import UserError

_OPACITY = .6               # of a class colour over the photograph
# Panels of the training curves: title, columns of the log drawn in it.
_PANELS = (('CAM loss', ('loss',)), ('CAM ranking accuracy', ('ranking',)),
           ('calibrated score', ('score_min', 'score_max')), ('share of classes with flipped sign', ('flipped',)),
           ('learning rate', ('learning_rate',)), ('images a second', ('images_per_second',)))


# ------------------------------------------------------------------------------------------------------- seeds
def overlay(image, mask):
    """Class colours over a photograph; the background shows the photograph alone.

    Parameters
    ----------
    image : ndarray (H, W, 3) uint8
        BGR.
    mask : ndarray (H, W) uint8
        Class indices; 255, undefined, has a colour like any other.

    Returns
    -------
    ndarray (H, W, 3) uint8
        BGR.
    """
    colours = np.ascontiguousarray(masks.palette()[:, ::-1])[mask]
    mixed = cv2.addWeighted(image, 1 - _OPACITY, colours, _OPACITY, 0)
    return np.where(mask[..., None] == 0, image, mixed)


def draw_seed(paths):
    """Draw one seed in colours, alone and over its image.

    Parameters
    ----------
    paths : (str, str, str, str)
        The seed and its image; where the colour copy, a palette PNG in VOC's colours, and the overlay, a JPEG, go.

    Raises
    ------
    UserError
        When the seed or the image is missing or damaged, or they differ in size.
    """
    seed, image_path, colour, over = paths
    mask, image = masks.read_mask(seed), images.read_image(image_path)
    if mask.shape != image.shape[:2]:
        raise UserError(f'has another size than {image_path}', seed, 'remove it and make seeds again')
    masks.save_colour(colour, mask)
    files.save_image(over, overlay(image, mask), cv2.IMWRITE_JPEG_QUALITY, 92)


def drawn_folders(folder):
    """Where the drawings of a folder of seeds go: (folder, ending) of the colour copies and of the overlays."""
    return (folder + '_colour', '.png'), (folder + '_overlay', '.jpg')


# -------------------------------------------------------------------------------------------------------- curves
def _columns(csv_path):
    """Columns of a log as lists of float; what is no number is NaN. A half-written last line does no harm."""
    text = images.read_bytes(csv_path, 'train first').decode('utf-8', 'replace')
    try:
        rows = [row for row in csv.DictReader(io.StringIO(text.replace('\0', ''), newline=''))
                if None not in row.values()]
    except csv.Error as error:
        raise UserError(f'not a log of a training: {error}', csv_path, 'remove it') from None

    def number(cell):
        try:
            return float(cell)
        except (TypeError, ValueError):
            return math.nan
    names = [name for _, columns in _PANELS for name in columns] + ['epoch', 'batch', 'step']
    return {name: np.array([number(row.get(name)) for row in rows]) for name in names}


def _draw_panel(axes, title, columns, values):
    """One panel: `columns` over the steps, the beginnings of epochs marked."""
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_xlabel('step (dotted: an epoch begins)', fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color='.92')
    axes.spines[['top', 'right']].set_visible(False)
    steps, epochs, batches = values['step'], values['epoch'], values['batch']
    drawn = [name for name in columns if np.isfinite(values[name] + steps).any()]
    for name in drawn:
        axes.plot(steps, values[name], marker='.' if len(steps) < 40 else None, lw=1.3, label=name.replace('_', ' '))
    starts = (steps - batches - 1)[1:][epochs[1:] != epochs[:-1]]       # steps done when an epoch begins
    for step in starts[np.isfinite(starts)] if len(starts) < 100 else ():
        axes.axvline(step, color='.45', lw=.9, ls=':', zorder=1.7)
    if not drawn:
        axes.text(.5, .5, 'no values yet', ha='center', va='center', transform=axes.transAxes, color='.5')
    elif len(drawn) > 1:
        axes.legend(fontsize=8, frameon=False)


def curves(csv_path, png_path):
    """Draw the training curves of a log.

    Parameters
    ----------
    csv_path : str
        `SNAPSHOT/log.csv`: a header, then a line a log step. Columns that are missing stay empty panels.
    png_path : str
        Where the picture, 1500 x 720 pixels, goes.

    Raises
    ------
    UserError
        When there is no log.
    """
    # Takes half a second, and worker processes import this module.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    values = _columns(csv_path)
    figure = Figure(figsize=(15, 7.2), dpi=100)
    figure.subplots_adjust(.04, .07, .985, .95, .16, .28)
    FigureCanvasAgg(figure)
    for axes, (title, columns) in zip(figure.subplots(2, 3).flat, _PANELS):
        _draw_panel(axes, title, columns, values)
    data = io.BytesIO()
    figure.savefig(data, format='png')
    files.save_bytes(png_path, data.getvalue())
