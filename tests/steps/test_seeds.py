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
from PIL import Image

from icd import cli, files, parallel
from icd.data import images, masks, score_map, voc
from icd.errors import Problems, UserError
from icd.method import crf, mean_field
from icd.method.seed_map import cam_seed_map, seed_map
from icd.steps import seeds
from tests.helpers import PROJECT, read_inputs, run_stage, small_data

SIDE = 65                   # inference size of the small data set: maps of 9x9


# ---------------------------------------------------------------------------------------------------- recordings
@pytest.mark.parity
def test_seeds_of_real_images_equal_the_recorded_ones(real_images, tmp_path):
    voc_mini, recorded = (os.path.join(real_images, name) for name in ('voc_mini', 'parity_voc'))
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
    files.save_bytes(str(folder / 'xml' / (name + '.xml')), f'<annotation>{objects}</annotation>'.encode())
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
        snapshot=str(folder / 'snapshot'), infer_size=SIDE, num_process=1, unlabelled='keep')


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
    for where, _, names in os.walk(folder):
        for file in names:
            path = os.path.join(where, file)
            if file == 'inputs.tsv':            # its dates and order differ from run to run
                continue
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


def test_seeds_equal_those_of_the_functions(small):
    options = changed(small, seeds=('crf', 'sal', 'raw', 'cam'), confidence=.7, crf_gaussian=(2., 4.))
    run_stage(seeds, options)
    image = images.read_image(os.path.join(options.image_root, 'two.jpg'))
    icd, cam = (np.load(os.path.join(options.snapshot, 'results', 'scores_' + kind, 'two.npy'))
                for kind in ('icd', 'cam'))
    saliency = cv2.imread(os.path.join(options.saliency_root, 'two.png'), cv2.IMREAD_UNCHANGED)
    icd, cam = (score_map.at_image_size(maps, image.shape[:2], SIDE) for maps in (icd, cam))
    raw = seed_map(icd, cam, (2, 7))

    def refine(seed):
        return crf.refine_seed(image[:, :, ::-1], seed, 21, confidence=.7, gaussian=(2, 4))
    expected = {'raw': raw, 'crf': refine(raw), 'sal': seed_map(icd, cam, (2, 7), saliency),
                'cam_0.30': refine(cam_seed_map(cam, (2, 7), .3))}
    for kind, mask in expected.items():
        assert np.array_equal(masks.read_mask(seed_path(options, kind, 'two')), mask), kind


@pytest.mark.parametrize('arguments, expected', [
    ('', ['crf']), ('--use-sal', ['sal']), ('--seeds crf,raw', ['crf', 'raw']), ('--seeds raw,sal', ['sal', 'raw']),
    ('--use-sal --seeds crf', ['crf', 'sal']),
    ('--seeds cam --cam-threshold .1,0.25,.001,1', ['cam_0.10', 'cam_0.25', 'cam_0.001', 'cam_1.00'])])
def test_options_decide_which_folders_are_made(arguments, expected):
    options = cli.parse(cli.RUN, 'icd-run', '', arguments.split())
    assert [os.path.basename(f) for f in seeds.seed_folders(options).values()] == expected


@pytest.mark.parametrize('wrong', ['0', '1.5', '0.12345', '.1,.1', 'x', ''])
def test_invalid_cam_thresholds_are_refused(wrong):
    with pytest.raises(UserError, match='cam-threshold'):
        cli.parse(cli.RUN, 'icd-run', '', ['--cam-threshold', wrong])


def test_other_class_names_change_the_number_of_labels(small, monkeypatch, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(voc.CATEGORIES[:8]))
    (tmp_path / 'list.txt').write_text('two')
    seen = []
    monkeypatch.setattr(crf, 'refine_seed', lambda image, seed, num_labels, *_: seen.append(num_labels) or seed)
    run_stage(seeds, changed(small, class_names=str(names)))
    assert seen == [9]


def test_largest_images_go_first(small, monkeypatch):
    order = []
    plain = parallel.process_map

    def process_map(function, items, *rest, **kwargs):
        order.extend(job.name for job in items)
        return plain(function, items, *rest, **kwargs)
    monkeypatch.setattr(parallel, 'process_map', process_map)
    run_stage(seeds, small)
    assert order == ['sub/large', 'two', 'nothing', 'grey', 'all', 'row']


def test_pydensecrf_makes_the_same_seeds_and_is_announced(small, capsys, monkeypatch):
    options = changed(small, seeds=('crf', 'raw'), num_process=1)
    folder = os.path.join(small.snapshot, 'results', 'seeds')
    run_stage(seeds, options)
    compiled = contents(folder)
    assert 'compiled' not in capsys.readouterr().err
    monkeypatch.delitem(mean_field.BACKENDS, 'compiled')
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


def test_before_scores_are_made_all_but_the_scores_is_checked(small):
    options = changed(small, seeds=('crf', 'sal'))
    run_stage(seeds, options)
    shutil.rmtree(os.path.join(small.snapshot, 'results', 'scores_icd'))
    os.remove(os.path.join(small.saliency_root, 'two.png'))
    problems = Problems()
    seeds.check(options, read_inputs(options, problems), problems, upcoming=('infer',))
    assert 'two.png: no such saliency map' in str(problems) and 'no such score' not in str(problems)


def test_seeds_never_overwrite_the_saliency_maps(small):
    saliency = os.path.join(small.snapshot, 'results', 'seeds', 'sal')
    shutil.copytree(small.saliency_root, saliency)
    before = contents(saliency)
    os.symlink(small.snapshot, small.snapshot + '_link')
    with pytest.raises(UserError, match='seeds/sal/: seeds would overwrite the saliency maps'):
        run_stage(seeds, changed(small, use_sal=True, saliency_root=saliency + '/', snapshot=small.snapshot + '_link'))
    assert contents(saliency) == before


def test_images_too_long_for_the_crf_are_refused(small, monkeypatch):
    monkeypatch.setattr(crf, 'largest_side', lambda *_: 40)
    with pytest.raises(UserError, match='two.jpg: a side of 64 pixels is too long for the CRF') as raised:
        run_stage(seeds, small)
    assert 'nothing' not in str(raised.value) and 'grey' not in str(raised.value)
    run_stage(seeds, changed(small, seeds=('raw',)))


def test_a_failed_run_does_not_forget_changed_settings(small):
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
MEANWHILE = {   # what only the whole file shows
    'NaN': (break_npy(lambda p, a: files.save_npy(p, a * np.nan)), 'two.npy: holds NaN .* training diverged'),
    'saliency cut': (saliency_bytes(PNG[:len(PNG) // 2]), 'two.png: the file is cut short: copy or download it again'),
    'saliency without its end': (saliency_bytes(JPEG[:-40]), 'two.png: the file is cut short'),
}


@pytest.mark.parametrize('case', sorted(BEFORE))
def test_bad_inputs_are_reported_before_anything_is_made(small, case):
    damage, message = BEFORE[case]
    damage(small)
    with pytest.raises(UserError, match=message):
        run_stage(seeds, changed(small, seeds=('crf', 'sal')))
    assert not os.path.exists(os.path.join(small.snapshot, 'results', 'seeds'))


@pytest.mark.parametrize('case', sorted(MEANWHILE))
@pytest.mark.parametrize('processes', [1, 2])
def test_inputs_damaged_during_a_run_end_it_with_one_line(small, case, processes):
    damage, message = MEANWHILE[case]
    damage(small)
    with pytest.raises(UserError, match=message) as raised:
        run_stage(seeds, changed(small, seeds=('crf', 'sal'), num_process=processes))
    assert '\n' not in str(raised.value)
    left = contents(os.path.join(small.snapshot, 'results', 'seeds'))
    assert processes > 1 or 'crf/sub/large.png' in left
    assert not [path for path in left if path.endswith(files.PARTIAL)]


def test_a_saliency_map_in_colours_is_refused(small):
    colours = np.full((48, 64, 3), (9, 99, 199), np.uint8)
    saliency_bytes(cv2.imencode('.png', colours)[1].tobytes())(small)
    with pytest.raises(UserError, match='two.png: a colour image: saliency maps are grey, 0 to 255: check --saliency'):
        run_stage(seeds, changed(small, seeds=('sal',)))


@pytest.mark.parametrize('value, counted', [(1, True), (2, True), (3, False), (0, False)])
def test_saliency_maps_of_zeros_and_ones_are_reported(small, value, counted, capsys):
    saliency = np.zeros((48, 64), np.uint8)
    saliency[:20] = value
    saliency_bytes(cv2.imencode('.png', saliency)[1].tobytes())(small)
    run_stage(seeds, changed(small, seeds=('raw', 'sal')))
    assert (f'1 saliency maps of {small.saliency_root} hold no pixel above 2' in capsys.readouterr().err) == counted


def test_a_saliency_map_replaced_after_the_check_is_reported(small, monkeypatch):
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


def test_partial_files_of_a_killed_run_are_removed(small):
    for part in ('', 'sub'):
        files.save_bytes(os.path.join(small.snapshot, 'results', 'seeds', 'crf', part, '.two.png.part'), b'half')
    run_stage(seeds, small)
    assert not [p for p in contents(small.snapshot) if p.endswith(files.PARTIAL)]


def run_in_a_process(options):
    """Start the step in a process group of its own, with two workers."""
    code = ('import pickle, sys\nfrom icd.steps import seeds\nfrom tests.helpers import run_stage\n'
            'if __name__ == "__main__": run_stage(seeds, pickle.loads(bytes.fromhex(sys.argv[1])))')
    root = PROJECT
    pickled = pickle.dumps(changed(options, num_process=2)).hex()
    return subprocess.Popen([sys.executable, '-c', code, pickled], stderr=subprocess.DEVNULL,
                            env=dict(os.environ, PYTHONPATH=root), start_new_session=True)


def test_killed_and_repeated_runs_end_like_an_undisturbed_one(tmp_path):
    """`ICD_KILLS=20` kills more often."""
    images = {f'{i:02d}': ((60 + i, 90), (i, i + 1)) for i in range(12)}
    options = changed(small_set(tmp_path, images), seeds=('crf', 'raw'), crf_iterations=100)
    folder = os.path.join(options.snapshot, 'results', 'seeds')
    start = time.monotonic()
    assert run_in_a_process(options).wait() == 0
    duration = time.monotonic() - start
    undisturbed = contents(folder)
    chance, unfinished = random.Random(time.time()), 0
    for kill in range(int(os.environ.get('ICD_KILLS', 2))):
        shutil.rmtree(folder)
        process = run_in_a_process(options)
        if kill:
            time.sleep(chance.uniform(.3, 1) * duration)
        else:                           # the first one always comes in the middle
            while process.poll() is None and not os.path.exists(seed_path(options, 'crf', '11')):
                time.sleep(.002)
        # Sometimes the workers too, sometimes the main process alone: then they have to notice.
        (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        unfinished += contents(folder) != undisturbed if os.path.isdir(folder) else 1
        assert run_in_a_process(options).wait() == 0
        assert contents(folder) == undisturbed
    assert unfinished


def test_seeds_that_hold_background_only_are_counted(valid, tmp_path, monkeypatch, capsys):
    shutil.copytree(valid, str(tmp_path / 'data'))
    monkeypatch.chdir(tmp_path / 'data')
    names = ('a', 'b', 'c', 'sub/d')
    for count in (1, len(names)):
        for name in names[:count]:
            for kind in ('icd', 'cam'):
                files.save_npy(f'snap/results/scores_{kind}/{name}.npy', -np.ones((1, 7, 7), np.float32))
        assert small_data.run('seeds', ['--seeds', 'raw', '--force']) == 0
        printed = capsys.readouterr().err
        assert f'seeds: {count} of 4 in snap/results/seeds/raw hold nothing but background' in printed
        assert ('train longer' in printed) == (count == len(names))
