"""Score files hold what the network gives for each image, whatever it was computed together with."""
import os
import shutil
import types

import cv2
import mxnet as mx
import numpy as np
import pytest

from icd import cli, files
from icd.data import geometry, images, score_map, superpixel_map, voc
from icd.data.augment import letterbox
from icd.model.icd_net import STATE, ICDNet
from icd.steps import score_files
from icd.weights import load, mxnet_params
from tests.helpers.small_data import ANNOTATION, run

SIZE = 129
IMAGES = {'a': (40, 60), 'b': (100, 129), 'c': (60, 40), 'd': (129, 50), 'e': (50, 64), 'f': (200, 100),
               'g': (41, 59)}
CLASSES = {'b': ('cat', 'person'), 'e': ('aeroplane', 'dog', 'tvmonitor'), 'g': ('person',)}


@pytest.fixture
def data(valid, tmp_path, monkeypatch):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    rng = np.random.RandomState(5)
    for name, size in IMAGES.items():
        image = cv2.resize(rng.randint(0, 255, (9, 9, 3), np.uint8), size[::-1])
        files.save_image(f'images/{name}.jpg', image)
        whole, one = ANNOTATION.split('<object>', 1)[0], '<object>' + ANNOTATION.split('<object>', 1)[1][:-13]
        text = whole + ''.join(one % c for c in CLASSES.get(name, ('dog',))) + '</annotation>'
        files.save_bytes(f'annotations/{name}.xml', text.encode())
    files.save_bytes('list.txt', '\n'.join(IMAGES).encode())
    return root


def infer(snapshot, *arguments):
    os.makedirs(snapshot)
    shutil.copy('snap/vgg16_icd-0000.params', snapshot)
    assert run('infer', ['--snapshot', snapshot, '--infer-size', str(SIZE), '--no-superpixel'] + list(arguments)) == 0
    return {(kind, name): np.load(score_map.path(snapshot, kind, name))
            for kind in ('cam', 'icd') for name in IMAGES}


def test_files_hold_the_scores_of_their_image_and_its_classes(data):
    net = ICDNet(20, 1 / 32)
    net.initialize()
    load.load_trained('snap/vgg16_icd-0000.params', net)
    found = infer('whole')
    for name, _size in IMAGES.items():
        square, fitted = letterbox(images.read_image(f'images/{name}.jpg'), SIZE)
        cam, _, top_down, _ = net(mx.nd.array(square[..., ::-1].transpose(2, 0, 1)[None], dtype='uint8'))
        own = sorted(voc.CATEGORIES.index(c) for c in CLASSES.get(name, ('dog',)))
        rows, columns = geometry.resized_positions(fitted, SIZE)
        for kind, maps in (('cam', cam), ('icd', top_down)):
            expected = np.zeros((len(own), 17, 17), np.float32)
            expected[:, :rows, :columns] = maps.asnumpy()[0, own, :rows, :columns]
            assert found[kind, name].dtype == np.float32 and expected.any()
            np.testing.assert_allclose(found[kind, name], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('arguments', [('--gpus', 'cpu:3'), ('--infer-batch-size', '1'), ('--infer-batch-size', '7'),
                                       ('--num-workers', '2')])
def test_scores_do_not_depend_on_devices_batches_or_workers(data, arguments):
    once, again = infer('once'), infer('again', *arguments)
    assert all((once[key] == again[key]).all() for key in once)


def test_only_missing_scores_are_computed(data):
    first = infer('first')
    lost = score_map.path('first', 'icd', 'e')
    stamps = {key: os.stat(score_map.path('first', *key)).st_mtime_ns for key in first}
    os.remove(lost)
    assert run('infer', ['--snapshot', 'first', '--infer-size', str(SIZE), '--no-superpixel']) == 0
    assert (np.load(lost) == first['icd', 'e']).all()
    assert {key for key in first if os.stat(score_map.path('first', *key)).st_mtime_ns != stamps[key]} == {
        ('cam', 'e'), ('icd', 'e')}


def infer_b(image):
    """Scores of one image alone, at several scales and mirrored."""
    files.save_image('images/b.png', np.ascontiguousarray(image))
    assert run('infer', ['--infer-size', str(SIZE), '--no-superpixel', '--infer-scales', '0.5,1', '--infer-flip']) == 0
    rows, _ = geometry.resized_positions(image.shape[:2], SIZE)
    return [np.load(score_map.path('snap', kind, 'b'))[:, :rows] for kind in score_map.KINDS]


def test_a_mirrored_image_has_mirrored_scores(data):
    """Where it is 8k + 1 pixels wide, as score maps have no positions between."""
    os.remove('images/b.jpg')
    files.save_bytes('list.txt', b'b')
    image = np.random.RandomState(7).randint(0, 255, (100, SIZE, 3), np.uint8)
    for ours, mirrored in zip(infer_b(image), infer_b(image[:, ::-1])):
        assert abs(ours - mirrored[..., ::-1]).max() < 1e-5 * abs(ours).max()
        assert abs(ours - ours[..., ::-1]).max() > 1e-3 * abs(ours).max()


@pytest.mark.parametrize('given', [{}, {'infer_scales': (.5, 1.)}, {'infer_flip': True}, {'infer_branch': 'bottom-up'}])
def test_the_record_names_what_else_is_given(in_valid, given):
    """Without them it is what it was before there were any, so that older scores stay up to date."""
    options = cli.defaults(cli.RUN, snapshot='snap', **given)
    recorded = score_files.outputs(options, types.SimpleNamespace(num_classes=20), 1., 'abc').settings
    several = {'infer_scales': list(options.infer_scales), 'infer_flip': options.infer_flip}
    added = given if 'infer_branch' in given else several if given else {}
    assert recorded == dict(infer_size=513, width=1., num_cls=20, weights='abc', **added)


# ------------------------------------------------------------------------------------------- what is made again
SMALL = ['--infer-size', str(SIZE), '--no-superpixel', '--snapshot', 'first']


def scores():
    return {(kind, name): np.load(score_map.path('first', kind, name)) for kind in ('cam', 'icd') for name in IMAGES}


def test_a_newer_checkpoint_makes_scores_again(data, capfd):
    newer = infer('first')
    arrays = mxnet_params.read('first/vgg16_icd-0000.params')
    arrays['arg:fc8_weight'] = 2 * arrays['arg:fc8_weight']
    mxnet_params.write('first/vgg16_icd-0000.params', arrays)
    os.utime('first/vgg16_icd-0000.params', (100, 100))
    assert run('infer', SMALL) == 0
    assert 'made again because of changed settings: weights' in capfd.readouterr().err
    again = scores()
    assert all((again['cam', name] != newer['cam', name]).any() for name in IMAGES)


def test_older_annotations_of_another_folder_make_new_scores(data):
    before = infer('first')
    shutil.copytree('annotations', 'others')
    text = open('others/a.xml').read().replace('dog', 'cat')
    files.save_bytes('others/a.xml', text.encode())
    for name in IMAGES:
        os.utime(f'others/{name}.xml', (100, 100))
    assert run('infer', SMALL + ['--annotation-root', 'others']) == 0
    after = scores()
    assert (after['cam', 'a'] != before['cam', 'a']).any() and (after['cam', 'b'] == before['cam', 'b']).all()


def test_previews_show_the_images_their_class_has_now(data, capfd):
    infer('first')
    assert 'previews of scores: 100%' in capfd.readouterr().err
    previews = 'first/results/scores_demo/class_%d.jpg'
    dog, cat, person = (previews % voc.CATEGORIES.index(c) for c in ('dog', 'cat', 'person'))
    with_a = cv2.imread(dog).shape[0]
    assert os.path.exists(person) and not os.path.exists(cat)
    text = open('annotations/a.xml').read()
    files.save_bytes('annotations/a.xml', text.replace('dog', 'cat').encode())
    files.save_bytes('annotations/g.xml', text.encode())
    assert run('infer', SMALL) == 0
    assert os.path.exists(cat) and not os.path.exists(person)           # g was the only person alone
    files.save_bytes('annotations/g.xml', text.replace('dog', 'cat').encode())
    assert run('infer', SMALL) == 0
    assert cv2.imread(dog).shape[0] < with_a and 'previews of scores: 100%' in capfd.readouterr().err
    assert run('infer', SMALL) == 0
    assert 'previews' not in capfd.readouterr().err


def test_a_turned_class_has_turned_bottom_up_scores_and_previews(data):
    """All classes with one sign of the calibration, and with the other."""
    weights, found, rows = mxnet_params.read('snap/vgg16_icd-0000.params'), [], []
    for snapshot, state in ('as it is', (1, 0)), ('turned', (0, 1)):
        changed = {name: np.tile(np.float32(state), (20, 1)) if name.endswith(STATE) else array
                   for name, array in weights.items()}
        mxnet_params.write('snap/vgg16_icd-0000.params', changed)
        found.append(infer(snapshot, '--infer-branch', 'bottom-up'))
        rows.append(cv2.imread(f"{snapshot}/results/scores_demo/class_{voc.CATEGORIES.index('person')}.jpg").astype(int))
    for kind, name in found[0]:
        same = 1 if kind == 'cam' else -1
        assert found[0][kind, name].any() and (found[1][kind, name] == same * found[0][kind, name]).all()
    width = (rows[0].shape[1] + 4) // 9         # image, then positive and negative part of four scores
    one, other = ([row[:, i * width:(i + 1) * width - 4] for i in range(9)] for row in rows)

    def differ(a, b):
        return abs(a - b).mean() > 3            # more than JPEG does
    assert not differ(one[1], other[1]) and not differ(one[7], other[7])
    assert not differ(one[3], other[4]) and not differ(one[4], other[3]) and differ(one[3], other[3])


def test_previews_come_with_the_scores_and_are_the_same_later(data, capfd):
    infer('first')
    path = f'first/results/scores_demo/class_{voc.CATEGORIES.index("dog")}.jpg'
    with_scores, stamp = cv2.imread(path), os.stat(score_map.path('first', 'icd', 'a')).st_mtime_ns
    assert 'scores for previews' not in capfd.readouterr().err          # each image is computed once
    os.remove(path)
    assert run('infer', SMALL) == 0
    assert 'scores for previews: 100%' in capfd.readouterr().err
    assert (cv2.imread(path) == with_scores).all()
    assert os.stat(score_map.path('first', 'icd', 'a')).st_mtime_ns == stamp


def test_older_images_of_another_folder_make_new_scores(data):
    before = infer('first')
    shutil.copytree('images', 'others')
    files.save_image('others/a.jpg', images.read_image('images/a.jpg')[:, ::-1])
    os.utime('others/a.jpg', (100, 100))
    assert run('infer', SMALL + ['--image-root', 'others']) == 0
    after = scores()
    assert (after['cam', 'a'] != before['cam', 'a']).any() and (after['cam', 'b'] == before['cam', 'b']).all()


@pytest.mark.parametrize('elsewhere', [True, False])
def test_previews_follow_the_superpixels_and_scores_do_not(valid, tmp_path, monkeypatch, elsewhere):
    shutil.copytree(valid, str(tmp_path / 'data'))
    monkeypatch.chdir(tmp_path / 'data')
    assert run('infer') == 0
    preview, score = 'snap/results/scores_demo/class_11.jpg', score_map.path('snap', 'icd', 'a')
    before = cv2.imread(preview), os.stat(score).st_mtime_ns
    folder = 'others' if elsewhere else 'superpixels'
    if elsewhere:
        shutil.copytree('superpixels', folder)
    superpixel_map.write(folder + '/a.png', np.zeros((36, 44), np.int32))
    if elsewhere:
        os.utime(folder + '/a.png', (100, 100))
    assert run('infer', ['--superpixel-root', folder]) == 0
    assert (cv2.imread(preview) != before[0]).any() and os.stat(score).st_mtime_ns == before[1]
