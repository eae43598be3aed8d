import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import PROJECT, load_recording, parity_files, read_inputs, run_stage
from icd import crf, files, outputs, parallel
from icd import cli
from icd.data import images, masks, voc
from icd.errors import Problems, UserError
from icd.steps import seeds

SIDE = 65                   # inference size of the small data set: maps of 9x9


# ---------------------------------------------------------------------------------------------------- recordings
@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('seeds_*.npz'), ids=os.path.basename)
def test_recorded_seeds(path):
    r = load_recording(path)
    given = r['scores_icd'], r['scores_cam'], r['classes'], r['image'].shape[:2], int(r['infer_size'])
    assert np.array_equal(seeds.seed_map(*given, saliency=r['saliency']), r['seed_sal'])
    image = cv2.imdecode(r['image_jpeg'], cv2.IMREAD_COLOR)
    refined = crf.dense_crf(np.ascontiguousarray(image[:, :, ::-1]), seeds.seed_map(*given),
                            int(r['num_classes_with_background']), float(r['confidence']))
    assert (refined != r['seed_crf']).mean() <= 1e-4


@pytest.mark.parity
def test_recorded_seeds_of_photographs(photographs, tmp_path):
    voc_mini, recorded = (os.path.join(photographs, name) for name in ('voc_mini', 'parity_voc'))
    for kind in ('scores_icd', 'scores_cam'):
        shutil.copytree(os.path.join(recorded, kind), str(tmp_path / 'results' / kind))
    options = cli.defaults(
        cli.RUN, image_root=os.path.join(voc_mini, 'JPEGImages'), seeds=('crf', 'sal'), num_process=2,
        annotation_root=os.path.join(voc_mini, 'Annotations'), data_list=os.path.join(voc_mini, 'list.txt'),
        saliency_root=os.path.join(recorded, 'saliency'), snapshot=str(tmp_path))
    run_stage(seeds, options)
    names = voc.read_list(options.data_list)
    for kind, allowed in (('crf', 1e-4), ('sal', 0)):
        for name in names:
            made = masks.read_mask(str(tmp_path / 'results' / 'seeds' / kind / (name + '.png')))
            expected = masks.read_mask(os.path.join(recorded, 'seeds', kind, name + '.png'))
            assert made.shape == expected.shape and (made != expected).mean() <= allowed, (kind, name)


# ---------------------------------------------------------------------------------------------- scores → seeds
def one_pixel(icd, cam, classes, low_icd, cam_range, dull):
    """The rule for one pixel, with plain numbers; `dull` is None without saliency."""
    share = [max(s, 0) / top for s, (top, _) in zip(icd, low_icd)]
    unlike = all(min(s, 0) / bottom > 1e-5 for s, (_, bottom) in zip(icd, low_icd))
    claiming = [i for i, f in enumerate(share) if f > 1e-5]
    background = unlike if dull is None else dull(unlike)
    if background == bool(claiming):
        return 255
    if background:
        return 0
    winner = claiming[0]
    if len(classes) > 1:
        low, high = cam_range
        compared = [(max(a, 0) - low) / max(high - low, 1e-5) * f for a, f in zip(cam, share)]
        if max(compared) - min(compared) <= 1e-5:
            return 255
        if len(claiming) > 1:
            winner = compared.index(max(compared))
    return classes[winner] + 1


def one_by_one(scores_icd, scores_cam, classes, shape, size, saliency=None):
    icd, cam = (np.stack([cv2.resize(s, (size, size))[:shape[0], :shape[1]] for s in scores]).astype(np.float64)
                for scores in (scores_icd, scores_cam))
    limits = [(max(s.max(), 1e-5), min(s.min(), -1e-5)) for s in icd]
    positive = np.maximum(cam, 0)
    few = saliency is not None and (saliency >= 3).mean() < .01         # 2 / 255 < 0.01 < 3 / 255
    seed = np.zeros(shape, np.uint8)
    for y in range(shape[0]):
        for x in range(shape[1]):
            def dull(unlike):
                return saliency[y, x] < 3 and (unlike or not few)
            seed[y, x] = one_pixel(icd[:, y, x], cam[:, y, x], classes, limits, (positive.min(), positive.max()),
                                   None if saliency is None else dull)
    return seed


def scores(seed, num_classes, side=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, num_classes, side, side)).astype(np.float32)


@pytest.mark.parametrize('salient, lift', [(None, 0), (None, 9), (.5, 0), (.015, 0), (.005, 0)])
@pytest.mark.parametrize('classes', [(4,), (0, 19), (2, 3, 7)])
def test_the_rule_pixel_by_pixel(classes, salient, lift):
    icd, cam = scores(len(classes), len(classes))
    cam[:, 5:] = -1                                     # no evidence to tell classes apart there
    cam += lift
    shape, saliency = (50, 61), None
    if salient is not None:
        rng = np.random.default_rng(1)
        saliency = np.uint8(rng.integers(0, 6, shape) * (rng.random(shape) < 2 * salient))      # from 3 it is
    made = seeds.seed_map(icd, cam, classes, shape, SIDE, saliency)
    assert (made != one_by_one(icd, cam, classes, shape, SIDE, saliency)).mean() <= 1e-3     # rounding at 1e-5
    assert len(set(made.ravel())) >= (2 if len(classes) == 1 and saliency is None else 3)


def test_the_scale_of_a_class_does_not_matter():
    icd, cam = scores(7, 2)
    given = cam, (1, 2), (50, 61), SIDE
    scaled = icd * np.float32([[[2 ** 20]], [[1]]])
    assert np.array_equal(seeds.seed_map(scaled, *given), seeds.seed_map(icd, *given))


KINDS = {
    'random': lambda a: a, 'negative': lambda a: -np.abs(a) - .1, 'positive': lambda a: np.abs(a) + .1,
    'zero': np.zeros_like, 'NaN': lambda a: np.full_like(a, np.nan), 'some NaN': lambda a: np.where(a > 1, np.nan, a),
    'infinite': lambda a: np.where(a > 1, np.inf, np.where(a < -1, -np.inf, a)), 'huge': lambda a: a * np.float32(6e37),
    'tiny': lambda a: a * np.float32(1e-40)}


@settings(max_examples=200, deadline=None)
@given(classes=st.one_of(st.sets(st.integers(0, 19), max_size=3), st.just(set(range(20)))),
       icd=st.sampled_from(sorted(KINDS)), cam=st.sampled_from(sorted(KINDS)), height=st.integers(1, 90),
       width=st.integers(1, 90), saliency=st.sampled_from([None, 0, 2, 255, 'random']), seed=st.integers(0, 99))
def test_only_the_images_classes_background_and_undefined(classes, icd, cam, height, width, saliency, seed):
    classes = sorted(classes)
    raw_icd, raw_cam = scores(seed, len(classes), side=5)
    raw_icd, raw_cam = KINDS[icd](raw_icd), KINDS[cam](raw_cam)
    if saliency is not None:
        rng = np.random.default_rng(seed)
        saliency = np.uint8(rng.integers(0, 256, (height, width)) if saliency == 'random' else np.full(
            (height, width), saliency))
    made = seeds.seed_map(raw_icd, raw_cam, classes, (height, width), 33, saliency)
    assert made.shape == (height, width) and made.dtype == np.uint8
    assert set(made.ravel()) <= {0, 255} | {c + 1 for c in classes}
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert set(crf.dense_crf(image, made, 21, iterations=1).ravel()) <= {0, 255} | {c + 1 for c in classes}
    made = seeds.cam_seed_map(raw_cam, classes, (height, width), 33, .3)
    assert made.shape == (height, width) and made.dtype == np.uint8
    assert set(made.ravel()) <= {0} | {c + 1 for c in classes}
    if not classes:
        assert not made.any()


@pytest.mark.parametrize('kind, expected', [('zero', {255}), ('negative', {0}), ('positive', {8}), ('NaN', {255})])
def test_scores_of_one_sign(kind, expected):
    icd, cam = scores(0, 1)
    assert set(seeds.seed_map(KINDS[kind](icd), cam, [7], (20, 30), SIDE).ravel()) == expected


@pytest.mark.parametrize('kind', ['some NaN', 'infinite'])
def test_scores_that_are_not_finite_count_as_nothing(kind):
    icd, cam = scores(5, 3)
    bad_icd, bad_cam = KINDS[kind](icd), KINDS[kind](cam)
    icd, cam = (np.where(np.isfinite(bad), bad, np.float32(0)) for bad in (bad_icd, bad_cam))
    given = (0, 4, 5), (40, 50), SIDE
    assert np.array_equal(seeds.seed_map(bad_icd, bad_cam, *given), seeds.seed_map(icd, cam, *given))
    assert np.array_equal(seeds.cam_seed_map(bad_cam, *given, .3), seeds.cam_seed_map(cam, *given, .3))


def test_without_classes_all_is_background():
    nothing = np.zeros((0, 9, 9), np.float32)
    assert not seeds.seed_map(nothing, nothing, [], (5, 6), SIDE).any()
    assert not seeds.cam_seed_map(nothing, [], (5, 6), SIDE, .3).any()


def test_cam_seeds_are_the_strongest_share_above_the_threshold():
    ramp = np.tile(np.linspace(-1, 2, 9, dtype=np.float32), (9, 1))
    made = seeds.cam_seed_map(np.stack([ramp, 5 * ramp[:, ::-1]]), [3, 9], (SIDE, SIDE), SIDE, .5)
    across = np.maximum(cv2.resize(ramp, (SIDE, SIDE))[0], 0) / 2
    back = across[::-1]
    expected = np.where(np.maximum(across, back) < .5, 0, np.where(across >= back, 4, 10))
    assert (made == expected).all() and set(expected) == {0, 4, 10}
    stricter = seeds.cam_seed_map(np.stack([ramp, 5 * ramp[:, ::-1]]), [3, 9], (SIDE, SIDE), SIDE, .8)
    assert (stricter > 0).sum() < (made > 0).sum()


def test_seeds_of_large_images_are_those_of_the_image_scaled_down():
    icd, cam = (cv2.GaussianBlur(s.transpose(1, 2, 0), (0, 0), 1).transpose(2, 0, 1) for s in scores(3, 2))
    small = seeds.seed_map(icd, cam, (1, 2), (40, SIDE), SIDE)
    large = seeds.seed_map(icd, cam, (1, 2), (4 * 40, 4 * SIDE), SIDE)
    assert large.shape == (160, 4 * SIDE)
    assert (large[2::4, 2::4] == small).mean() > .95


# ---------------------------------------------------------------------------------------------------- the step
OBJECT = '<object><name>%s</name><difficult>0</difficult></object>'
IMAGES = {          # name: size, classes
    'two': ((48, 64), (2, 7)), 'grey': ((40, 30), (14,)), 'row': ((1, 50), (3,)), 'sub/large': ((90, 140), (0, 5)),
    'nothing': ((30, 44), ()), 'all': ((33, 33), tuple(range(20)))}


def write_image(folder, name, size, classes, rng):
    image = cv2.GaussianBlur(rng.integers(0, 256, size + (3,)).astype(np.float32), (0, 0), 3)
    image = np.uint8(np.clip((image - 127) * 4 + 127, 0, 255))
    if name == 'grey':
        image = image[..., 0]
    files.save_image(str(folder / 'images' / (name + '.jpg')), image)
    objects = ''.join(OBJECT % voc.CATEGORIES[c] for c in classes)
    files.save_bytes(str(folder / 'xml' / (name + '.xml')), ('<annotation>%s</annotation>' % objects).encode())
    files.save_image(str(folder / 'saliency' / (name + '.png')), np.uint8(rng.integers(0, 9, size)))
    for kind in ('icd', 'cam'):
        files.save_npy(str(folder / 'snapshot' / 'results' / ('scores_' + kind) / (name + '.npy')),
                         rng.standard_normal((len(classes), 9, 9)).astype(np.float32))


def small_set(folder, images):
    """Write images, annotations, saliency maps and scores; return the options of the step."""
    rng = np.random.default_rng(0)
    for name, (size, classes) in images.items():
        write_image(folder, name, size, classes, rng)
    files.save_bytes(str(folder / 'list.txt'), '\n'.join(images).encode())
    return cli.defaults(
        cli.RUN, image_root=str(folder / 'images'), annotation_root=str(folder / 'xml'),
        data_list=str(folder / 'list.txt'), saliency_root=str(folder / 'saliency'),
        snapshot=str(folder / 'snapshot'), infer_size=SIDE, num_process=1)


@pytest.fixture
def small(tmp_path):
    return small_set(tmp_path, IMAGES)


def changed(options, **values):
    return cli.Options(**dict(vars(options), **values))


def seed_path(options, kind, name):
    return os.path.join(options.snapshot, 'results', 'seeds', kind, name + '.png')


def contents(folder):
    """Bytes of all files below a folder, by relative name."""
    found = {}
    for place, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(place, file)
            with open(path, 'rb') as opened:
                found[os.path.relpath(path, folder)] = opened.read()
    return found


def stamps(folder):
    return {path: os.stat(os.path.join(folder, path)).st_mtime_ns for path in contents(folder)}


def test_every_seed_is_an_index_png_of_its_image(small):
    options = changed(small, seeds=('crf', 'sal', 'raw', 'cam'), cam_threshold=(.2, .55))
    run_stage(seeds, options)
    for kind in ('crf', 'sal', 'raw', 'cam_0.20', 'cam_0.55'):
        for name, (size, classes) in IMAGES.items():
            path = seed_path(options, kind, name)
            with Image.open(path) as opened:
                assert opened.mode == 'L'
                mask = np.array(opened)
            assert mask.shape == size
            assert np.array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED), mask)
            assert set(mask.ravel()) <= {0, 255} | {c + 1 for c in classes}, (kind, name)
        assert not masks.read_mask(seed_path(options, kind, 'nothing')).any()


def test_folders_hold_what_the_functions_give(small):
    options = changed(small, seeds=('crf', 'sal', 'raw', 'cam'), confidence=.7, crf_gaussian=(2., 4.))
    run_stage(seeds, options)
    image = images.read_image(os.path.join(options.image_root, 'two.jpg'))
    icd, cam = (np.load(os.path.join(options.snapshot, 'results', 'scores_' + kind, 'two.npy'))
                for kind in ('icd', 'cam'))
    saliency = cv2.imread(os.path.join(options.saliency_root, 'two.png'), cv2.IMREAD_UNCHANGED)
    raw = seeds.seed_map(icd, cam, (2, 7), image.shape[:2], SIDE)

    def refine(seed):
        return crf.dense_crf(image[:, :, ::-1], seed, 21, confidence=.7, gaussian=(2, 4))
    expected = {'raw': raw, 'crf': refine(raw), 'sal': seeds.seed_map(icd, cam, (2, 7), raw.shape, SIDE, saliency),
                'cam_0.30': refine(seeds.cam_seed_map(cam, (2, 7), raw.shape, SIDE, .3))}
    for kind, mask in expected.items():
        assert np.array_equal(masks.read_mask(seed_path(options, kind, 'two')), mask), kind


@pytest.mark.parametrize('words, expected', [
    ('', ['crf']), ('--use-sal', ['sal']), ('--seeds crf,raw', ['crf', 'raw']), ('--seeds raw,sal', ['sal', 'raw']),
    ('--use-sal --seeds crf', ['crf', 'sal']),
    ('--seeds cam --cam-threshold .1,0.25,.001,1', ['cam_0.10', 'cam_0.25', 'cam_0.001', 'cam_1.00'])])
def test_which_folders_are_made(words, expected):
    options = cli.parse(cli.RUN, 'icd-run', '', words.split())
    assert [os.path.basename(f) for f in seeds.seed_folders(options).values()] == expected


@pytest.mark.parametrize('wrong', ['0', '1.5', '0.12345', '.1,.1', 'x', ''])
def test_cam_thresholds_that_name_no_folder(wrong):
    with pytest.raises(UserError, match='cam-threshold'):
        cli.parse(cli.RUN, 'icd-run', '', ['--cam-threshold', wrong])


def test_other_class_names_change_the_number_of_labels(small, monkeypatch, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(voc.CATEGORIES[:8]))
    (tmp_path / 'list.txt').write_text('two')
    seen = []
    monkeypatch.setattr(crf, 'dense_crf', lambda image, seed, num_labels, *_: seen.append(num_labels) or seed)
    run_stage(seeds, changed(small, class_names=str(names)))
    assert seen == [9]


def test_largest_images_go_first(small, monkeypatch):
    order = []
    plain = parallel.process_map

    def process_map(function, items, *rest, **words):
        order.extend(job.name for job in items)
        return plain(function, items, *rest, **words)
    monkeypatch.setattr(parallel, 'process_map', process_map)
    run_stage(seeds, small)
    assert order == ['sub/large', 'two', 'nothing', 'grey', 'all', 'row']


def test_pydensecrf_makes_the_same_seeds_and_is_announced(small, capsys, monkeypatch):
    options = changed(small, seeds=('crf', 'raw'), num_process=1)
    folder = os.path.join(small.snapshot, 'results', 'seeds')
    run_stage(seeds, options)
    compiled = contents(folder)
    assert 'compiled' not in capsys.readouterr().err
    monkeypatch.setattr(seeds.crf, '_mean_field', None)
    run_stage(seeds, changed(options, force=True, seeds=('raw',)))
    assert 'compiled' not in capsys.readouterr().err
    run_stage(seeds, changed(options, force=True))
    assert 'CRF is not compiled here' in capsys.readouterr().err
    assert contents(folder) == compiled


def test_a_second_run_changes_no_file(small, capsys):
    options = changed(small, seeds=('crf', 'sal', 'raw'), colour=True)
    run_stage(seeds, options)
    before = stamps(options.snapshot)
    assert {'results/seeds/raw_colour/two.png', 'results/seeds/crf_overlay/sub/large.jpg'} <= set(before)
    start = time.monotonic()
    run_stage(seeds, options)
    assert stamps(options.snapshot) == before and time.monotonic() - start < 2
    assert 'up to date' in capsys.readouterr().err


def test_what_became_out_of_date_is_made_again_and_nothing_else(small):
    options = changed(small, seeds=('crf', 'sal', 'raw'))
    run_stage(seeds, options)
    made = [seed_path(options, kind, name) for kind in ('crf', 'sal', 'raw') for name in IMAGES]

    def remade(options, *touched):
        for path in [*made, *(outputs.settings_path(f) for f in seeds.seed_folders(options).values())]:
            os.utime(path, (100, 100))
        for path in [p for root in (small.image_root, small.annotation_root, small.saliency_root,
                                    os.path.join(small.snapshot, 'results', 'scores_icd'),
                                    os.path.join(small.snapshot, 'results', 'scores_cam'))
                     for p in (os.path.join(root, f) for f in contents(root))]:
            os.utime(path, (200, 200) if path in touched else (50, 50))
        run_stage(seeds, options)
        return {os.path.relpath(p, os.path.join(small.snapshot, 'results', 'seeds'))[:-4]
                for p in made if os.stat(p).st_mtime != 100}
    all_two = {'crf/two', 'sal/two', 'raw/two'}
    assert remade(options) == set()
    assert remade(options, os.path.join(small.image_root, 'two.jpg')) == all_two
    assert remade(options, os.path.join(small.annotation_root, 'two.xml')) == all_two
    for kind in ('icd', 'cam'):
        assert remade(options, os.path.join(small.snapshot, 'results', 'scores_' + kind, 'two.npy')) == all_two
    assert remade(options, os.path.join(small.saliency_root, 'two.png')) == {'sal/two'}
    assert remade(changed(options, crf_iterations=3)) == {'crf/' + name for name in IMAGES}
    assert len(remade(changed(options, crf_iterations=3, force=True))) == 3 * len(IMAGES)


@pytest.mark.parametrize('values, expected', [
    ({}, set()), ({'confidence': .6}, {'crf', 'cam'}), ({'crf_gaussian': (3., 4.)}, {'crf', 'cam'}),
    ({'crf_bilateral': (80., 13., 9.)}, {'crf', 'cam'}), ({'crf_iterations': 9}, {'crf', 'cam'}),
    ({'saliency_root': 'other'}, {'sal'}), ({'image_root': 'other'}, {'crf', 'sal', 'raw', 'cam'}),
    ({'annotation_root': 'other'}, {'crf', 'sal', 'raw', 'cam'}), ({'cam_threshold': (.4,)}, {'cam'}),
    ({'infer_size': 73}, {'crf', 'sal', 'raw', 'cam'}), ({'class_names': 'names.txt'}, {'crf', 'sal', 'raw', 'cam'})])
def test_settings_that_make_a_folder_out_of_date(small, tmp_path, monkeypatch, values, expected):
    files.save_bytes(str(tmp_path / 'list.txt'), b'row')
    files.save_bytes(str(tmp_path / 'names.txt'), '\n'.join(voc.CATEGORIES[:9]).encode())
    (tmp_path / 'other').mkdir()
    monkeypatch.chdir(tmp_path)
    options = changed(small, seeds=('crf', 'sal', 'raw', 'cam'))
    run_stage(seeds, options)
    problems = Problems()
    inputs = read_inputs(options, problems)
    jobs = seeds.find_jobs(changed(options, **values), inputs, problems)
    assert {kind for job in jobs for kind, _ in job.folders} == expected


def test_saliency_maps_of_another_folder_make_other_seeds_however_old_they_are(small, tmp_path):
    options = changed(small, seeds=('crf', 'sal'))
    run_stage(seeds, options)
    before = stamps(os.path.join(small.snapshot, 'results', 'seeds'))
    shutil.copytree(small.saliency_root, str(tmp_path / 'other'))
    for name in IMAGES:
        os.utime(str(tmp_path / 'other' / (name + '.png')), (100, 100))
    files.save_image(str(tmp_path / 'other' / 'two.png'), np.zeros((48, 64), np.uint8))
    os.utime(str(tmp_path / 'other' / 'two.png'), (100, 100))
    run_stage(seeds, changed(options, saliency_root=str(tmp_path / 'other')))
    after = stamps(os.path.join(small.snapshot, 'results', 'seeds'))
    assert {path for path in after if after[path] != before[path]} == {'sal/settings.json'} | {
        'sal/%s.png' % name for name in IMAGES}
    expected = contents(os.path.join(small.snapshot, 'results', 'seeds'))
    run_stage(seeds, changed(options, saliency_root=str(tmp_path / 'other'), force=True))
    assert contents(os.path.join(small.snapshot, 'results', 'seeds')) == expected


def test_before_scores_are_made_all_but_the_scores_is_checked(small):
    """Inference makes the scores anew, perhaps, and then every seed, whatever is there now."""
    options = changed(small, seeds=('crf', 'sal'))
    run_stage(seeds, options)
    shutil.rmtree(os.path.join(small.snapshot, 'results', 'scores_icd'))
    os.remove(os.path.join(small.saliency_root, 'two.png'))
    problems = Problems()
    inputs = read_inputs(options, problems)
    jobs = seeds.find_jobs(options, inputs, problems, scores_come=True)
    assert len(jobs) == len(inputs.names) and all(len(job.folders) == 2 for job in jobs)
    assert 'two.png: no such saliency map' in str(problems) and 'no such score' not in str(problems)


def test_seeds_never_overwrite_the_saliency_maps(small):
    place = os.path.join(small.snapshot, 'results', 'seeds', 'sal')
    shutil.copytree(small.saliency_root, place)
    before = contents(place)
    os.symlink(small.snapshot, small.snapshot + '_link')
    with pytest.raises(UserError, match='seeds/sal/: seeds would overwrite the saliency maps'):
        run_stage(seeds, changed(small, use_sal=True, saliency_root=place + '/', snapshot=small.snapshot + '_link'))
    assert contents(place) == before


def test_photographs_that_are_too_long_for_the_crf(small, monkeypatch):
    monkeypatch.setattr(crf, 'largest_side', lambda *_: 40)
    with pytest.raises(UserError, match='two.jpg: a side of 64 pixels is too long for the CRF') as raised:
        run_stage(seeds, small)
    assert 'nothing' not in str(raised.value) and 'grey' not in str(raised.value)
    run_stage(seeds, changed(small, seeds=('raw',)))


def test_settings_that_changed_are_not_forgotten_by_a_run_that_fails(small):
    run_stage(seeds, small)
    scores_path = os.path.join(small.snapshot, 'results', 'scores_icd', 'two.npy')
    good = np.load(scores_path)
    other = changed(small, confidence=.9)
    files.save_npy(scores_path, np.full_like(good, np.nan))
    with pytest.raises(UserError, match='two.npy'):
        run_stage(seeds, other)
    files.save_npy(scores_path, good)
    run_stage(seeds, other)
    resumed = contents(os.path.join(small.snapshot, 'results', 'seeds'))
    run_stage(seeds, changed(other, force=True))
    assert contents(os.path.join(small.snapshot, 'results', 'seeds')) == resumed


def test_processes_do_not_change_the_seeds(small):
    run_stage(seeds, small)
    alone = contents(os.path.join(small.snapshot, 'results', 'seeds'))
    run_stage(seeds, changed(small, num_process=2, force=True))
    assert contents(os.path.join(small.snapshot, 'results', 'seeds')) == alone


def break_npy(change):
    def apply(options):
        path = os.path.join(options.snapshot, 'results', 'scores_icd', 'two.npy')
        array = np.load(path)
        os.remove(path)
        change(path, array)
    return apply


def save_pickle(path, array):
    np.save(path, np.array([{'two': array}], dtype=object), allow_pickle=True)


def cut(path, array):
    files.save_npy(path, array)
    os.truncate(path, os.path.getsize(path) - 4)


def remove_saliency(options):
    os.remove(os.path.join(options.saliency_root, 'two.png'))


def remove_image(options):
    os.remove(os.path.join(options.image_root, 'two.jpg'))


def saliency_bytes(data):
    return lambda options: files.save_bytes(os.path.join(options.saliency_root, 'two.png'), data)


PNG = cv2.imencode('.png', np.arange(48 * 64, dtype=np.uint8).reshape(48, 64))[1].tobytes()
JPEG = cv2.imencode('.jpg', np.arange(48 * 64, dtype=np.uint8).reshape(48, 64))[1].tobytes()
BEFORE = {      # found before anything is made
    'no scores': (break_npy(lambda path, array: None), 'two.npy: no such score file: run inference first'),
    'rows': (break_npy(lambda p, a: files.save_npy(p, a[:1])), 'two.npy: maps of 1 classes, the annotation has 2'),
    'size': (break_npy(lambda p, a: files.save_npy(p, a[:, :5])), 'two.npy: scores of shape 2x5x9, which do not come '
             'from --infer-size 65'),
    'dimensions': (break_npy(lambda p, a: files.save_npy(p, a[0])), 'two.npy: scores of shape 9x9'),
    'integers': (break_npy(lambda p, a: files.save_npy(p, a.astype(int))), 'two.npy: holds no floating-point'),
    'pickle': (break_npy(save_pickle), 'two.npy: holds no floating-point'),
    'garbage': (break_npy(lambda p, a: files.save_bytes(p, b'\x93NUMPY\x01\x00 garbage')), 'two.npy: not a NumPy'),
    'empty': (break_npy(lambda p, a: files.save_bytes(p, b'')), 'two.npy: not a NumPy array file'),
    'cut': (break_npy(cut), 'two.npy: the file is cut short'),
    'no saliency': (remove_saliency, 'two.png: no such saliency map: check --saliency-root'),
    'saliency size': (saliency_bytes(cv2.imencode('.png', np.zeros((5, 6), np.uint8))[1].tobytes()),
                      r'two.png \(6x5, not 64x48\): saliency map and image differ in size'),
    'saliency text': (saliency_bytes(b'salient'), 'two.png: not an image'),
    'no image': (remove_image, 'two.jpg: no such image'),
}
MEANWHILE = {   # what only the whole file tells
    'NaN': (break_npy(lambda p, a: files.save_npy(p, a * np.nan)), 'two.npy: holds NaN .* training diverged'),
    'saliency cut': (saliency_bytes(PNG[:len(PNG) // 2]), 'two.png: the file is cut short: copy or download it again'),
    'saliency without its end': (saliency_bytes(JPEG[:-40]), 'two.png: the file is cut short'),
}


@pytest.mark.parametrize('case', sorted(BEFORE))
def test_bad_inputs_end_it_before_anything_is_made(small, case):
    damage, message = BEFORE[case]
    damage(small)
    with pytest.raises(UserError, match=message):
        run_stage(seeds, changed(small, seeds=('crf', 'sal')))
    assert not os.path.exists(os.path.join(small.snapshot, 'results', 'seeds'))


@pytest.mark.parametrize('case', sorted(MEANWHILE))
@pytest.mark.parametrize('processes', [1, 2])
def test_what_turns_bad_later_ends_it_in_one_line(small, case, processes):
    damage, message = MEANWHILE[case]
    damage(small)
    with pytest.raises(UserError, match=message) as raised:
        run_stage(seeds, changed(small, seeds=('crf', 'sal'), num_process=processes))
    assert '\n' not in str(raised.value)
    left = contents(os.path.join(small.snapshot, 'results', 'seeds'))
    assert processes > 1 or 'crf/sub/large.png' in left
    assert not [path for path in left if path.endswith(files.PARTIAL)]


def test_a_saliency_map_in_colours(small):
    colours = np.full((48, 64, 3), (9, 99, 199), np.uint8)
    saliency_bytes(cv2.imencode('.png', colours)[1].tobytes())(small)
    with pytest.raises(UserError, match='two.png: a colour picture: saliency maps are grey, 0 to 255: check --saliency'):
        run_stage(seeds, changed(small, seeds=('sal',)))


@pytest.mark.parametrize('value, counted', [(1, True), (2, True), (3, False), (0, False)])
def test_saliency_maps_of_zeros_and_ones_are_told(small, value, counted, capsys):
    saliency = np.zeros((48, 64), np.uint8)
    saliency[:20] = value
    saliency_bytes(cv2.imencode('.png', saliency)[1].tobytes())(small)
    run_stage(seeds, changed(small, seeds=('raw', 'sal')))
    assert ('1 saliency maps of %s hold no pixel above 2' % small.saliency_root in capsys.readouterr().err) == counted


def test_a_saliency_map_that_changes_meanwhile(small, monkeypatch):
    monkeypatch.setattr(seeds.checks, 'check_size', lambda *_: (48, 64))
    saliency_bytes(cv2.imencode('.png', np.zeros((5, 6), np.uint8))[1].tobytes())(small)
    with pytest.raises(UserError, match='two.png: the saliency map has 6x5 pixels, the image 64x48'):
        run_stage(seeds, changed(small, use_sal=True))


def test_all_problems_are_named_at_once(small):
    for name in ('two', 'grey', 'row'):
        os.remove(os.path.join(small.snapshot, 'results', 'scores_icd', name + '.npy'))
    os.remove(os.path.join(small.snapshot, 'results', 'scores_cam', 'two.npy'))
    with pytest.raises(UserError, match=r'two.npy.*two.npy.*grey.npy.*row.npy.*\(4 files\)'):
        run_stage(seeds, small)


def test_images_without_classes_need_no_scores(small):
    for kind in ('icd', 'cam'):
        os.remove(os.path.join(small.snapshot, 'results', 'scores_' + kind, 'nothing.npy'))
    run_stage(seeds, small)
    assert not masks.read_mask(seed_path(small, 'crf', 'nothing')).any()


def test_partial_files_of_a_killed_run_go_away(small):
    for part in ('', 'sub'):
        files.save_bytes(os.path.join(small.snapshot, 'results', 'seeds', 'crf', part, '.two.png.part'), b'half')
    run_stage(seeds, small)
    assert not [p for p in contents(small.snapshot) if p.endswith(files.PARTIAL)]


def run_in_a_process(options):
    """Start the step in a process group of its own, with two workers."""
    code = ('import pickle, sys\nfrom icd.steps import seeds\nfrom tests.helpers import run_stage\n'
            'if __name__ == "__main__": run_stage(seeds, pickle.loads(bytes.fromhex(sys.argv[1])))')
    root = PROJECT
    words = pickle.dumps(changed(options, num_process=2)).hex()
    return subprocess.Popen([sys.executable, '-c', code, words], stderr=subprocess.DEVNULL,
                            env=dict(os.environ, PYTHONPATH=root), start_new_session=True)


def test_killed_and_run_again_it_ends_like_an_undisturbed_run(tmp_path):
    """`ICD_KILLS=20` kills more often."""
    images = {'%02d' % i: ((60 + i, 90), (i, i + 1)) for i in range(16)}
    options = changed(small_set(tmp_path, images), seeds=('crf', 'raw'), crf_iterations=150)
    folder = os.path.join(options.snapshot, 'results', 'seeds')
    start = time.monotonic()
    assert run_in_a_process(options).wait() == 0
    duration = time.monotonic() - start
    undisturbed = contents(folder)
    chance, unfinished = random.Random(time.time()), 0
    for kill in range(int(os.environ.get('ICD_KILLS', 3))):
        shutil.rmtree(folder)
        process = run_in_a_process(options)
        if kill:
            time.sleep(chance.uniform(.3, 1) * duration)
        else:                           # the first one is sure to come in the middle
            while process.poll() is None and not os.path.exists(seed_path(options, 'crf', '15')):
                time.sleep(.002)
        # Sometimes the workers too, sometimes the main process alone: then they have to notice.
        (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        unfinished += contents(folder) != undisturbed if os.path.isdir(folder) else 1
        assert run_in_a_process(options).wait() == 0
        assert contents(folder) == undisturbed
    assert unfinished
