import os
import resource
import subprocess
import sys

import cv2
import numpy as np
import pydensecrf.densecrf
import pytest

from icd.method import _mean_field, crf


def plain_crf(image, unary, iterations=10, gaussian=(3, 3), bilateral=(80, 13, 10)):
    """Probabilities (L, H, W) of unary energies (L, H, W), as everybody calls pydensecrf."""
    num_labels, height, width = unary.shape
    field = pydensecrf.densecrf.DenseCRF2D(width, height, num_labels)
    field.setUnaryEnergy(unary.reshape(num_labels, -1))
    field.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1])
    field.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=bilateral[2])
    return np.array(field.inference(iterations)).reshape(unary.shape)


def plain_probabilities(image, seed, num_labels=21, confidence=.5, **kwargs):
    """The CRF with a label for every class, as the original calls pydensecrf."""
    unary = np.full((num_labels,) + seed.shape, (1 - confidence) / num_labels)
    for label in range(num_labels):
        unary[label][seed == label] = confidence
    unary[:, seed == 255] = 1
    return plain_crf(image, -np.log(np.maximum(unary / unary.sum(0), 1e-5)).astype(np.float32), **kwargs)


def every_class(present, probability, num_labels):
    """Probabilities of the collapsed CRF, a row for every class again."""
    full = np.repeat(probability[-1:], num_labels, axis=0)
    full[present] = probability[:-1]
    return full


def smooth(rng, *shape):
    noise = rng.standard_normal(shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def drawing(seed, height=60, width=70, num_present=3, num_labels=21, undefined=True):
    """A smooth random image and a blobby seed of `num_present` classes."""
    rng = np.random.default_rng(seed)
    image = smooth(rng, height, width, 3)
    image = np.uint8(255 * (image - image.min()) / (image.max() - image.min()))
    classes = np.sort(rng.choice(num_labels, num_present, replace=False)).astype(np.uint8)
    label = classes[np.stack([smooth(rng, height, width) for _ in classes]).argmax(0)]
    label.ravel()[rng.choice(label.size, num_present, replace=False)] = classes         # each at least once
    if undefined:
        hole = smooth(rng, height, width) > .05
        hole[:, :2] = False
        label[hole] = 255
    return image, label


@pytest.fixture(params=['compiled', 'pydensecrf'])
def backend(request):
    """Tests that take it run with each back end; both have to be installed here."""
    return request.param


@pytest.mark.parametrize('num_present', range(1, 9))
def test_collapsed_is_plain_on_random_seeds(backend, num_present):
    image, seed = drawing(num_present, num_present=num_present, undefined=num_present != 5)
    present, probability = crf.seed_probabilities(image, seed, 21, backend=backend)
    assert list(present) == sorted(set(seed.ravel()) - {255})
    assert np.abs(every_class(present, probability, 21) - plain_probabilities(image, seed)).max() <= 1e-5


@pytest.mark.parametrize('num_labels, num_present', [(2, 2), (2, 1), (3, 2), (5, 5), (5, 3), (81, 4)])
def test_collapsed_is_plain_for_other_numbers_of_classes(backend, num_labels, num_present):
    image, seed = drawing(1, num_present=num_present, num_labels=num_labels)
    present, probability = crf.seed_probabilities(image, seed, num_labels, backend=backend)
    plain = plain_probabilities(image, seed, num_labels)
    assert np.abs(every_class(present, probability, num_labels) - plain).max() <= 1e-5


@pytest.mark.parametrize('changed', [dict(confidence=.9), dict(confidence=1.), dict(iterations=0), dict(iterations=3),
                                     dict(gaussian=(1.5, 5.)), dict(bilateral=(20., 30., 4.))])
def test_collapsed_is_plain_for_other_parameters(backend, changed):
    image, seed = drawing(2)
    present, probability = crf.seed_probabilities(image, seed, 21, **changed, backend=backend)
    plain = plain_probabilities(image, seed, **changed)
    assert np.abs(every_class(present, probability, 21) - plain).max() <= 1e-5
    assert np.abs(plain - plain_probabilities(image, seed)).max() > 1e-3        # the parameter matters at all


@pytest.fixture(scope='module')
def of_images(real_images):
    """Images, seeds and their plain probabilities, which take most of the time of the test."""
    folder, found = os.path.join(real_images, 'parity_voc', 'seeds', 'sal'), []     # these have undefined pixels
    for name in sorted(os.listdir(folder))[::8]:
        image = cv2.imread(os.path.join(real_images, 'voc_mini', 'JPEGImages', name[:-4] + '.jpg'))[:, :, ::-1].copy()
        seed = cv2.imread(os.path.join(folder, name), cv2.IMREAD_UNCHANGED)
        found.append((image, seed, plain_probabilities(image, seed)))
    return found


def test_collapsed_is_plain_on_images(backend, of_images):
    for image, seed, plain in of_images:
        present, probability = crf.seed_probabilities(image, seed, 21, backend=backend)
        assert np.abs(every_class(present, probability, 21) - plain).max() <= 1e-5
        label = plain.argmax(0)
        label[plain.max(0) < .1] = 255
        assert (crf.refine_seed(image, seed, 21, backend=backend) != label).mean() <= 1e-4


def by_both(*args, **kwargs):
    return [crf.seed_probabilities(*args, backend=name, **kwargs)[1] for name in ('compiled', 'pydensecrf')]


@pytest.mark.parametrize('num_labels, num_present, height, width', [
    (21, 1, 60, 70), (21, 3, 61, 71), (21, 5, 1, 70), (21, 6, 70, 1), (7, 7, 31, 3), (21, 12, 53, 50),
    (81, 30, 50, 51)])
def test_compiled_is_pydensecrf(num_labels, num_present, height, width):
    image, seed = drawing(7, height, width, num_present, num_labels)
    compiled, library = by_both(image, seed, num_labels)
    # Over more than two blocks of labels, sums are taken in another order.
    assert np.abs(compiled - library).max() <= (0 if num_present < 8 else 5e-6)


@pytest.mark.parametrize('width', [70, 71, 72])
def test_compiled_is_pydensecrf_on_dark_images(width):
    """Dark pixels have vertices in common with the black ones that pydensecrf fills its last four pixels up with."""
    image, seed = drawing(8, 61, width)
    compiled, library = by_both(image // 8 + 4, seed, 21)
    assert np.abs(compiled - library).max() == 0


def test_memory_does_not_grow(backend):
    image, seed = drawing(5, 200, 200)

    def resident_after(calls):
        for _ in range(calls):
            crf.refine_seed(image, seed, 21, iterations=1, backend=backend)
        with open('/proc/self/statm') as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    before, references = resident_after(5), sys.getrefcount(image)
    assert resident_after(30) - before < 2e6        # a call computes on 5 MB
    assert sys.getrefcount(image) == references


def test_too_small_a_standard_deviation_is_refused(backend):
    image, seed = drawing(0)
    side = {'compiled': 262144, 'pydensecrf': 4096}[backend]
    for gaussian, bilateral in (((3, 3), (80, 13, 10)), ((80, 3), (3, 13, 10))):
        assert crf.largest_side(gaussian, bilateral, backend=backend) == 3 * side
    with pytest.raises(ValueError, match='too small'):
        crf.refine_seed(image, seed, 21, gaussian=(1e-4, 3), backend=backend)
    with pytest.raises(ValueError, match='too small'):
        crf.refine_seed(image, seed, 21, bilateral=(80, 1e-4, 10), backend=backend)


def test_far_apart_pixels_keep_their_unaries(backend):
    """At the reach of the lattice's keys no pixel sees another: a pixel's own vertices still find each other."""
    image, seed = drawing(0, 3, 60)
    narrow = 60 / crf.largest_side((1, 1), (1, 1, 1), backend=backend)
    probability = crf.seed_probabilities(image, seed, 21, gaussian=(narrow, 3), bilateral=(narrow, 1, 10),
                                         backend=backend)[1]
    unary = crf.seed_probabilities(image, seed, 21, iterations=0, backend=backend)[1]
    known = seed != 255
    assert (probability.argmax(0) == unary.argmax(0))[known].all() and (probability.max(0) > .9)[known].all()


def test_the_most_probable_class_wins_and_edges_are_followed(backend):
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 255
    seed = np.full((30, 40), 255, np.uint8)
    seed[:, :12], seed[:, 26:] = 0, 7
    label = crf.refine_seed(image, seed, 21, backend=backend)
    assert (label[:, :20] == 0).all() and (label[:, 20:] == 7).all()


@pytest.mark.parametrize('shape', [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_images_of_one_row_or_pixel_are_refined(backend, shape):
    seed = np.full(shape, 4, np.uint8)
    assert (crf.refine_seed(np.zeros(shape + (3,), np.uint8), seed, 21, backend=backend) == 4).all()


@pytest.mark.parametrize('num_labels', [2, 21])
def test_a_seed_without_any_class_stays_undefined(backend, num_labels):
    image, _ = drawing(0)
    assert (crf.refine_seed(image, np.full(image.shape[:2], 255, np.uint8), num_labels, backend=backend) == 255).all()


def test_a_pixel_that_no_class_is_likely_for_stays_undefined(backend):
    image, seed = drawing(0, num_present=21)
    label = crf.refine_seed(image, seed, 21, iterations=0, backend=backend)
    assert (label == 255).sum() > 500 and np.array_equal(label, seed)


@pytest.mark.parametrize('confidence', [1e-6, .02, .5, 1.])
@pytest.mark.parametrize('num_labels', [4, 21])
def test_only_classes_of_the_seed_appear(backend, confidence, num_labels):
    image, seed = drawing(3, num_present=2, num_labels=num_labels)
    label = crf.refine_seed(image, seed, num_labels, confidence=confidence, backend=backend)
    assert set(label.ravel()) <= set(seed.ravel()) | {255}


def test_inputs_are_unchanged_and_may_be_views(backend):
    image, seed = drawing(4)
    before = image.copy(), seed.copy()
    expected = crf.refine_seed(image, seed, 21, backend=backend)
    assert (image == before[0]).all() and (seed == before[1]).all()
    view = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1]
    assert (crf.refine_seed(view, np.asfortranarray(seed), 21, backend=backend) == expected).all()


@pytest.mark.parametrize('image, seed, num_labels', [
    (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), 21),
    (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 21),
    (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), 21),
    (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64), 21),
    (np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4), np.uint8), 21),
    (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 21, np.uint8), 21)])
def test_arguments_that_do_not_fit_are_refused(backend, image, seed, num_labels):
    with pytest.raises(ValueError):
        crf.refine_seed(image, seed, num_labels, backend=backend)


def test_compiled_part_refuses_arguments_that_do_not_fit():
    image, unary, probability = np.zeros((2, 3, 3), np.uint8), np.zeros((4, 2, 3), np.float32), np.zeros(24, np.float32)
    weights = np.zeros(4, np.float32)

    def infer(**changed):
        arguments = dict(image=image, unary=unary, kind=None, height=2, width=3, near=weights, alike=weights)
        arguments.update(changed)
        iterations, written = arguments.pop('iterations', 2), arguments.pop('probability', probability)
        _mean_field.infer(*arguments.values(), 3., 80., 13., iterations, written)
    infer()
    assert np.allclose(probability, .25)
    kind = dict(unary=np.zeros((4, 256), np.float32), kind=np.zeros((2, 3), np.uint8))
    probability[:] = 0
    infer(**kind)
    assert np.allclose(probability, .25)
    for changed in (dict(height=3), dict(width=0), dict(height=-2, width=-3), dict(image=image[:1].copy()),
                    dict(unary=unary[:3].copy()), dict(near=weights[:3].copy()), dict(alike=weights[:2].copy()),
                    dict(near=weights[:0].copy(), alike=weights[:0].copy()), dict(iterations=-1),
                    dict(probability=probability[:23].copy()),
                    {**kind, 'kind': kind['kind'][:1].copy()}, {**kind, 'unary': unary}, {**kind, 'kind': None}):
        with pytest.raises(ValueError):
            infer(**changed)
    for changed in (dict(unary=unary.T), dict(image='no array'), dict(probability=bytes(96))):
        with pytest.raises((TypeError, ValueError, BufferError)):
            infer(**changed)


def test_worker_processes_do_not_load_mxnet():
    code = 'import icd.method.crf, icd.steps.seeds, icd.steps.export, sys; sys.exit("mxnet" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
