"""The pipeline: one command from labelled images to masks, its plan, and what it says of wrong inputs."""
import os
import re
import shlex
import shutil

import cv2
import numpy as np
import pytest

from icd import console, files, precision
from icd.data import masks
from icd.live import run as live
from icd.steps import own_process, pipeline
from icd.steps.merge_superpixels import main as merge
from icd.superpixels import program

CLASSES = 'cat', 'dog'
SMALL = ('--image-root photos --labels photos --out out --gpus cpu --num-process 1 --width 0.03125 --image-size 33 '
         '--batch-size 2 --num-epoch 1').split()


@pytest.fixture
def photos(valid, tmp_path, monkeypatch):
    """The current folder holds images in class folders, 'photos', and pretrained weights."""
    root = str(tmp_path / 'work')
    rng = np.random.RandomState(0)
    for i, label in enumerate(('cat', 'cat', 'dog', 'dog')):
        image = cv2.resize(rng.randint(0, 255, (7, 9, 3), np.uint8), (60, 44 + i))
        files.save_image(os.path.join(root, 'photos', label, f'{i}.png'), image)
    shutil.copy(os.path.join(valid, 'pretrained.params'), root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(pipeline, 'speed', lambda devices, chosen: 1e11)
    return root


def run(*arguments):
    return console.run_command(pipeline.main, [*SMALL, '--pretrained', 'pretrained.params', *arguments])


def content(folder):
    return {os.path.relpath(os.path.join(root, name), folder): open(os.path.join(root, name), 'rb').read()
            for root, _, names in os.walk(folder) for name in names}


def test_one_command_makes_masks_predictions_and_a_page(photos, capsys):
    assert run('--segment') == 0
    printed = capsys.readouterr()
    for folder in ('out/icd/results/seeds/crf', 'out/predictions/crf'):
        assert f': {folder}' in printed.out
        for i, label in enumerate(('cat', 'cat', 'dog', 'dog')):
            mask = masks.read_mask(f'{folder}/{label}/{i}.png')
            assert mask.shape == (44 + i, 60) and set(np.unique(mask)) <= {0, 1, 2}
    assert os.path.isfile('out/icd/results/seeds/crf_overlay/cat/0.jpg')
    page = open('out/index.html').read()
    assert page.count('<article>') == 4 and page.count('data:image/jpeg') == 12 and 'src="http' not in page
    assert open('out/class_names.txt').read().split() == ['cat', 'dog']
    # Every command was shown, is on the page and in the script.
    commands = open('out/commands.sh').read().splitlines()
    assert len(commands) == 7 and all(f'{line}\n' in printed.err for line in commands)
    assert [line.split()[0] for line in commands] == ['makeSuperpixel', 'icd-superpixel', *['icd-run'] * 3,
                                                      *['icd-segment'] * 2]
    assert len(re.findall(r'\w+: \d+ s, about \d+ s expected\n', printed.err)) == 7
    # Its plan names what was made, and where: all of it is seen to be done.
    seen = live.state('out')
    assert seen['plan'] and f"{seen['plan']}\n" in printed.err
    assert [stage['command'] for stage in seen['stages']] == commands
    assert [(stage['name'], stage['done'], stage['total']) for stage in seen['stages']] == [
        ('superpixels', 4, 4), ('merging', 4, 4), ('training', 2, 2), ('scores', 4, 4), ('seeds', 4, 4),
        ('segmentation', 2, 2), ('predictions', 4, 4)]
    assert [len(each['previews']) for each in seen['trainings']] == [1, 1] and seen['trainings'][1]['network']
    # What they make when they are typed is what it made.
    made = {part: content(f'out/superpixels/{part}') for part in ('raw', 'merged')}
    shutil.rmtree('out/superpixels')
    program.run(program.find(), shlex.split(commands[0])[1:])
    assert console.run_command(merge, shlex.split(commands[1])[1:]) == 0
    for part, before in made.items():
        assert {name: content(f'out/superpixels/{part}')[name] for name in before if name.endswith('.png')} == {
            name: data for name, data in before.items() if name.endswith('.png')}
    # Repeated, it keeps everything.
    before = content('out')
    assert run('--segment') == 0
    after = content('out')          # records follow the dates of the superpixels, which were made once more
    assert after.keys() == before.keys()
    changed = {os.path.basename(name) for name in before if after[name] != before[name]}
    assert changed <= {'inputs.tsv', 'log.txt'}


@pytest.mark.parametrize('here, arguments, hint', [
    (True, [], True), (True, ['--precision', 'bfloat16'], False), (False, [], False)])
def test_the_plan_names_what_would_be_faster(here, arguments, hint, photos, capsys, monkeypatch):
    monkeypatch.setattr(pipeline.precision, 'has_matrix_units', lambda: here)
    monkeypatch.setattr(pipeline.precision, 'check', lambda *_: None)
    measured = []
    monkeypatch.setattr(pipeline, 'speed', lambda devices, chosen: measured.append(chosen) or 1e11)
    assert run('--dry-run', *arguments) == 0 and measured == [arguments[-1] if arguments else 'float32']
    assert ('matrix units: --precision bfloat16 takes' in capsys.readouterr().err) is hint


def test_a_dry_run_shows_the_plan_and_writes_nothing(photos, capsys):
    before = content('.')
    assert run('--dry-run', '--segment') == 0
    printed = capsys.readouterr().err
    assert content('.') == before and not os.path.exists('out')
    assert '4 images of 2 classes' in printed and '1 epochs of crops of 33 pixels, 2 images a step, 2 steps' in printed
    assert re.search(r'about \d+ s on this machine', printed) and 'GB on the disk' in printed
    assert len(re.findall('^(?:makeSuperpixel|icd-.*) ', printed, re.M)) == 7


def test_all_that_computes_gets_the_precision_and_it_is_checked_first(photos, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(precision, 'check', lambda *given: asked.append(given))
    assert run('--dry-run', '--segment', '--precision', 'bfloat16') == 0
    lines = re.findall('^icd-.*$', capsys.readouterr().err, re.M)
    assert len(lines) == 6 and all(' --precision bfloat16' in line for line in lines)
    assert [given for given, _ in asked] == ['bfloat16']


@pytest.mark.parametrize('spoil, line', [
    (lambda: shutil.rmtree('photos/dog') or shutil.rmtree('photos/cat'), 'photos: holds no XML files and no folders'),
    (lambda: files.save_bytes('photos/cat/0.png', b'no image'), 'photos/cat/0.png: not an image'),
    (lambda: os.remove('pretrained.params'), 'pretrained.params: no such file'),
    (lambda: files.save_bytes('pretrained.params', b'nothing'), 'pretrained.params: '),
    (lambda: shutil.copy('photos/cat/0.png', 'photos/cat/0.jpg'), 'several files for one image'),
    (lambda: files.save_bytes('out', b''), 'out: '),
    (lambda: os.rename('photos/dog', 'photos/Background'), 'names the background'),
])
def test_what_is_wrong_is_one_line(photos, capsys, spoil, line):
    spoil()
    assert run() == 2
    error = [each for each in capsys.readouterr().err.splitlines() if re.match(r'[\w.-]+: ', each)]
    assert len(error) == 1 and line in error[0]
    assert not os.path.exists('out/icd')


def test_images_without_a_class_are_left_out_and_counted(photos, capsys):
    files.save_bytes('labels.csv', b'cat/0,cat\ncat/1,cat\ndog/2,\ndog/3,dog\n')
    assert run('--labels', 'labels.csv', '--dry-run') == 0
    assert '3 images of 2 classes, 1 without any class left out' in capsys.readouterr().err


def test_stages_on_gpus_are_processes_of_their_own(photos, monkeypatch):
    started = []

    def elsewhere(module, arguments):
        started.append(module)
        if module == 'icd.steps.run':
            raise SystemExit(7)
    monkeypatch.setattr(own_process, 'run', elsewhere)
    monkeypatch.setattr(own_process, 'needed', lambda gpus: True)
    monkeypatch.setattr(own_process, 'call', lambda function, gpus, chosen: (function(gpus, chosen)[0], 1e11, 9e9))
    monkeypatch.setenv('MXNET_ENFORCE_DETERMINISM', '1')
    monkeypatch.setenv('MXNET_CUDNN_AUTOTUNE_DEFAULT', '0')
    with pytest.raises(SystemExit) as leaving:
        run('--deterministic')
    assert leaving.value.code == 7 and started == ['icd.steps.merge_superpixels', 'icd.steps.run']
    training = next(line for line in open('out/commands.sh') if '--only-train' in line)
    assert '--deterministic' in training.split()
