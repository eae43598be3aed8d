import io
import os
import re
import shutil
import time
import zipfile

import numpy as np
import pytest

from icd import cli, files
from icd.data import score_map, voc
from icd.errors import Problems, UserError
from icd.outputs import Outputs
from icd.steps import export
from tests.helpers import read_inputs, run_stage

SIDE = 65
IMAGES = {'two': ((48, 64), (2, 7)), 'sub/large': ((90, 140), (0,)), 'nothing': ((30, 44), ())}
STRIDED = {'two': (6, 8), 'sub/large': (6, 9), 'nothing': (4, 6)}       # large: 42x65 in the network input


@pytest.fixture
def small(tmp_path):
    rng = np.random.default_rng(0)
    for name, (size, classes) in IMAGES.items():
        files.save_image(str(tmp_path / 'images' / (name + '.jpg')), rng.integers(0, 256, size + (3,), np.uint8))
        objects = ''.join(f'<object><name>{voc.CATEGORIES[c]}</name></object>' for c in classes)
        files.save_bytes(str(tmp_path / 'xml' / (name + '.xml')), f'<annotation>{objects}</annotation>'.encode())
        for kind in ('icd', 'cam'):
            files.save_npy(score_map.path(str(tmp_path / 'snapshot'), kind, name),
                             rng.standard_normal((len(classes), 9, 9)).astype(np.float32))
    files.save_bytes(str(tmp_path / 'list.txt'), '\n'.join(IMAGES).encode())
    return cli.defaults(
        cli.RUN, image_root=str(tmp_path / 'images'), annotation_root=str(tmp_path / 'xml'),
        data_list=str(tmp_path / 'list.txt'), snapshot=str(tmp_path / 'snapshot'), infer_size=SIDE, num_process=1,
        unlabelled='keep',
        export_scores=str(tmp_path / 'out' / 'maps'))


def changed(options, **values):
    return cli.Options(**dict(vars(options), **values))


def load(path, prefix=''):
    with np.load(path, allow_pickle=False) as file:
        return {key[len(prefix):]: file[key] for key in file.files if key.startswith(prefix)}


def exported(options, name):
    if options.export_scores.endswith('.npz'):
        return load(options.export_scores, name + '/')
    return load(os.path.join(options.export_scores, name + '.npz'))


def contents(folder):
    found = {}
    for where, _, names in os.walk(folder):
        for path in (os.path.join(where, file) for file in names if file != 'inputs.tsv'):   # of other dates each time
            with open(path, 'rb') as file:
                found[os.path.relpath(path, folder)] = file.read(), os.stat(path).st_mtime_ns
    return found


@pytest.mark.parametrize('location', ['maps', 'maps.npz'])
@pytest.mark.parametrize('full_size', [False, True])
def test_exported_arrays_are_the_scores_classes_and_sizes(small, location, full_size):
    options = changed(small, export_scores=os.path.join(os.path.dirname(small.export_scores), location),
                      export_full_size=full_size)
    run_stage(export, options)
    for name, (size, classes) in IMAGES.items():
        maps = exported(options, name)
        assert sorted(maps) == sorted(['classes', 'size', 'cam', 'icd'] + ['cam_full', 'icd_full'] * full_size)
        assert maps['classes'].tolist() == list(classes) and maps['classes'].dtype == np.int64
        assert maps['size'].tolist() == list(size)
        for kind in ('cam', 'icd'):
            scores = np.load(score_map.path(options.snapshot, kind, name))
            rows, columns = STRIDED[name]
            assert maps[kind].dtype == np.float32
            assert np.array_equal(maps[kind], scores[:, :rows, :columns]) and maps[kind].shape[1:] == (rows, columns)
            if full_size:
                assert maps[kind + '_full'].shape == (len(classes),) + size
                assert np.array_equal(maps[kind + '_full'], score_map.at_image_size(scores, size, SIDE))
    if location.endswith('.npz'):
        assert load(options.export_scores)['names'].tolist() == list(IMAGES)


@pytest.mark.parametrize('location', ['maps', 'maps.npz'])
def test_a_second_run_changes_nothing_and_changes_are_followed(small, location):
    folder = os.path.dirname(small.export_scores)
    options = changed(small, export_scores=os.path.join(folder, location))

    def run(options):
        before = contents(folder)
        run_stage(export, options)
        after = contents(folder)
        return {path for path in after if after[path] != before.get(path)}
    assert run(options)
    start = time.monotonic()
    assert run(options) == set() and time.monotonic() - start < 2
    one_file = {'maps.npz'}
    path = score_map.path(options.snapshot, 'icd', 'two')
    two = one_file if location.endswith('.npz') else {'maps/two.npz'}
    files.save_npy(path, np.load(path) + 1)
    assert run(options) == two
    every = one_file if location.endswith('.npz') else {f'maps/{name}.npz' for name in IMAGES} | {'maps/settings.json'}
    assert run(changed(options, export_full_size=True)) == every
    assert run(changed(options, export_full_size=True, force=True)) == every - {'maps/settings.json'}
    assert not [path for path in contents(folder) if path.endswith(files.PARTIAL)]


def test_a_failed_run_does_not_forget_changed_settings(small):
    run_stage(export, small)
    options, path = changed(small, export_full_size=True), score_map.path(small.snapshot, 'icd', 'two')
    good, stamp = np.load(path), os.stat(path)
    files.save_npy(path, good * np.nan)
    with pytest.raises(UserError, match='two.npy: holds NaN'):
        run_stage(export, options)
    files.save_npy(path, good)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    run_stage(export, options)
    assert all('icd_full' in exported(options, name) for name in IMAGES)


def test_images_without_classes_need_no_scores(small):
    for kind in ('icd', 'cam'):
        os.remove(score_map.path(small.snapshot, kind, 'nothing'))
    run_stage(export, small)
    assert exported(small, 'nothing')['icd'].shape == (0, 4, 6)


def test_partial_files_of_a_killed_run_are_removed(small):
    for part in ('', 'sub'):
        files.save_bytes(os.path.join(small.export_scores, part, '.large.npz.part'), b'half')
    run_stage(export, small)
    assert not [path for path in contents(small.export_scores) if path.endswith(files.PARTIAL)]


def test_another_list_makes_another_file(small, tmp_path):
    options = changed(small, export_scores=str(tmp_path / 'maps.npz'))
    files.save_bytes(str(tmp_path / 'other.txt'), b'two')
    os.utime(str(tmp_path / 'other.txt'), (100, 100))
    run_stage(export, options)
    run_stage(export, changed(options, data_list=str(tmp_path / 'other.txt')))
    assert load(options.export_scores)['names'].tolist() == ['two']


def npy():
    data = io.BytesIO()
    np.save(data, np.arange(3))
    return data.getvalue()


def strange_method(whole):
    """A zip file of which the members are compressed in a way nobody knows."""
    data = bytearray(whole)
    for entry in re.finditer(b'PK\x01\x02', whole):
        data[entry.start() + 10] = 99
    return bytes(data)


@pytest.mark.parametrize('garbage', [b'', b'PK\x03\x04 garbage', npy(), strange_method, None])
def test_a_damaged_file_is_made_again(small, tmp_path, garbage):
    options = changed(small, export_scores=str(tmp_path / 'maps.npz'))
    run_stage(export, options)
    with open(options.export_scores, 'rb') as file:
        whole = file.read()
    with open(options.export_scores, 'wb') as file:
        file.write(whole[:len(whole) // 2] if garbage is None else garbage(whole) if callable(garbage) else garbage)
    run_stage(export, options)
    with open(options.export_scores, 'rb') as file:
        assert file.read() == whole


def test_processes_do_not_change_the_files(small):
    run_stage(export, small)
    alone = {path: data for path, (data, _) in contents(small.export_scores).items()}
    shutil.rmtree(small.export_scores)
    run_stage(export, changed(small, num_process=2))
    assert {path: data for path, (data, _) in contents(small.export_scores).items()} == alone


def test_zip_members_are_plain_arrays(small, tmp_path):
    options = changed(small, export_scores=str(tmp_path / 'maps.npz'))
    run_stage(export, options)
    with zipfile.ZipFile(options.export_scores) as archive:
        assert archive.testzip() is None
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert 'sub/large/icd.npy' in archive.namelist()


def remove_scores(options):
    for kind in ('icd', 'cam'):
        os.remove(score_map.path(options.snapshot, kind, 'two'))


def give_a_wrong_shape(options):
    files.save_npy(score_map.path(options.snapshot, 'cam', 'two'), np.zeros((3, 9, 9), np.float32))


def put_a_file_where_the_folder_goes(options):
    files.save_bytes(options.export_scores, b'')


def link_elsewhere(options):
    os.makedirs(options.export_scores)
    os.symlink(options.image_root, os.path.join(options.export_scores, 'sub'))


@pytest.mark.parametrize('damage, message', [
    (link_elsewhere, 'maps/sub: a link leads outside of the folder'),
    (remove_scores, r'two.npy.*two.npy: no such score file \(2 files\): run inference first'),
    (give_a_wrong_shape, 'two.npy: maps of 3 classes, the annotation has 2'),
    (put_a_file_where_the_folder_goes, 'maps: a file')])
def test_bad_inputs_are_reported_before_anything_is_written(small, damage, message):
    damage(small)
    before = contents(small.export_scores)
    with pytest.raises(UserError, match=message):
        run_stage(export, small)
    assert contents(small.export_scores) == before


@pytest.mark.parametrize('location', ['results', 'others'])
def test_folders_with_settings_of_others_are_refused(small, tmp_path, location):
    options = changed(small, export_scores=os.path.join(small.snapshot, location))
    if location == 'others':
        with Outputs(options.export_scores, 'seeds', {'infer_size': SIDE}).writing(()):
            pass
    before = contents(small.snapshot)
    with pytest.raises(UserError, match=location + ': (belongs to an input or to another stage|'
                                         'holds the outputs of seeds)'):
        run_stage(export, options)
    assert contents(small.snapshot) == before


def test_export_to_one_file_leaves_other_files_alone(small, tmp_path):
    files.save_bytes(str(tmp_path / '.report.html.part'), b'of another program')
    files.save_bytes(str(tmp_path / '.maps.NPZ.part'), b'of a killed run')
    before = set(os.listdir(str(tmp_path)))
    run_stage(export, changed(small, export_scores=str(tmp_path / 'maps.NPZ')))
    assert set(os.listdir(str(tmp_path))) == before - {'.maps.NPZ.part'} | {'maps.NPZ'}


def test_a_folder_may_be_called_like_a_file(small, tmp_path):
    (tmp_path / 'maps.npz').mkdir()
    run_stage(export, changed(small, export_scores=str(tmp_path / 'maps.npz')))
    assert (tmp_path / 'maps.npz' / 'two.npz').is_file()


def test_up_to_date_exports_need_neither_disk_space_nor_scores(small, tmp_path, monkeypatch):
    options, room = changed(small, export_scores=str(tmp_path / 'maps'), export_full_size=True), []
    monkeypatch.setattr(export.checks, 'check_folder', lambda problems, folder, needed: room.append(needed))
    run_stage(export, options)
    remove_scores(options)
    run_stage(export, options)
    pixels = 2 * 48 * 64 + 90 * 140
    assert 8 * pixels < room[0] < 8 * pixels * 1.1 + 3 * 10000 and room[-1] == 0


def test_scores_that_the_run_will_make_need_not_be_there(small):
    remove_scores(small)
    problems = Problems()
    inputs = read_inputs(small, problems)
    export.check(small, inputs, problems, upcoming=('infer',))
    assert not problems
    export.check(small, inputs, problems)
    assert 'no such score file (2 files)' in str(problems)


def test_dictionaries_that_need_pickles_are_not_written(small):
    with pytest.raises(UserError, match='pickles'):
        run_stage(export, changed(small, export_scores='maps.npy'))


def test_scores_that_are_no_numbers_end_the_export(small):
    path = score_map.path(small.snapshot, 'icd', 'two')
    files.save_npy(path, np.load(path) * np.nan)
    with pytest.raises(UserError, match='two.npy: holds NaN'):
        run_stage(export, small)
