"""The page: what it says, that it needs nothing else, and what a browser shows of it."""
import base64
import html.parser
import json
import math
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

import cv2
import numpy as np
import pytest

from icd.data import masks
from icd import cli, files
from icd.steps import evaluate
from icd.viz import plots
from icd.viz import report

HOSTILE = '<b onload=x>&"fish of a name that has no room beside a plot'
CLASSES = ('cat', 'cow', HOSTILE)
NAMES = ['n%02d' % i for i in range(16)]
SHAPE = (90, 120)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Sixteen images with photographs, two sorts of seeds, scores and annotations."""
    folder, rng = tmp_path_factory.mktemp('report'), np.random.default_rng(0)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for i, name in enumerate(NAMES):
        distance = np.hypot(y - rng.uniform(30, 60), x - rng.uniform(40, 80))
        index = 1 + i % 3
        for part, radius in (('truth', 25), ('pred', 18 + i), ('other', 12)):
            mask = np.where(distance < radius, index, 0).astype(np.uint8)
            mask[(distance > radius) & (distance < radius + 3)] = 255
            masks.save_mask(str(folder / part / (name + '.png')), mask)
        photograph = cv2.resize(rng.integers(256, size=(6, 8, 3)).astype(np.uint8), SHAPE[::-1])
        files.save_image(str(folder / 'jpg' / (name + '.jpg')), photograph)
        files.save_npy(str(folder / 'npy' / (name + '.npy')),
                         (20 - distance[None, :SHAPE[0]:8, :SHAPE[0]:8]).astype(np.float32)[:, :12, :12])
        files.save_bytes(str(folder / 'xml' / (name + '.xml')), (
            '<annotation><object><name>%s</name></object></annotation>' % html.escape(CLASSES[index - 1])).encode())
    (folder / 'list.txt').write_text('\n'.join(NAMES))
    (folder / 'classes.txt').write_text('\n'.join(CLASSES))
    return folder


def compare(folder, **values):
    paths = {'pred': 'pred', 'truth': 'truth', 'list': 'list.txt', 'class_names': 'classes.txt'}
    made = dict({key: str(folder / path) for key, path in paths.items()}, resamples=30)
    made.update(values)
    return evaluate.run(cli.defaults(cli.EVALUATE, **made))


@pytest.fixture(scope='module')
def full(folder):
    """The result and the page with everything on it."""
    path = str(folder / 'page' / 'report.html')
    result = compare(folder, versus=str(folder / 'other'), scores=str(folder / 'npy'), infer_size=89, html=path,
                     annotation_root=str(folder / 'xml'), image_root=str(folder / 'jpg'))
    with open(path, encoding='utf-8') as file:
        return result, file.read()


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(source):
    """Picture (H, W, 3) of the source of an image."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(source.split(',')[1]), np.uint8), cv2.IMREAD_COLOR)


# --------------------------------------------------------------------------------------------------------- page
def test_the_page_needs_no_other_file(full):
    page = Page(full[1])
    assert not {'script', 'link', 'iframe', 'object'} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(key.startswith('on') for key in attributes)
        for key in ('src', 'href', 'srcset', 'data'):
            assert attributes.get(key, 'data:').startswith('data:')
    assert not re.search(r'url\(|@import|http', full[1].split('</style>')[0])


def test_the_page_says_the_figures(full):
    result, text = full
    said = ''.join(Page(text).texts)
    versus = result['versus']
    boxes = re.findall('<dt>(.*?)</dt><dd>(.*?)<small>(.*?)</small>', text.replace('\N{MINUS SIGN}', '-'))
    both = '%.1f over pixels both define'
    assert boxes == [
        ('mIoU', '%.1f' % result['mIoU'], both % result['mIoU_defined']),
        ('mIoU, other seeds', '%.1f' % versus['mIoU'], both % versus['mIoU_defined']),
        ('difference', '%+.1f' % versus['difference'], '95%% interval %+.1f to %+.1f' % tuple(
            versus['difference_interval'])),
        ('pixel accuracy', '%.1f' % result['pixel_accuracy'], ''),
        ('ignored', '%.1f' % result['ignored'], '%.1f of the truth' % result['ignored_truth']),
        ('agreement', '%.1f' % result['agreement'], both % result['agreement_defined']), ('images', '16', '')]
    assert HOSTILE in said and HOSTILE not in text
    for seeds, colour in ((result, plots.FIRST), (versus, plots.SECOND)):
        assert re.findall('text-anchor="end" fill="%s" >(.*?)<' % colour, text) == [
            '%.1f' % value for value in seeds['IoU'].values()]
    for role in ('pred', 'truth', 'list'):
        assert '<code>%s</code>' % result[role] in text


def test_worst_images_in_order_with_their_pictures(full):
    result, text = full
    page = Page(text)
    assert re.findall('<h3>(.*?)<span>', text) == [w['name'] for w in result['worst']]
    sources = [attributes['src'] for attributes in page.all('img')]
    assert len(sources) == 4 * len(result['worst']) and len(result['worst']) >= 12
    for source in sources:
        assert decoded(source).shape == SHAPE + (3,)


def test_pictures_show_the_masks_in_voc_colours(folder, full):
    name = full[0]['worst'][0]['name']
    sources = [a['src'] for a in Page(full[1]).all('img')][:4]
    photograph, seed, truth, other = [decoded(source).astype(int) for source in sources]
    for part, picture in (('pred', seed), ('truth', truth), ('other', other)):
        mask = masks.read_mask(str(folder / part / (name + '.png')))
        index = mask[(mask > 0) & (mask < 255)][0]
        here = cv2.erode((mask == index).astype(np.uint8), np.ones((9, 9))) > 0
        mixed = (picture - .4 * photograph)[here].mean(0) / .6
        assert np.abs(mixed - masks.palette()[index][::-1]).max() < 12
        away = cv2.erode((mask == 0).astype(np.uint8), np.ones((9, 9))) > 0
        assert np.abs(picture - photograph)[away].mean() < 6
    keys = re.findall(r'rgb\((\d+),(\d+),(\d+)\)"></i>([^<]*)', full[1].split('<article>')[1])
    assert keys == [tuple(map(str, masks.palette()[i])) + (html.escape(word),) for i, word in (
        (index, CLASSES[index - 1]), (255, 'ignored'))]


def test_wide_pictures_are_made_small():
    source = report._data_uri(np.zeros((750, 1000, 3), np.uint8))
    assert decoded(source).shape == (240, 320, 3)


def test_without_photographs_and_scores_the_page_says_so(folder, tmp_path):
    result = compare(folder)
    text = report.page(result)
    assert '--scores' in text and '--image-root' in text and 'photograph</figcaption>' not in text
    assert len(Page(text).all('img')) == 2 * len(result['worst'])
    (tmp_path / 'n00.jpg').write_bytes(b'')
    files.save_image(str(tmp_path / 'n01.jpg'), np.zeros((5, 5, 3), np.uint8))
    text = report.page(result, str(tmp_path))
    for name, problem in (('n00', 'not an image'), ('n01', 'another size'), ('n02', 'no such file')):
        assert re.search(r'%s\.jpg: [^<]*%s' % (name, problem), text)


def test_the_table_stands_beside_the_bars_where_there_is_no_curve(folder, full):
    def beside(text):
        return re.findall('<h2>(.*?)</h2>', text.split('<div class="side">')[1])[:3]
    bars, curve, table = 'IoU of each class, percent', 'Ignoring unsure pixels', 'Figures of each class, percent'
    assert beside(full[1]) == [bars, curve, table]
    text = report.page(compare(folder))
    assert beside(text)[:2] == [bars, table] and curve not in text and text.count('<table') == 1


def test_the_mark_is_explained_where_there_is_one(folder, full):
    assert 'where that differs' in full[1]
    assert 'where that differs' not in report.page(compare(folder, pred=str(folder / 'truth')))


def test_names_of_folders_that_are_no_text(folder):
    strange = os.fsdecode(bytes(str(folder), 'utf-8') + b'/seeds\xff')
    shutil.copytree(str(folder / 'pred'), strange)
    compare(folder, pred=strange, html=str(folder / 'strange.html'))
    assert '/seeds?' in (folder / 'strange.html').read_text(encoding='utf-8')


def test_nothing_differs(folder):
    assert 'No image differs' in report.page(compare(folder, pred=str(folder / 'truth')))


def test_seeds_that_ignore_everything(folder, tmp_path):
    for name in NAMES:
        masks.save_mask(str(tmp_path / (name + '.png')), np.full(SHAPE, 255, np.uint8))
    result = compare(folder, pred=str(tmp_path), scores=str(folder / 'npy'), infer_size=89,
                     annotation_root=str(folder / 'xml'))
    assert '<dt>ignored</dt><dd>100.0<' in report.page(result)


def test_missing_and_extra_files_are_said(folder, tmp_path):
    for name in NAMES[1:]:
        shutil.copy(str(folder / 'pred' / (name + '.png')), str(tmp_path))
    masks.save_mask(str(tmp_path / 'n01.png'), np.zeros((5, 6), np.uint8))
    for i in range(11):
        masks.save_mask(str(tmp_path / ('x%02d.png' % i)), np.zeros((5, 6), np.uint8))
    said = Page(report.page(compare(folder, pred=str(tmp_path), skip_bad=True))).texts
    at = said.index('Names of the list that are left out (2): n00, n01')
    assert said[at + 1:at + 3] == ['no such seed (1): %s/n00.png' % tmp_path,
                                   'of another size than the truth (1): %s/n01.png (6x5, not 120x90)' % tmp_path]
    assert 'Masks in %s that are not in the list (11): %s, …' % (
        tmp_path, ', '.join('x%02d' % i for i in range(10))) in said
    assert 'class="warning"' not in report.page(compare(folder))


# -------------------------------------------------------------------------------------------------------- plots
def elements(svg, tag):
    return [e for e in xml.etree.ElementTree.fromstring(svg).iter(tag)]


def colours(names):
    return {name: (1, 2, 3) for name in names}


def test_bars_are_as_long_as_their_values():
    values = {'background': 100., 'cat': 50., 'dog': 25., 'cow': None}
    other = dict(values, cat=75.)
    unmarked = dict.fromkeys(values)
    svg = plots.bars([(values, unmarked), (other, unmarked)], colours(values))
    first, second = ([float(e.get('width')) for e in elements(svg, 'rect') if e.get('fill') == colour]
                     for colour in (plots.FIRST, plots.SECOND))
    assert np.array(first) / first[0] == pytest.approx([1, .5, .25, 0], abs=.01)
    assert np.array(second) / first[0] == pytest.approx([1, .75, .25, 0], abs=.01)
    for colour, cat in ((plots.FIRST, '50.0'), (plots.SECOND, '75.0')):
        assert [e.text for e in elements(svg, 'text') if e.get('fill') == colour] == ['100.0', cat, '25.0', '–']
    alone = plots.bars([(values, unmarked)], colours(values))
    assert not [e for e in elements(alone, 'rect') if e.get('fill') == plots.SECOND]


def test_marks_stand_on_their_bar_where_figures_differ():
    values = {'background': 40., 'cat': 50.}
    plain, svg = (plots.bars([(values, values), (values, dict(values, cat=cat))], colours(values))
                  for cat in (50.04, 80.))
    marks = [e for e in elements(svg, 'line') if e.get('x1') == e.get('x2')][len(elements(plain, 'line')):]
    bar = [e for e in elements(svg, 'rect') if e.get('fill') == plots.SECOND][1]
    assert len(marks) == 1
    start, length, y, high = (float(bar.get(key)) for key in ('x', 'width', 'y', 'height'))
    assert float(marks[0].get('x1')) - start == pytest.approx(length * 80 / 50, abs=.2)
    assert y - 2 < float(marks[0].get('y1')) < y and y + high < float(marks[0].get('y2')) < y + high + 2


def test_long_names_are_cut_and_told_under_the_pointer():
    names = ['background', 'a' * 70, 'b' * 22]
    values = dict.fromkeys(names, 50.)
    for svg in (plots.bars([(values, values)], colours(names)), plots.matrix([[1] * 4] * 4, names, colours(names))):
        texts = {e.text: e.find('title') for e in elements(svg, 'text')}
        assert texts['a' * 21 + '…'].text == 'a' * 70
        assert texts['b' * 22] is None and 'a' * 70 not in texts


def test_the_curve_goes_through_its_points():
    points = {'threshold': [i / 100 for i in range(101)], 'ignored': [float(i) for i in range(101)],
              'precision': [60 + i * .4 for i in range(100)] + [None]}
    svg = plots.curve(points)
    line = np.array([p.split(',') for p in elements(svg, 'polyline')[0].get('points').split()], float)
    assert len(line) == 100
    steps = np.diff(line, axis=0)
    assert steps == pytest.approx(np.broadcast_to(steps.mean(0), steps.shape), abs=.11)
    assert (steps.mean(0) * [1, -1] > 0).all()
    assert len(elements(svg, 'circle')) == 10
    for precision in ([100.] * 101, [0.] * 100 + [None], [float(i) for i in range(101)]):
        svg = plots.curve(dict(points, precision=precision))
        heights = [float(p.split(',')[1]) for p in elements(svg, 'polyline')[0].get('points').split()]
        assert 0 < min(heights) <= max(heights) < 460
    for spread, words in ((.01, ['0.0']), (1, ['%.1f' % (i / 10) for i in range(10)])):
        svg = plots.curve(dict(points, ignored=[spread * i for i in range(101)], precision=[90.] * 100 + [None]))
        assert [e.text for e in elements(svg, 'text') if '.' in e.text] == words


def test_the_axis_of_the_curve_shows_its_points():
    for least in [0, 1, 37.5, 60, 88, 90, 96, 99.9, 100]:
        marks = plots._axis([100, least])
        assert marks[0] == 100 and 3 <= len(marks) <= 8
        assert least == 0 == marks[-1] or marks[-1] < least
        assert 100 - marks[-1] <= max(8, 1.7 * (100 - least))


def test_cells_of_the_confusion_matrix():
    svg = plots.matrix([[8, 1, 1], [3, 1, 0], [9, 9, 9]], ['background', 'cat'], colours(['background', 'cat']))
    titles = [e.text for e in elements(svg, 'title') if e.text]
    assert titles == ['truth %s, seed %s' % words for words in (
        ('background', 'background: 80.00% (8 pixels)'), ('background', 'cat: 10.00% (1 pixels)'),
        ('background', 'ignored: 10.00% (1 pixels)'), ('cat', 'background: 75.00% (3 pixels)'),
        ('cat', 'cat: 25.00% (1 pixels)'), ('cat', 'ignored: 0.00% (0 pixels)'))]
    shades = {e.find('title').text: e.get('fill') for e in elements(svg, 'rect')}
    assert shades[titles[5]] == 'rgb(255,255,255)'
    assert len({shades[title] for title in titles}) == 5


def test_cells_that_round_to_nothing_have_no_figure():
    svg = plots.matrix([[995, 5, 0], [6, 994, 0], [0, 0, 0]], ['background', 'cat'], colours(['background', 'cat']))
    assert [e.text for e in elements(svg, 'text') if e.get('pointer-events')] == ['100', '1', '99']


def test_a_matrix_of_many_classes_stays_readable():
    names = ['class %d' % i for i in range(254)]
    counts = np.diag(np.arange(255)).tolist()
    svg = plots.matrix(counts, names, colours(names))
    rows = {t.text.split(',')[0] for t in elements(svg, 'title') if t.text}
    assert rows == {'truth class %d' % i for i in range(214, 254)}


# ------------------------------------------------------------------------------------------------------ browser
PROBE = """<script>addEventListener('load', () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const crossed = (ones, others) => ones.filter(one => others.some(other => {
    const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
    return one != other && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1; })).map(e => e.textContent);
  const level = s => [...s.querySelectorAll('text:not([transform])')];
  const probe = {
    rows: [...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText)),
    svg: [...document.querySelectorAll('svg')].map(s => ({label: s.getAttribute('aria-label'), box: box(s),
      outside: [...s.querySelectorAll('rect, circle, polyline, text')].filter(e => {
        const a = e.getBoundingClientRect(), b = s.getBoundingClientRect();
        return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
      }).length,
      crossed: crossed(level(s), level(s)), covered: crossed(level(s), [...s.querySelectorAll('rect, circle')]),
      smallest: Math.min(...level(s).map(e => e.getBoundingClientRect().height)),
      drawn: [...s.querySelectorAll('rect, polyline')].filter(e => e.getBoundingClientRect().width > 0).length})),
    images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight].concat(box(i))),
    articles: document.querySelectorAll('.worst article').length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    background: getComputedStyle(document.body).backgroundColor};
  const pre = document.createElement('pre'); pre.id = 'probe'; pre.textContent = JSON.stringify(probe);
  document.body.append(pre); });</script></body>"""
QUIET = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync --hide-scrollbars').split()


@pytest.fixture(scope='session')
def chromium():
    for name in ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip('no chromium on this machine (apt-get install chromium)')


def opened(chromium, text, tmp_path, width):
    """What the browser made of a page."""
    (tmp_path / 'page.html').write_text(text.replace('</body>', PROBE), encoding='utf-8')
    done = subprocess.run(
        [chromium] + QUIET + ['--user-data-dir=%s' % (tmp_path / 'profile'), '--window-size=%d,900' % width,
                              '--virtual-time-budget=4000', '--dump-dom', (tmp_path / 'page.html').as_uri()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, universal_newlines=True, encoding='utf-8')
    found = re.search('<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.parametrize('width', [1300, 400])
def test_a_browser_shows_it_all(chromium, full, tmp_path, width):
    result, text = full
    seen = opened(chromium, text, tmp_path, width)
    columns = [result[key] for key in ('IoU', 'IoU_defined', 'precision', 'recall')]
    columns += [result['exchanged']['IoU'], result['versus']['IoU']]
    assert seen['rows'] == [[name] + ['%.2f' % column[name] for column in columns] for name in result['IoU']]
    assert [plot['label'].split()[0] for plot in seen['svg']] == ['IoU', 'precision', 'confusion']
    for plot, drawn in zip(seen['svg'], (8, 1, 12)):
        assert min(plot['box']) > 100 and plot['drawn'] >= drawn and plot['outside'] == 0
        assert plot['crossed'] == [] and plot['smallest'] > 8
    assert [plot['covered'] for plot in seen['svg'][:2]] == [[], []]
    assert seen['articles'] == len(result['worst']) >= 12
    assert len(seen['images']) == 4 * seen['articles']
    for complete, natural_width, natural_height, shown_width, shown_height in seen['images']:
        assert complete and (natural_height, natural_width) == SHAPE and min(shown_width, shown_height) > 90
        assert math.isclose(shown_width / shown_height, natural_width / natural_height, rel_tol=.03)
    assert seen['overflow'] <= 0
    assert min(map(int, re.findall(r'\d+', seen['background'])[:3])) > 230


def test_plots_of_many_classes_can_be_read_on_a_telephone(chromium, folder, tmp_path):
    seen = opened(chromium, report.page(compare(folder, class_names=None)), tmp_path, 400)
    assert len(seen['rows']) == 21 and seen['overflow'] <= 0
    for plot in seen['svg']:
        assert plot['smallest'] > 8 and plot['outside'] == 0 and plot['crossed'] == []
