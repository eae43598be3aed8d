"""The demo, made so small that it takes seconds: what it writes fits together. How good it is, it shows itself."""
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import cv2
import mxnet as mx
import numpy as np
import pytest

from icd import cli, demo_options, files
from icd.data import geometry, masks, seed_check, superpixel_map, voc
from icd.demo import creatures, figures, picture, pretrain, segmentation
from icd.demo import pipeline as demo
from icd.errors import Problems, UserError
from icd.model.icd_net import ICDNet
from icd.model.initial import starting_values
from icd.train import checkpoint
from tests.helpers import PROJECT

SMALL = demo.Scale(pictures=10, parts=32, part_epochs=1, width=1 / 32, epochs=1, batch=4, image_size=97, infer_size=129,
                   thresholds=(.001, .25), segmentation=segmentation.Scale(unseen=5, epochs=1, batch=4, image_size=97))


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """Folder and figures of a finished small demo."""
    folder = str(tmp_path_factory.mktemp('demo'))
    return folder, demo.run(options(folder), SMALL)


def options(folder, seed=3):
    return cli.defaults(demo_options.DEMO, snapshot=folder, seed=seed)


def contents_of(*parts):
    """Content of every file in a folder."""
    folder = os.path.join(*parts)
    return [open(os.path.join(folder, name), 'rb').read() for name in os.listdir(folder)]


def contents(folder):
    """Time of the last change of every file below a folder, by path."""
    paths = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    return {os.path.relpath(path, folder): os.stat(path).st_mtime_ns for path in paths}


def figures_by_sets_of_pixels(truth_root, seed_root, names):
    """IoU, precision and recall in percent, by class name, over all images side by side; None where undefined."""
    truth, seed = (np.stack([masks.read_mask(os.path.join(root, name + '.png')) for name in names])
                   for root in (truth_root, seed_root))

    def percent(part, whole):
        return 100 * part.sum() / whole.sum() if whole.any() else None
    both = {name: ((truth == c), (seed == c)) for c, name in enumerate(('background',) + creatures.CLASS_NAMES)}
    return {'IoU': {name: percent(t & s, t | s) for name, (t, s) in both.items()},
            'precision': {name: percent(t & s, s) for name, (t, s) in both.items()},
            'recall': {name: percent(t & s, t) for name, (t, s) in both.items()}}


def test_figures_are_those_of_the_written_seeds(done):
    folder, result = done
    with open(os.path.join(folder, 'results', 'evaluation.json')) as file:
        assert json.load(file) == result
    names = voc.read_list(os.path.join(folder, 'data', 'list.txt'))
    assert len(names) == SMALL.pictures == result['images']

    def by_sets_of_pixels(kind):
        return figures_by_sets_of_pixels(os.path.join(folder, 'data', 'SegmentationClass'),
                                         os.path.join(folder, 'results', 'seeds', kind), names)

    def mean_iou(kind):
        return pytest.approx(np.mean([iou for iou in by_sets_of_pixels(kind)['IoU'].values() if iou is not None]))
    for figure, by_class in by_sets_of_pixels('crf').items():
        assert result['icd'][figure] == pytest.approx(by_class), figure
    assert result['icd']['mIoU'] == mean_iou('crf') and result['icd']['ignored'] == 0
    by_threshold = {float(t): value for t, value in result['cam']['thresholds'].items()}
    assert result['cam']['mIoU'] == max(by_threshold.values()) == by_threshold[result['cam']['threshold']]
    assert by_threshold == {.001: mean_iou('cam_0.001'), .25: mean_iou('cam_0.25')}
    assert result['difference'] == pytest.approx(result['icd']['mIoU'] - result['cam']['mIoU'])
    low, high = result['difference_interval']
    assert low <= result['difference'] <= high


def test_networks_are_compared_on_images_that_none_has_seen(done):
    folder, result = done
    seen, unseen = (os.path.join(folder, part) for part in ('data', 'unseen'))
    names = voc.read_list(os.path.join(unseen, 'list.txt'))
    assert len(names) == SMALL.segmentation.unseen == result['unseen']['images']
    assert not set(contents_of(seen, 'JPEGImages')) & set(contents_of(unseen, 'JPEGImages'))
    # So small a network finds nothing by its activation maps, and nothing can be learned from that.
    assert list(result['unseen']['networks']) == ['icd', 'truth']
    for teacher, found in result['unseen']['networks'].items():
        for kind in 'raw', 'crf':
            expected = figures_by_sets_of_pixels(
                os.path.join(unseen, 'SegmentationClass'),
                os.path.join(folder, 'segmentation', teacher, 'predictions', kind), names)
            for figure, by_class in expected.items():
                assert found[kind][figure] == pytest.approx(by_class), (teacher, kind, figure)


def test_networks_differ_in_what_they_are_taught_alone(done):
    folder, _ = done
    taught = {'truth': ('data', 'SegmentationClass'), 'icd': ('results', 'seeds', 'crf')}
    names, class_names = voc.read_list(os.path.join(folder, 'data', 'list.txt')), ('background', *creatures.CLASS_NAMES)
    settings = {}
    for teacher, parts in taught.items():
        settings[teacher] = checkpoint.read(
            os.path.join(folder, 'segmentation', teacher, 'deeplab-0000.params')).settings
        masks_of_it = seed_check.check_masks('', os.path.join(folder, *parts), names, [(257, 257)] * len(names),
                                             class_names, 1, Problems())
        assert settings[teacher].pop('seed_root') == masks_of_it.checksum
    assert settings['icd'] == settings['truth']


def test_networks_with_other_settings_are_trained_anew(done, tmp_path):
    shutil.copytree(done[0], tmp_path / 'demo')
    small = dataclasses.replace(SMALL, segmentation=dataclasses.replace(SMALL.segmentation, epochs=2))
    assert demo.run(options(str(tmp_path / 'demo')), small)['icd'] == done[1]['icd']
    assert (tmp_path / 'demo' / 'segmentation' / 'icd' / 'deeplab-0001.params').is_file()


def test_activation_maps_are_evaluated_at_their_best_threshold(tmp_path):
    data_list, class_names = str(tmp_path / 'list.txt'), str(tmp_path / 'class_names.txt')
    files.save_bytes(data_list, b'x\n')
    files.save_bytes(class_names, '\n'.join(creatures.CLASS_NAMES).encode())
    mask = np.uint8([[0, 0, 1, 1, 1, 1]])
    shift = {'truth': 0, 'icd': 0, '0.1': 2, '0.2': 1, '0.3': 3}
    for kind, pixels in shift.items():
        masks.save_mask(str(tmp_path / kind / 'x.png'), np.roll(mask, pixels))
    result = figures.of_seeds({t: str(tmp_path / f'{t}') for t in (.1, .2, .3)}, str(tmp_path / 'icd'),
                             str(tmp_path / 'truth'), data_list, class_names, seed=0)
    assert result['cam']['threshold'] == .2 and result['icd']['mIoU'] == 100
    assert result['cam']['thresholds'] == pytest.approx(
        {'0.1': 100 / 6, '0.2': 100 * (1 / 3 + 3 / 5) / 2, '0.3': 100 / 6})
    assert result['difference'] == pytest.approx(100 - result['cam']['mIoU'])


def test_the_demo_writes_the_files_of_a_real_run(done):
    folder, _ = done
    names = voc.read_list(os.path.join(folder, 'data', 'list.txt'))
    raw, merged = ([superpixel_map.read(superpixel_map.path(os.path.join(folder, 'superpixels', kind), name))
                    for name in names] for kind in ('raw', 'merged'))
    assert all(r.max() > 64 > m.max() for r, m in zip(raw, merged))
    for name in names:
        classes = voc.read_annotation(os.path.join(folder, 'data', 'Annotations', name + '.xml'), creatures.CLASS_NAMES)
        for kind in ('cam', 'icd'):
            scores = np.load(os.path.join(folder, 'results', 'scores_' + kind, name + '.npy'))
            assert scores.shape == (len(classes), 17, 17)
        seed = masks.read_mask(os.path.join(folder, 'results', 'seeds', 'crf', name + '.png'))
        assert set(np.unique(seed)) <= {0, geometry.IGNORE} | {c + 1 for c in classes}
    trained = mx.nd.load(os.path.join(folder, 'vgg16_icd-0000.params'))
    assert trained['arg:conv_ft_weight'].shape[0] == len(creatures.CLASS_NAMES)


def test_the_picture_has_a_row_for_every_class_and_two_for_pairs(done):
    drawn = cv2.imread(os.path.join(done[0], 'demo.jpg'))
    assert drawn.shape[1] == 6 * 176 + 5 * 4
    labels = np.concatenate([[[1, 1, 0, 0], [0, 0, 0, 0]], np.eye(4)[[3, 1, 1, 0, 2]], [[0, 1, 1, 0], [1, 0, 1, 0]]])
    assert picture.shown(list('abcdefghi'), labels) == ['f', 'd', 'g', 'c', 'a', 'h']
    assert picture.shown(list('abcdefghi'), labels, 0) == ['f', 'd', 'g', 'c']


def test_a_second_run_changes_nothing(done):
    folder, result = done
    before = contents(folder)
    assert demo.run(options(folder), SMALL) == result
    after = contents(folder)
    remade = {path for path in after if after[path] != before.get(path)}
    assert {os.path.basename(path) for path in remade} <= {
        'demo.jpg', 'curves.png', 'log.txt', 'log.csv', 'deeplab.json', 'evaluation.json'}
    assert set(before) == set(after)


def test_the_table_has_a_line_for_each_kind_of_seed_and_two_for_each_network(done):
    unseen = done[1]['unseen']['networks']
    every = dict(done[1], unseen={'images': 5, 'networks': dict(unseen, cam=unseen['icd'])})
    header, *seeds, difference, empty, networks = figures.table(every).split('\n')[:6]
    assert header.split()[-5:] == ['background', *creatures.CLASS_NAMES] and not empty
    assert f"{done[1]['difference']:+.1f}" in difference and '5 unseen images' in networks
    lines = figures.table(every).split('\n')[6:]
    assert [line.split()[:3] for line in lines[::2]] == [
        ['trained', 'on', "ICD's"], ['trained', 'on', 'the'], ['trained', 'on', "CAM's"]]
    shown = [done[1]['cam'], done[1]['icd']] + [found[kind] for found in every['unseen']['networks'].values()
                                                for kind in ('raw', 'crf')]
    assert len(seeds + lines) == len(shown)
    for line, found in zip(seeds + lines, shown):
        assert line.split()[-6:] == [f"{found['mIoU']:.1f}"] + [
            '-' if value is None else f'{value:.1f}' for value in found['IoU'].values()]


def test_the_pretrained_file_gives_the_learned_features():
    rng = np.random.default_rng(0)
    learned, layers = pretrain.classifier(SMALL.width)
    learned.initialize(mx.init.MSRAPrelu())
    for _, norm in layers:
        for parameter in (norm.gamma, norm.beta, norm.running_mean, norm.running_var):
            parameter.set_data(mx.nd.array(rng.uniform(.5, 1.5, parameter.shape)))
    backbone = ICDNet(1, SMALL.width).layers.backbone
    backbone.initialize()
    for name, value in pretrain.fold(layers, starting_values(ICDNet(1, SMALL.width), 0)).items():
        if name in backbone.collect_params():
            backbone.collect_params()[name].set_data(mx.nd.array(value))
    x = mx.nd.array(rng.uniform(-127, 128, (2, 3, 33, 33)))
    expected, features = x / 58, x
    for block in list(learned)[:24]:        # 7 x (convolution, normalisation, ReLU), 3 poolings
        expected = block(expected)
    for block in list(backbone.layers)[:10]:
        features = block(features)
    assert np.abs(features.asnumpy()).max() > .1
    np.testing.assert_allclose(features.asnumpy(), expected.asnumpy(), rtol=1e-3, atol=1e-4)


def test_pretraining_copies_features_through_the_upper_blocks(done):
    pretrained = mx.nd.load(os.path.join(done[0], 'pretrained.params'))
    names = {'arg:' + name for name in ICDNet(1, SMALL.width).collect_params()
             if name.startswith(('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6_', 'fc7_'))}
    assert set(pretrained) == {name for name in names if '_ft' not in name}
    weight = pretrained['arg:conv5_2_weight'].asnumpy()
    centre = weight[:, :, 1, 1]
    assert np.abs(np.diag(centre) - 1).max() < .2
    assert np.abs(weight).sum() - np.abs(np.diag(centre)).sum() < np.abs(weight).size * .05


def test_a_missing_superpixel_program_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='nothing: not built: run `make -C external/superpixel`'):
        demo.run(options(str(tmp_path / 'demo')), SMALL, program=str(tmp_path / 'nothing'))
    assert not (tmp_path / 'demo').exists()


@pytest.mark.parametrize('given, expected', [({}, '1'), ({'OMP_NUM_THREADS': '3'}, '3')])
def test_the_command_computes_on_one_thread_unless_told(tmp_path, given, expected):
    """Figures are then the same on any number of cores; MXNet reads the number while it is imported."""
    code = """if 1:
        import os, sys, types
        from icd.demo import __main__ as command
        assert 'mxnet' not in sys.modules

        def run(options):
            sys.exit('threads ' + os.environ['OMP_NUM_THREADS'])
        sys.modules['icd.demo.pipeline'] = types.SimpleNamespace(run=run)
        command.main([])"""
    environment = {name: value for name, value in os.environ.items() if name != 'OMP_NUM_THREADS'}
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                          env={**environment, **given, 'PYTHONPATH': PROJECT})
    assert done.stderr == f'threads {expected}\n'
