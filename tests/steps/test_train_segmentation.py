"""Training of segmentation networks from the command line: what it writes, reads and refuses, and that it goes on."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import mxnet as mx
import numpy as np
import pytest

from icd import cli, files
from icd.data import masks
from icd.errors import Problems, UserError
from icd.method import metrics
from icd.model import deeplab
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values, starting_values
from icd.segment_options import RECIPES, SEGMENT_TRAIN
from icd.steps import segment, train_segmentation
from icd.steps.validation import Validation
from icd.train import checkpoint, launch
from icd.train import log as training_log
from icd.viz import curves
from icd.weights import load
from tests.helpers import PROJECT, log_lines, results

COUNT, CLASSES, SIZE = 9, ('cat', 'dog', 'cow'), 33       # one image is left over each epoch
NAMES = [f'image{i}' for i in range(COUNT)]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with a small data set."""
    root, rng = str(tmp_path_factory.mktemp('data')), np.random.default_rng(0)
    for i, name in enumerate(NAMES):
        size = (60 - i, 40 + i)
        files.save_image(os.path.join(root, 'images', name + '.jpg'),
                         cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), size))
        masks.save_mask(os.path.join(root, 'seeds', name + '.png'),
                        cv2.resize(rng.choice([0, 0, 1, 3, 255], (4, 5)).astype(np.uint8), size,
                                   interpolation=cv2.INTER_NEAREST))
    for name, lines in (('list.txt', NAMES), ('val.txt', NAMES[:3]), ('classes.txt', CLASSES)):
        files.save_bytes(os.path.join(root, name), '\n'.join(lines).encode())
    return root


def make_options(data, snapshot, **values):
    common = dict(
        image_root=os.path.join(data, 'images'), seed_root=os.path.join(data, 'seeds'),
        data_list=os.path.join(data, 'list.txt'), class_names=os.path.join(data, 'classes.txt'),
        snapshot=str(snapshot), pretrained='none', width=1 / 32, image_size=SIZE, batch_size=4, num_epoch=2,
        gpus='cpu', num_workers=0, num_process=1, log_frequency=1, checkpoint_every=1)
    return cli.defaults(SEGMENT_TRAIN, **dict(common, **values))


def run(data, snapshot, **values):
    assert train_segmentation.run(make_options(data, snapshot, **values)) is True


@pytest.fixture(scope='module')
def undisturbed(data, tmp_path_factory):
    """Snapshot folder of a whole run."""
    snapshot = tmp_path_factory.mktemp('undisturbed') / 'snap'
    run(data, snapshot)
    return snapshot


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than these trainings; `undisturbed` draws its own."""
    monkeypatch.setattr(curves, 'draw', lambda *_: None)


# ------------------------------------------------------------------------------------------------ what is written
def test_a_run_writes_checkpoints_their_description_logs_and_previews(undisturbed):
    assert sorted(os.listdir(str(undisturbed))) == [
        'curves.png', 'deeplab-0000.params', 'deeplab-0000.states', 'deeplab-0001.params', 'deeplab-0001.states',
        'deeplab.json', 'deeplab_visdemo', 'log.csv', 'log.txt']
    with open(str(undisturbed / 'deeplab.json')) as file:
        about = json.load(file)
    assert about == {'network': 'vgg16_largefov', 'class_names': list(CLASSES), 'width': 1 / 32}
    net = deeplab.create(about['network'], len(about['class_names']) + 1, about['width'])
    load.load_trained(str(undisturbed / 'deeplab-0001.params'), net)
    assert len(os.listdir(str(undisturbed / 'deeplab_visdemo'))) == 2


def test_the_log_has_the_figures_and_says_what_is_learned_from_what(undisturbed):
    for line in log_lines(undisturbed):
        assert float(line['loss']) > 0 and all(
            0 <= float(line[name]) <= 1 for name in ('accuracy', 'foreground_accuracy', 'valid'))
    assert [line['learning_rate'] for line in log_lines(undisturbed)] == ['0.001'] * 2 + [f'{.001 * .5 ** .9:.7g}'] * 2
    text = (undisturbed / 'log.txt').read_text()
    assert 'weights drawn at random (seed 0): conv1_1 to fc8 (16 layers)' in text
    assert 'in no mask: dog' in text and ' in 9 masks' in text and '--seed-root' in text


def test_every_option_is_known_to_change_training_or_not():
    marked = cli.names_of(SEGMENT_TRAIN, changes='train')
    same = ['image_root', 'class_names', 'snapshot', 'model', 'val_list', 'val_root', 'num_save', 'log_frequency',
            'resume', 'checkpoint_every', 'gpus', 'kvstore', 'num_workers', 'num_process', 'cache', 'profile',
            'tensorboard', 'dry_run', 'deterministic']          # class names are compared as the names they are
    assert sorted(marked + same) == sorted(vars(cli.defaults(SEGMENT_TRAIN)))


# ---------------------------------------------------------------------------------------------------- the recipes
@pytest.mark.parametrize('network, recipe, expected', [
    ('vgg16_largefov', 'author', (16, 1e-3, 20, 'single')), ('vgg16_aspp', 'deeplab', (10, 1e-3, 19, 'single')),
    ('resnet101_aspp', 'author', (16, 2.5e-4, 20, 'single')),
    ('resnet101_largefov', 'deeplab', (10, 2.5e-4, 19, 'multi-scale'))])
def test_recipes_of_train_aug(network, recipe, expected):
    options = train_segmentation.resolved(cli.defaults(SEGMENT_TRAIN, network=network, recipe=recipe), 10582)
    assert (options.batch_size, options.learning_rate, options.num_epoch, options.loss) == expected
    own = cli.defaults(SEGMENT_TRAIN, network=network, recipe=recipe, batch_size=2, learning_rate=.5, num_epoch=1,
                       loss='single', pretrained='none')
    assert vars(train_segmentation.resolved(own, 10582)) == vars(own)


def test_recipes_and_losses_change_the_weights(data, undisturbed, tmp_path):
    seen = [results(undisturbed)['deeplab-0000.params']]
    for i, values in enumerate([dict(recipe='deeplab'), dict(loss='multi-scale'), dict(class_balance=True),
                                dict(network='vgg16_aspp'), dict(backbone_lr=.5), dict(seed=1)]):
        run(data, tmp_path / str(i), num_epoch=1, checkpoint_every=0, **values)
        seen.append(results(tmp_path / str(i))['deeplab-0000.params'])
    assert len(set(seen)) == len(seen) and set(RECIPES) == {'author', 'deeplab'}


def test_rates_of_the_papers_recipe_fall_every_step_and_double_for_biases(data, tmp_path):
    run(data, tmp_path, recipe='deeplab', learning_rate=.01)
    assert [float(line['learning_rate']) for line in log_lines(tmp_path)] == pytest.approx(
        [.01 * (1 - step / 4) ** .9 for step in range(4)], rel=1e-5)
    options = train_segmentation.resolved(make_options(data, tmp_path, recipe='deeplab'), COUNT)
    inputs = train_segmentation.read_inputs(options, Problems())
    parameters = train_segmentation._recipe(options, inputs).make_task([mx.cpu()], None).net.collect_params()
    assert [parameters[name].lr_mult for name in ('conv1_1_weight', 'conv1_1_bias', 'fc8_weight', 'fc8_bias')] == [
        1, 2, 10, 20]


# -------------------------------------------------------------------------------------------- where weights come from
def trained_icd(path, seed=4):
    net = ICDNet(3, 1 / 32)
    set_values(net, initialize_missing(net, {}, seed, he=True))
    load.save(path, net)
    return {name: p.data().asnumpy() for name, p in net.collect_params().items()}


def test_a_backbone_that_learns_nothing_has_no_gradients(data, tmp_path):
    run(data, tmp_path, backbone_lr=0.)
    first, last = (mx.nd.load(str(tmp_path / f'deeplab-000{epoch}.params')) for epoch in (0, 1))
    learned = {name for name in first if (first[name] != last[name]).asnumpy().any()}
    assert learned == {f'arg:fc{i}_{part}' for i in (6, 7, 8) for part in ('weight', 'bias')}
    assert set(checkpoint.read(str(tmp_path / 'deeplab-0001.params')).momentum) == {
        name[len('arg:'):] for name in learned}


@pytest.mark.parametrize('network', ['vgg16_largefov', 'vgg16_aspp'])
def test_pretrained_weights_and_those_of_icd_are_taken_and_named(data, tmp_path, network):
    one, other = str(tmp_path / 'one.params'), str(tmp_path / 'icd.params')
    pretrained, icd = trained_icd(one), trained_icd(other, 5)
    run(data, tmp_path / 'snap', network=network, pretrained=one, init_from_icd=other, learning_rate=1e-30,
        num_epoch=1)
    ours = {name.partition(':')[2]: value.asnumpy()
            for name, value in mx.nd.load(str(tmp_path / 'snap' / 'deeplab-0000.params')).items()}
    for name, value in ours.items():
        if name.startswith('conv'):
            np.testing.assert_allclose(value, icd[name], rtol=0, atol=1e-20)
        elif not name.startswith('fc8'):
            np.testing.assert_allclose(value, pretrained[name[:3] + name[name.rindex('_'):]], rtol=0, atol=1e-20)
    text = (tmp_path / 'snap' / 'log.txt').read_text()
    for path, taken in (one, 'fc6'), (other, 'conv1_1 to conv5_3 (13 layers)'):
        assert re.search(f'weights from {os.path.basename(path)} .*CRC-32 {files.checksum(path):08x}.*; taken: '
                         + re.escape(taken), text)
    assert 'drawn at random (seed 0): fc8' in text


# ------------------------------------------------------------------------------------------------------ validation
def test_truth_is_compared_after_every_epoch_and_changes_nothing(data, undisturbed, tmp_path):
    run(data, tmp_path, val_list=os.path.join(data, 'val.txt'), val_root=os.path.join(data, 'seeds'))
    assert results(tmp_path) == results(undisturbed)
    lines = [line for line in (tmp_path / 'log.txt').read_text().splitlines() if '3 images of --val-list' in line]
    assert len(lines) == 2 and ' epoch 1 on ' in lines[1]


def test_validation_is_iou_at_the_size_of_the_images(data):
    net, total, sizes = deeplab.create('vgg16_largefov', 4, 1 / 32), 0, []
    values = starting_values(net, 1, he=True)
    set_values(net, values)
    noise = mx.nd.array(np.random.default_rng(0).integers(0, 256, (1, 3, 65, 65)))
    values['fc8_bias'] = -net(noise).mean(axis=(0, 2, 3)).asnumpy()         # or one class would win everywhere
    set_values(net, values)
    for name in NAMES[:3]:
        image = cv2.imread(os.path.join(data, 'images', name + '.jpg'))[:, :, ::-1]
        truth = masks.read_mask(os.path.join(data, 'seeds', name + '.png'))
        square = np.full((65, 65, 3), 127, np.uint8)
        square[:image.shape[0], :image.shape[1]] = image
        scores = mx.nd.contrib.BilinearResize2D(net(mx.nd.array(square.transpose(2, 0, 1)[None])), height=65, width=65)
        predicted = scores.asnumpy()[0].argmax(0).astype(np.uint8)[:image.shape[0], :image.shape[1]]
        assert len(np.unique(predicted)) > 1
        total = total + metrics.confusion_matrix(truth, predicted, 4)
        sizes.append(image.shape[:2])
    figures = metrics.figures(total, ('background', *CLASSES))
    line, = Validation(NAMES[:3], sizes, os.path.join(data, 'images'), os.path.join(data, 'seeds'),
                       ('background', *CLASSES)).of(net, [mx.cpu()])(7)
    of_class = ', '.join(f'{name} {value:.1f}' for name, value in figures['IoU'].items() if value is not None)
    assert line == f"epoch 7 on 3 images of --val-list: mIoU {figures['mIoU']:.1f} ({of_class})"


# ----------------------------------------------------------------------------------------------------- it goes on
def stop_after(monkeypatch, steps):
    """End a run with Ctrl-C after some steps."""
    real, count = training_log.TrainingLog.record, [0]

    def record(log, *arguments):
        real(log, *arguments)
        count[0] += 1
        if count[0] == steps:
            raise KeyboardInterrupt
    monkeypatch.setattr(training_log.TrainingLog, 'record', record)


def test_an_interrupted_run_resumes_to_the_same_bits(data, tmp_path, monkeypatch):
    values = dict(gpus='cpu:2', batch_size=2, accumulate=2, loss='multi-scale')
    run(data, tmp_path / 'whole', **values)
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / 'cut', **values)
    monkeypatch.undo()
    run(data, tmp_path / 'cut', **values)
    assert results(tmp_path / 'cut') == results(tmp_path / 'whole')


def test_a_killed_run_resumes_to_the_same_bits(data, undisturbed, tmp_path):
    command = [sys.executable, '-c', launch.SEGMENT, 'train'] + cli.command_line(
        SEGMENT_TRAIN, make_options(data, tmp_path)).split()
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not any(name.endswith('.params') for name in os.listdir(str(tmp_path))) and time.monotonic() < limit:
        time.sleep(.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(data, tmp_path)
    assert results(tmp_path) == results(undisturbed)
    assert [line['loss'] for line in log_lines(tmp_path)] == [line['loss'] for line in log_lines(undisturbed)]


@pytest.mark.parametrize('values, named', [
    (dict(learning_rate=2e-3), r'--learning-rate \(0.001\)'), (dict(network='vgg16_aspp'), '--network'),
    (dict(class_balance=True), '--class-balance'), ('seeds', '--seed-root'), ('names', '--class-names')], ids=str)
def test_other_options_or_seeds_in_the_same_folder_are_refused(data, undisturbed, tmp_path, values, named):
    before = results(undisturbed)
    if values == 'seeds':
        for name in NAMES:
            mask = masks.read_mask(os.path.join(data, 'seeds', name + '.png'))
            masks.save_mask(str(tmp_path / f'{name}.png'), np.where(mask == 3, 1, mask).astype(np.uint8))
        values = dict(seed_root=str(tmp_path))
    elif values == 'names':
        files.save_bytes(str(tmp_path / 'classes.txt'), b'cat\ncow\ndog')
        values = dict(class_names=str(tmp_path / 'classes.txt'))
    with pytest.raises(UserError, match=f'comes from a training with another .*{named}.*give the same options'):
        run(data, undisturbed, **values)
    assert results(undisturbed) == before


# ---------------------------------------------------------------------------------------------------- the command
def test_the_command_has_a_help_and_knows_its_stages(capsys):
    for arguments in [], ['--help']:
        segment.main(arguments)
        printed = capsys.readouterr().out
        assert all(stage in printed for stage in segment.STAGES)
    with pytest.raises(UserError, match="icd-segment: no stage 'trian': choose from train"):
        segment.main(['trian'])


def test_a_dry_run_prints_seeds_and_schedule_and_writes_nothing(data, tmp_path, capsys):
    options = make_options(data, tmp_path / 'snap', dry_run=True)
    segment.main(['train'] + cli.command_line(SEGMENT_TRAIN, options).split())
    printed = capsys.readouterr().out
    assert 'vgg16_largefov on ' in printed and 'in no mask: dog' in printed and 'steps 2 to 3' in printed
    assert not (tmp_path / 'snap').exists()
