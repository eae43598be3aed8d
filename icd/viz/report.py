"""The page of a comparison: one HTML file with its plots and pictures inside, which needs nothing else."""
import base64
import html
import os

import cv2
import numpy as np

from icd.data import geometry, images, masks
from icd import console, files
from icd.errors import UserError
from icd.viz import pictures
from icd.viz import plots

_THUMBNAIL = 320            # width of a picture, pixels
_QUALITY = 84               # of its JPEG
_PAPER = 236                # grey behind masks without a photograph
_NAMED = 10                 # files of a kind, the others are counted
_ROLES = {'pred': 'seed', 'truth': 'truth', 'versus': 'other seed'}

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: #1f2933;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 10px; max-width: 75ch; }
p:last-child { margin-bottom: 0; }
code { font: 13px ui-monospace, Menlo, Consolas, monospace; background: #e9edf2; border-radius: 4px; padding: 1px 5px;
  overflow-wrap: anywhere; }
code.word { white-space: nowrap; }
.faint, figcaption, dt { color: #5a6675; }
.small { font-size: 13px; }
section { background: #fff; border: 1px solid #e1e6ec; border-radius: 12px; padding: 20px 22px; margin-top: 20px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; margin: 22px 0 0; }
.numbers div { background: #fff; border: 1px solid #e1e6ec; border-radius: 12px; padding: 14px 18px; }
.numbers dt { font-size: 13px; }
.numbers dd { margin: 2px 0 0; font-size: 28px; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.numbers dd small { font-size: 13px; font-weight: 400; color: #5a6675; letter-spacing: 0; display: block; }
.notes { overflow-wrap: anywhere; }
.warning { background: #fff6e5; border-color: #f1d39a; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 0 20px; }
svg { display: block; max-width: 100%; height: auto; }
.side svg { width: 100%; max-width: 600px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 4px 7px; border-bottom: 1px solid #edf0f4; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
thead th { color: #5a6675; font-weight: 500; border-bottom: 1px solid #cfd6de; }
tbody th { font-weight: 400; }
tfoot th, tfoot td { font-weight: 650; border: 0; border-top: 1px solid #cfd6de; }
i.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 6px 0 0;
  box-shadow: inset 0 0 0 1px #0003; }
.keys span { display: inline-block; margin-right: 14px; white-space: nowrap; }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); gap: 22px 24px; }
.worst article { min-width: 0; }
.worst h3 { font-size: 14px; margin: 0 0 6px; display: flex; justify-content: space-between; gap: 12px; }
.worst h3 span { font-weight: 400; color: #5a6675; }
.row { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 6px; }
figure { margin: 0; }
figure img { width: 100%; display: block; border-radius: 6px; background: #e9edf2; }
figcaption { font-size: 12px; }
@media (max-width: 560px) {
  main { padding: 20px 12px 40px; }
  section { padding: 16px 14px; }
  .row { grid-auto-flow: row; grid-template-columns: 1fr 1fr; }
}
"""


def _escape(value):
    return html.escape(str(value))


def _colours(names):
    """VOC colour (R, G, B) of each class name, in index order."""
    return {name: tuple(int(v) for v in colour) for name, colour in zip(names, masks.palette())}


def _key(colour):
    return '<i class="key" style="background:rgb(%d,%d,%d)"></i>' % tuple(colour)


# -------------------------------------------------------------------------------------------------- pictures
def _photograph(path, shape):
    """A photograph for masks of `shape`, or paper and the reason why it is not there."""
    paper = np.full(tuple(shape) + (3,), _PAPER, np.uint8)
    if path is None:
        return paper, None
    try:
        image = images.read_image(path)
    except UserError as error:
        return paper, str(error)
    if image.shape[:2] != tuple(shape):
        return paper, '%s: of another size than the masks' % path
    return image, None


def _data_uri(image):
    """A picture (H, W, 3) BGR as the source of an `<img>`, `_THUMBNAIL` pixels wide at most."""
    height, width = image.shape[:2]
    if width > _THUMBNAIL:
        image = cv2.resize(image, (_THUMBNAIL, max(1, round(height * _THUMBNAIL / width))),
                           interpolation=cv2.INTER_AREA)
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()


def _picture(image, caption, alt):
    return '<figure><img src="%s" alt="%s"><figcaption>%s</figcaption></figure>' % (
        _data_uri(image), _escape(alt), _escape(caption))


def _classes_in(masks, names, colours):
    """The colours in some masks and what they stand for."""
    found = sorted({int(i) for mask in masks for i in np.unique(mask)} - {0})
    labels = dict(enumerate(names))
    labels[geometry.IGNORE] = 'ignored'
    palette = dict(enumerate(colours.values()))
    palette[geometry.IGNORE] = tuple(masks.palette()[geometry.IGNORE])
    return ''.join('<span>%s%s</span>' % (_key(palette[i]), _escape(labels[i])) for i in found)


def _article(entry, folders, image_root, colours):
    """One image: photograph, masks over it, class colours."""
    name = entry['name']
    masks = {role: masks.read_mask(os.path.join(folder, name + '.png')) for role, folder in folders.items()}
    image, problem = _photograph(image_root and images.image_path(image_root, name), masks['truth'].shape)
    row = [_picture(image, 'photograph', name)] if image_root and not problem else []
    row += [_picture(pictures.overlay(image, mask), _ROLES[role], '%s of %s' % (_ROLES[role], name))
            for role, mask in masks.items()]
    note = '<p class="faint small">%s</p>' % _escape(problem) if problem else ''
    return ('<article><h3>%s<span>%s%% differ, mIoU %s</span></h3><div class="row">%s</div>'
            '<div class="keys faint small">%s</div>%s</article>' % (
                _escape(name), plots.percent(entry['differing']), plots.percent(entry['mIoU']), ''.join(row),
                _classes_in(masks.values(), list(colours), colours), note))


def folders(result):
    """Folders of masks by role, of a result of `icd.steps.evaluate.run`."""
    found = {'pred': result['pred'], 'truth': result['truth']}
    if 'versus' in result:
        found['versus'] = result['versus']['folder']
    return found


def _worst(result, image_root, colours):
    if not result['worst']:
        return '<section><h2>Images that differ most</h2><p>No image differs.</p></section>'
    articles = [_article(entry, folders(result), image_root, colours)
                for entry in console.progress(result['worst'], desc='pictures')]
    advice = '' if image_root else ' With <code class="word">--image-root</code> the photographs show through.'
    return ('<section><h2>Images that differ most</h2><p class="faint">%d of %d images, those with the largest share '
            'of differing pixels, of those the truth defines.%s</p><div class="worst">%s</div></section>' % (
                len(articles), result['images'], advice, ''.join(articles)))


# --------------------------------------------------------------------------------------------------- numbers
def _number(title, value, note=''):
    return '<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>' % (_escape(title), _escape(value), _escape(note))


def _signed(value):
    return ('%+.1f' % value).replace('-', '\N{MINUS SIGN}')


def _numbers(result):
    """The figures one looks for first."""
    show, versus = plots.percent, result.get('versus')
    boxes = [_number('mIoU', show(result['mIoU']), '%s over pixels both define' % show(result['mIoU_defined']))]
    if versus:
        low, high = versus['difference_interval']
        boxes += [_number('mIoU, other seeds', show(versus['mIoU']),
                          '%s over pixels both define' % show(versus['mIoU_defined'])),
                  _number('difference', _signed(versus['difference']), '%d%% interval %s to %s' % (
                      versus['level'], _signed(low), _signed(high)))]
    boxes += [_number('pixel accuracy', show(result['pixel_accuracy'])),
              _number('ignored', show(result['ignored']), '%s of the truth' % show(result['ignored_truth'])),
              _number('agreement', show(result['agreement']), '%s over pixels both define' % show(
                  result['agreement_defined'])),
              _number('images', '{:,}'.format(result['images']))]
    return '<dl class="numbers">%s</dl>' % ''.join(boxes)


def _table(result, colours):
    columns = [('IoU', result['IoU'], result['mIoU']), ('defined', result['IoU_defined'], result['mIoU_defined']),
               ('precision', result['precision'], None), ('recall', result['recall'], None),
               ('exchanged', result['exchanged']['IoU'], result['exchanged']['mIoU'])]
    if 'versus' in result:
        columns.append(('versus', result['versus']['IoU'], result['versus']['mIoU']))

    def row(head, values):
        return '<tr><th scope="row">%s</th>%s</tr>' % (head, ''.join('<td>%s</td>' % plots.percent(v, 2)
                                                                      for v in values))
    body = ''.join(row(_key(colours[name]) + _escape(name), [values[name] for _, values, _ in columns])
                   for name in result['IoU'])
    head = ''.join('<th scope="col">%s</th>' % title for title, _, _ in columns)
    return ('<section><h2>Figures of each class, percent</h2><div class="scroll"><table><thead><tr><th scope="col">'
            'class</th>%s</tr></thead><tbody>%s</tbody><tfoot>%s</tfoot></table></div></section>' % (
                head, body, row('mean', [mean for _, _, mean in columns])))


def _legend(result):
    versus = result.get('versus')
    words = ['<span><i class="key" style="background:%s"></i>%s</span>' % (plots.FIRST, _escape(result['pred']))]
    if versus:
        words.append('<span><i class="key" style="background:%s"></i>%s</span>' % (
            plots.SECOND, _escape(versus['folder'])))
    if any(seeds['IoU'] != seeds['IoU_defined'] for seeds in (result, versus) if seeds):
        words.append('<span><b>|</b>&nbsp; over pixels both define, where that differs</span>')
    return '<p class="keys faint small">%s</p>' % ''.join(words)


def _plots(result, colours):
    """Bars and curve side by side, then the table; without a curve the table has its place."""
    versus = result.get('versus')
    bars = plots.bars([(seeds['IoU'], seeds['IoU_defined']) for seeds in (result, versus) if seeds], colours)
    shown, beside = '', _table(result, colours)
    if 'curve' in result:
        curve = ('<p class="faint small">Pixels whose score (<code>%s</code>) is surer than a threshold keep their '
                 'class, the others are ignored; the circles are thresholds 0, 0.1, … 1 of the largest score in the '
                 'image.</p><div class="scroll">%s</div>' % (
                     _escape(result['curve']['scores']), plots.curve(result['curve'])))
        shown, beside = beside, '<section><h2>Ignoring unsure pixels</h2>%s</section>' % curve
    else:
        bars += ('<p class="faint small">What ignoring unsure pixels would give is drawn with <code class="word">'
                 '--scores SNAPSHOT/results/scores_icd</code> and <code class="word">--annotation-root</code>.</p>')
    return ('<div class="side"><section><h2>IoU of each class, percent</h2>%s<div class="scroll">%s</div></section>%s'
            '</div>%s' % (_legend(result), bars, beside, shown))


def _confusion(result, colours):
    names = list(result['IoU'])
    return ('<section><h2>Confusion</h2><p class="faint small">Rows: classes of the truth. Columns: what the seeds '
            'make of their pixels, in percent of the row.%s</p><div class="scroll">%s</div></section>' % (
                ' The 40 most frequent classes.' if len(names) > 40 else '',
                plots.matrix(result['confusion'], names, colours)))


def _paragraphs(texts):
    return ''.join('<p class="notes">%s</p>' % _escape(text) for text in texts)


def _some(what, items):
    """How many of something there are, and the first few."""
    return '%s (%d): %s%s' % (what, len(items), ', '.join(items[:_NAMED]), ', …' if len(items) > _NAMED else '')


def _notes(result):
    """What a reader has to know before trusting the figures."""
    notes = []
    if result['absent']:
        notes.append('In neither folder, so not in the mean: %s. Counted as 0, mIoU is %s.' % (
            ', '.join(result['absent']), plots.percent(result['mIoU_absent_as_zero'], 2)))
    notes += [_some('Masks in %s that are not in the list' % folders(result)[role], extra)
              for role, extra in result['extra'].items() if extra]
    notes = '<section>%s</section>' % _paragraphs(notes) if notes else ''
    if not result['left_out']:
        return notes
    return '<section class="warning">%s</section>%s' % (_paragraphs(
        [_some('Names of the list that are left out', result['left_out'])] +
        [_some(what, files) for what, files in result['problems'].items()]), notes)


_MEANING = """<section><h2>What is counted</h2>
<p>IoU of a class: pixels that are of the class in seeds and truth, of those that are in either; mIoU is the mean over
the classes. Pixels the truth ignores (255) are left out. Pixels the seeds ignore count as missed for their true class;
“defined” leaves them out, too. “Exchanged” takes the seeds for the truth and the truth for the seeds. “Versus” is the
IoU of other seeds. Agreement: pixels with the same index, 255 included, of all pixels.</p>%s</section>"""


def page(result, image_root=None):
    """The report.

    Parameters
    ----------
    result : dict
        Of `icd.steps.evaluate.run`. The masks of its `worst` images are read again.
    image_root : str, optional
        Folder of NAME.jpg. Where a photograph is missing the masks are shown alone and the reason with them.

    Returns
    -------
    str
        HTML that refers to no other file.
    """
    colours = _colours(result['IoU'])
    versus = result.get('versus')
    against = ', and <code>%s</code>,' % _escape(versus['folder']) if versus else ''
    interval = ('<p>Interval: mIoU of both seeds on %d random draws of the images with replacement, the same draws for '
                'both; the middle %d%% of the differences.</p>' % (versus['resamples'], versus['level'])
                if versus else '')
    body = [
        '<h1>Seeds compared</h1><p class="faint"><code>%s</code>%s against <code>%s</code>, names of <code>%s</code>. '
        'All in percent.</p>' % (_escape(result['pred']), against, _escape(result['truth']), _escape(result['list'])),
        _numbers(result), _notes(result), _plots(result, colours),
        _confusion(result, colours), _worst(result, image_root, colours), _MEANING % interval]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Seeds compared</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><style>%s</style></head>'
            '<body><main>\n%s\n</main></body></html>\n' % (_STYLE, '\n'.join(part for part in body if part)))


def write(path, result, image_root=None):
    """Write the `page` of a result to `path`, whole or not at all."""
    files.save_bytes(path, page(result, image_root).encode(errors='replace'))
