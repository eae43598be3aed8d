"""Stages in shards: the files of one process to the byte, in any order, killed or not."""
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from icd import cli, counting, files, outputs, pipeline_options, segment_options
from icd.errors import UserError
from icd.evaluate_options import EVALUATE
from icd.method.image_counts import ImageCounts
from icd.shards import Shard, own
from icd.shards import files as files_of
from icd.steps import run as icd_run
from icd.train import launch
from tests.helpers import PROJECT, segment_data, small_data
from tests.helpers.small_data import list_files

SHARDED = {'icd-run': cli.RUN, 'icd-superpixel': cli.SUPERPIXEL, 'icd-evaluate': EVALUATE,
           'icd-segment predict': segment_options.SEGMENT_PREDICT}
REQUIRED = {'icd-evaluate': '--pred p --truth t --list l', 'icd-segment predict': '--image-root i --out o'}


# --------------------------------------------------------------------------------------------------------- options
def test_shards_are_disjoint_complete_and_even():
    names = list('abcdefg')
    parts = [Shard(number, 3).of(names) for number in (1, 2, 3)]
    assert parts == [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']] and own(names, None) == names
    assert Shard(5, 9).of(names) == ['e'] and Shard(8, 9).of(names) == []


def test_files_of_shards_are_found_whatever_else_is_there(tmp_path):
    start = str(tmp_path / 'a[b].')
    names = ['1-of-2', '10-of-12', 'x-of-2', '1-of-2-of-3', '1-of-']
    for name in names:
        files.save_bytes(start + name + '.npz', b'')
    assert files_of(start, '.npz') == {Shard(1, 2): start + '1-of-2.npz', Shard(10, 12): start + '10-of-12.npz'}


@pytest.mark.parametrize('command', SHARDED)
@pytest.mark.parametrize('value', ['0/2', '3/2', 'x', '1/0', '2', '-1/2', '1/2/3', '', '1/' + '9' * 5000])
def test_a_wrong_shard_is_one_line(command, value):
    with pytest.raises(UserError) as caught:
        cli.parse(SHARDED[command], command, '', [*REQUIRED.get(command, '').split(), '--shard=' + value])
    assert 'is not I/N, the I-th of N shards' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('command', SHARDED)
def test_a_shard_reads_back(command):
    table, required = SHARDED[command], REQUIRED.get(command, '').split()
    parsed = cli.parse(table, command, '', [*required, '--shard', '2/4'])
    assert parsed.shard == Shard(2, 4) and cli.command_line(table, parsed).split()[-2:] == ['--shard', '2/4']


@pytest.mark.parametrize('table', [segment_options.SEGMENT_TRAIN, pipeline_options.PIPELINE, segment_options.EXPORT])
def test_commands_that_train_take_no_shard(table):
    with pytest.raises(UserError, match='^(the following|unrecognized)[^\n]*$'):
        cli.parse(table, 'command', '', ['--shard', '1/2', '--image-root', 'a', '--labels', 'b', '--pretrained', 'none',
                                         '--out', 'o'])


@pytest.mark.parametrize('asked', [{}, {'only_train': True}])
def test_a_run_that_trains_refuses_a_shard(asked):
    with pytest.raises(UserError, match='^--shard 1/2: training is not divided so: train first[^\n]*$'):
        icd_run.stages(cli.defaults(cli.RUN, shard=Shard(1, 2), **asked))
    assert icd_run.stages(cli.defaults(cli.RUN, shard=Shard(1, 2), onnx='a', export_scores='b')) == ('infer', 'seeds')


# ---------------------------------------------------------------------------------------------------------- stages
def content():
    """All files {path: bytes}; without the dates of seeds and maps that others are made from, new each time."""
    found = {}
    for path in list_files('.'):
        with open(path, 'rb') as file:
            found[path] = file.read()
        if path.endswith('inputs.tsv'):
            dated = rb'.*\n' if path.endswith('_overlay/inputs.tsv') else rb'-preview\t.*\n'
            found[path] = re.sub(dated, lambda line: re.sub(rb',[0-9]+,[0-9]+,', b',', line.group()), found[path])
    return found


STAGES = {              # fixture, more options, outputs
    'merge': ('in_valid', '', ['merged', 'superpixels_demo.jpg']),
    'infer': ('in_valid', '', ['snap/results']),
    'seeds': ('in_valid', '--seeds crf,sal,raw,cam --colour --export-scores exported',
              ['snap/results/seeds', 'exported']),
    'predict': ('segmented', '--save-logits eighth --colour', ['out']),
    'infer onnx': ('segmented', '', ['snap/results']),
}


@pytest.mark.parametrize('stage', STAGES)
def test_shards_of_which_one_was_killed_make_what_one_process_makes(stage, request, monkeypatch, capfd):
    fixture, more, made = STAGES[stage]
    request.getfixturevalue(fixture)

    def run(*shard):
        if stage in segment_data.COMMANDS:
            return segment_data.run(stage, *more.split(), *shard)
        return small_data.run(stage, [*more.split(), *shard])

    def remove():
        for path in made:
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.remove(path)
    remove()
    assert run() == 0
    expected = content()
    remove()
    assert run('--shard', '2/2') == 0
    record = outputs.Outputs.record

    def interrupted(made, name, identities):
        if name == 'c':
            raise KeyboardInterrupt
        record(made, name, identities)
    with monkeypatch.context() as killed:
        killed.setattr(outputs.Outputs, 'record', interrupted)
        assert run('--shard', '1/2') == 130
    assert not [path for path in list_files('.') for part in ('demo', '_overlay', 'exported') if part in path]
    capfd.readouterr()
    assert run() == 0
    assert content() == expected
    said = {line.split(': ', 1)[1] for line in capfd.readouterr().err.split('\n') if ' has not made ' in line}
    assert said == {'shard 1 of 2 has not made 1 of its 2 images: they are made now'}


# ------------------------------------------------------------------------------------------------------ evaluation
FIGURES = ('--versus truth --scores snap/results/scores_icd --annotation-root annotations --infer-size 49 --skip-bad '
           '--json out.json --resamples 20').split()
PAGE = '--html out.html --image-root images'.split()
SUMS = 'out.json.shard-%d-of-2.npz'


def evaluate(*more):
    return small_data.run('evaluate', [*FIGURES, *more])


def printed(capfd):
    out, err = capfd.readouterr()
    return out, [line for line in err.split('\n') if line and '%|' not in line]


def test_figures_of_shards_are_those_of_one_process(in_valid, capfd):
    os.remove('pred/b.png')                             # left out, and reported
    assert evaluate(*PAGE) == 0
    expected = content(), printed(capfd)
    for path in 'out.json', 'out.html':
        os.remove(path)
    for number in (2, 1, 1):
        assert evaluate(*PAGE, '--shard', f'{number}/2') == 0
        assert printed(capfd) == (f'written: {SUMS % number}\n', [])
    assert not os.path.exists('out.json')
    assert evaluate(*PAGE) == 0
    assert (content(), printed(capfd)) == expected


def change(path):
    with open(path, 'ab') as file:
        file.write(b' ')


def test_a_shard_that_is_missing_or_of_other_masks_is_named_and_counted_again(in_valid, capfd):
    assert evaluate() == 0
    expected, (text, _) = content()['./out.json'], printed(capfd)
    for lose in (lambda: os.remove(SUMS % 2), lambda: files.save_bytes(SUMS % 2, b'half'),
                 lambda: change('pred/sub/d.png')):
        assert evaluate('--shard', '1/2') == evaluate('--shard', '2/2') == 0
        lose()
        printed(capfd)
        assert evaluate() == 0
        assert printed(capfd) == (text, ['out.json: shard 2 of 2 has not counted 2 of its 2 images as they are: they '
                                         'are counted now'])
        assert content()['./out.json'] == expected and not files_of('out.json.shard-', '.npz')


def test_a_shard_of_an_evaluation_needs_a_file_to_write_beside(in_valid, capfd):
    assert small_data.run('evaluate', ['--shard', '1/2']) == 2
    assert printed(capfd)[1] == [f'{os.path.basename(sys.argv[0])}: --shard 1/2: its sums are written beside the file '
                                 'of the figures: give --json, too']


def test_counts_are_read_as_they_were_written(tmp_path):
    path = str(tmp_path / 'counts.npz')
    of_images = ImageCounts.of(np.int64([[[5], [6], [7]], [[0], [0], [0]]]))
    counts = counting.Counts([3, 1], {'pred': np.int64([[1, 2 ** 60], [3, 4]])}, {'pred': of_images}, np.int64([7]),
                             [(2, 'what', None, '')], {'pred': [('path', np.uint8(4), 5)]})
    counting.save(path, counts, 'source')
    found = counting.load(path, 'source')
    assert repr(vars(found.by_image['pred'])) == repr(vars(of_images))
    assert repr(dict(vars(found), by_image=0)) == repr(dict(vars(counts), by_image=0, confused={
        'pred': [('path', 4, 5)]}))
    assert counting.load(path, 'another') is None


# -------------------------------------------------------------------------------------------------- starting them
COUNT = """
import sys
name = sys.argv[-1].replace('/', '-') if '--shard' in sys.argv else 'all'
open(name, 'w').write(' '.join(sorted(__import__('os').listdir('.')) + sys.argv[1:]))
sys.exit(name in sys.argv)
"""


def test_the_launcher_runs_shards_and_then_the_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch.main(['--shards', '2', '--', sys.executable, '-c', COUNT, '--force', 'b'])
    assert sorted(os.listdir('.')) == ['1-2', '2-2', 'all']
    with open('1-2') as shard, open('all') as last:
        assert shard.read().endswith(' --force b --shard 1/2') and last.read() == '1-2 2-2 all b'


@pytest.mark.parametrize('arguments, complaint', [
    (['0', '--', 'x'], 'at least one'), (['2'], 'the command is missing'), (['2', '--', 'none'], 'no such command')])
def test_the_launcher_refuses_what_it_cannot_run(arguments, complaint):
    with pytest.raises(UserError, match=complaint):
        launch.main(['--shards', *arguments])


@pytest.mark.parametrize('failure, code, ending', [
    ('sys.exit("2/3" in sys.argv and 7)', 7, 'ended with exit code 7'),
    ('"2/3" in sys.argv and os.kill(os.getpid(), 9)', 2, 'was killed by signal 9')])
def test_the_launcher_ends_with_the_line_and_the_code_of_a_shard_that_fails(tmp_path, monkeypatch, capfd, failure,
                                                                            code, ending):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        launch.main(['--shards', '3', '--', sys.executable, '-c', f'import os, sys; {failure}; open("made", "a")'])
    assert leaving.value.code == code
    assert capfd.readouterr().err.splitlines()[-1] == (f'icd-launch: shard 2 of 3 {ending}: the others were ended; run '
                                                       'the same command again, what was finished is kept')


def test_the_launcher_makes_nothing_of_all_when_a_shard_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='1'):
        launch.main(['--shards', '2', '--', sys.executable, '-c', COUNT, '2-2'])
    assert not os.path.exists('all')


def test_the_launcher_has_a_help_and_refuses_unknown_options_in_one_line(capsys):
    with pytest.raises(SystemExit, match='0'):
        launch.main(['--help'])
    assert capsys.readouterr().out.startswith('usage: icd-launch (--shards N -- COMMAND |')
    with pytest.raises(UserError, match='icd-launch --help lists the options'):
        launch.main(['--shard', 'two', '--', 'x'])


@pytest.mark.parametrize('variables, shard', [
    ({'SLURM_ARRAY_TASK_MAX': '8'}, '3/8'), ({'SLURM_ARRAY_TASK_MAX': '3', 'SHARDS': '8'}, '3/8')])
def test_a_task_of_an_array_makes_its_shard(variables, shard):
    script = os.path.join(PROJECT, 'docs', 'shards.sbatch')
    done = subprocess.run(['bash', script, 'echo', 'a b'], env=dict(os.environ, SLURM_ARRAY_TASK_ID='3', **variables),
                          stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, f'a b --shard {shard}\n')
    with open(script) as file:
        assert '#SBATCH --array=1-8\n' in file.readlines()
