"""icd-evaluate on folders: the figures, what it does about bad files, and what it writes."""
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import ImageFile

from icd import cli, counting, files, parallel
from icd.data import masks, score_map, voc
from icd.errors import UserError
from icd.evaluate_options import EVALUATE
from icd.method import bootstrap, metrics
from icd.steps import evaluate
from icd.steps import labels as command
from icd.viz import table
from icd.weights import mxnet_params

NAMES = [f'm{i:02d}' for i in range(14)] + ['sub/m14']
CLASSES = ('cat', 'cow', 'dog')
C = 4


def draw(rng, shape=(23, 31), ignored=.1):
    """A truth and two seeds that are right at most and at some of its pixels."""
    def blocks():
        small = rng.integers(C, size=(shape[0] // 5 + 1, shape[1] // 5 + 1)).astype(np.uint8)
        small[rng.random(small.shape) < ignored] = 255
        return small.repeat(5, 0).repeat(5, 1)[:shape[0], :shape[1]]
    truth, fraction = blocks(), rng.random()
    return (truth,) + tuple(np.where(rng.random(shape) < wrong, blocks(), truth) for wrong in (fraction, .8))


def write(folder, name, mask, colour=False):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    (masks.save_colour if colour else masks.save_mask)(os.path.join(folder, name + '.png'), mask)


@pytest.fixture
def case(tmp_path):
    """Folders truth, pred, other; a list; class names. Sizes, palettes and folders vary."""
    rng, masks = np.random.default_rng(0), {}
    for i, name in enumerate(NAMES):
        masks[name] = draw(rng, (20 + i, 44 - i))
        for folder, mask in zip(('truth', 'pred', 'other'), masks[name]):
            write(str(tmp_path / folder), name, mask, colour=(folder == 'truth') != (i % 3 == 0))
    (tmp_path / 'list.txt').write_text(''.join(name + '\r\n' for name in NAMES))
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    return tmp_path, masks


def options(folder, **values):
    paths = {key: str(folder / value) for key, value in dict(
        pred='pred', truth='truth', list='list.txt', class_names='classes.txt').items()}
    paths.update(values)
    return cli.defaults(EVALUATE, **paths)


def expected(masks, of=1, names=NAMES):
    """Figures from the masks themselves."""
    matrix = sum(metrics.confusion_matrix(masks[name][0], masks[name][of], C) for name in names)
    return metrics.figures(matrix, ('background',) + CLASSES), matrix


def same(result, figures):
    return all(result[key] == pytest.approx(value) for key, value in figures.items())


# ------------------------------------------------------------------------------------------------------ figures
def test_figures_are_those_of_the_masks(case):
    folder, masks = case
    result = evaluate.run(options(folder))
    figures, matrix = expected(masks)
    assert same(result, figures) and result['confusion'] == matrix.tolist()
    assert (result['images'], result['num_cls'], result['unit']) == (len(NAMES), C, 'percent')
    assert result['left_out'] == [] and not any(result['extra'].values())


def test_processes_do_not_change_a_digit(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    names = [f'{i:03d}' for i in range(300)]
    for name in names:
        for folder, mask in zip(('truth', 'pred', 'other'), draw(rng, (6, 7))):
            write(str(tmp_path / folder), name, mask)
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    asked = dict(class_names=None, num_cls=C, resamples=50, versus=str(tmp_path / 'other'))
    results = [evaluate.run(options(tmp_path, num_process=n, **asked)) for n in (1, 3)]
    assert results[0] == results[1] and results[0]['images'] == 300
    # Processes may finish in any order.
    monkeypatch.setattr(parallel, 'process_map', lambda function, items, _: map(function, reversed(items)))
    assert evaluate.run(options(tmp_path, num_process=1, **asked)) == results[0]


def test_exchanged_figures_have_seeds_and_truth_swapped(case):
    folder, masks = case
    one = evaluate.run(options(folder))
    other = evaluate.run(options(folder, pred=str(folder / 'truth'), truth=str(folder / 'pred')))
    for a, b in ((one, other), (other, one)):
        assert a['exchanged'] == {key: b[key] for key in ('mIoU', 'IoU', 'pixel_accuracy')}
    assert one['mIoU'] != other['mIoU'] and one['agreement'] == other['agreement']


def test_a_folder_against_itself_is_perfect(case):
    folder, _ = case
    result = evaluate.run(options(folder, pred=str(folder / 'truth')))
    assert (result['mIoU'], result['agreement'], result['worst']) == (100, 100, [])


def test_worst_images_come_first(case):
    folder, masks = case
    result = evaluate.run(options(folder, worst=6))
    differing = {name: 100 * (t != p)[t != 255].mean() for name, (t, p, _) in masks.items()}
    assert [w['name'] for w in result['worst']] == sorted(NAMES, key=lambda name: -differing[name])[:6]
    for entry in result['worst']:
        assert entry['differing'] == pytest.approx(differing[entry['name']])
        assert entry['mIoU'] == pytest.approx(expected(masks, names=[entry['name']])[0]['mIoU'])


def test_versus_gives_the_difference_and_its_interval(case):
    folder, masks = case
    result = evaluate.run(options(folder, versus=str(folder / 'other'), resamples=200))
    versus = result['versus']
    assert same(result, expected(masks)[0]) and same(versus, expected(masks, 2)[0])
    assert versus['difference'] == pytest.approx(result['mIoU'] - versus['mIoU'])
    low, high = versus['difference_interval']
    assert 0 < low < versus['difference'] < high
    counts = [np.stack([metrics.class_counts(metrics.confusion_matrix(masks[n][0], masks[n][i], C)) for n in NAMES])
              for i in (1, 2)]
    drawn = bootstrap.paired_bootstrap(*counts, resamples=200, seed=0)
    assert [low, high] == bootstrap.interval(drawn[0] - drawn[1])
    assert [versus[key] for key in ('mIoU_interval_pred', 'mIoU_interval')] == list(map(bootstrap.interval, drawn))
    assert (versus['level'], versus['resamples'], versus['seed']) == (95, 200, 0)
    nothing = evaluate.run(options(folder, versus=str(folder / 'pred'), resamples=50))['versus']
    assert (nothing['difference'], nothing['difference_interval']) == (0, [0, 0])


def test_real_seeds_have_the_figures_of_gluoncv(real_images):
    import mxnet as mx
    from gluoncv.utils.metrics import SegmentationMetric
    paths = dict(pred='parity_voc/seeds/sal', truth='voc_mini/SegmentationClassAug', list='voc_mini/list.txt')
    paths = {key: os.path.join(real_images, path) for key, path in paths.items()}
    result = evaluate.run(cli.defaults(EVALUATE, **paths))
    metric = SegmentationMetric(21)
    for name in voc.read_list(paths['list']):
        truth, pred = (masks.read_mask(os.path.join(paths[role], name + '.png')) for role in ('truth', 'pred'))
        scores = np.minimum(pred, 21)[None] == np.arange(22)[:, None, None]
        metric.update([mx.nd.array(np.where(truth == 255, -1, truth.astype(np.int32))[None])],
                      [mx.nd.array(scores[None].astype(np.float32))])
    accuracy, miou = metric.get()
    assert result['images'] == 24
    assert result['pixel_accuracy'] == pytest.approx(100 * accuracy)
    assert result['mIoU_absent_as_zero'] == pytest.approx(100 * miou)
    assert len(result['IoU']) - len(result['absent']) == pytest.approx(100 * miou * 21 / result['mIoU'])


# ------------------------------------------------------------------------------------------------- class names
def test_class_names_set_the_number_of_classes(case):
    folder, masks = case
    named = evaluate.run(options(folder))
    assert list(named['IoU']) == ['background', 'cat', 'cow', 'dog']
    numbered = evaluate.run(options(folder, class_names=None, num_cls=C))
    assert list(numbered['IoU']) == ['background', 'class 1', 'class 2', 'class 3']
    assert list(numbered['IoU'].values()) == list(named['IoU'].values())
    usual = evaluate.run(options(folder, class_names=None))
    assert list(usual['IoU']) == ['background'] + list(voc.CATEGORIES)
    assert usual['mIoU'] == named['mIoU'] and len(usual['absent']) == 17
    with pytest.raises(UserError, match='classes.txt names 3 classes'):
        evaluate.run(options(folder, num_cls=21))


# --------------------------------------------------------------------------------------------------- bad files
def spoil(folder):
    """Make six names unusable, each in its own way; returns them with what the message has to hold."""
    os.remove(str(folder / 'pred/m00.png'))
    os.remove(str(folder / 'truth/m01.png'))
    write(str(folder / 'pred'), 'm02', np.zeros((9, 8), np.uint8))
    cv2.imwrite(str(folder / 'pred/m03.png'), np.zeros((23, 41, 3), np.uint8))
    write(str(folder / 'truth'), 'm04', np.full((24, 40), 77, np.uint8))
    (folder / 'pred/m05.png').write_bytes((folder / 'pred/m05.png').read_bytes()[:60])
    return {'m00': r'pred/m00\.png: no such seed: ', 'm01': r'truth/m01\.png: no such truth: ',
            'm02': r'pred/m02\.png \(8x9, not 42x22\): of another size than the truth: ',
            'm03': r'pred/m03\.png: a colour picture \(mode RGB\): ',
            'm04': r'truth/m04\.png \(index 77\): has an index beyond the 4 classes: name all .*--num-cls',
            'm05': r'pred/m05\.png: .*whole.*: '}


def test_every_bad_file_is_named_and_nothing_written(case):
    folder, _ = case
    messages = spoil(folder)
    with pytest.raises(UserError) as caught:
        evaluate.run(options(folder, json=str(folder / 'out/a.json'), html=str(folder / 'out/a.html')))
    for message in messages.values():
        caught.match(message)
    assert len(str(caught.value).splitlines()) == len(messages)
    assert not (folder / 'out').exists()


def test_leaving_bad_files_out_is_offered(case):
    os.remove(str(case[0] / 'pred/m06.png'))
    with pytest.raises(UserError, match='no such seed: check --pred and the list, or leave such names out with '
                                        '--skip-bad$'):
        evaluate.run(options(case[0]))


def test_bad_files_can_be_left_out_and_are_named(case, capsys):
    folder, masks = case
    left_out = list(spoil(folder)) + ['m06']
    os.remove(str(folder / 'pred/m06.png'))
    result = evaluate.run(options(folder, skip_bad=True))
    assert result['left_out'] == left_out
    assert {what: [os.path.relpath(item, str(folder)) for item in items]
            for what, items in result['problems'].items()} == {
        'no such seed': ['pred/m00.png', 'pred/m06.png'], 'no such truth': ['truth/m01.png'],
        'of another size than the truth': ['pred/m02.png (8x9, not 42x22)'],
        'a colour picture (mode RGB)': ['pred/m03.png'],
        'has an index beyond the 4 classes': ['truth/m04.png (index 77)'],
        'not a whole PNG image': ['pred/m05.png']}
    assert same(result, expected(masks, names=[n for n in NAMES if n not in left_out])[0])
    log = capsys.readouterr().err
    assert '--skip-bad' not in log
    assert '7 of 15 names are left out' in log and 'pred/m06.png: no such seed (2 files)' in log
    assert 'names left out: 7 (files: 2 no such seed, 1 no such truth, 1 of another size' in table.as_text(result)


@pytest.mark.parametrize('cut', [0, 45, 60, 150])
def test_a_mask_cut_short_is_never_background(case, monkeypatch, cut):
    folder, _ = case
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)       # importing GluonCV sets this
    path = folder / 'pred/m05.png'
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match='pred/m05.png: .*PNG'):
        evaluate.run(options(folder))
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_many_problems_are_counted_and_ten_named(case):
    folder, _ = case
    shutil.rmtree(str(folder / 'pred'))
    (folder / 'pred').mkdir()
    for skip in (False, True):
        with pytest.raises(UserError) as caught:
            evaluate.run(options(folder, skip_bad=skip))
        assert '(15 files)' in str(caught.value)
        assert re.findall(r'(\w+)\.png', str(caught.value)) == NAMES[:10]


def test_both_masks_of_a_name_can_be_bad(case):
    folder, _ = case
    for part in ('pred', 'truth', 'other'):
        os.remove(str(folder / part / 'm07.png'))
    with pytest.raises(UserError) as caught:
        evaluate.run(options(folder, versus=str(folder / 'other')))
    assert [line.split(':')[0][len(str(folder)) + 1:] for line in str(caught.value).splitlines()] == [
        'other/m07.png', 'pred/m07.png', 'truth/m07.png']


def test_files_beyond_the_list_are_reported(case):
    folder, masks = case
    write(str(folder / 'pred'), 'x', np.zeros((2, 2), np.uint8))
    write(str(folder / 'truth'), 'sub/y', np.zeros((2, 2), np.uint8))
    write(str(folder / 'other'), 'z', np.zeros((2, 2), np.uint8))
    (folder / 'pred/notes.txt').write_text('not a mask')
    result = evaluate.run(options(folder, versus=str(folder / 'other'), resamples=20))
    assert result['extra'] == {'pred': ['x'], 'truth': ['sub/y'], 'versus': ['z']}
    assert same(result, expected(masks)[0])
    assert 'masks that are not in the list: seeds 1, truth 1, versus 1' in table.as_text(result).splitlines()


def test_a_file_in_the_place_of_a_folder_holds_no_masks(case):
    folder, _ = case
    shutil.rmtree(str(folder / 'other/sub'))
    (folder / 'other/sub').write_text('no folder')
    result = evaluate.run(options(folder, versus=str(folder / 'other'), skip_bad=True))
    assert (result['left_out'], result['extra']['versus']) == (['sub/m14'], [])


def test_a_truth_without_a_pixel_is_an_error(case):
    folder, masks = case
    for name in NAMES:
        write(str(folder / 'truth'), name, np.full_like(masks[name][0], 255))
    with pytest.raises(UserError, match='ignores every pixel'):
        evaluate.run(options(folder))


@pytest.mark.parametrize('values, message', [
    (dict(pred='nowhere'), '--pred nowhere: no such folder'), (dict(truth='nowhere'), '--truth nowhere: no such'),
    (dict(versus='nowhere'), '--versus nowhere: no such'), (dict(image_root='nowhere'), '--image-root nowhere'),
    (dict(json='.'), '--json .: this is a folder'), (dict(html='/dev/null/x.html'), '/dev/null'),
    (dict(json='./x', html='x'), '--json and --html x: both name the same file'),
    (dict(scores='.'), '--annotation-root'), (dict(list='nowhere'), 'nowhere: no such file')])
def test_bad_options_are_reported_before_counting(case, monkeypatch, values, message):
    folder, _ = case
    monkeypatch.setattr(counting, 'count', lambda *_: pytest.fail('it counted'))
    with pytest.raises(UserError) as caught:
        evaluate.run(options(folder, **values))
    assert message in str(caught.value)


# -------------------------------------------------------------------------------------------------- confidence
def add_scores(folder, masks, size=65):
    """Score maps of the classes the annotations name."""
    rng = np.random.default_rng(3)
    for name in NAMES:
        classes = sorted(set(np.unique(masks[name][0]).tolist()) - {0, 255})[:2]
        objects = ''.join(f'<object><name>{CLASSES[c - 1]}</name></object>' for c in classes)
        for path, text in ((folder / 'xml' / (name + '.xml'), f'<annotation>{objects}</annotation>'),):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / 'npy' / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(str(folder / 'npy' / (name + '.npy')),
                rng.standard_normal((len(classes), size // 8 + 1, size // 8 + 1)).astype(np.float32))
    return dict(scores=str(folder / 'npy'), annotation_root=str(folder / 'xml'), infer_size=size)


def test_curve_equals_thresholding_the_seeds(case):
    folder, masks = case
    asked = add_scores(folder, masks)
    curve = evaluate.run(options(folder, **asked))['curve']
    for threshold in (0, .2, .6):
        kept = right = known = 0
        for name in NAMES:
            truth, pred, _ = masks[name]
            classes = voc.read_annotation(str(folder / 'xml' / (name + '.xml')), CLASSES)
            scores = score_map.read(str(folder / 'npy' / (name + '.npy')), len(classes), 65)
            confidence = metrics.confidence(pred, score_map.at_image_size(scores, truth.shape, 65), classes)
            keep = (truth != 255) & (pred != 255) & (confidence >= threshold)
            kept, right, known = kept + keep.sum(), right + (keep & (truth == pred)).sum(), known + (truth != 255).sum()
        at = curve['threshold'].index(threshold)
        assert curve['ignored'][at] == pytest.approx(100 * (1 - kept / known), abs=.02)
        assert curve['precision'][at] == pytest.approx(100 * right / kept, abs=.05)


def test_labels_of_any_source_give_the_same_curve(case, tmp_path):
    folder, masks = case
    asked = add_scores(folder, masks)
    command.main(['convert', asked.pop('annotation_root'), str(tmp_path / 'labels.json')])
    curves = [evaluate.run(options(folder, **asked, **source))['curve'] for source in (
        dict(annotation_root=str(folder / 'xml')), dict(labels=str(tmp_path / 'labels.json')))]
    assert curves[0] == curves[1]


def test_bad_scores_and_annotations_are_named(case):
    folder, masks = case
    asked = add_scores(folder, masks)
    os.remove(asked['scores'] + '/m03.npy')
    np.save(asked['scores'] + '/m04.npy', np.zeros((7, 9, 9), np.float32))
    os.remove(asked['annotation_root'] + '/m05.xml')
    with pytest.raises(UserError) as caught:
        evaluate.run(options(folder, **asked))
    for name in ('npy/m03.npy', 'npy/m04.npy', 'xml/m05.xml'):
        caught.match(name)


# ------------------------------------------------------------------------------------------------- calibration
def add_snapshot(folder, masks, state):
    """Score maps of both kinds, and a checkpoint that has nothing but what tells the network and its calibration."""
    asked = add_scores(folder, masks)
    results, rng = folder / 'snap' / 'results', np.random.default_rng(5)
    shutil.move(asked.pop('scores'), str(results / 'scores_icd'))
    for name in NAMES:
        icd = np.load(str(results / 'scores_icd' / (name + '.npy')))
        files.save_npy(score_map.path(str(folder / 'snap'), 'cam', name), icd + rng.normal(size=icd.shape).astype('f4'))
    arrays = {f'arg:{layer}_weight': np.zeros((count, 2, 1, 1), np.float32) for layer, count in (
        ('conv1_1', 2), ('icd_bu', len(state)), ('fc7', 4))}
    arrays['aux:icd_accum_resign_moving_mean'] = np.float32(state)
    mxnet_params.write(str(folder / 'snap' / 'net-0003.params'), arrays)
    return dict(asked, snapshot=str(folder / 'snap'))


def test_margins_and_agreement_of_the_run_that_made_the_seeds(case):
    folder, masks = case
    asked = add_snapshot(folder, masks, [[3, 1], [2, 2], [0, 0]])
    result = evaluate.run(options(folder, **asked))
    found = result['calibration']
    assert found['margin'] == {'background': None, 'cat': 50, 'cow': 0, 'dog': None}
    x, y = [], []
    for name in NAMES:
        classes = voc.read_annotation(str(folder / 'xml' / (name + '.xml')), CLASSES)
        for c, *scores in zip(classes, *(score_map.read(score_map.path(asked['snapshot'], kind, name), len(classes), 65)
                                         for kind in score_map.KINDS)):
            if CLASSES[c] == 'cow':
                x, y = x + [np.maximum(scores[0], 0).ravel()], y + [scores[1].ravel()]
    assert found['agreement']['background'] is None
    assert found['agreement']['cow'] == pytest.approx(100 * np.corrcoef(np.concatenate(x), np.concatenate(y))[0, 1])
    rows = {line.split()[0]: line.split() for line in table.as_text(result).splitlines() if line}
    assert rows['percent'][-3:] == ['margin', 'CAM', 'agreement']
    assert rows['cow'][-2:] == ['0.00', f"{found['agreement']['cow']:.2f}"] and rows['background'][-2:] == ['-', '-']
    assert same(result, expected(masks)[0]) and 'calibration' not in evaluate.run(options(folder))


def test_a_snapshot_that_does_not_fit_is_refused(case):
    folder, masks = case
    asked = add_snapshot(folder, masks, [[3, 1], [2, 2]])
    for change, complaint in (({}, 'a network of 2 classes, and 3 are evaluated'),
                              ({'annotation_root': None}, 'needs to know which classes'),
                              ({'snapshot': str(folder / 'truth')}, 'holds no checkpoint')):
        with pytest.raises(UserError, match=complaint):
            evaluate.run(options(folder, **dict(asked, **change)))
    add_snapshot(folder, masks, [[3, 1], [2, 2], [1, 1]])
    os.remove(score_map.path(asked['snapshot'], 'cam', 'm03'))
    with pytest.raises(UserError, match='scores_cam/m03.npy'):
        evaluate.run(options(folder, **asked))
    assert evaluate.run(options(folder, **asked, skip_bad=True))['calibration']['margin']['dog'] == 0


# ------------------------------------------------------------------------------------------------- the command
def test_every_figure_is_as_recorded(case, monkeypatch):
    """The keys, their order and all digits are what other programs read."""
    folder, masks = case
    add_scores(folder, masks)
    spoil(folder)
    write(str(folder / 'pred'), 'extra', np.zeros((3, 3), np.uint8))
    monkeypatch.chdir(folder)
    evaluate.main('--pred pred --truth truth --versus other --list list.txt --class-names classes.txt --scores npy '
                  '--annotation-root xml --infer-size 65 --skip-bad --resamples 100 --json new.json'.split())
    with open(os.path.join(os.path.dirname(__file__), 'recorded_figures.json'), encoding='utf-8') as file:
        assert json.dumps(json.load(file), indent=2) + '\n' == (folder / 'new.json').read_text()


def test_the_command_prints_a_table_and_writes_the_figures(case, capsys):
    folder, masks = case
    arguments = ['--pred', str(folder / 'pred'), '--truth', str(folder / 'truth'), '--list', str(folder / 'list.txt'),
                 '--num-cls', str(C), '--json', str(folder / 'new/a.json'), '--versus', str(folder / 'other')]
    evaluate.main(arguments)
    printed = capsys.readouterr().out
    figures = expected(masks)[0]
    rows = {line[:10].strip(): line[10:].split() for line in printed.splitlines()}
    assert max(len(line) for line in printed.splitlines() if str(folder) not in line) < 100
    for role, part in (('seeds', 'pred'), ('truth', 'truth'), ('versus', 'other')):
        assert rows[role] == [str(folder / part)]

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')
    with open(str(folder / 'new/a.json'), encoding='utf-8') as file:
        result = json.load(file, parse_constant=refuse)
    assert result['mIoU'] == pytest.approx(figures['mIoU'])
    exchanged, versus = result['exchanged'], result['versus']

    def cells(*values):
        return [f'{value:.2f}' for value in values]
    assert rows['percent'] == ['IoU', 'defined', 'precision', 'recall', 'swapped', 'versus']
    assert rows['class 2'] == cells(*[figures[key]['cow'] for key in ('IoU', 'IoU_defined', 'precision', 'recall')],
                                    exchanged['IoU']['class 2'], versus['IoU']['class 2'])
    assert rows['mean'] == (cells(figures['mIoU'], figures['mIoU_defined']) + ['-', '-'] +
                            cells(exchanged['mIoU'], versus['mIoU']))
    for sentence in (
            'images: 15, pixel accuracy {pixel_accuracy:.2f}, ignored {ignored:.2f} of the seeds, '
            '{ignored_truth:.2f} of the truth'.format(**figures),
            'agreement: {agreement:.2f} over all pixels, {agreement_defined:.2f} over those both define'.format(
                **figures),
            'mIoU minus that of versus: {:+.2f}, 95% interval {:+.2f} to {:+.2f} (1000 draws'.format(
                versus['difference'], *versus['difference_interval'])):
        assert sentence in printed
    assert os.listdir(str(folder / 'new')) == ['a.json']


def test_predictions_with_and_without_the_crf_are_compared(tmp_path):
    truth = np.uint8([[0, 0, 1, 1]])
    for folder, mask in ('truth', truth), ('out/crf', truth), ('out/raw', np.uint8([[0, 1, 1, 1]])):
        masks.save_mask(str(tmp_path / folder / 'a.png'), mask)
    (tmp_path / 'list.txt').write_text('a\n')
    given = dict(truth=str(tmp_path / 'truth'), list=str(tmp_path / 'list.txt'), num_cls=2, num_process=1)
    result = evaluate.run(cli.defaults(EVALUATE, pred=str(tmp_path / 'out'), **given))
    assert result['pred'].endswith('out/crf') and result['versus']['folder'].endswith('out/raw')
    assert result['mIoU'] == 100 and abs(result['versus']['mIoU'] - (50 + 200 / 3) / 2) < 1e-9
    alone = evaluate.run(cli.defaults(EVALUATE, pred=str(tmp_path / 'out' / 'raw'), **given))
    assert 'versus' not in alone and alone['mIoU'] == result['versus']['mIoU']
