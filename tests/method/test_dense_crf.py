"""The CRF over unaries of every pixel and label; `test_crf.py` has seeds."""
import doctest
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from icd.method import crf, mean_field
from tests.method.test_crf import drawing, every_class, plain_crf, smooth


@pytest.fixture(params=['compiled', 'pydensecrf'])
def backend(request):
    """Tests that take it run with each back end; both have to be installed here."""
    return request.param


def scores(seed, num_labels, height, width, scale=5):
    """Smooth random unaries; a scale of 100 makes most labels all but impossible."""
    rng = np.random.default_rng(seed)
    blurred = [smooth(rng, height, width) for _ in range(num_labels)]
    return np.stack(blurred) * np.float32(scale / max(np.std(blurred), 1e-3))


def softmax(unary):
    power = np.exp(unary.min(0) - unary.astype(float))
    return power / power.sum(0)


@pytest.mark.parametrize('num_labels, height, width', [
    (1, 5, 7), (1, 1, 1), (2, 1, 1), (2, 61, 71), (4, 30, 31), (5, 33, 1), (8, 16, 16), (9, 1, 40), (17, 21, 23),
    (21, 53, 50), (21, 1, 1), (24, 17, 16), (81, 30, 51)])
def test_dense_is_pydensecrf(backend, num_labels, height, width):
    image, unary = drawing(1, height, width, 1)[0], scores(2, num_labels, height, width)
    probability = crf.dense_crf(image, unary, backend=backend)
    assert probability.shape == unary.shape and probability.dtype == np.float32 and probability.flags.c_contiguous
    assert np.abs(probability - plain_crf(image, unary)).max() <= 1e-5
    assert np.abs(probability.sum(0) - 1).max() <= 1e-5


@pytest.mark.parametrize('changed', [dict(iterations=0), dict(iterations=3), dict(gaussian=(1.5, 5.)),
                                     dict(bilateral=(20., 30., 4.)), dict(gaussian=(1, 0), bilateral=(121, 5, 4))])
def test_dense_is_pydensecrf_for_other_parameters(backend, changed):
    image, unary = drawing(3)[0], scores(3, 6, 60, 70)
    plain = plain_crf(image, unary, **changed)
    assert np.abs(crf.dense_crf(image, unary, backend=backend, **changed) - plain).max() <= 1e-5
    assert np.abs(plain - plain_crf(image, unary)).max() > 1e-3                 # the parameter matters at all


@pytest.fixture(scope='module', params=[3, 100])
def of_images(request, real_images):
    """Images, unaries of a scale, and their plain probabilities, which take most of the time of the test."""
    folder, found = os.path.join(real_images, 'voc_mini', 'JPEGImages'), []
    for number, name in enumerate(sorted(os.listdir(folder))[2::12]):
        image = cv2.imread(os.path.join(folder, name))[:, :, ::-1].copy()
        unary = scores(number, 21, *image.shape[:2], request.param)
        found.append((image, unary, plain_crf(image, unary)))
    return found


def test_dense_is_pydensecrf_on_images(backend, of_images):
    for image, unary, plain in of_images:
        assert np.abs(crf.dense_crf(image, unary, backend=backend) - plain).max() <= 1e-5


@pytest.mark.parametrize('num_labels', [3, 7, 21])
def test_labels_in_another_order_are_the_same_labels(backend, num_labels):
    image, unary = drawing(4)[0], scores(4, num_labels, 60, 70)
    order = np.random.default_rng(0).permutation(num_labels)
    assert (order != np.arange(num_labels)).any()
    expected = crf.dense_crf(image, unary, backend=backend)[order]
    assert np.abs(crf.dense_crf(image, unary[order], backend=backend) - expected).max() <= 1e-5


@pytest.mark.parametrize('num_labels, num_present', [(21, 2), (21, 21), (5, 3), (2, 1)])
def test_refine_seed_equals_dense_crf_of_its_unaries(backend, num_labels, num_present):
    image, seed = drawing(5, num_present=num_present, num_labels=num_labels)
    dense = crf.dense_crf(image, crf.seed_unary(seed, num_labels, .6), backend=backend)
    collapsed = every_class(*crf.seed_probabilities(image, seed, num_labels, .6, backend=backend), num_labels)
    assert np.abs(dense - collapsed).max() <= 1e-5
    label = np.where(dense.max(0) < .1, 255, dense.argmax(0))
    assert (crf.refine_seed(image, seed, num_labels, .6, backend=backend) != label)[dense.max(0) > .1001].mean() <= 1e-3


def test_seed_unary_is_minus_the_log_probability():
    unary = crf.seed_unary(np.uint8([[0, 2, 255]]), 3, .5)
    assert unary.shape == (3, 1, 3) and unary.dtype == np.float32
    assert np.allclose(np.exp(-unary[:, 0, :2]), [[.6, .2], [.2, .2], [.2, .6]])
    assert len(set(unary[:, 0, 2])) == 1                                        # undefined: no label is preferred
    assert np.allclose(crf.seed_unary(np.uint8([[0]]), 2, 1)[:, 0, 0], [0, -np.log(1e-5)])


@pytest.mark.parametrize('num_labels', [3, 21])
def test_a_constant_added_to_a_pixels_unaries_changes_nothing(backend, num_labels):
    image, unary = drawing(6)[0], scores(6, num_labels, 60, 70)
    before = crf.dense_crf(image, unary, backend=backend)
    shared = np.float32(np.random.default_rng(6).uniform(-30, 30, unary.shape[1:]))
    assert np.abs(crf.dense_crf(image, unary + shared, backend=backend) - before).max() <= 1e-4
    # Not even where energies are far from 0 (and so less precise): labels that are padding stay impossible.
    far = crf.dense_crf(image, unary + np.float32(2e4), backend=backend)
    assert np.abs(far - before).max() <= .02 and np.abs(far.sum(0) - 1).max() <= 1e-5


def test_labels_of_equal_unaries_have_equal_probabilities(backend):
    image, unary = drawing(7)[0], scores(7, 9, 60, 70)
    unary[[3, 8]] = unary[0]
    probability = crf.dense_crf(image, unary, backend=backend)
    assert np.abs(probability[[3, 8]] - probability[0]).max() <= 1e-6
    even = crf.dense_crf(image, np.zeros_like(unary), backend=backend)
    assert np.abs(even - 1 / 9).max() <= 1e-6


def test_without_pairwise_terms_the_result_is_the_softmax(backend):
    image, unary = drawing(8)[0], scores(8, 5, 60, 70)
    for changed in (dict(iterations=0), dict(gaussian=(3, 0), bilateral=(80, 13, 0))):
        assert np.abs(crf.dense_crf(image, unary, backend=backend, **changed) - softmax(unary)).max() <= 1e-6


def test_sure_unaries_take_no_longer():
    # Their probabilities come near to the smallest number, below which some processors take a hundred times as long.
    image, seconds = drawing(4, 120, 150)[0], {}
    for scale in (1, 20) * 3:
        unary = scores(4, 21, 120, 150, scale)
        start = time.process_time()
        crf.dense_crf(image, unary, backend='compiled')
        seconds[scale] = min(time.process_time() - start, seconds.get(scale, np.inf))
    assert seconds[20] < 1.7 * seconds[1]


def test_numbers_elsewhere_may_be_as_small_as_before():
    crf.dense_crf(drawing(4)[0], scores(4, 21, 60, 70), backend='compiled')
    assert np.float32(2e-38) * np.float32(.01) > 0


def test_edges_are_followed(backend):
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 255
    unary = np.zeros((3, 30, 40), np.float32)
    unary[0, :, :12] = unary[2, :, 26:] = -1
    label = crf.dense_crf(image, unary, backend=backend).argmax(0)
    assert (label[:, :20] == 0).all() and (label[:, 20:] == 2).all()


def test_inputs_are_unchanged_and_may_be_views(backend):
    image, unary = drawing(9)[0], scores(9, 5, 60, 70)
    before = image.copy(), unary.copy()
    expected = crf.dense_crf(image, unary, backend=backend)
    assert (image == before[0]).all() and (unary == before[1]).all()
    view = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1]
    assert (crf.dense_crf(view, np.asfortranarray(unary), backend=backend) == expected).all()


IMAGE, UNARY = np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 5), np.float32)


@pytest.mark.parametrize('image, unary, changed, message', [
    (IMAGE, UNARY[:, :, :4], {}, 'do not fit'), (IMAGE, UNARY.transpose(0, 2, 1), {}, 'do not fit'),
    (IMAGE, UNARY[0], {}, 'do not fit'), (IMAGE[..., 0], UNARY, {}, 'do not fit'), (IMAGE, UNARY[:0], {}, 'do not fit'),
    (IMAGE[:0], UNARY[:, :0], {}, 'do not fit'), (IMAGE / 255, UNARY, {}, 'uint8'),
    (IMAGE, UNARY.astype(float), {}, 'float32'), (IMAGE, UNARY.astype('>f4'), {}, 'float32'),
    (IMAGE, UNARY + np.float32(np.nan), {}, 'finite'), (IMAGE, UNARY + np.float32(np.inf), {}, 'finite'),
    (IMAGE, UNARY, dict(iterations=-1), 'iterations'), (IMAGE, UNARY, dict(gaussian=(3, np.nan)), 'finite'),
    (IMAGE, UNARY, dict(bilateral=(80, 13)), '3 finite'), (IMAGE, UNARY, dict(bilateral=(np.inf, 13, 10)), 'finite'),
    (IMAGE, UNARY, dict(gaussian=(0, 3)), 'too small'), (IMAGE, UNARY, dict(gaussian=(-3, 3)), 'too small'),
    (IMAGE, UNARY, dict(bilateral=(80, 0, 10)), 'too small'),
    (IMAGE, UNARY, dict(bilateral=(1e-5, 13, 10)), 'too small'),
    (IMAGE, UNARY, dict(backend='gpu'), "'gpu'.*compiled, pydensecrf")])
def test_arguments_that_do_not_fit_are_refused(image, unary, changed, message):
    for backend in [changed['backend']] if 'backend' in changed else mean_field.BACKENDS:
        with pytest.raises(ValueError, match=message):
            crf.dense_crf(image, unary, **{**changed, 'backend': backend})


def test_one_infinite_unary_is_refused():
    unary = np.zeros((21, 40, 50), np.float32)
    unary[20, 39, 49] = -np.inf
    with pytest.raises(ValueError, match='finite'):
        crf.dense_crf(np.zeros((40, 50, 3), np.uint8), unary)


def test_the_compiled_back_end_is_used_when_available(monkeypatch):
    image, unary = drawing(10)[0], scores(10, 21, 60, 70)
    by = {name: crf.dense_crf(image, unary, backend=name) for name in ('compiled', 'pydensecrf')}
    assert (by['compiled'] != by['pydensecrf']).any()           # sums of more than eight labels are rounded otherwise
    assert crf.is_compiled() and (crf.dense_crf(image, unary) == by['compiled']).all()
    monkeypatch.delitem(mean_field.BACKENDS, 'compiled')
    assert not crf.is_compiled() and (crf.dense_crf(image, unary) == by['pydensecrf']).all()
    with pytest.raises(ValueError, match="no CRF back end 'compiled'"):
        crf.dense_crf(image, unary, backend='compiled')


def test_docstring_examples_hold():
    result = doctest.testmod(crf)
    assert result.attempted >= 9 and not result.failed


@pytest.mark.parametrize('num_labels', [21, 81])
def test_memory_is_as_documented(num_labels):
    code = f'''
import numpy as np
from icd.method.crf import dense_crf
def peak():
    with open('/proc/self/status') as file:
        return int(next(line for line in file if line.startswith('VmHWM')).split()[1]) * 1024
image, unary = np.zeros((375, 500, 3), np.uint8), np.ones(({num_labels}, 375, 500), np.float32)
image[::9, ::7] = np.random.default_rng(0).integers(0, 99, image[::9, ::7].shape)
before = peak()
dense_crf(image, unary, iterations=1, backend='compiled')
print(peak() - before)'''
    peak = int(subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, check=True).stdout)
    size = 375 * 500
    assert num_labels * size * 4 < peak <= 2.5 * num_labels * size * 4 + 100 * size
