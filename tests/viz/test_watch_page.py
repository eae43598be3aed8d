"""The page of a run: what it holds, and what a browser makes of any state of it."""
import json
import re

import pytest

from icd import files
from icd.live import run
from icd.viz import watch_page
from tests.helpers import run_files
from tests.helpers.browser import opened
from tests.viz.test_report import Page

HOSTILE = '</script><!--<b onload=x>"&'
PIXEL = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7'


@pytest.fixture
def state(tmp_path):
    """A pipeline that trains, with a segmentation network to come, and hostile names and lines."""
    root = str(tmp_path / 'run')
    run_files.training(root + '/icd', command=HOSTILE)
    run_files.plan(root, [('superpixels', 'superpixels/raw', 8), ('training', 'icd', 999),
                          ('scores ' + HOSTILE, 'icd/results', 40)])
    run_files.outputs(root + '/superpixels/raw', 'abcd', 'makeSuperpixel')
    for number in range(3):
        run_files.preview(f'{root}/icd/net_visdemo/net-000{number}.jpg')
    run_files.preview(root + '/superpixels/superpixels_demo.jpg')
    with files.folder_lock(root), files.folder_lock(root + '/icd'):
        seen = run.state(root)
    for preview in (*seen['previews'], *seen['trainings'][0]['previews']):
        preview['url'] = PIXEL
    return seen


def test_the_page_needs_no_other_file(state):
    text = watch_page.page(state, live=False)
    page = Page(text)
    assert not {'link', 'iframe', 'object', 'b', 'img'} & {tag for tag, _ in page.tags} - {'b'}
    assert len(page.all('b')) == 1 and len(page.all('script')) == 2
    for _, attributes in page.tags:
        assert not any(key.startswith('on') for key in attributes) and not {'src', 'href'} & set(attributes)
    assert not re.search(r'url\(|@import|https?:|innerHTML|insertAdjacent|document\.write|eval',
                         text.replace('http://www.w3.org/2000/svg', ''))
    assert HOSTILE not in text
    embedded = re.search('<script type="application/json" id="state">(.*?)</script>', text, re.S).group(1)
    assert json.loads(embedded) == json.loads(json.dumps(state))


def test_the_script_is_the_one_that_the_policy_allows(state):
    script = re.findall(r'<script>(.*?)</script>', watch_page.page(state, live=True), re.S)
    with open(watch_page.__file__.replace('watch_page.py', 'watch.js'), encoding='utf-8') as file:
        assert script == [file.read()]


PROBE = """
  const shown = e => e.getBoundingClientRect().height > 0;
  const text = e => (e.innerText || e.textContent).trim().replace(/\\s+/g, ' ');
  const slider = document.querySelector('input[type=range]'), panel = document.querySelector('.curves svg');
  const titles = () => document.querySelector('.epochs output').textContent, epochs = [titles()];
  slider.value = 0; slider.dispatchEvent(new Event('input')); epochs.push(titles());
  const value = () => text(document.querySelector('.curves output')), box = panel.getBoundingClientRect();
  const at = [value()], numbers = [...document.querySelectorAll('#numbers div')].map(text);
  const stages = [...document.querySelectorAll('.stages > div')].map(text);
  panel.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + 47, clientY: box.top + 50}));
  at.push(value());
  panel.dispatchEvent(new PointerEvent('pointerleave')); at.push(value());
  const line = document.querySelector('path.line0').getBoundingClientRect();
  // A new preview is shown only where the newest one was.
  const add = title => {
    state.trainings[0].previews.push({title, url: state.previews[0].url, wrote: 1}); show(); epochs.push(titles()); };
  add('epoch 4'); slider.value = 3; slider.dispatchEvent(new Event('input')); add('epoch 5');
  state.trainings[0].seconds_left = 0; show();
  const late = text(document.querySelectorAll('#numbers div')[3]);
  const sections = () => [...document.querySelectorAll('section')].filter(shown).map(s => text(s.querySelector('h2')));
  const status = () => text(document.getElementById('held'));
  const seen = {epochs, at, late, numbers, stages, held: status(), title: document.title,
    filled: [...document.querySelectorAll('.bar i')].map(i => i.offsetWidth / i.parentElement.offsetWidth),
    curves: [...document.querySelectorAll('.curves h3')].map(h => text(h.firstChild.parentElement)),
    inside: line.left >= box.left && line.right <= box.right + 1 && line.top >= box.top && line.bottom <= box.bottom,
    cut: [...document.querySelectorAll('svg text')].filter(t => t.getBBox().x < 0).map(text),
    log: document.querySelector('.log').textContent, options: document.querySelector('details code').textContent,
    images: [...document.images].map(i => i.naturalWidth === 1), plan: text(document.querySelector('.plan')),
    sections: sections(), overflow: document.documentElement.scrollWidth - innerWidth};
  state = Object.assign({}, state, {problem: 'gone', held: false, stages: [], trainings: [], previews: [], plan: ''});
  show();
  return [seen, [status(), text(document.getElementById('notice')), sections()]];"""


def test_a_browser_shows_the_state_and_then_another(chromium, state, tmp_path):
    seen, later = opened(chromium, watch_page.page(state, live=False), tmp_path, 500, PROBE)
    assert seen['held'] == 'running' and seen['title'] == '50% run'
    assert seen['numbers'][:3] == ['epoch 2 of 3', 'step 6 of 12', 'loss 0.1667 newest line of the log']
    assert seen['numbers'][3].startswith('training left 2 min')
    assert seen['numbers'][5].startswith('all stages left 2 min')
    assert seen['late'] == 'training left ? the log is late'
    done, goes_on, waits = seen['stages']
    assert done == 'superpixels superpixels/raw 4 of 4 images done'
    assert goes_on.startswith('training icd 6 of 12 steps 2 min left')
    assert waits == f'scores {HOSTILE} icd/results waiting about 40 s'
    assert seen['filled'] == pytest.approx([1, .5, 0], abs=.01)
    assert seen['curves'][:2] == ['loss 0.1667', 'CAM ranking accuracy 0.9'] and len(seen['curves']) == 6
    assert seen['at'] == ['0.1667', 'step 1: 1', '0.1667'] and seen['inside'] and seen['cut'] == []
    assert seen['epochs'] == ['epoch 3', 'epoch 1', 'epoch 1', 'epoch 5'] and seen['images'] == [True, True]
    assert seen['log'].splitlines()[0] == f'2026-01-02 03:04:05 {HOSTILE}' and seen['options'] == HOSTILE
    assert seen['sections'] == ['Stages', 'Training', 'Preview of an epoch', 'Log', 'Previews', 'Plan']
    assert seen['plan'] == 'four images about 3 min' and seen['overflow'] <= 0
    assert later == ['waiting', 'gone', []]
