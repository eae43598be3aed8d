"""The demo, made so small that it takes seconds: what it writes fits together. How good it is, it shows itself."""
import json
import os

import cv2
import numpy as np
import pytest

import mxnet as mx
from icd import cli, files
from icd.data import geometry, masks, superpixel_map, voc
from icd.demo import creatures
from icd.errors import UserError
from icd.model.icd_net import ICDNet
from icd.model.initial import starting_values
from icd.steps import seeds
from icd.demo import __main__ as demo
from icd.demo import pretrain

SMALL = demo.Scale(pictures=10, parts=32, part_epochs=1, width=1 / 32, epochs=1, batch=4, image_size=97, infer_size=129,
                   thresholds=(.001, .25))


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """Folder and figures of a finished small demo."""
    folder = str(tmp_path_factory.mktemp('demo'))
    return folder, demo.run(options(folder), SMALL)


def options(folder, seed=3):
    return cli.defaults(cli.DEMO, snapshot=folder, seed=seed)


def contents(folder):
    """Time of the last change of every file below a folder, by path."""
    paths = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    return {os.path.relpath(path, folder): os.stat(path).st_mtime_ns for path in paths}


def test_the_figures_are_those_of_the_seeds_it_wrote(done):
    folder, result = done
    with open(os.path.join(folder, 'results', 'evaluation.json')) as file:
        assert json.load(file) == result
    names = voc.read_list(os.path.join(folder, 'data', 'list.txt'))
    assert len(names) == SMALL.pictures == result['images']

    def mean_iou(kind):
        """By sets of pixels, over all pictures laid side by side."""
        truth, seed = (np.stack([masks.read_mask(os.path.join(folder, place, name + '.png')) for name in names])
                       for place in (os.path.join('data', 'SegmentationClass'), os.path.join('results', 'seeds', kind)))
        found = [((truth == c) & (seed == c)).sum() / ((truth == c) | (seed == c)).sum() for c in range(5)
                 if ((truth == c) | (seed == c)).any()]
        return 100 * np.mean(found)
    assert result['icd']['mIoU'] == pytest.approx(mean_iou('crf'))
    by_threshold = {float(t): value for t, value in result['cam']['thresholds'].items()}
    assert result['cam']['mIoU'] == max(by_threshold.values()) == by_threshold[result['cam']['threshold']]
    assert by_threshold == {.001: pytest.approx(mean_iou('cam_0.001')), .25: pytest.approx(mean_iou('cam_0.25'))}
    assert result['difference'] == pytest.approx(result['icd']['mIoU'] - result['cam']['mIoU'])


def test_activation_maps_are_judged_at_their_best_threshold(tmp_path):
    wanted = options(str(tmp_path))
    run = demo._run_options(wanted, SMALL._replace(thresholds=(.1, .2, .3)))
    files.save_bytes(run.data_list, b'x\n')
    files.save_bytes(run.class_names, '\n'.join(creatures.CLASS_NAMES).encode())
    truth = np.uint8([[0, 0, 1, 1, 1, 1]])
    masks.save_mask(str(tmp_path / 'data' / 'SegmentationClass' / 'x.png'), truth)
    for (kind, threshold), folder in seeds.seed_folders(run).items():
        masks.save_mask(os.path.join(folder, 'x.png'), np.roll(truth, {.1: 2, .2: 1, .3: 3}.get(threshold, 0)))
    result = demo._judge(wanted, run)
    assert result['cam']['threshold'] == .2 and result['icd']['mIoU'] == 100
    assert result['cam']['thresholds'] == pytest.approx(
        {'0.1': 100 / 6, '0.2': 100 * (1 / 3 + 3 / 5) / 2, '0.3': 100 / 6})
    assert result['difference'] == pytest.approx(100 - result['cam']['mIoU'])


def test_it_goes_the_way_of_a_real_run(done):
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
    picture = cv2.imread(os.path.join(done[0], 'demo.jpg'))
    assert picture.shape[1] == pytest.approx(6 * 176, abs=40)
    labels = np.concatenate([[[1, 1, 0, 0], [0, 0, 0, 0]], np.eye(4)[[3, 1, 1, 0, 2]], [[0, 1, 1, 0], [1, 0, 1, 0]]])
    assert demo.shown(list('abcdefghi'), labels) == ['f', 'd', 'g', 'c', 'a', 'h']


def test_a_second_run_changes_nothing(done):
    folder, result = done
    before = contents(folder)
    assert demo.run(options(folder), SMALL) == result
    after = contents(folder)
    remade = {path for path in after if after[path] != before.get(path)}
    assert remade <= {'demo.jpg', 'curves.png', 'log.txt', 'log.csv', os.path.join('results', 'evaluation.json')}
    assert set(before) == set(after)


def test_the_pretrained_file_gives_the_features_that_were_learned():
    rng = np.random.default_rng(0)
    learned, layers = pretrain._classifier(SMALL.width)
    learned.initialize(mx.init.MSRAPrelu())
    for _, norm in layers:
        for parameter in (norm.gamma, norm.beta, norm.running_mean, norm.running_var):
            parameter.set_data(mx.nd.array(rng.uniform(.5, 1.5, parameter.shape)))
    backbone = ICDNet(1, SMALL.width).backbone
    backbone.initialize()
    for name, value in pretrain._folded(layers, starting_values(ICDNet(1, SMALL.width), 0)).items():
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


def test_without_the_program_it_says_what_to_build(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, '_PROGRAM', str(tmp_path / 'nothing'))
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='make -C external/superpixel'):
        demo.run(options(str(tmp_path / 'demo')), SMALL)
    assert not (tmp_path / 'demo').exists()
