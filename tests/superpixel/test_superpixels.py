"""`icd.superpixels`: equal to the program, whatever the array's layout; what it refuses, imports and holds up."""
import doctest
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from icd import superpixels
from icd.data.images import read_image
from tests.helpers import PROJECT
from tests.superpixel.superpixel_program import build, draw, labels_of

SETTINGS = [('slic', {}), ('slic', {'compactness': 20}), ('slic', {'compactness': .3, 'iterations': 3}), ('graph', {})]


@pytest.fixture(scope='module', autouse=True)
def built():
    build()


def options(method, settings):
    """The program's options for the same labels."""
    return ['--method', method] + [f'--{name}={value}' for name, value in settings.items()]


# -------------------------------------------------------------------------------------------- equal to the program
@pytest.mark.parametrize('method, settings', SETTINGS)
@pytest.mark.parametrize('min_size', [1, 20, 75, 1000])
def test_labels_are_those_of_the_program(method, settings, min_size, tmp_path):
    sizes = [(1, 1), (2, 90), (60, 80), (101, 67), (200, 300)]
    images = {f'{h}x{w}': draw(h, w, h) for h, w in sizes}
    for name, bgr in images.items():
        cv2.imwrite(str(tmp_path / (name + '.png')), bgr)
    expected = labels_of(tmp_path, list(images), tmp_path, *options(method, settings), min_size=min_size)
    for name, bgr in images.items():
        labels = superpixels.make_superpixels(np.ascontiguousarray(bgr[..., ::-1]), min_size, method, **settings)
        assert labels.dtype == np.int32 and labels.shape == bgr.shape[:2]
        assert (labels == expected[name]).all(), name


@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_labels_of_real_images_are_those_of_the_program(method, real_images, tmp_path):
    folder = os.path.join(real_images, 'voc_mini', 'JPEGImages')
    names = sorted(file[:-4] for file in os.listdir(folder))
    expected = labels_of(tmp_path, names, folder, '--method', method)
    for name in names:
        bgr = read_image(os.path.join(folder, name + '.jpg'))
        assert (superpixels.make_superpixels(bgr[..., ::-1], 75, method) == expected[name]).all(), name


def test_colours_are_red_green_blue():
    image = draw(100, 120)
    assert (superpixels.slic(image) != superpixels.slic(image[..., ::-1])).any()


def layouts(image):
    """The same values in memory of other orders and strides."""
    big = np.zeros((image.shape[0] + 9, image.shape[1] + 5, 4), np.uint8)
    big[4:-5, 2:-3, 1:] = image
    frozen = image.copy()
    frozen.flags.writeable = False
    return {'view of a larger one': big[4:-5, 2:-3, 1:], 'Fortran order': np.asfortranarray(image),
            'channels first': np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
            'reversed rows': np.ascontiguousarray(image[::-1])[::-1],
            'reversed columns': np.ascontiguousarray(image[:, ::-1])[:, ::-1],
            'BGR': np.ascontiguousarray(image[..., ::-1])[..., ::-1],
            'BGR, reversed rows': np.ascontiguousarray(image[::-1, :, ::-1])[::-1, :, ::-1],
            'every second column': np.repeat(image, 2, 1)[:, ::2], 'every pixel one value': None, 'read-only': frozen}


@pytest.mark.parametrize('cut', [superpixels.slic, superpixels.felzenszwalb])
@pytest.mark.parametrize('layout', sorted(layouts(draw(2, 3))))
def test_layout_in_memory_does_not_matter(layout, cut):
    image = draw(90, 70)
    given = layouts(image)[layout]
    if layout == 'every pixel one value':
        image = np.full((90, 70, 3), 130, np.uint8)
        given = np.broadcast_to(np.uint8(130), (90, 70, 3))
    before = given.copy()
    assert (cut(given, 30) == cut(image, 30)).all() and (given == before).all()


@pytest.mark.parametrize('shape', [(0, 5, 3), (5, 0, 3), (0, 0, 3)])
def test_image_without_pixels_is_refused(shape):
    for cut in (superpixels.slic, superpixels.felzenszwalb):
        labels = cut(np.zeros(shape, np.uint8))
        assert labels.shape == shape[:2] and labels.dtype == np.int32


# ------------------------------------------------------------------------------------------------- bad arguments
IMAGE = draw(20, 30)
TOO_LARGE = np.broadcast_to(np.uint8(0), (1 << 15, (1 << 15) + 1, 3))
BAD_IMAGES = {
    'float': IMAGE.astype(np.float32), 'int8': IMAGE.astype(np.int8), 'bool': IMAGE > 9, 'grey': IMAGE[..., 0],
    'one channel': IMAGE[..., :1], 'four channels': np.dstack([IMAGE, IMAGE[..., :1]]), 'batch': IMAGE[None],
    'channels first': IMAGE.transpose(2, 0, 1), 'None': None, 'text': 'image.jpg', 'list': IMAGE.tolist(),
    'too large': TOO_LARGE}
BAD_ARGUMENTS = [
    ('slic', {'min_size': 0}), ('slic', {'min_size': -75}), ('slic', {'min_size': 7.5}), ('slic', {'min_size': '75'}),
    ('slic', {'min_size': None}), ('slic', {'min_size': 2 ** 31}), ('slic', {'compactness': 0}),
    ('slic', {'compactness': -1}), ('slic', {'compactness': float('nan')}), ('slic', {'compactness': float('inf')}),
    ('slic', {'compactness': 'high'}), ('slic', {'compactness': None}), ('slic', {'iterations': 0}),
    ('slic', {'iterations': 2.}), ('slic', {'iterations': 2 ** 40}), ('felzenszwalb', {'min_size': 0}),
    ('felzenszwalb', {'min_size': 2 ** 31}), ('felzenszwalb', {'min_size': 7.5})]


@pytest.mark.parametrize('cut', ['slic', 'felzenszwalb'])
@pytest.mark.parametrize('case', sorted(BAD_IMAGES))
def test_bad_image_is_a_value_error(case, cut):
    with pytest.raises(ValueError, match='^image: '):
        getattr(superpixels, cut)(BAD_IMAGES[case])


@pytest.mark.parametrize('cut, arguments', BAD_ARGUMENTS)
def test_bad_argument_is_a_value_error_that_names_it(cut, arguments):
    with pytest.raises(ValueError, match=f'^{next(iter(arguments))}: '):
        getattr(superpixels, cut)(IMAGE, **arguments)


def test_unknown_method_is_a_value_error():
    with pytest.raises(ValueError, match="^method: .*'lsc'"):
        superpixels.make_superpixels(IMAGE, 75, 'lsc')


def test_whole_numbers_of_numpy_are_taken():
    assert (superpixels.slic(IMAGE, np.int64(20), np.float32(6), np.uint8(10)) == superpixels.slic(IMAGE, 20)).all()


# ------------------------------------------------------------------------------------------- threads, imports
def test_threads_give_the_same_labels():
    images = [draw(90 + 7 * i, 150 - 5 * i, i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for cut in (superpixels.slic, superpixels.felzenszwalb):
            assert all((one == other).all() for one, other in zip(pool.map(cut, images), map(cut, images)))


@pytest.mark.parametrize('cut', [superpixels.slic, superpixels.felzenszwalb])
def test_other_python_threads_run_during_a_cut(cut):
    image = cv2.resize(draw(400, 600), (1500, 1000))
    inside, seen = threading.Event(), 0

    def work():
        inside.set()
        cut(image)
        inside.clear()
    worker = threading.Thread(target=work)
    worker.start()
    inside.wait()
    while inside.is_set():
        seen += 1
        time.sleep(0)
    worker.join()
    assert seen > 100


def run_python(code):
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, check=True, text=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT), cwd=PROJECT).stdout


def test_import_takes_little_time():
    code = 'import time; start = time.process_time(); import icd.superpixels; print(time.process_time() - start)'
    assert min(float(run_python(code)) for _ in range(3)) < .3


def test_neither_mxnet_nor_opencv_is_imported():
    code = ('import sys; from icd.superpixels import slic, felzenszwalb; import numpy; '
            'slic(numpy.zeros((9, 9, 3), numpy.uint8)); print(*sorted({name.split(".")[0] for name in sys.modules}))')
    assert not {'mxnet', 'cv2', 'gluoncv', 'scipy', 'PIL', 'matplotlib'} & set(run_python(code).split())


def test_examples_in_docstrings():
    failed, tried = doctest.testmod(superpixels)
    assert failed == 0 and tried >= 12
