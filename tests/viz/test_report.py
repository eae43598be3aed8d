"""The report: what it shows, that it needs nothing else, and what a browser makes of it."""
import base64
import html.parser
import math
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from icd import cli, files
from icd.data import masks
from icd.evaluate_options import EVALUATE
from icd.steps import evaluate
from icd.viz import plots, report
from tests.helpers.browser import opened

HOSTILE = '<b onload=x>&"fish of a name that has no room next to a plot'
CLASSES = ('cat', 'cow', HOSTILE)
NAMES = [f'n{i:02d}' for i in range(16)]
SHAPE = (90, 120)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Sixteen images, two sorts of seeds, scores and annotations."""
    folder, rng = tmp_path_factory.mktemp('report'), np.random.default_rng(0)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for i, name in enumerate(NAMES):
        distance = np.hypot(y - rng.uniform(30, 60), x - rng.uniform(40, 80))
        index = 1 + i % 3
        for part, radius in (('truth', 25), ('pred', 18 + i), ('other', 12)):
            mask = np.where(distance < radius, index, 0).astype(np.uint8)
            mask[(distance > radius) & (distance < radius + 3)] = 255
            masks.save_mask(str(folder / part / (name + '.png')), mask)
        image = cv2.resize(rng.integers(256, size=(6, 8, 3)).astype(np.uint8), SHAPE[::-1])
        files.save_image(str(folder / 'jpg' / (name + '.jpg')), image)
        files.save_npy(str(folder / 'npy' / (name + '.npy')),
                         (20 - distance[None, :SHAPE[0]:8, :SHAPE[0]:8]).astype(np.float32)[:, :12, :12])
        files.save_bytes(str(folder / 'xml' / (name + '.xml')), (
            f'<annotation><object><name>{html.escape(CLASSES[index - 1])}</name></object></annotation>').encode())
    (folder / 'list.txt').write_text('\n'.join(NAMES))
    (folder / 'classes.txt').write_text('\n'.join(CLASSES))
    return folder


def compare(folder, **values):
    paths = {'pred': 'pred', 'truth': 'truth', 'list': 'list.txt', 'class_names': 'classes.txt'}
    made = dict({key: str(folder / path) for key, path in paths.items()}, resamples=30)
    made.update(values)
    return evaluate.run(cli.defaults(EVALUATE, **made))


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
    """Pixels (H, W, 3) of the source of an image."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(source.split(',')[1]), np.uint8), cv2.IMREAD_COLOR)


# --------------------------------------------------------------------------------------------------------- page
def test_the_page_needs_no_other_file(full):
    page = Page(full[1])
    assert not {'script', 'link', 'iframe', 'object'} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(key.startswith('on') for key in attributes)
        for key in ('src', 'href', 'srcset', 'data'):
            assert attributes.get(key, 'data:').startswith('data:')
        assert attributes.get('xlink:href', '#').startswith('#')
    assert not re.search(r'url\(|@import|http', full[1].split('</style>')[0])


def test_the_page_shows_margins_and_agreement_where_a_run_is_given(full):
    result, text = full
    values = {'margin': dict(zip(result['IoU'], (None, 87.7, 19.86, 5.))),
              'agreement': dict(zip(result['IoU'], (None, 89.2, -38.44, None)))}
    page = report.page(dict(result, worst=[], calibration=dict(values, snapshot='<run>')))
    assert re.findall('<th scope="col">(margin|CAM agreement)</th>', page) == ['margin', 'CAM agreement']
    row = re.search('cow</th>(.*?)</tr>', page).group(1).replace('\N{MINUS SIGN}', '-')
    assert re.findall('<td>(.*?)</td>', row)[-2:] == ['19.86', '-38.44']
    assert '&lt;run&gt;' in page and 'below\n33' in page
    assert 'CAM agreement' not in text and '<run>' not in page


def test_the_page_shows_the_figures(full):
    result, text = full
    shown = ''.join(Page(text).texts)
    versus = result['versus']
    boxes = re.findall('<dt>(.*?)</dt><dd>(.*?)<small>(.*?)</small>', text.replace('\N{MINUS SIGN}', '-'))
    both = '%.1f over pixels both define'
    assert boxes == [
        ('mIoU', '{:.1f}'.format(result['mIoU']), both % result['mIoU_defined']),
        ('mIoU, other seeds', '{:.1f}'.format(versus['mIoU']), both % versus['mIoU_defined']),
        ('difference', '{:+.1f}'.format(versus['difference']), '95% interval {:+.1f} to {:+.1f}'.format(*tuple(
            versus['difference_interval']))),
        ('pixel accuracy', '{:.1f}'.format(result['pixel_accuracy']), ''),
        ('ignored', '{:.1f}'.format(result['ignored']), '{:.1f} of the truth'.format(result['ignored_truth'])),
        ('agreement', '{:.1f}'.format(result['agreement']), both % result['agreement_defined']), ('images', '16', '')]
    assert HOSTILE in shown and '<b' not in text.replace('<body', '').replace('<b>|</b>', '')
    for seeds, colour in ((result, plots.FIRST), (versus, plots.SECOND)):
        assert re.findall(f'text-anchor: end; fill: {colour}"[^>]*>(.*?)<', text) == [
            f'{value:.1f}' for value in seeds['IoU'].values()]
    for role in ('pred', 'truth', 'list'):
        assert f'<code>{result[role]}</code>' in text


def test_worst_images_are_in_order_with_their_masks(full):
    result, text = full
    page = Page(text)
    assert re.findall('<h3>(.*?)<span>', text) == [w['name'] for w in result['worst']]
    sources = [attributes['src'] for attributes in page.all('img')]
    assert len(sources) == 4 * len(result['worst']) and len(result['worst']) >= 12
    for source in sources:
        assert decoded(source).shape == SHAPE + (3,)


def test_overlays_show_the_masks_in_voc_colours(folder, full):
    name = full[0]['worst'][0]['name']
    sources = [a['src'] for a in Page(full[1]).all('img')][:4]
    image, seed, truth, other = [decoded(source).astype(int) for source in sources]
    for part, over in (('pred', seed), ('truth', truth), ('other', other)):
        mask = masks.read_mask(str(folder / part / (name + '.png')))
        index = mask[(mask > 0) & (mask < 255)][0]
        here = cv2.erode((mask == index).astype(np.uint8), np.ones((9, 9))) > 0
        mixed = (over - .4 * image)[here].mean(0) / .6
        assert np.abs(mixed - masks.palette()[index][::-1]).max() < 12
        away = cv2.erode((mask == 0).astype(np.uint8), np.ones((9, 9))) > 0
        assert np.abs(over - image)[away].mean() < 6
    keys = re.findall(r'rgb\((\d+),(\d+),(\d+)\)"></i>([^<]*)', full[1].split('<article>')[1])
    assert keys == [tuple(map(str, masks.palette()[i])) + (html.escape(name),) for i, name in (
        (index, CLASSES[index - 1]), (255, 'ignored'))]


def test_wide_images_are_made_small():
    source = report.data_uri(np.zeros((750, 1000, 3), np.uint8))
    assert decoded(source).shape == (240, 320, 3)


def test_the_page_names_the_options_that_would_show_more(folder, tmp_path):
    result = compare(folder)
    text = report.page(result)
    assert '--scores' in text and '--image-root' in text and 'image</figcaption>' not in text
    assert len(Page(text).all('img')) == 2 * len(result['worst'])
    (tmp_path / 'n00.jpg').write_bytes(b'')
    files.save_image(str(tmp_path / 'n01.jpg'), np.zeros((5, 5, 3), np.uint8))
    text = report.page(result, str(tmp_path))
    for name, problem in (('n00', 'not an image'), ('n01', 'another size'), ('n02', 'no such file')):
        assert re.search(rf'{name}\.jpg: [^<]*{problem}', text)


def test_without_a_curve_the_table_is_next_to_the_bars(folder, full):
    def in_a_row(text):
        return re.findall('<h2>(.*?)</h2>', text.split('<div class="side">')[1])[:3]
    bars, curve = 'IoU of each class, percent', 'Ignoring pixels of low confidence'
    table = 'Figures of each class, percent'
    assert in_a_row(full[1]) == [bars, curve, table]
    text = report.page(compare(folder))
    assert in_a_row(text)[:2] == [bars, table] and curve not in text and text.count('<table') == 1


def test_the_mark_is_explained_where_there_is_one(folder, full):
    assert 'where that differs' in full[1]
    assert 'where that differs' not in report.page(compare(folder, pred=str(folder / 'truth')))


def test_folder_names_that_are_no_text_are_shown(folder):
    strange = os.fsdecode(bytes(str(folder), 'utf-8') + b'/seeds\xff')
    shutil.copytree(str(folder / 'pred'), strange)
    compare(folder, pred=strange, html=str(folder / 'strange.html'))
    assert '/seeds?' in (folder / 'strange.html').read_text(encoding='utf-8')


def test_page_reports_that_no_image_differs(folder):
    assert 'No image differs' in report.page(compare(folder, pred=str(folder / 'truth')))


def test_page_of_seeds_that_ignore_everything(folder, tmp_path):
    for name in NAMES:
        masks.save_mask(str(tmp_path / (name + '.png')), np.full(SHAPE, 255, np.uint8))
    result = compare(folder, pred=str(tmp_path), scores=str(folder / 'npy'), infer_size=89,
                     annotation_root=str(folder / 'xml'))
    assert '<dt>ignored</dt><dd>100.0<' in report.page(result)


def test_missing_and_extra_files_are_named(folder, tmp_path):
    for name in NAMES[1:]:
        shutil.copy(str(folder / 'pred' / (name + '.png')), str(tmp_path))
    masks.save_mask(str(tmp_path / 'n01.png'), np.zeros((5, 6), np.uint8))
    for i in range(11):
        masks.save_mask(str(tmp_path / f'x{i:02d}.png'), np.zeros((5, 6), np.uint8))
    page = Page(report.page(compare(folder, pred=str(tmp_path), skip_bad=True)))
    shown = [text for text in page.texts if text.strip()]
    at = shown.index('Names of the list that are left out (2): n00, n01')
    assert shown[at + 1:at + 3] == [f'no such seed (1): {tmp_path}/n00.png',
                                   f'of another size than the truth (1): {tmp_path}/n01.png (6x5, not 120x90)']
    assert 'Masks in {} that are not in the list (11): {}, …'.format(
        tmp_path, ', '.join(f'x{i:02d}' for i in range(10))) in shown
    assert 'class="warning"' not in report.page(compare(folder))


# ------------------------------------------------------------------------------------------------------ browser
PROBE = r"""
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const crossed = (ones, others) => ones.filter(one => others.some(other => {
    const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
    return one != other && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1; })).map(e => e.textContent);
  const level = s => [...s.querySelectorAll('text')].filter(e => !/rotate\(-?[1-9]/.test(e.getAttribute('transform')));
  const shapes = s => [...s.querySelectorAll('path, use')].filter(e => !e.closest('defs'));
  const filled = s => shapes(s).filter(e => e.matches('use') || getComputedStyle(e).fill != 'none');
  return {
    rows: [...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText)),
    svg: [...document.querySelectorAll('.plot')].map(p => [p, p.firstElementChild]).map(([p, s]) => ({
      label: p.getAttribute('aria-label'), box: box(s),
      outside: shapes(s).concat([...s.querySelectorAll('text')]).filter(e => {
        const a = e.getBoundingClientRect(), b = s.getBoundingClientRect();
        return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
      }).length,
      crossed: crossed(level(s), level(s)), covered: crossed(level(s), filled(s)),
      smallest: Math.min(...level(s).map(e => e.getBoundingClientRect().height)),
      drawn: shapes(s).filter(e => e.getBoundingClientRect().width > 0).length})),
    images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight].concat(box(i))),
    articles: document.querySelectorAll('.worst article').length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    background: getComputedStyle(document.body).backgroundColor};"""


@pytest.mark.parametrize('width', [1300, 400])
def test_a_browser_shows_the_whole_page(chromium, full, tmp_path, width):
    result, text = full
    seen = opened(chromium, text, tmp_path, width, PROBE)
    columns = [result[key] for key in ('IoU', 'IoU_defined', 'precision', 'recall')]
    columns += [result['exchanged']['IoU'], result['versus']['IoU']]
    assert seen['rows'] == [[name] + [f'{column[name]:.2f}' for column in columns] for name in result['IoU']]
    assert [plot['label'].split()[0] for plot in seen['svg']] == ['IoU', 'precision', 'confusion']
    for plot, drawn in zip(seen['svg'], (8, 11, 12)):
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


def test_plots_of_many_classes_are_readable_on_a_phone(chromium, folder, tmp_path):
    seen = opened(chromium, report.page(compare(folder, class_names=None)), tmp_path, 400, PROBE)
    assert len(seen['rows']) == 21 and seen['overflow'] <= 0
    for plot in seen['svg']:
        assert plot['smallest'] > 8 and plot['outside'] == 0 and plot['crossed'] == []
