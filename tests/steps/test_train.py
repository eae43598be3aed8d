"""Training runs: what they write, that they can be killed and go on bit for bit, and how they are watched.

`ICD_KILLS` is the number of kills of the kill test, 2 by default.
"""
import csv
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import cv2
import mxnet as mx
import numpy as np
import pytest

from icd import cli, files
from icd.data import superpixel_map
from icd.data.image_labels import ImageLabels
from icd.errors import UserError
from icd.model.icd_net import STATE, ICDNet
from icd.model.initial import initialize_missing
from icd.steps import labels as command
from icd.steps import train
from icd.train import launch
from icd.train import log as training_log
from icd.train.checkpoint import Checkpoints
from icd.train.icd_task import IcdTask
from icd.weights import load
from tests.helpers import PROJECT, log_lines, read_inputs, results, run_stage

COUNT, CLASSES = 13, ('cat', 'dog', 'cow')      # one image is left over each epoch
OBJECT = '<object><name>%s</name><difficult>0</difficult></object>'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with a small data set."""
    root, rng = str(tmp_path_factory.mktemp('data')), np.random.default_rng(0)
    names = [f'image{i:02d}' for i in range(COUNT)]
    for i, name in enumerate(names):
        height, width = 40 + i, 70 - i
        image = cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), (width, height))
        files.save_image(os.path.join(root, 'images', name + '.jpg'), image)
        chosen = {CLASSES[i % 3], CLASSES[i % 2]}
        files.save_bytes(os.path.join(root, 'annotations', name + '.xml'), (
            '<annotation>{}</annotation>'.format(''.join(OBJECT % c for c in sorted(chosen)))).encode())
        labels = np.arange(height)[:, None] // 8 * 9 + np.arange(width) // 8
        superpixel_map.write(os.path.join(root, 'superpixels', name + '.png'), labels.astype(np.int32))
    for name, lines in (('list.txt', names), ('classes.txt', CLASSES)):
        files.save_bytes(os.path.join(root, name), '\n'.join(lines).encode())
    return root


def make_options(data, snapshot, **values):
    common = dict(
        image_root=os.path.join(data, 'images'), annotation_root=os.path.join(data, 'annotations'),
        superpixel_root=os.path.join(data, 'superpixels'), data_list=os.path.join(data, 'list.txt'),
        class_names=os.path.join(data, 'classes.txt'), snapshot=str(snapshot), pretrained='none', width=1 / 32,
        image_size=33, batch_size=4, num_epoch=2, gpus='cpu', num_workers=0, log_frequency=1, checkpoint_every=1)
    return cli.defaults(cli.RUN, **dict(common, **values))


def run(data, snapshot, **values):
    options = make_options(data, snapshot, **values)
    assert run_stage(train, options) is True
    return options


@pytest.fixture(scope='module')
def undisturbed(data, tmp_path_factory):
    """Snapshot folder of a whole run."""
    snapshot = tmp_path_factory.mktemp('undisturbed') / 'snap'
    run(data, snapshot)
    return snapshot


# ------------------------------------------------------------------------------------------------ what is written
def test_a_run_writes_checkpoints_logs_and_previews(undisturbed):
    assert sorted(os.listdir(str(undisturbed))) == [
        'curves.png', 'log.csv', 'log.txt', 'margins.csv', 'vgg16_icd-0000.params', 'vgg16_icd-0000.states',
        'vgg16_icd-0001.params', 'vgg16_icd-0001.states', 'vgg16_icd_visdemo']
    assert sorted(os.listdir(str(undisturbed / 'vgg16_icd_visdemo'))) == ['vgg16_icd-0000.jpg', 'vgg16_icd-0001.jpg']
    names = set(mx.nd.load(str(undisturbed / 'vgg16_icd-0001.params')))
    assert 'arg:conv1_1_weight' in names and 'aux:icd_accum_resign_moving_mean' in names


def test_the_preview_has_a_row_a_label_and_five_pictures_each(undisturbed):
    preview = cv2.imread(str(undisturbed / 'vgg16_icd_visdemo' / 'vgg16_icd-0001.jpg'))
    rows, rest = divmod(preview.shape[0] + 4, 124)
    # Three steps with two images each, of one or two labels.
    assert rest == 0 and 6 <= rows <= 12 and preview.shape[1] == 5 * 120 + 4 * 4


def test_the_log_has_every_figure_of_every_step(undisturbed):
    lines = log_lines(undisturbed)
    assert [(line['epoch'], line['batch'], line['step']) for line in lines] == [
        (str(i // 3), str(i % 3), str(i + 1)) for i in range(6)]
    for line in lines:
        figures = {name: float(value) for name, value in line.items()}
        assert all(map(np.isfinite, figures.values()))
        assert figures['loss'] > 0 and 0 <= figures['ranking'] <= 1 and 0 <= figures['flipped'] <= 1
        assert figures['score_min'] < figures['score_max'] and 0 <= figures['state_min'] <= figures['state_max']
        assert figures['images_per_second'] > 0
        assert min(figures[kind + '_s'] for kind in ('input', 'compute', 'update')) >= 0
    assert [line['learning_rate'] for line in lines] == ['0.001'] * 3 + [f'{.001 * .5 ** .9:.7g}'] * 3
    assert [float(line['warm_up']) for line in lines] == pytest.approx(
        [np.exp(-10 * (6 - i) / 6) for i in range(6)], rel=1e-5)
    text = (undisturbed / 'log.txt').read_text()
    assert '--image-size 33' in text and text.count('images/s') == 6 and 'epoch 1 batch 2: loss' in text


def test_margins_are_those_of_the_checkpoints(undisturbed):
    with open(str(undisturbed / 'margins.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    for epoch in range(2):
        state = mx.nd.load(str(undisturbed / f'vgg16_icd-{epoch:04d}.params'))['aux:icd_accum_resign_moving_mean']
        found = [row for row in rows if row['epoch'] == str(epoch)]
        assert state.asnumpy().any() and len(found) == len(state)
        np.testing.assert_allclose([[float(row['positive']), float(row['negative'])] for row in found],
                                   state.asnumpy(), rtol=1e-6)


@pytest.mark.parametrize('labels, named', [([[1, 1], [0, 1]], True), ([[1, 0], [0, 1]], False)])
def test_the_plan_names_classes_that_no_image_holds_alone(data, tmp_path, labels, named):
    inputs = types.SimpleNamespace(names=['a', 'b'], labels=ImageLabels(np.float32(labels)),
                                   class_names=('face', 'body'))
    assert ('alone: face.' in train.plan(make_options(data, tmp_path), inputs)) == named


def test_logged_values_belong_to_their_step(data, tmp_path, monkeypatch):
    run(data, tmp_path / 'late', checkpoint_every=0)
    monkeypatch.setattr(training_log, 'LATE', 0)
    run(data, tmp_path / 'at once', checkpoint_every=0)
    kept = ('step', 'loss', 'ranking', 'score_min', 'score_max', 'state_min', 'state_max', 'flipped')
    assert [[line[name] for name in kept] for line in log_lines(tmp_path / 'late')] == [
        [line[name] for name in kept] for line in log_lines(tmp_path / 'at once')]


def test_a_short_epoch_has_a_line_and_a_preview(data, tmp_path):
    run(data, tmp_path / 'snap', log_frequency=0)
    assert [(line['epoch'], line['batch']) for line in log_lines(tmp_path / 'snap')] == [('0', '2'), ('1', '2')]
    assert len(glob.glob(str(tmp_path / 'snap' / 'vgg16_icd_visdemo' / '*.jpg'))) == 2


def test_a_second_training_in_a_folder_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(files, 'PATIENCE', .1)
    with files.folder_lock(str(tmp_path / 'snap'), 'is here'):
        with pytest.raises(UserError, match='snap: another run is training here: wait for it, or give another '
                                             '--snapshot'):
            run(data, tmp_path / 'snap')
    assert not os.listdir(str(tmp_path / 'snap'))
    run(data, tmp_path / 'snap', num_epoch=1)


def test_only_the_newest_checkpoints_are_kept(data, tmp_path):
    options = run(data, tmp_path, num_epoch=4, num_save=2)
    assert Checkpoints(options.snapshot, options.model).epochs() == [3, 2]


# ------------------------------------------------------------------------------------------------------- settings
def test_settings_equal_those_of_earlier_checkpoints(data, tmp_path):
    options = make_options(data, tmp_path, seed=7)
    assert train.settings(options, read_inputs(options)) == {
        'width': 1 / 32, 'no_superpixel': False, 'freeze_bn': False, 'sync_bn': False, 'image_size': 33,
        'batch_size': 4, 'accumulate': 1, 'learning_rate': .001, 'num_epoch': 2, 'begin_epoch': 0, 'num_sample': 0,
        'augment': ['scale', 'mirror'], 'backbone_lr': 1., 'clip_gradient': 0., 'ramp_epochs': 0., 'seed': 7,
        'num_cls': 3, 'data_list': '0437ad4a', 'annotation_root': 'e136f5c8', 'pretrained': 'none'}
    options.pretrained_input = 'BGR,0,1,255'
    assert train.settings(options, read_inputs(options))['pretrained_input'] == 'BGR,0,1,255'


def test_every_option_is_known_to_change_training_or_not():
    marked = cli.names_of(cli.RUN, changes='train')
    # Other values of these give the same weights; of the images and superpixels, the user answers for the content.
    same = ['image_root', 'labels', 'unlabelled', 'superpixel_root', 'snapshot', 'class_names', 'model', 'num_save',
            'log_frequency', 'resume', 'checkpoint_every', 'only_train', 'gpus', 'kvstore', 'num_workers',
            'num_process', 'cache', 'profile', 'tensorboard', 'dry_run', 'deterministic']
    # Used by the other stages only.
    later = [option.name for title in ('Inference', 'Seeds') for option in cli.RUN[title]] + ['saliency_root', 'shard']
    assert sorted(marked + same + later) == sorted(vars(cli.defaults(cli.RUN)))


# ------------------------------------------------------------------------------------------------ the same bits
@pytest.mark.parametrize('values', [dict(num_workers=2), dict(checkpoint_every=0, log_frequency=3),
                                    dict(cache='ram')], ids=str)
def test_workers_cache_and_logging_do_not_change_the_weights(data, undisturbed, tmp_path, values):
    run(data, tmp_path, **values)
    assert results(tmp_path) == results(undisturbed)


@pytest.mark.parametrize('values', [dict(seed=1), dict(augment=('scale',)), dict(learning_rate=2e-3),
                                    dict(no_superpixel=True), dict(freeze_bn=True), dict(backbone_lr=.5),
                                    dict(no_sign_calibration=True),
                                    dict(clip_gradient=.1), dict(ramp_epochs=1.), {}], ids=str)
def test_options_that_change_the_numbers_change_the_weights(data, undisturbed, tmp_path, values):
    run(data, tmp_path, num_epoch=1, **values)      # how many epochs follow changes nothing in the first
    theirs, ours = results(undisturbed), results(tmp_path)
    assert (theirs['vgg16_icd-0000.params'] != ours['vgg16_icd-0000.params']) == bool(values)


def test_without_calibration_no_sign_turns(data, undisturbed, tmp_path):
    options = run(data, tmp_path, num_epoch=1, no_sign_calibration=True)
    states = [load.read_trained(os.path.join(str(folder), 'vgg16_icd-0000.params'), ICDNet(len(CLASSES), 1 / 32))[STATE]
              for folder in (options.snapshot, undisturbed)]
    assert not states[0].any() and states[1].any()
    assert not os.path.exists(os.path.join(options.snapshot, 'margins.csv'))


def test_a_frozen_backbone_keeps_its_values_and_the_rest_learns(data, tmp_path):
    options = run(data, tmp_path, num_epoch=1, backbone_lr=0.)
    net = ICDNet(len(CLASSES), 1 / 32)
    start = initialize_missing(net, {}, options.seed, he=True)
    for name, value in load.read_trained(os.path.join(options.snapshot, 'vgg16_icd-0000.params'), net).items():
        frozen = re.match(r'conv\d_\d_', name) is not None
        assert (value == start[name]).all() == (frozen or name.startswith('feat_bn_gamma')), name


def stop_after(monkeypatch, steps):
    """End a run with Ctrl-C after some steps."""
    real, count = training_log.TrainingLog.record, [0]

    def record(log, *arguments):
        real(log, *arguments)
        count[0] += 1
        if count[0] == steps:
            raise KeyboardInterrupt
    monkeypatch.setattr(training_log.TrainingLog, 'record', record)


@pytest.mark.parametrize('steps, every', [(1, 1), (2, 1), (5, 1), (6, 0)])
def test_an_interrupted_run_resumes_to_the_same_bits(data, undisturbed, tmp_path, monkeypatch, steps, every):
    stop_after(monkeypatch, steps)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, checkpoint_every=every)
    monkeypatch.undo()
    run(data, tmp_path, checkpoint_every=every)
    assert results(tmp_path) == results(undisturbed)
    assert [line['step'] for line in log_lines(tmp_path)] == [str(i + 1) for i in range(6)]
    assert [line['loss'] for line in log_lines(tmp_path)] == [line['loss'] for line in log_lines(undisturbed)]
    assert (tmp_path / 'margins.csv').read_bytes() == (undisturbed / 'margins.csv').read_bytes()


def test_labels_from_another_source_resume_a_training(data, undisturbed, tmp_path, capsys):
    source = str(tmp_path / 'labels.csv')
    command.main(['convert', os.path.join(data, 'annotations'), source])
    shutil.copytree(str(undisturbed), str(tmp_path / 'snap'))
    capsys.readouterr()
    run(data, tmp_path / 'snap', labels=source, annotation_root='nowhere')
    assert 'all 2 epochs are done' in capsys.readouterr().err
    assert results(tmp_path / 'snap') == results(undisturbed)
    with open(source, 'a', encoding='utf-8') as file:
        file.write(f'image00,{CLASSES[2]}\n')
    with pytest.raises(UserError, match='another --annotation-root'):
        run(data, tmp_path / 'snap', labels=source)


def test_accumulated_batches_resume_to_the_same_bits(data, tmp_path, monkeypatch):
    values = dict(batch_size=2, accumulate=2, gpus='cpu:2')
    run(data, tmp_path / 'whole', **values)
    stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / 'cut', **values)
    monkeypatch.undo()
    run(data, tmp_path / 'cut', **values)
    assert results(tmp_path / 'cut') == results(tmp_path / 'whole')


def test_a_finished_run_is_not_done_again(data, undisturbed, tmp_path):
    shutil.copytree(str(undisturbed), str(tmp_path / 'snap'))
    before = {name: os.stat(str(tmp_path / 'snap' / name)).st_mtime_ns for name in results(tmp_path / 'snap')}
    run(data, tmp_path / 'snap')
    assert before == {name: os.stat(str(tmp_path / 'snap' / name)).st_mtime_ns for name in results(tmp_path / 'snap')}


def test_begin_epoch_starts_from_the_epoch_before(data, undisturbed, tmp_path):
    shutil.copytree(str(undisturbed), str(tmp_path / 'snap'))
    os.remove(str(tmp_path / 'snap' / 'vgg16_icd-0001.params'))
    run(data, tmp_path / 'snap', begin_epoch=1)
    theirs, ours = results(undisturbed), results(tmp_path / 'snap')
    assert theirs['vgg16_icd-0001.params'] == ours['vgg16_icd-0001.params']
    with pytest.raises(UserError, match='vgg16_icd-0004.params: no such file, and --begin-epoch 5'):
        run(data, tmp_path / 'snap', begin_epoch=5, num_epoch=9)


# -------------------------------------------------------------------------------------- another training's folder
@pytest.mark.parametrize('values, named', [
    (dict(learning_rate=2e-3), r'--learning-rate \(0.001\)'), (dict(num_epoch=1), r'--num-epoch \(2\)'),
    (dict(batch_size=2, accumulate=2), r'--accumulate \(1\), --batch-size \(4\)'),
    (dict(no_superpixel=True), '--no-superpixel'), (dict(data_list='short.txt'), '--annotation-root .*--data-list')])
def test_other_options_in_the_same_folder_are_refused(data, undisturbed, tmp_path, values, named):
    shutil.copytree(str(undisturbed), str(tmp_path / 'snap'))
    if 'data_list' in values:
        values = dict(data_list=str(tmp_path / 'short.txt'))
        files.save_bytes(values['data_list'], '\n'.join(f'image{i:02d}' for i in range(12)).encode())
    before = results(tmp_path / 'snap')
    with pytest.raises(UserError, match=f'comes from a training with another .*{named}.*give the same options'):
        run(data, tmp_path / 'snap', **values)
    assert results(tmp_path / 'snap') == before


def test_more_epochs_after_the_last_are_refused_with_the_way_that_goes_on(data, undisturbed, tmp_path):
    shutil.copytree(str(undisturbed), str(tmp_path / 'snap'))
    with pytest.raises(UserError, match=r'another --num-epoch \(2\): the learning rates .*give --begin-epoch 2, too'):
        run(data, tmp_path / 'snap', num_epoch=3)
    run(data, tmp_path / 'snap', num_epoch=3, begin_epoch=2)
    assert set(results(tmp_path / 'snap')) - set(results(undisturbed)) == {
        'vgg16_icd-0002.params', 'vgg16_icd-0002.states'}
    assert float(log_lines(tmp_path / 'snap')[-1]['learning_rate']) == pytest.approx(1e-3 * (1 / 3) ** .9, rel=1e-5)


def test_weights_of_another_program_are_not_overwritten(data, undisturbed, tmp_path):
    path = str(tmp_path / 'vgg16_icd-0019.params')
    shutil.copy(str(undisturbed / 'vgg16_icd-0001.params'), path)
    with pytest.raises(UserError, match='0019.params: comes from another program'):
        run(data, tmp_path)
    assert os.listdir(str(tmp_path)) == ['vgg16_icd-0019.params']


def test_starting_over_equals_a_first_run(data, undisturbed, tmp_path, monkeypatch):
    stop_after(monkeypatch, 8)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, seed=5, num_epoch=9, batch_size=6)
    assert {'vgg16_icd-0002.params', 'vgg16_icd-resume-00000007.params'} < set(results(tmp_path))
    monkeypatch.undo()
    run(data, tmp_path, resume='no')
    assert results(tmp_path) == results(undisturbed)


def test_divergence_is_reported_and_leaves_only_whole_checkpoints(data, tmp_path):
    with pytest.raises(UserError, match='training diverged .*smaller --learning-rate'):
        run(data, tmp_path, learning_rate=1e4, num_epoch=5)
    for name in results(tmp_path):
        if name.endswith('.params'):
            assert all(np.isfinite(array.asnumpy()).all() for array in mx.nd.load(str(tmp_path / name)).values())


def test_batch_sizes_not_divisible_by_the_devices_are_refused(data, tmp_path):
    with pytest.raises(UserError, match='--batch-size 4: not divisible by 3 devices: use a multiple of 3, .* --gpus'):
        run(data, tmp_path, gpus='cpu:3')


# ------------------------------------------------------------------------------------------------------- watching
def test_profile_holds_ten_steps(data, tmp_path):
    run(data, tmp_path, num_epoch=5, profile=True, checkpoint_every=0)
    with open(str(tmp_path / 'profile.json')) as file:
        events = json.load(file)['traceEvents']
    steps = sum(event['name'] == 'sgd_mom_update' or 'multi_sgd' in event['name'] for event in events)
    assert events and steps and not glob.glob(str(tmp_path / '.*part'))


def test_tensorboard_gets_every_figure(data, tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            assert folder == str(tmp_path / 'tensorboard')

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append('closed')

        def add_scalar(self, name, value, step):
            written.append((name, float(value), step))
    monkeypatch.setitem(sys.modules, 'tensorboardX', types.SimpleNamespace(SummaryWriter=Writer))
    run(data, tmp_path, num_epoch=1, tensorboard=True)
    assert written.pop() == 'closed'
    losses = [float(line['loss']) for line in log_lines(tmp_path)]
    assert [value for name, value, step in written if name == 'loss'] == pytest.approx(losses, rel=1e-6)
    assert {name for name, _, _ in written} == set(training_log.columns(IcdTask.figures)[3:])


def test_tensorboard_that_is_not_installed_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    with pytest.raises(UserError, match='--tensorboard: .*pip install tensorboardX'):
        run(data, tmp_path, tensorboard=True)


def test_stopwatch_counts_time_by_kind():
    clock = [0.]
    watch = training_log.Stopwatch(lambda: clock[0])
    for kind, seconds in (('input', 2), ('compute', 3), ('input', 1), (None, 10), ('update', 4)):
        watch.turn_to(kind)
        clock[0] += seconds
    assert dict(watch.take()) == dict(input=3, compute=3, update=4)
    clock[0] += 1
    assert dict(watch.take()) == dict(update=1)


# ------------------------------------------------------------------------------------------- processes that are killed
def arguments_of(options):
    return cli.command_line(cli.RUN, options).split()


def read_to(process, text, seconds=60):
    """Read a process's error output up to `text`; what was read."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    printed = b''
    while text not in printed:
        more = os.read(process.stderr.fileno(), 4096)
        if not more:
            break
        printed += more
    timer.cancel()
    return printed


def test_training_killed_at_random_times_ends_in_the_same_bits(data, tmp_path):
    kills, rng = int(os.environ.get('ICD_KILLS', 1)), np.random.default_rng(0)
    values = dict(num_epoch=2 + 3 * kills, num_save=100)
    run(data, tmp_path / 'whole', **values)
    command = [sys.executable, '-c', launch.COMMAND, '--only-train'] + arguments_of(
        make_options(data, tmp_path / 'killed', **values))
    done, left = False, kills
    while not done:
        process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE)
        if left:
            read_to(process, b'from epoch')
            time.sleep(rng.uniform(0, .4))
            process.send_signal(signal.SIGKILL)
            left -= 1
        printed = process.communicate(timeout=120)[1]
        done = process.returncode == 0
        assert done or process.returncode == -signal.SIGKILL, printed.decode()
        for path in glob.glob(str(tmp_path / 'killed' / '*.params')):
            assert set(mx.nd.load(path)) == set(mx.nd.load(str(tmp_path / 'whole' / 'vgg16_icd-0000.params')))
    assert left == 0
    assert results(tmp_path / 'killed') == results(tmp_path / 'whole')
    assert not glob.glob(str(tmp_path / 'killed' / '.*'))
    assert [line['loss'] for line in log_lines(tmp_path / 'killed')] == [
        line['loss'] for line in log_lines(tmp_path / 'whole')]


def test_a_killed_worker_ends_a_distributed_run_everywhere(data, tmp_path):
    options = make_options(data, tmp_path, num_epoch=100000, kvstore='dist_sync', batch_size=4, checkpoint_every=0)
    command = [sys.executable, '-c', launch.COMMAND, '--only-train'] + arguments_of(options)
    roles = ['scheduler', 'server', 'worker', 'worker']
    output = [open(str(tmp_path / f'stderr{i}'), 'w+') for i in range(len(roles))]
    popen, subprocess.Popen = subprocess.Popen, lambda *args, **kwargs: popen(*args, stderr=output.pop(0), **kwargs)
    try:
        processes = launch.start(roles, command, dict(os.environ, OMP_NUM_THREADS='1'))
    finally:
        subprocess.Popen = popen
    limit = time.monotonic() + 90
    while not glob.glob(str(tmp_path / '*.params')) and time.monotonic() < limit:
        time.sleep(.1)
        assert all(process.poll() is None for process in processes)
    processes[3].kill()
    began = time.monotonic()
    launch.wait(processes)
    assert time.monotonic() - began < 60
    assert [process.returncode for process in processes] == [2, 2, 2, -signal.SIGKILL]
    for i in range(3):
        lines = (tmp_path / f'stderr{i}').read_text().splitlines()
        line = fr'icd-run: lost the worker on \S+ \(process {processes[3].pid}\): .*what was finished is kept'
        assert sum(bool(re.search(line, printed)) for printed in lines) == 1, lines[-5:]
        assert 'Traceback' not in ''.join(lines)
    assert Checkpoints(options.snapshot, options.model).newest() is not None
