"""What the colours of a mask mean: class indices."""
from __future__ import annotations

import numpy as np

from icd.data import masks, voc
from icd.data.geometry import IGNORE
from icd.errors import UserError

_WHITE = (255, 255, 255)
_FORM = 'write "R G B" or "R G B INDEX", numbers from 0 to 255, a line a class'


def of_voc() -> dict:
    """The colours of VOC: indices by (R, G, B). White, which many programs draw edges in, is undefined, too."""
    return {**{tuple(colour): index for index, colour in enumerate(masks.palette().tolist())}, _WHITE: IGNORE}


def read(path: str) -> dict:
    """Colours from a text file.

    Parameters
    ----------
    path : str
        A line a class, background first: `R G B`, or `R G B INDEX`; separated by blanks, commas or tabs. What is behind
        the numbers (a name) does not count.

    Returns
    -------
    dict of (int, int, int) to int
        Class indices by (R, G, B).

    Raises
    ------
    UserError
        When the file cannot be read, a line is none of these, or a colour has two indices.
    """
    found = {}
    for place, (number, line) in enumerate(voc.read_lines(path, 'give a text file with a colour a line')):
        words = line.replace(',', ' ').split()
        count = next((i for i, word in enumerate(words) if not (word.isascii() and word.isdigit())), len(words))
        values = [int(word) for word in words[:count] if len(word) < 4]
        if len(values) not in (3, 4) or len(values) != count or max(values) > 255:
            raise UserError(f'line {number} is no colour: {line!r:.60}', path, _FORM)
        colour, index = tuple(values[:3]), values[3] if count == 4 else place
        if index > 255 or found.setdefault(colour, index) != index:
            raise UserError(f'line {number}: the colour {colour} has another index before, or more than 256 are named',
                            path, _FORM)
    return found


def indices(data: bytes, path: str, colours: dict) -> np.ndarray:
    """Class indices of a mask by its colours.

    Parameters
    ----------
    data : bytes
        A PNG file: a colour picture, or one with a palette.
    path : str
        Its name, for the message.
    colours : dict of (int, int, int) to int

    Returns
    -------
    ndarray (H, W) uint8

    Raises
    ------
    UserError
        When it is damaged, holds a colour that means no class (anti-aliased edges, a lossy copy), or is grey: then
        nothing but the indices can be meant.
    """
    picture = masks.decode_colours(data, path)
    packed = (picture.astype(np.uint32) << np.uint32([16, 8, 0])).sum(axis=2, dtype=np.uint32)
    used, inverse = np.unique(packed, return_inverse=True)
    table = {red << 16 | green << 8 | blue: index for (red, green, blue), index in colours.items()}
    unknown = [int(colour) for colour in used if int(colour) not in table]
    if unknown:
        red, green, blue = unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255
        raise UserError(f'has {len(unknown)} colours that mean no class', f'{path} ({red} {green} {blue})',
                        'name them with --colours; masks must not be scaled smoothly or saved lossily')
    return np.array([table[int(colour)] for colour in used], np.uint8)[inverse].reshape(picture.shape[:2])
