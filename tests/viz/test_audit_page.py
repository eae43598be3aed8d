"""The page of an audit: what it shows, that it needs nothing else, and that a browser filters it."""
import re

import numpy as np
import pytest

from icd.data import masks
from icd.viz import audit_page
from tests.helpers.browser import opened
from tests.viz.test_report import Page, decoded

HOSTILE = '</script><b onload=x>"&'
CLASSES = ('cat', HOSTILE, 'dog')
REASONS = {'missing': 'class missing', 'cam': 'CAM disagrees', 'share': 'unusual share'}
OF_IMAGE = [(0,), (1, 2), (2,), (0, 2), (1,), ()]
WHY = [{'cam': 'CAM of cat agrees to 3%'}, {'missing': f'no pixel of {HOSTILE}', 'cam': 'so'}, {}, {'missing': 'dog'},
       {}, {}]


def audited(shown=6):
    rng = np.random.default_rng(0)
    rows = [{'index': 9 - i, 'name': f'n{i}', 'mistrust': 95. - i, 'classes': classes, 'parts': {'cam': .5, 'icd': .25},
             'ranks': {'cam': 98. - 10 * i, 'icd': 40.}, 'reasons': WHY[i]} for i, classes in enumerate(OF_IMAGE)]
    classes = [{'name': name, 'index': c, 'images': 2, 'agreement': .4 + .1 * c, 'share': .25, 'missing': c % 2,
                'never without': 'dog' if c == 1 else None} for c, name in enumerate(CLASSES)]
    image, seed = rng.integers(256, size=(40, 60, 3)).astype(np.uint8), np.zeros((40, 60), np.uint8)
    seed[:, :30] = 1
    score = np.broadcast_to(np.linspace(1, -1, 60, dtype=np.float32), (1, 40, 60))
    found = audit_page.pictures(image, score, -score, seed)
    return audit_page.Audit('seeds/crf', CLASSES, classes, rows, rows[:shown], dict.fromkeys(range(4, 10), found),
                            REASONS)


@pytest.fixture(scope='module')
def text():
    return audit_page.page(audited())


def test_the_page_needs_no_other_file(text):
    page = Page(text)
    assert not {'link', 'iframe', 'object', 'b onload'} & {tag for tag, _ in page.tags}
    assert len(page.all('script')) == 1 and 'src' not in page.all('script')[0]
    for _, attributes in page.tags:
        assert not any(key.startswith('on') for key in attributes)
        assert attributes.get('src', 'data:').startswith('data:') and 'href' not in attributes
    assert not re.search(r'url\(|@import|https?:|fetch|XMLHttp', re.sub('src="data:[^"]*"', '', text))
    assert HOSTILE not in text


def test_pictures_show_maps_and_seed():
    image = np.full((40, 60, 3), 128, np.uint8)
    seed = np.zeros((40, 60), np.uint8)
    seed[:, :30] = 3
    left = np.zeros((2, 40, 60), np.float32)
    left[1, :, :30] = 7
    found = audit_page.pictures(image, left, left[:, :, ::-1] - 3.5, seed)
    assert [caption for caption, _ in found] == ['image', 'CAM', 'ICD score', 'seed']
    plain, cam, icd, over = (decoded(source).astype(int) for _, source in found)
    assert np.abs(plain - 128).max() < 4
    red, blue = cam[5:35, 5:25], cam[5:35, 35:55]
    assert (red[..., 2] > red[..., 0] + 60).all() and (blue[..., 0] > blue[..., 2] + 60).all()
    assert np.abs(icd[5:35, 35:55] - red).max() < 12 and np.abs(icd[5:35, 5:25] - blue).max() < 12
    wanted = .4 * 128 + .6 * masks.palette()[3][::-1].astype(float)
    assert np.abs(over[5:35, 5:25] - wanted).max() < 12 and np.abs(over[5:35, 35:55] - 128).max() < 6
    assert len(audit_page.pictures(image, left[:0], left[:0], seed)) == 4          # an image without classes


def test_the_text_names_classes_and_the_worst():
    audit = audited()
    lines = audit_page.as_text({'classes': audit.classes, 'images': audit.images}, REASONS).splitlines()
    assert lines[1].split() == ['cat', '2', '40.0', '25.0', '0']
    assert lines[2].endswith('never without dog')
    assert 'images by reason: class missing 2, CAM disagrees 2' in lines
    assert lines[-6:-4] == [' 95.0  n0: CAM of cat agrees to 3%', f' 94.0  n1: no pixel of {HOSTILE}; so']
    assert lines[-1] == ' 90.0  n5: no single reason'


PROBE = """
  const shown = () => [...document.querySelectorAll('article')].filter(a => a.getBoundingClientRect().height > 0)
    .map(a => a.querySelector('h3').firstChild.textContent);
  const choice = document.querySelector('select'), steps = [];
  const note = () => steps.push([shown(), document.querySelector('output').textContent]);
  const choose = name => {
    choice.value = [...choice.options].find(o => o.text === name).value;
    choice.dispatchEvent(new Event('change')); note(); };
  const press = name => {
    [...document.querySelectorAll('button')].find(b => b.innerText.startsWith(name)).click(); note(); };
  note(); choose('dog'); press('class missing'); choose('all classes'); press('CAM'); press('CAM');
  return {steps, options: [...choice.options].map(o => o.text),
    buttons: [...document.querySelectorAll('button')].map(b => b.innerText.trim().replace(/\\s+/g, ' ')),
    rows: [...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText.trim())),
    bars: [...document.querySelectorAll('article .bar')].map(b => b.firstChild.offsetWidth / b.offsetWidth),
    pressed: document.querySelectorAll('[aria-pressed=true]').length,
    images: [...document.images].map(i => i.getBoundingClientRect().width > 60 && i.naturalWidth === 60),
    overflow: document.documentElement.scrollWidth - innerWidth};"""


def test_a_browser_filters_by_class_and_reason(chromium, text, tmp_path):
    seen = opened(chromium, text, tmp_path, 500, PROBE)
    everything = [f'n{i}' for i in range(6)]
    assert [names for names, _ in seen['steps']] == [
        everything, ['n1', 'n2', 'n3'], ['n1', 'n3'], ['n1', 'n3'], ['n0', 'n1'], everything]
    assert [count for _, count in seen['steps']] == [f'{len(names)} of 6 shown' for names, _ in seen['steps']]
    assert seen['options'] == ['all classes', *CLASSES] and seen['pressed'] == 0
    assert seen['buttons'] == ['class missing 2', 'CAM disagrees 2']
    assert seen['rows'][1] == [HOSTILE, '2', '50.0', '25.0', '1', 'never without dog']
    assert np.allclose(seen['bars'][:4], [.98, .4, .88, .4], atol=.02)
    assert len(seen['images']) == 24 and all(seen['images']) and seen['overflow'] <= 0


def test_only_images_with_pictures_are_on_the_page():
    text = audit_page.page(audited(shown=2))
    assert re.findall('<h3>(n.)', text) == ['n0', 'n1'] and '2 of 6' in text
    assert len(Page(text).all('option')) == 1 + 3
