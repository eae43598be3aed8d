"""Prediction: masks are the network's, at the image's size, whatever it was computed by and together with."""
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from icd import cli, files
from icd.data import augment, images, masks, voc
from icd.method.crf import dense_crf
from icd.method.multi_scale import best_class, fuse
from icd.model import deeplab
from icd.model.multi_scale import resize
from icd.mxnet_setup import mx
from icd.segment_options import SEGMENT_PREDICT
from icd.steps.predict_segmentation import crf_recipe
from icd.weights import load
from tests.helpers import PROJECT
from tests.helpers.segment_data import SIDE, SIZES, run
from tests.helpers.small_data import ANNOTATION, list_files

NAMES = tuple(SIZES)


def read(kind, name, out='out'):
    if kind == 'logits':
        return np.load(f'{out}/logits/{name}.npy')
    return masks.read_mask(f'{out}/{kind}/{name}.png')


def fitted_scores(name, sides=(SIDE,), flip=False):
    """Scores of an image at every pixel of it in the letterbox, by the plain network."""
    net = deeplab.create('vgg16_largefov', 21, 1 / 32)
    load.load_trained('segment/net-0001.params', net, mx.cpu())
    square, fitted = augment.letterbox(images.read_image(f'images/{name}.jpg'), SIDE)
    letterbox = mx.nd.array(square[..., ::-1].transpose(2, 0, 1)[None], dtype='uint8')
    maps = []
    for side in sides:
        scores = net(resize(letterbox, side)).asnumpy()[0]
        if flip:
            scores = (scores + net(resize(letterbox, side)[:, :, :, ::-1]).asnumpy()[0, ..., ::-1]) / 2
        maps.append(scores)
    return fuse(maps, fitted, SIDE, 'mean+max'), fitted


def test_masks_are_the_largest_scores_at_the_size_of_the_image(segmented):
    assert run('predict', '--save-logits', 'eighth', '--crf', 'none') == 0
    for name, size in SIZES.items():
        scores, fitted = fitted_scores(name)
        found = read('logits', name)
        np.testing.assert_allclose(found, scores[:, ::8, ::8], atol=1e-4 * abs(scores).max())
        assert found.dtype == np.float32 and (fitted == size) == (name != 'c')
        assert read('raw', name).shape == size and (read('raw', name) == best_class(scores, size)).all()
    assert len(np.unique(read('raw', 'c'))) > 1 and not os.path.exists('out/crf')


def test_scales_and_mirror_images_are_fused(segmented):
    assert run('predict', '--save-logits', 'full', '--scales', '0.5,1', '--crf', 'only') == 0
    once = read('logits', 'a')
    np.testing.assert_allclose(once, fitted_scores('a', (25, 49))[0], atol=1e-4 * abs(once).max())
    assert run('predict', '--save-logits', 'full', '--scales', '0.5,1', without=['--no-flip']) == 0
    flipped, expected = read('logits', 'a'), fitted_scores('a', (25, 49), flip=True)[0]
    np.testing.assert_allclose(flipped, expected, atol=1e-4 * abs(expected).max())
    assert abs(flipped - once).max() > 1e-3 * abs(once).max()


def test_the_crf_refines_the_scores_with_the_recipe_of_the_network(segmented):
    assert run('predict', '--save-logits', 'full') == 0
    for name in 'a', 'c':
        image = augment.letterbox(images.read_image(f'images/{name}.jpg'), SIDE)[0]
        scores = read('logits', name)
        image = np.ascontiguousarray(image[:scores.shape[1], :scores.shape[2], ::-1])
        expected = dense_crf(image, -scores, 10, (3, 3), (121, 5, 4))
        assert (read('crf', name) == best_class(expected, SIZES[name])).all()
    options = cli.defaults(SEGMENT_PREDICT, crf_iterations=1)
    assert crf_recipe(options, 'resnet101_aspp') == (1, (1, 3), (67, 3, 4))
    assert crf_recipe(options, 'vgg16_aspp') == (1, (2, 2), (65, 3, 4))


def test_what_computes_changes_nothing(segmented):
    assert run('predict') == 0
    for i, extra in enumerate((['--infer-batch-size', '1'], ['--gpus', 'cpu:2'],
                               ['--num-process', '2', '--num-workers', '1'])):
        assert run('predict', '--out', f'other{i}', *extra) == 0
        for name in NAMES:
            for kind in 'raw', 'crf':
                assert (read(kind, name) == read(kind, name, f'other{i}')).all()


def test_onnxruntime_predicts_the_same(segmented):
    extra = ['--scales', '0.75,1,1.25', '--gpus', 'cpu:2']
    assert run('predict', '--save-logits', 'full', *extra, without=['--no-flip']) == 0
    assert run('predict onnx', '--out', 'other', '--save-logits', 'full', *extra, without=['--no-flip']) == 0
    for name in NAMES:
        ours, others = read('logits', name), read('logits', name, 'other')
        assert abs(ours - others).max() <= 1e-4 * abs(ours).max()
        for kind in 'raw', 'crf':
            assert (read(kind, name) != read(kind, name, 'other')).mean() <= 1e-4


def test_the_file_of_a_checkpoint_takes_its_predictions_for_its_own(segmented, capfd):
    assert run('predict') == 0
    before = stamps()
    assert run('predict onnx') == 0
    assert 'all 4 are up to date' in capfd.readouterr().err and stamps() == before


def test_only_known_classes_of_an_image_win(segmented):
    for name in NAMES:
        files.save_bytes(f'annotations/{name}.xml', (ANNOTATION % 'tvmonitor').encode())
    files.save_bytes('annotations/b.xml', b'<annotation/>')
    assert run('predict', '--only-known-classes', '--annotation-root', 'annotations') == 0
    excluded = []
    for name in NAMES:
        known = [0, 20] if name != 'b' else [0]
        scores = fitted_scores(name)[0]
        excluded.append((scores[known].max(0) < 0).any())
        expected = np.array(known, np.uint8)[best_class(scores[known], SIZES[name])]
        assert (read('raw', name) == expected).all() and set(np.unique(read('crf', name))) <= set(known)
    assert any(excluded)            # where scores multiplied by 0 would be the largest
    files.save_json('labels.json', {name: ['tvmonitor'] if name != 'b' else [] for name in NAMES})
    assert run('predict', '--only-known-classes', '--labels', 'labels.json', '--out', 'other') == 0
    assert all((read('raw', name) == read('raw', name, 'other')).all() for name in NAMES)


def stamps(out='out'):
    return {path: os.stat(path).st_mtime_ns for path in list_files(out) if path.endswith(('.png', '.npy', '.jpg'))}


def test_finished_files_are_kept(segmented):
    assert run('predict', '--colour') == 0
    before = stamps()
    assert len(before) == 6 * len(NAMES)
    os.remove('out/raw/b.png')
    files.save_image('images/a.jpg', np.ascontiguousarray(images.read_image('images/a.jpg')[:, ::-1]))
    assert run('predict', '--colour') == 0
    changed = {path for path, stamp in stamps().items() if stamp != before[path]}
    assert {'out/raw/b.png', 'out/raw/a.png', 'out/crf/a.png', 'out/raw_overlay/a.jpg'} <= changed
    assert not {path for path in changed if path.endswith(('c.png', 'd.png')) or path == 'out/crf/b.png'}
    before = stamps()
    assert run('predict', '--colour', '--crf-iterations', '1') == 0
    assert {path for path, stamp in stamps().items() if stamp != before[path] and path.endswith('.png') and
            'colour' not in path} == {f'out/crf/{name}.png' for name in NAMES}
    for extra in ['--scales', '0.5'], ['--fusion', 'max'], ['--infer-size', '57']:
        before = stamps()
        assert run('predict', '--crf', 'none', *extra) == 0
        assert {path for path, stamp in stamps().items() if stamp != before[path]} == {
            f'out/raw/{name}.png' for name in NAMES}


def test_without_a_list_all_images_are_predicted_and_copies_have_colours(segmented):
    os.remove('list.txt')
    assert run('predict', '--colour', '--crf', 'none', without=['--data-list', 'list.txt']) == 0
    assert {os.path.relpath(path, 'out/raw')[:-4] for path in stamps('out/raw')} == set(NAMES)
    with Image.open('out/raw_colour/sub/d.png') as image:
        assert image.mode == 'P' and (np.array(image) == read('raw', 'sub/d')).all()
    assert os.path.isfile('out/raw_overlay/sub/d.jpg')


WITHOUT_MXNET = '''
import sys
sys.modules['mxnet'] = None
from tests.helpers import segment_data
sys.exit(segment_data.run('export', '--model', 'segment/net-0001.params') or
         segment_data.run('predict onnx', '--model', 'out.onnx') or
         segment_data.run('infer onnx', '--snapshot', 'fresh'))
'''


def test_mxnet_is_not_imported(segmented):
    done = subprocess.run([sys.executable, '-c', WITHOUT_MXNET], stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT))
    assert done.returncode == 0, done.stderr
    assert all(map(os.path.isfile, ('out.onnx', 'out/crf/a.png', 'fresh/results/scores_icd/a.npy')))


def test_the_class_names_of_a_training_are_its_own(segmented):
    files.save_json('segment/net.json', {'class_names': voc.CATEGORIES[::-1]})
    files.save_bytes('annotations/a.xml', (ANNOTATION % 'aeroplane').encode())      # class 20 now
    assert run('predict', '--only-known-classes', '--annotation-root', 'annotations') == 0
    assert set(np.unique(read('raw', 'a'))) <= {0, 20}
