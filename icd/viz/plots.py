"""Plots of the report as SVG text: numbers in, `<svg>` elements out, readable without any style sheet."""
import html
import math

_INK, _FAINT, _GRID = '#1f2933', '#66717f', '#e4e8ee'
FIRST, SECOND = '#2f6fde', '#c2570c'            # the seeds, the other seeds
_DARKEST = (22, 64, 148)                        # of the confusion matrix
_MOST_CLASSES = 40                              # in a confusion matrix that can still be read
_LONGEST = 22                                   # letters of a class name that have room
_SMALLEST = .75                                 # of its size that a narrow screen shrinks a plot to


def _text(x, y, text, size=12, anchor='start', colour=_INK, more='', title=''):
    return '<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s" %s>%s%s</text>' % (
        x, y, size, anchor, colour, more, html.escape(str(text)), title and '<title>%s</title>' % html.escape(title))


def _name(x, y, name, size=12, more=''):
    """A class name; of a long one the start, and all of it under the pointer."""
    if len(name) <= _LONGEST:
        return _text(x, y, name, size, more=more)
    return _text(x, y, name[:_LONGEST - 1] + '…', size, more=more, title=name)


def _room(names):
    """Width of the longest of some class names as `_name` writes them."""
    return 7 * min(_LONGEST, max(map(len, names)))


def _rect(x, y, width, height, colour, title='', more=''):
    return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" %s><title>%s</title></rect>' % (
        x, y, max(width, 0), height, colour, more, html.escape(title))


def _line(x1, y1, x2, y2, colour=_GRID, width=1):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>' % (
        x1, y1, x2, y2, colour, width)


def _svg(width, height, title, parts):
    return ('<svg viewBox="0 0 %d %d" width="%d" height="%d" style="min-width:%dpx" role="img" aria-label="%s" '
            'font-family="system-ui, sans-serif">%s</svg>' % (
                width, height, width, height, _SMALLEST * width, html.escape(title), ''.join(parts)))


def _swatch(x, y, colour):
    """A class colour, as in the pictures."""
    return _rect(x, y, 11, 11, 'rgb(%d,%d,%d)' % tuple(colour), more='rx="2" stroke="#0003"')


def percent(value, digits=1):
    """A percentage for the eye; an en dash for None."""
    return '–' if value is None else '%.*f' % (digits, value)


def bars(series, colours, width=460):
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
    """
    names = list(series[0][0])
    left, right, row, top, thick = 30 + _room(names), width - 4 - 40 * len(series), 24, 22, 16 / len(series)
    height = top + row * len(names) + 6

    def at(value):
        return left + (right - left) * value / 100
    parts = []
    for value in range(0, 101, 20):
        parts += [_line(at(value), top - 4, at(value), height - 4), _text(at(value), 13, value, 11, 'middle', _FAINT)]
    for i, name in enumerate(names):
        y = top + row * i
        parts += [_swatch(4, y + 5, colours[name]), _name(22, y + 15, name)]
        for j, ((values, marks), colour) in enumerate(zip(series, (FIRST, SECOND))):
            value, mark, above = values[name], marks[name], y + 3 + j * thick
            parts += [_rect(left, above, at(value or 0) - left, thick - 1, colour, '%s: %s, %s over pixels both '
                            'define' % (name, percent(value, 2), percent(mark, 2)), 'rx="2"'),
                      _text(width - 4 - 40 * (len(series) - 1 - j), y + 15, percent(value), 11, 'end', colour)]
            if mark is not None and abs(mark - value) >= .05:
                parts.append(_line(at(mark), above - 1.5, at(mark), above + thick + .5, _INK, 1.6))
    return _svg(width, height, 'IoU of each class, percent', parts)


def _axis(values):
    """Marks in percent, round ones, of an axis from below all `values` to 100."""
    span = max(4, 100 - min(values, default=100))
    step = next(s for s in (1, 2, 5, 10, 20) if span <= 5.5 * s)
    return range(100, max(-1, 99 - step * math.ceil(span / step + .4)), -step)


def _thresholds(points, at):
    """Circles at some (threshold, ignored, precision), placed by `at`, with as many thresholds as have room."""
    parts, last = [], (-99, -99)
    for threshold, ignored, precision in points:
        x, y = at(ignored, precision)
        parts.append('<circle cx="%.1f" cy="%.1f" r="4" fill="#fff" stroke="%s" stroke-width="2"><title>threshold '
                     '%.1f: ignored %.1f%%, precision %.1f%%</title></circle>' % (
                         x, y, FIRST, threshold, ignored, precision))
        if abs(x - last[0]) > 22 or abs(y - last[1]) > 14:
            parts.append(_text(x + 5, y + 16, '%.1f' % threshold, 11, colour=_FAINT))
            last = (x, y)
    return parts


def curve(points, width=460, height=460):
    """Share of ignored pixels against the precision of the others, threshold by threshold.

    Parameters
    ----------
    points : dict
        Of `icd.method.metrics.threshold_curve`.

    Returns
    -------
    str
    """
    known = [p for p in zip(points['threshold'], points['ignored'], points['precision']) if p[2] is not None]
    marks = _axis([p[2] for p in known])
    low, left, right, top, bottom = marks[-1], 52, width - 26, 16, height - 46

    def at(ignored, precision):
        return left + (right - left) * ignored / 100, bottom - (bottom - top) * (precision - low) / (100 - low)
    parts = []
    for value in range(0, 101, 20):
        x = at(value, low)[0]
        parts += [_line(x, top, x, bottom), _text(x, bottom + 17, value, 11, 'middle', _FAINT)]
    for value in marks:
        y = at(0, value)[1]
        parts += [_line(left, y, right, y), _text(left - 7, y + 4, value, 11, 'end', _FAINT)]
    parts += [_text((left + right) / 2, height - 8, 'ignored pixels, %', 12, 'middle'),
              _text(0, 0, 'precision of the others, %', 12, 'middle',
                    more='transform="translate(15,%.1f) rotate(-90)"' % ((top + bottom) / 2))]
    parts.append('<polyline fill="none" stroke="%s" stroke-width="2.2" stroke-linejoin="round" points="%s"/>' % (
        FIRST, ' '.join('%.1f,%.1f' % at(p[1], p[2]) for p in known)))
    return _svg(width, height, 'precision against share of ignored pixels', parts + _thresholds(known[::10], at))


def _shade(share):
    """Colour and text colour of a share 0..1; the root shows small confusions, too."""
    strength = math.sqrt(share)
    rgb = tuple(round(255 + (dark - 255) * strength) for dark in _DARKEST)
    return 'rgb(%d,%d,%d)' % rgb, '#fff' if strength > .62 else _INK


def matrix(counts, names, colours, width=1140, row=27):
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
        Of more than 40 classes, the 40 with most true pixels.
    """
    most = sorted(range(len(names)), key=lambda i: -sum(counts[i]))[:_MOST_CLASSES]
    shown = sorted(most)
    room = _room([names[i] for i in shown] + ['ignored'])
    left, top = 36 + room, 14 + round(.8 * room)
    cell = min(46, max(18, (width - left - 60) / (len(shown) + 1)))
    columns = [(j, names[j], left + cell * x) for x, j in enumerate(shown)]
    columns.append((len(names), 'ignored', left + cell * len(shown) + 8))
    parts = [_name(0, 0, name, 11, 'transform="translate(%.1f,%.1f) rotate(-50)"' % (x + cell / 2, top - 6))
             for _, name, x in columns]
    # Cells leave a pixel free, in which this shows as a grid.
    parts += [_rect(x - 1, top - 1, wide + 1, row * len(shown) + 1, _GRID)
              for x, wide in ((left, cell * len(shown)), (columns[-1][2], cell))]
    parts.append(_text(left - 8, top - 8, 'truth ↓ seeds →', 10, 'end', _FAINT))
    for line, i in enumerate(shown):
        total, y = max(sum(counts[i]), 1), top + row * line
        parts += [_swatch(4, y + row / 2 - 6, colours[names[i]]), _name(22, y + row / 2 + 4, names[i])]
        for j, name, x in columns:
            share = counts[i][j] / total
            colour, ink = _shade(share)
            parts.append(_rect(x, y, cell - 1, row - 1, colour, 'truth %s, seed %s: %.2f%% (%d pixels)' % (
                names[i], name, 100 * share, counts[i][j])))
            if round(100 * share):
                parts.append(_text(x + (cell - 1) / 2, y + row / 2 + 3, '%.0f' % (100 * share), 10, 'middle', ink,
                                   'pointer-events="none"'))
    return _svg(columns[-1][2] + cell + 50, top + row * len(shown) + 4, 'confusion matrix, percent', parts)
