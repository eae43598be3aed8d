"""Drawn pictures with exact ground truth, for the demo and for tests.

Furry creatures stand before textured backgrounds. The body, most of the area, looks nearly alike in all classes; the
pattern of the small head tells them apart. So image labels teach a classifier the head alone, while the truth is the
whole creature: the gap between class activation maps and integral objects, in small.

Some pictures show two creatures; some show one whose head belongs to no class, or none at all. Without the latter a
network may learn a class as "none of the others", and its activation map then lights up on the background.
"""
from __future__ import annotations

import cv2
import numpy as np

SIZE = 257                                      # 8k + 1
CLASS_NAMES = ('striped', 'checked', 'ringed', 'crossed')
PARTS = ('fur',) + CLASS_NAMES + ('halved', 'dotted') + ('ball', 'box', 'bar') + (
    'grain', 'waves', 'blotches', 'tiles')      # labels of `draw_parts`

_TWO, _DECOY, _EMPTY = .15, .12, .08            # fractions of the images
_BODY_HUE = (14., 20., 26., 32.)                # degrees; close to each other against the spread of one class
_HUE_SPREAD = 9.
_DARK, _BRIGHT = .38, 1.2                       # of a head's pattern; with more contrast the head is all one sees
_COLD = (70., 290.)                             # hues of backgrounds and clutter
_PICTURE, _LOOSE = 1, 2                         # first numbers of the seeds: pictures and parts share no draws

# Patterns on a head: u to its crown, v across, in radii.
_PATTERNS = dict(
    striped=lambda u, v: np.sin(5 * np.pi * u) > 0,
    checked=lambda u, v: np.sin(3.4 * np.pi * u) * np.sin(3.4 * np.pi * v) > 0,
    ringed=lambda u, v: np.sin(4.4 * np.pi * np.hypot(u, v)) > 0,
    crossed=lambda u, v: np.minimum(np.abs(u), np.abs(v)) < .28,
    halved=lambda u, v: u > 0,
    dotted=lambda u, v: np.cos(3.4 * np.pi * u) + np.cos(3.4 * np.pi * v) > .6)
_DECOYS = tuple(_PATTERNS)[len(CLASS_NAMES):]


def _cloud(rng, side, cell):
    """Smooth noise (side, side) in about -1..1, with bumps of `cell` pixels."""
    knots = max(int(round(side / cell)), 1) + 1
    return cv2.resize(rng.uniform(-1, 1, (knots, knots)).astype(np.float32), (side, side),
                      interpolation=cv2.INTER_CUBIC)


def _colour(hue, saturation, value):
    """RGB 0..255 of a hue in degrees, saturation and value 0..1."""
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _axes(side, centre, angle):
    """Coordinates (side, side) from `centre` (x, y), along a direction and across it."""
    y, x = np.ogrid[:side, :side]
    x, y = np.float32(x - centre[0]), np.float32(y - centre[1])
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _texture(rng, side, kind):
    """Brightness (side, side) that a background of a kind adds."""
    if kind == 'grain':
        return rng.uniform(4, 10) * rng.standard_normal((side, side))
    if kind == 'waves':
        along, _ = _axes(side, (0, 0), rng.uniform(0, np.pi))
        return rng.uniform(6, 14) * np.sin(2 * np.pi / rng.uniform(12, 30) * along)
    if kind == 'blotches':
        return rng.uniform(8, 18) * _cloud(rng, side, rng.uniform(8, 14))
    period = int(rng.integers(14, 28))
    joint = (np.arange(side) + rng.integers(period)) % period < 2
    joint_across = (np.arange(side) + rng.integers(period)) % period < 2
    return -rng.uniform(10, 22) * (joint[:, None] | joint_across)


def _background(rng, side, kind):
    """A cold-coloured background (side, side, 3) float32, from one colour to another."""
    hue = rng.uniform(*_COLD)
    near, far = (_colour(hue + turn, rng.uniform(.1, .5), rng.uniform(.35, .8)) for turn in (0, rng.uniform(-40, 40)))
    along, _ = _axes(side, (side / 2, side / 2), rng.uniform(0, 2 * np.pi))
    blend = np.clip(.5 + along / side + .25 * _cloud(rng, side, rng.uniform(25, 60)), 0, 1)[..., None]
    return np.float32(near * (1 - blend) + far * blend + _texture(rng, side, kind)[..., None])


def _clutter(rng, picture, kind):
    """Put a small cold-coloured thing into the picture: a ball, box or bar."""
    shape = np.zeros(picture.shape[:2], np.uint8)
    x, y = (int(v) for v in rng.integers(0, len(picture), 2))
    radius = int(rng.integers(5, 13))
    if kind == 'ball':
        cv2.circle(shape, (x, y), radius, 1, cv2.FILLED)
    elif kind == 'box':
        corners = cv2.boxPoints(((x, y), (2 * radius, 1.2 * radius), rng.uniform(0, 180)))
        cv2.fillConvexPoly(shape, corners.astype(np.int32), 1)
    else:
        dx, dy = (int(v) for v in rng.integers(-45, 46, 2))
        cv2.line(shape, (x, y), (x + dx, y + dy), 1, int(rng.integers(2, 5)))
    colour = _colour(rng.uniform(*_COLD), rng.uniform(.2, .6), rng.uniform(.25, .9))
    inside = shape > 0
    picture[inside] = .25 * picture[inside] + .75 * colour


def _fur(rng, side, hue):
    """A warm coat (side, side, 3) of short hairs, all brushed the same way."""
    hair, reach = np.zeros((9, 9), np.float32), rng.uniform(0, np.pi)
    tip = np.round(4 * np.array([np.cos(reach), np.sin(reach)])).astype(int)
    cv2.line(hair, tuple(int(v) for v in 4 - tip), tuple(int(v) for v in 4 + tip), 1)
    hairs = cv2.filter2D(rng.standard_normal((side, side)).astype(np.float32), -1, hair)
    light = rng.uniform(14, 22) * hairs / hairs.std() + 10 * _cloud(rng, side, 30)
    return _colour(hue, rng.uniform(.55, .8), rng.uniform(.55, .85)) + light[..., None] * np.float32([1, .85, .6])


def _paint_head(rng, picture, pattern, centre, radius, angle, hue):
    """Paint a head, in the same coat as the body with a pattern of light and shade; where it is (side, side) bool."""
    u, v = (axis / radius for axis in _axes(len(picture), centre, angle))
    inside = np.hypot(u, v) < 1
    shade = np.where(_PATTERNS[pattern](u, v), _DARK, _BRIGHT)[..., None]
    picture[inside] = (_fur(rng, len(picture), hue) * shade)[inside]
    return inside


def _body(rng, side, centre, length, breadth, angle):
    """Where a body is: an uneven ellipse on two stout legs, (side, side) bool."""
    u, v = _axes(side, centre, angle)
    turn = np.arctan2(v / breadth, u / length)
    rim = 1 + sum(height * np.sin(bumps * turn + rng.uniform(0, 2 * np.pi)) for bumps, height in ((3, .07), (5, .05)))
    inside = np.hypot(u / length, v / breadth) < rim
    for leg in (-.5, .35):
        inside |= (np.abs(u / length - leg) < .13) & (0 < v) & (v < 1.4 * breadth)
    return inside


def _paint_creature(rng, picture, pattern, centre, length, head):
    """Paint a creature about `2 length` long; where it is (side, side) bool. `head` scales the head."""
    angle = rng.uniform(0, 2 * np.pi)
    radius = head * length * rng.uniform(.32, .40)
    kind = CLASS_NAMES.index(pattern) if pattern in CLASS_NAMES else rng.integers(len(CLASS_NAMES))
    hue = _BODY_HUE[kind] + _HUE_SPREAD * rng.standard_normal()
    length, breadth = length * rng.uniform(.95, 1.15), length * rng.uniform(.6, .8)
    body = _body(rng, len(picture), centre, length, breadth, angle)
    picture[body] = _fur(rng, len(picture), hue)[body]
    neck = length + .25 * radius
    crown = centre[0] + neck * np.cos(angle), centre[1] + neck * np.sin(angle)
    return body | _paint_head(rng, picture, pattern, crown, radius, angle + rng.uniform(-.4, .4), hue)


def _camera(rng, picture):
    """What a camera makes of a picture: a little blur and noise; uint8."""
    picture = cv2.GaussianBlur(picture, (3, 3), .6) + 3 * rng.standard_normal(picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def cast(rng: np.random.Generator) -> list:
    """Who is in a picture: (pattern, centre, length, head scale) of each creature, in units of the picture."""
    chance = rng.random()
    if chance < _EMPTY:
        return []
    if chance < _EMPTY + _TWO:
        patterns = rng.choice(CLASS_NAMES, 2, replace=False)
        return [(str(pattern), (x + rng.uniform(-.04, .04), rng.uniform(.3, .7)), rng.uniform(.17, .21), 1.2)
                for pattern, x in zip(patterns, (.27, .73))]
    choice = _DECOYS if chance < _EMPTY + _TWO + _DECOY else CLASS_NAMES
    return [(str(rng.choice(choice)), tuple(rng.uniform(.38, .62, 2)), rng.uniform(.24, .33), 1.)]


def draw_picture(seed: int, number: int) -> tuple:
    """Draw one picture.

    Parameters
    ----------
    seed, number : int
        The picture depends on nothing else.

    Returns
    -------
    image : ndarray (257, 257, 3) uint8
        RGB.
    mask : ndarray (257, 257) uint8
        0 background, k + 1 a creature of class k.
    anybody : ndarray (257, 257) bool
        Where creatures are, those of no class included.
    """
    rng = np.random.default_rng([_PICTURE, seed, number])
    canvas = _background(rng, SIZE, rng.choice(PARTS[10:]))
    for _ in range(rng.integers(2, 6)):
        _clutter(rng, canvas, rng.choice(PARTS[7:10]))
    mask, anybody = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), bool)
    for pattern, centre, length, head in cast(rng):
        where = _paint_creature(rng, canvas, pattern, [SIZE * c for c in centre], SIZE * length, head)
        mask[where] = CLASS_NAMES.index(pattern) + 1 if pattern in CLASS_NAMES else 0
        anybody |= where
    return _camera(rng, canvas), mask, anybody


def draw_parts(count: int, seed: int, size: int = 97) -> tuple:
    """Draw loose parts with image labels: what the demo's backbone is trained on in place of ImageNet.

    Patches of fur, heads with all six patterns, clutter and backgrounds; no whole creatures and no masks.

    Parameters
    ----------
    count : int
    seed : int
    size : int
        Side of the pictures.

    Returns
    -------
    images : ndarray (count, 3, size, size) uint8
        RGB.
    labels : ndarray (count, 14) float32
        1 where the picture shows a part, in the order of `PARTS`.
    """
    pictures = np.empty((count, 3, size, size), np.uint8)
    labels = np.zeros((count, len(PARTS)), np.float32)
    for number in range(count):
        rng = np.random.default_rng([_LOOSE, seed, number])
        image, shown = _parts(rng, size)
        pictures[number] = image.transpose(2, 0, 1)
        labels[number, [PARTS.index(part) for part in shown]] = 1
    return pictures, labels


def _parts(rng, size):
    """One picture of loose parts (size, size, 3) uint8 and the names of what it shows."""
    shown = {str(rng.choice(PARTS[10:]))}
    canvas = _background(rng, size, *shown)
    for kind in rng.choice(PARTS[7:10], rng.integers(2, 6)):
        _clutter(rng, canvas, kind)
        shown.add(str(kind))
    if rng.random() < .5:
        shown.add('fur')
        u, v = _axes(size, size * rng.uniform(.1, .9, 2), rng.uniform(0, np.pi))
        length = size * rng.uniform(.2, .45)
        inside = np.hypot(u / length, v / (length * rng.uniform(.5, 1))) < 1
        canvas[inside] = _fur(rng, size, rng.uniform(-8, 52))[inside]
    if rng.random() < .6:
        pattern = str(rng.choice(tuple(_PATTERNS)))
        shown |= {'fur', pattern}
        _paint_head(rng, canvas, pattern, size * rng.uniform(.15, .85, 2), size * rng.uniform(.155, .268),
                    rng.uniform(0, 2 * np.pi), rng.uniform(0, 50))
    return _camera(rng, canvas), shown
