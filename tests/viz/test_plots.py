"""Plots of the report: that the SVG shows the numbers, whatever the class names and the settings of matplotlib."""
import re
import warnings
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pytest

from icd.viz import plots

VALUES = {'background': 100., 'cat': 50., 'dog': 25., 'cow': None}
NO_MARKS = dict.fromkeys(VALUES)
POINTS = {'threshold': [i / 100 for i in range(101)], 'ignored': [float(i) for i in range(101)],
          'precision': [60 + i * .4 for i in range(100)] + [None]}


def elements(svg, tag):
    return list(xml.etree.ElementTree.fromstring(svg).iter('{http://www.w3.org/2000/svg}' + tag))


def shapes(svg, style):
    """Corners (n, 2), from the top left, of the paths with something in their style."""
    return [np.array(re.findall(r'-?\d+(?:\.\d+)?', e.get('d')), float).reshape(-1, 2)
            for e in elements(svg, 'path') if style in e.get('style', '')]


def texts(svg, style=''):
    return [e.text for e in elements(svg, 'text') if style in e.get('style')]


def colours(names):
    return {name: (1, 2, 3) for name in names}


def test_bars_are_as_long_as_their_values():
    svg = plots.bars([(VALUES, NO_MARKS), (dict(VALUES, cat=75.), NO_MARKS)], colours(VALUES))
    first, second = ([np.ptp(corners[:, 0]) for corners in shapes(svg, 'fill: ' + colour)]
                     for colour in (plots.FIRST, plots.SECOND))
    assert np.array(first) / first[0] == pytest.approx([1, .5, .25, 0], abs=.01)
    assert np.array(second) / first[0] == pytest.approx([1, .75, .25, 0], abs=.01)
    for colour, cat in ((plots.FIRST, '50.0'), (plots.SECOND, '75.0')):
        assert texts(svg, 'fill: ' + colour) == ['100.0', cat, '25.0', '–']
    assert not shapes(plots.bars([(VALUES, NO_MARKS)], colours(VALUES)), plots.SECOND)


def test_marks_are_on_their_bar_where_figures_differ():
    values = {'background': 40., 'cat': 50.}
    plain, svg = (plots.bars([(values, values), (values, dict(values, cat=cat))], colours(values))
                  for cat in (50.04, 80.))
    mark, = shapes(svg, 'stroke-width: 1.6')
    assert not shapes(plain, 'stroke-width: 1.6')
    bar = shapes(svg, 'fill: ' + plots.SECOND)[1]
    (left, top), (right, bottom) = bar.min(0), bar.max(0)
    assert mark[0, 0] == mark[1, 0] and mark[0, 0] - left == pytest.approx((right - left) * 80 / 50, abs=.2)
    assert top - 2 < mark[:, 1].min() < top and bottom < mark[:, 1].max() < bottom + 2


def test_long_names_are_cut():
    names = ['background', 'a' * 70, 'b' * 22]
    values = dict.fromkeys(names, 50.)
    for svg in (plots.bars([(values, values)], colours(names)),
                plots.confusion_matrix([[1] * 4] * 4, names, colours(names))):
        assert {'background', 'a' * 21 + '…', 'b' * 22} <= set(texts(svg)) and 'a' * 70 not in svg


@pytest.mark.parametrize('name', ['<b onload=x>&"fish', '$x_1$', r'\alpha', '猫', '-->', ']]>', '%s {0}'])
def test_names_are_escaped_in_plots(name):
    values = {'background': 1., name: 2.}
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for svg in (plots.bars([(values, values)], colours(values)),
                    plots.confusion_matrix([[1] * 3] * 3, list(values), colours(values))):
            assert name in texts(svg) and '<b' not in svg


def test_curve_passes_through_its_points():
    svg = plots.precision_coverage(POINTS)
    line, = shapes(svg, 'stroke-width: 2.2')
    whole, fall = line[-1] - line[0]
    assert whole == pytest.approx((460 - 26 - 52) * .99, abs=.1) and fall < 0
    assert np.cross(line - line[0], line[-1] - line[0]) / whole == pytest.approx(np.zeros(len(line)), abs=.2)
    assert len(elements(svg, 'use')) == 10              # circles
    for precision in ([100.] * 101, [0.] * 100 + [None], [float(i) for i in range(101)]):
        line, = shapes(plots.precision_coverage(dict(POINTS, precision=precision)), 'stroke-width: 2.2')
        assert 0 < line[:, 1].min() <= line[:, 1].max() < 460


def test_thresholds_are_labelled_where_there_is_room():
    for spread, labels in ((.01, ['0.0']), (1, [f'{i / 10:.1f}' for i in range(10)])):
        points = dict(POINTS, ignored=[spread * i for i in range(101)], precision=[90.] * 100 + [None])
        assert [text for text in texts(plots.precision_coverage(points)) if '.' in text[:-1]] == labels


@pytest.mark.parametrize('least', [0, 1, 37.5, 60, 88, 90, 96, 99.9, 100])
def test_the_axis_of_the_curve_fits_its_points(least):
    svg = plots.precision_coverage(dict(POINTS, precision=[least + (100 - least) * i / 100 for i in range(101)]))
    line, = shapes(svg, 'stroke-width: 2.2')
    assert 16 <= line[:, 1].min() + .01 and line[:, 1].max() <= 414.01
    assert len(re.findall('text-anchor: end', svg)) in range(3, 9)             # numbers at the axis
    assert least > 96 or np.ptp(line[:, 1]) > .85 * (414 - 16)


def test_a_curve_without_points_is_empty():
    svg = plots.precision_coverage(dict(POINTS, precision=[None] * 101))
    assert not shapes(svg, 'stroke-width: 2.2') and 'ignored pixels, %' in texts(svg)


def test_cells_are_percent_of_their_row():
    svg = plots.confusion_matrix([[8, 1, 1], [3, 1, 0], [9, 9, 9]], ['background', 'cat'],
                                 colours(['background', 'cat']))
    assert [text for text in texts(svg) if text.isdigit()] == ['80', '10', '10', '75', '25']
    fills = [re.search('fill: (#[0-9a-f]+)', e.get('style')).group(1) for e in elements(svg, 'path')
             if 'fill: #' in e.get('style', '') and 'stroke: #e4e8ee' in e.get('style')]
    assert len(fills) == 6 and len(set(fills)) == 5             # row by row, and then what is ignored
    red = [int(fill[1:3], 16) for fill in fills]
    assert red == pytest.approx([255 - (255 - 22) * root for root in np.sqrt([.8, .1, .75, .25, .1, 0])], abs=1.5)
    assert set(texts(svg, 'fill: #ffffff')) == {'80', '75'}


def test_cells_that_round_to_nothing_have_no_figure():
    svg = plots.confusion_matrix([[995, 5, 0], [6, 994, 0], [0, 0, 0]], ['background', 'cat'],
                                 colours(['background', 'cat']))
    assert [text for text in texts(svg) if text.isdigit()] == ['100', '1', '99']


def test_a_matrix_of_many_classes_stays_readable():
    names = [f'class {i}' for i in range(254)]
    svg = plots.confusion_matrix(np.diag(np.arange(255)).tolist(), names, colours(names))
    assert {text for text in texts(svg) if text.startswith('class')} == {f'class {i}' for i in range(214, 254)}


def test_plots_do_not_depend_on_matplotlib_settings():
    def drawn():
        return (plots.bars([(VALUES, NO_MARKS)], colours(VALUES)), plots.precision_coverage(POINTS),
                plots.confusion_matrix([[8, 1, 1], [3, 1, 0], [9, 9, 9]], ['a', 'b'], colours('ab')))
    before = drawn()
    with matplotlib.rc_context({'axes.grid': True, 'font.size': 30, 'lines.linewidth': 9, 'svg.fonttype': 'path'}):
        assert drawn() == before
        assert matplotlib.rcParams['font.size'] == 30
    for svg in before:
        assert 'metadata' not in svg and not re.search(r'20\d\d-', svg)
        assert not re.search('<g [^>]*id=', svg)
    names = [set(re.findall(' id="([^"]+)"', svg)) for svg in before]
    assert sum(map(len, names)) == len(set.union(*names))
