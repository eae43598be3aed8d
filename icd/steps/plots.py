"""Plots of the report as SVG text: numbers in, `<svg>` elements out, readable without any style sheet."""
import html
import math

_INK, _FAINT, _GRID = '#1f2933', '#66717f', '#e4e8ee'
FIRST, SECOND = '#2f6fde', '#e8862e'            # the seeds, the other seeds
_DARKEST = (22, 64, 148)                        # of the confusion matrix
_MOST_CLASSES = 40                              # in a confusion matrix that can still be read


def _text(x, y, text, size=12, anchor='start', colour=_INK, more=''):
    return '<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s" %s>%s</text>' % (
        x, y, size, anchor, colour, more, html.escape(str(text)))


def _rect(x, y, width, height, colour, title='', more=''):
    return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" %s><title>%s</title></rect>' % (
        x, y, max(width, 0), height, colour, more, html.escape(title))


def _line(x1, y1, x2, y2, colour=_GRID, width=1):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>' % (
        x1, y1, x2, y2, colour, width)


def _svg(width, height, title, parts):
    return ('<svg viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s" '
            'font-family="system-ui, sans-serif">%s</svg>' % (width, height, width, height, html.escape(title),
                                                              ''.join(parts)))


def _swatch(x, y, colour):
    """A class colour, as in the pictures."""
    return _rect(x, y, 11, 11, 'rgb(%d,%d,%d)' % tuple(colour), more='rx="2" stroke="#0003"')


def percent(value, digits=1):
    """A percentage for the eye; an en dash for None."""
    return '–' if value is None else '%.*f' % (digits, value)


def bars(values, colours, ticks=None, other=None, width=560):
    """A bar a class.

    Parameters
    ----------
    values : dict of float or None by class name
        Percent.
    colours : dict of (R, G, B) by class name
    ticks, other : dict like `values`, optional
        Marked on the bars where they differ; drawn as second bars.
    width : int
        Pixels.

    Returns
    -------
    str
    """
    left = min(46 + 7 * max(map(len, values)), width // 2)
    right, row, top = width - 46, 24, 22
    height = top + row * len(values) + 6

    def at(value):
        return left + (right - left) * value / 100
    parts = []
    for value in range(0, 101, 20):
        parts += [_line(at(value), top - 4, at(value), height - 4),
                  _text(at(value), 13, value, 10, 'middle', _FAINT)]
    for i, (name, value) in enumerate(values.items()):
        y = top + row * i
        parts += [_swatch(4, y + 5, colours[name]), _text(22, y + 15, name)]
        series = [(value, FIRST)] + ([(other[name], SECOND)] if other else [])
        thick = 16 / len(series)
        for j, (length, colour) in enumerate(series):
            parts.append(_rect(left, y + 3 + j * thick, at(length or 0) - left, thick - 1, colour,
                               '%s: %s' % (name, percent(length, 2)), 'rx="2"'))
        if ticks and ticks[name] is not None and abs(ticks[name] - value) >= .05:
            parts.append(_line(at(ticks[name]), y + 1, at(ticks[name]), y + 20, _INK, 1.6))
        parts.append(_text(width - 4, y + 15, percent(value), 11, 'end', _FAINT))
    return _svg(width, height, 'IoU of each class, percent', parts)


def _low_end(values):
    """A round number of percent below all `values`, for the start of an axis."""
    return max(0, 10 * math.floor((min(values) - 1) / 10))


def curve(points, width=560, height=440):
    """Share of ignored pixels against the precision of the others, threshold by threshold.

    Parameters
    ----------
    points : dict
        Of `icd.confusion.threshold_curve`.

    Returns
    -------
    str
    """
    known = [p for p in zip(points['threshold'], points['ignored'], points['precision']) if p[2] is not None]
    low = _low_end([p[2] for p in known])
    left, right, top, bottom = 52, width - 20, 16, height - 46

    def at(ignored, precision):
        return left + (right - left) * ignored / 100, bottom - (bottom - top) * (precision - low) / (100 - low)
    parts = []
    for value in range(0, 101, 20):
        x = at(value, low)[0]
        parts += [_line(x, top, x, bottom), _text(x, bottom + 17, value, 10, 'middle', _FAINT)]
    for value in range(low, 101, 2 if low >= 90 else 5 if low >= 70 else 10):
        y = at(0, value)[1]
        parts += [_line(left, y, right, y), _text(left - 7, y + 4, value, 10, 'end', _FAINT)]
    parts += [_text((left + right) / 2, height - 10, 'ignored pixels, %', 12, 'middle'),
              _text(0, 0, 'right among the others, %', 12, 'middle',
                    more='transform="translate(15,%.1f) rotate(-90)"' % ((top + bottom) / 2))]
    parts.append('<polyline fill="none" stroke="%s" stroke-width="2.2" stroke-linejoin="round" points="%s"/>' % (
        FIRST, ' '.join('%.1f,%.1f' % at(p[1], p[2]) for p in known)))
    for threshold, ignored, precision in known:
        if round(threshold * 100) % 10 == 0:
            x, y = at(ignored, precision)
            parts += ['<circle cx="%.1f" cy="%.1f" r="4" fill="#fff" stroke="%s" stroke-width="2"><title>threshold '
                      '%.2f: ignored %.1f%%, right %.1f%%</title></circle>' % (x, y, FIRST, threshold, ignored,
                                                                                precision)]
            if round(threshold * 100) % 20 == 0:
                parts.append(_text(x + 2, y + 19, '%.1f' % threshold, 10, 'middle', _FAINT))
    return _svg(width, height, 'precision against share of ignored pixels', parts)


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
    shown, longest = sorted(most), max(len(names[i]) for i in most)
    left, top = 36 + 7 * longest, 14 + round(5.6 * max(longest, 7))
    cell = min(46, max(18, (width - left - 60) / (len(shown) + 1)))
    columns = [(j, names[j], left + cell * x) for x, j in enumerate(shown)]
    columns.append((len(names), 'ignored', left + cell * len(shown) + 8))
    parts = [_text(0, 0, name, 11, more='transform="translate(%.1f,%.1f) rotate(-50)"' % (x + cell / 2, top - 6))
             for _, name, x in columns]
    for line, i in enumerate(shown):
        total, y = max(sum(counts[i]), 1), top + row * line
        parts += [_swatch(4, y + row / 2 - 6, colours[names[i]]), _text(22, y + row / 2 + 4, names[i])]
        for j, name, x in columns:
            share = counts[i][j] / total
            colour, ink = _shade(share)
            parts.append(_rect(x, y, cell - 1, row - 1, colour, 'truth %s, seed %s: %.2f%% (%d pixels)' % (
                names[i], name, 100 * share, counts[i][j])))
            if share >= .005:
                parts.append(_text(x + (cell - 1) / 2, y + row / 2 + 3, '%.0f' % (100 * share), 10, 'middle', ink,
                                   'pointer-events="none"'))
    return _svg(columns[-1][2] + cell + 50, top + row * len(shown) + 4, 'confusion matrix, percent', parts)
