"""The merging stage: files in, files out, nothing computed twice, every mistake is reported before."""
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from icd import cli
from icd.data import geometry, superpixel_map
from icd.errors import UserError
from icd.method import merging
from icd.steps import merge_superpixels
from tests.helpers import PROJECT

# Name, height, width, raw superpixels: the network's input is 65 pixels wide.
DRAWN = (('wide', 40, 65, 30), ('folder/tall', 64, 33, 25), ('few', 33, 40, 6), ('large', 90, 150, 40),
         ('small', 9, 20, 12))
MOST = 8


def draw(folder):
    """A list, images and raw superpixels in `folder`, and the options to merge them."""
    rng = np.random.default_rng(0)
    for name, height, width, count in DRAWN:
        points = rng.random((count, 2)) * [height, width]
        y, x = np.mgrid[:height, :width]
        labels = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)
        image = rng.integers(0, 256, (count, 3), dtype=np.uint8)[labels]
        os.makedirs(os.path.dirname(os.path.join(folder, 'images', name)), exist_ok=True)
        assert cv2.imwrite(os.path.join(folder, 'images', name + '.jpg'), image)
        superpixel_map.write(os.path.join(folder, 'raw', name + '.png'), 3 * labels + 1000)
    with open(os.path.join(folder, 'list.txt'), 'w') as file:
        file.write(''.join(name + '\n' for name, *_ in DRAWN))
    return cli.defaults(
        cli.SUPERPIXEL, data_list=os.path.join(folder, 'list.txt'),
        image_root=os.path.join(folder, 'images'), superpixel_root=os.path.join(folder, 'raw'),
        save_superpixel_root=os.path.join(folder, 'out', 'merged'), save_feature_root=os.path.join(folder, 'features'),
        pretrained='none', width=1 / 16, gpus='cpu', image_size=65, batch_size=2, num_process=1,
        max_superpixel_num=MOST)


@pytest.fixture
def drawn(tmp_path):
    return draw(str(tmp_path))


def maps(options):
    return {name: superpixel_map.read(superpixel_map.path(options.save_superpixel_root, name)) for name, *_ in DRAWN}


def raw(options, name):
    return superpixel_map.renumber(superpixel_map.read(superpixel_map.path(options.superpixel_root, name)))


def times(options):
    return {name: os.stat(superpixel_map.path(options.save_superpixel_root, name)).st_mtime_ns for name, *_ in DRAWN}


def feature_of(options, name):
    """conv5_3 of one image, and its size in the network's input, as in the original."""
    import mxnet as mx

    from icd.model.vgg import VGG16
    from icd.weights import load
    net = VGG16(options.width)
    load.load_pretrained('none', net, options.seed)
    image = cv2.imread(os.path.join(options.image_root, name + '.jpg'))
    height, width = geometry.fitted_size(image.shape[0], image.shape[1], 65)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    square = np.full((65, 65, 3), 127, np.float32)
    square[:height, :width] = image[..., ::-1]
    return net(mx.nd.array(square.transpose(2, 0, 1)[None]))[0].asnumpy(), (height, width)


# ------------------------------------------------------------------------------------------------- what comes out
@pytest.fixture(scope='module')
def merged(tmp_path_factory):
    options = draw(str(tmp_path_factory.mktemp('merged')))
    merge_superpixels.run(options)
    return options


def test_maps_have_at_most_the_superpixels_asked_for(merged):
    for name, labels in maps(merged).items():
        count = raw(merged, name).max() + 1
        assert sorted(np.unique(labels)) == list(range(min(count, MOST)))


def test_merged_superpixels_are_made_of_whole_raw_ones(merged):
    for name, labels in maps(merged).items():
        before = raw(merged, name)
        assert len(np.unique(before * 1000 + labels)) == before.max() + 1


@pytest.mark.parametrize('name', ['wide', 'folder/tall', 'large', 'small'])
def test_maps_come_from_the_features_of_the_image(merged, name):
    feature, fitted = feature_of(merged, name)
    assert (maps(merged)[name] == merging.merge_map(raw(merged, name), feature, MOST, fitted)).all()


def test_nothing_but_maps_settings_and_the_preview_is_written(merged):
    out = os.path.dirname(merged.save_superpixel_root)
    files = {os.path.relpath(os.path.join(folder, file), out) for folder, _, files in os.walk(out) for file in files}
    assert files == {f'merged/{name}.png' for name, *_ in DRAWN} | {
        'merged/settings.json', 'merged/inputs.tsv', 'superpixels_demo.jpg'}
    assert not os.path.exists(merged.save_feature_root)


def test_the_preview_has_a_row_an_image(merged):
    preview = cv2.imread(os.path.join(os.path.dirname(merged.save_superpixel_root), 'superpixels_demo.jpg'))
    assert preview.shape == (4 * 240 + 216 + 4 * 4, 3 * 480 + 2 * 4, 3)       # 'small' is limited by its width
    image = cv2.imread(os.path.join(merged.image_root, 'wide.jpg'))
    small = cv2.resize(image, (390, 240), interpolation=cv2.INTER_AREA)
    assert np.abs(preview[:240, :390].astype(int) - small).mean() < 12


@pytest.mark.parametrize('changes', [dict(gpus='cpu:2', batch_size=3), dict(num_process=2), dict(batch_size=4)],
                         ids=['two devices', 'two processes', 'another batch'])
def test_maps_do_not_depend_on_the_machine(merged, tmp_path, changes):
    options = draw(str(tmp_path))
    vars(options).update(changes)
    merge_superpixels.run(options)
    expected = maps(merged)
    assert all((labels == expected[name]).all() for name, labels in maps(options).items())


# ------------------------------------------------------------------------------------------- nothing twice
def test_a_second_run_computes_nothing(merged, monkeypatch, capsys):
    def fail(*_):
        raise AssertionError('computed again')
    before = times(merged)
    for name in ('_count', '_features', '_make', '_preview_row'):
        monkeypatch.setattr(merge_superpixels, name, fail)
    merge_superpixels.run(merged)
    assert times(merged) == before
    assert 'all 5 are up to date' in capsys.readouterr().err


def test_partial_files_of_a_killed_run_are_removed(drawn):
    merge_superpixels.run(drawn)
    left = os.path.join(drawn.save_superpixel_root, '.gone.png.0.part')
    open(left, 'wb').close()
    merge_superpixels.run(drawn)
    assert not os.path.exists(left)


def test_other_weights_make_all_again(drawn, tmp_path):
    from icd.model.vgg import VGG16
    from icd.weights import load, mxnet_params
    net = VGG16(drawn.width)
    load.load_pretrained('none', net, 0)
    drawn.pretrained = str(tmp_path / 'vgg.params')

    def run(scale):
        mxnet_params.write(drawn.pretrained, {'arg:' + key[key.index('conv'):]: scale * value.data()
                                              for key, value in net.collect_params().items()})
        os.utime(drawn.pretrained, (100, 100))
        merge_superpixels.run(drawn)
        return times(drawn)
    first = run(1)
    assert run(1) == first
    second = run(2)
    drawn.pretrained_input = 'BGR,0,1,255'
    third = run(2)
    assert all(len({first[name], second[name], third[name]}) == 3 for name in first)


def test_a_data_set_may_move_with_its_maps(drawn, tmp_path, capsys):
    merge_superpixels.run(drawn)
    here, there = str(tmp_path), str(tmp_path) + '_moved'
    shutil.move(here, there)
    vars(drawn).update({key: value.replace(here, there) for key, value in vars(drawn).items()
                        if isinstance(value, str)})
    capsys.readouterr()
    merge_superpixels.run(drawn)
    assert 'all 5 are up to date' in capsys.readouterr().err


@pytest.mark.parametrize('changes', [dict(max_superpixel_num=5), dict(force=True)], ids=['settings', 'force'])
def test_other_settings_and_force_make_all_again(drawn, changes):
    merge_superpixels.run(drawn)
    before = times(drawn)
    vars(drawn).update(changes)
    merge_superpixels.run(drawn)
    assert all(time != before[name] for name, time in times(drawn).items())
    assert all(labels.max() + 1 == min(drawn.max_superpixel_num, raw(drawn, name).max() + 1)
               for name, labels in maps(drawn).items())


def test_few_superpixels_need_no_network(drawn):
    vars(drawn).update(max_superpixel_num=64, pretrained='/no/such.params', gpus='7')
    merge_superpixels.run(drawn)
    assert all((labels == raw(drawn, name)).all() for name, labels in maps(drawn).items())


# -------------------------------------------------------------------------------------------------- mistakes
def complaint(options):
    with pytest.raises(UserError) as caught:
        merge_superpixels.run(options)
    assert not os.path.exists(options.save_superpixel_root), 'something was written'
    return str(caught.value)


def test_missing_superpixels_are_counted_and_the_remedy_is_named(drawn):
    drawn.superpixel_root = os.path.join(drawn.superpixel_root, 'not here')
    assert complaint(drawn).startswith(f'--superpixel-root {drawn.superpixel_root}: no such folder: make them')
    os.makedirs(drawn.superpixel_root)
    with open(drawn.data_list, 'w') as file:
        for i in range(12):
            cv2.imwrite(os.path.join(drawn.image_root, f'{i:02d}.jpg'), np.zeros((5, 5, 3), np.uint8))
            file.write(f'{i:02d}\n')
    text = complaint(drawn)
    assert '\n' not in text and '12 files' in text and '09.png, ...' in text and '10.png' not in text
    assert 'make -C external/superpixel' in text and f"makeSuperpixel {drawn.data_list}" in text


def test_superpixels_of_another_size_are_named_with_their_image(drawn):
    superpixel_map.write(superpixel_map.path(drawn.superpixel_root, 'wide'), np.zeros((40, 64), np.int32))
    text = complaint(drawn)
    assert 'raw/wide.png (64x40, not 65x40)' in text


def test_all_problems_are_reported_at_once(drawn):
    os.remove(os.path.join(drawn.image_root, 'few.jpg'))
    os.remove(superpixel_map.path(drawn.superpixel_root, 'large'))
    text = complaint(drawn)
    assert 'few.jpg' in text and 'large.png' in text


def test_damaged_maps_are_named(drawn):
    for name in ('wide', 'few'):
        path = superpixel_map.path(drawn.superpixel_root, name)
        with open(path, 'rb') as file:
            data = file.read()
        with open(path, 'wb') as file:
            file.write(data[:len(data) * 2 // 3])
    text = complaint(drawn)
    assert 'wide.png' in text and 'few.png' in text and '2 files' in text


def test_more_superpixels_than_memory_takes_are_refused(drawn, monkeypatch):
    monkeypatch.setattr(merging, 'LARGEST_COUNT', 32)
    assert 'raw/large.png (40)' in complaint(drawn)


@pytest.mark.parametrize('changes, named', [
    (dict(pretrained='/no/such.params'), '/no/such.params'), (dict(gpus='99'), '--gpus 99'),
    (dict(data_list='/no/list.txt'), '/no/list.txt')], ids=['weights', 'device', 'list'])
def test_missing_inputs_are_named(drawn, changes, named):
    vars(drawn).update(changes)
    assert named in complaint(drawn)


def test_raw_superpixels_are_never_overwritten(drawn):
    before = raw(drawn, 'wide')
    drawn.save_superpixel_root = drawn.superpixel_root + '/'
    with pytest.raises(UserError, match='choose another folder'):
        merge_superpixels.run(drawn)
    assert (raw(drawn, 'wide') == before).all()


def test_the_command_reports_mistakes_in_one_line(tmp_path):
    done = subprocess.run([sys.executable, os.path.join(PROJECT, 'generate_superpixel.py'), '--data-list', 'none.txt'],
                          cwd=str(tmp_path), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and 'none.txt' in done.stderr


def test_worker_processes_import_no_mxnet():
    code = 'import sys, icd.steps.merge_superpixels; sys.exit("mxnet" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=PROJECT).returncode == 0
