"""What is seen of a run: its stages, trainings and previews, and which files count as previews."""
import json
import os

import pytest

from icd import files
from icd.errors import UserError
from icd.live import run
from tests.helpers import run_files


@pytest.fixture
def root(tmp_path):
    folder = str(tmp_path / 'run')
    run_files.training(folder, command='--data-list ' + str(tmp_path / 'list.txt'))
    run_files.write(tmp_path / 'list.txt', 'a\nb\nc\nd\n')
    run_files.outputs(folder + '/results', 'abc')
    run_files.outputs(folder + '/results/seeds/crf', 'ab', 'seeds')
    for name in ('net-0000.jpg', 'net-0010.jpg', 'net-0002.jpg'):
        run_files.preview(f'{folder}/net_visdemo/{name}')
    for name in ('class_10.jpg', 'class_2.jpg'):
        run_files.preview(f'{folder}/results/scores_demo/{name}')
    return folder


def test_the_stages_of_a_snapshot(root):
    seen = run.state(root)
    assert [(each['name'], each['folder'], each['done'], each['total'], each['unit']) for each in seen['stages']] == [
        ('training', '', 6, 12, 'steps'), ('scores', 'results', 3, 4, 'images'),
        ('seeds', 'results/seeds/crf', 2, 4, 'images')]
    assert not seen['held'] and seen['problem'] == seen['plan'] == '' and seen['seconds_left'] is None
    with files.folder_lock(root + '/results'):
        assert [each['held'] for each in run.state(root)['stages']] == [False, True, False] and run.state(root)['held']
    with open(root + '/results/inputs.tsv', 'a') as file:       # one is made again, one is just being recorded
        file.write('b\nd\t=1')
    assert run.state(root)['stages'][1]['done'] == 2
    assert json.loads(json.dumps(seen, allow_nan=False))['trainings'][0]['folder'] == ''


def test_without_the_list_the_total_is_not_known(root):
    os.remove(os.path.join(os.path.dirname(root), 'list.txt'))
    assert [each['total'] for each in run.state(root)['stages']] == [12, None, None]


def test_previews_in_the_order_of_their_numbers(root):
    run_files.write(root + '/class_names.txt', 'cat\ndog\ncow\n')
    seen, by_url = run.look(root)
    training, = seen['trainings']
    assert [each['title'] for each in training['previews']] == ['epoch 1', 'epoch 3', 'epoch 11']
    assert [each['title'] for each in seen['previews']] == ['cow', 'class 10']
    assert set(by_url) == {'preview/net_visdemo/net-0000.jpg', 'preview/net_visdemo/net-0002.jpg',
                           'preview/net_visdemo/net-0010.jpg', 'preview/results/scores_demo/class_2.jpg',
                           'preview/results/scores_demo/class_10.jpg'}
    assert by_url['preview/net_visdemo/net-0002.jpg'].read()[:2] == b'\xff\xd8'
    assert seen['wrote'] >= max(preview.wrote for preview in by_url.values())


def test_links_and_other_files_are_no_previews(root, tmp_path):
    before = set(run.look(root)[1])
    run_files.preview(tmp_path / 'outside/net-0005.jpg')
    for name in ('.net-0003.jpg.0a.part', 'net-3.jpg', 'net-0003.png', 'net-0003.jpg~'):
        run_files.preview(tmp_path / 'x.jpg')
        os.rename(tmp_path / 'x.jpg', f'{root}/net_visdemo/{name}')
    os.symlink(tmp_path / 'outside/net-0005.jpg', root + '/net_visdemo/net-0004.jpg')
    os.symlink(tmp_path / 'outside', root + '/more_visdemo')
    os.mkdir(root + '/net_visdemo/net-0006.jpg')
    os.rename(root + '/results', tmp_path / 'results')
    os.symlink(tmp_path / 'results', root + '/results')
    os.symlink(tmp_path, root + '/superpixels')
    run_files.preview(tmp_path / 'superpixels_demo.jpg')
    assert set(run.look(root)[1]) == {name for name in before if 'net_visdemo' in name}


def test_what_stands_in_place_of_a_preview_is_not_read(root, tmp_path):
    preview = run.look(root)[1]['preview/net_visdemo/net-0002.jpg']
    os.remove(preview.path)
    os.symlink(root + '/net_visdemo/net-0000.jpg', preview.path)
    with pytest.raises(OSError):
        preview.read()
    os.remove(preview.path)
    os.mkfifo(preview.path)
    with pytest.raises(UserError):
        preview.read()


def test_the_stages_of_a_pipeline_and_the_time_they_take(tmp_path):
    root = str(tmp_path)
    run_files.plan(root, [('superpixels', 'superpixels/raw', 8), ('training', 'icd', 999),
                          ('scores', 'icd/results', 40), ('segmentation', 'deeplab', 60)])
    run_files.outputs(root + '/superpixels/raw', ['a', 'b', 'c', 'd', '-preview'], 'makeSuperpixel')
    run_files.training(root + '/icd')
    run_files.outputs(root + '/icd/results', 'a')
    run_files.preview(root + '/superpixels/superpixels_demo.jpg')
    run_files.preview(root + '/icd/net_visdemo/net-0000.jpg')
    with files.folder_lock(root), files.folder_lock(root + '/icd'):
        seen = run.state(root)
    assert [(each['name'], each['done'], each['total'], each['held']) for each in seen['stages']] == [
        ('superpixels', 4, 4, False), ('training', 6, 12, True), ('scores', 1, 4, False), ('segmentation', 0, 4, False)]
    assert seen['held'] and seen['plan'] == 'four images\nabout 3 min'
    assert 100 + 30 + 60 - 2 <= seen['seconds_left'] <= 100 + 30 + 60
    assert [each['url'] for each in seen['trainings'][0]['previews']] == ['preview/icd/net_visdemo/net-0000.jpg']
    assert [each['title'] for each in seen['previews']] == ['superpixels']
    assert not run.state(root)['held'] and run.state(root)['seconds_left'] is None
    for broken in ('{', '[]', '{"stages": [{}], "text": "", "images": 1}'):
        run_files.write(root + '/plan.json', broken)
        assert run.state(root)['plan'] == ''
        assert [each['name'] for each in run.state(root)['stages']] == ['training', 'makeSuperpixel', 'scores']


def test_a_folder_of_several_trainings(tmp_path):
    for name in 'ba':
        run_files.preview(tmp_path / name / 'net_visdemo/net-0000.jpg')
        run_files.write(tmp_path / f'{name}.txt', 'x\ny\nz\n' if name == 'a' else 'x\n')
        run_files.training(str(tmp_path / name), command=f'--data-list {tmp_path / name}.txt')
        for folder, made_by in (('results', 'scores'), ('test/crf', 'predictions')):
            run_files.outputs(str(tmp_path / name / folder), 'x', made_by)
    (tmp_path / 'empty').mkdir()
    seen = run.state(str(tmp_path))
    assert [each['folder'] for each in seen['trainings']] == ['a', 'b']
    # Predictions may be of other images than the training's.
    assert sorted((each['folder'], each['done'], each['total']) for each in seen['stages'][2:]) == [
        ('a/results', 1, 3), ('a/test/crf', 1, None), ('b/results', 1, 1), ('b/test/crf', 1, None)]
    assert [each['previews'][0]['url'] for each in seen['trainings']] == [
        f'preview/{name}/net_visdemo/net-0000.jpg' for name in 'ab']


def test_a_folder_that_is_not_there_yet(tmp_path):
    seen = run.state(str(tmp_path / 'later'))
    assert seen['problem'] == 'this folder does not exist yet'
    assert seen['trainings'] == seen['stages'] == seen['previews'] == [] and seen['wrote'] is None and not seen['held']
    (tmp_path / 'later').mkdir()
    assert run.state(str(tmp_path / 'later'))['problem'] == ''
