"""Training data of a segmentation network: images and labels see the same pixels, and no label is made up."""
import glob
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from icd import files, parallel
from icd.data import augment, masks
from icd.data.seed_check import MaskCounts, check_masks, check_taught
from icd.data.segmentation_set import SegmentationTrainingSet
from icd.errors import Problems, UserError

SIZE, SIDE = 65, 9


def blobs(height, width, rng):
    """A mask with large parts of one class, 255 at their edges."""
    fields = [cv2.resize(rng.random((5, 6)), (width, height), interpolation=cv2.INTER_CUBIC) for _ in range(4)]
    mask = np.array([0, 3, 7, 15], np.uint8)[np.argmax(fields, 0)]
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.where(edges > 0, 255, mask).astype(np.uint8)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Images of various sizes whose value says what their mask holds: class times 10, 200 where it is 255."""
    root, rng = str(tmp_path_factory.mktemp('data')), np.random.default_rng(0)
    names = []
    for i, (height, width) in enumerate([(40, 90), (90, 40), (65, 65), (150, 170), (33, 20)]):
        mask = blobs(height, width, rng)
        image = np.where(mask == 255, 200, 10 * mask.astype(int)).astype(np.uint8)
        files.save_image(os.path.join(root, 'images', f'{i}.png'), np.repeat(image[..., None], 3, 2))
        os.rename(os.path.join(root, 'images', f'{i}.png'), os.path.join(root, 'images', f'{i}.jpg'))
        masks.save_mask(os.path.join(root, 'masks', f'{i}.png'), mask)
        names.append(str(i))
    return root, names


def dataset(data, **values):
    root, names = data
    return SegmentationTrainingSet(names, os.path.join(root, 'images'), os.path.join(root, 'masks'), SIZE, 5,
                                   **values)


def samples(data, count=60, **values):
    made = dataset(data, **values)
    return [made[0, i, i % len(made)] for i in range(count)]


# -------------------------------------------------------------------------------------------------------- samples
def test_labels_are_those_of_the_pixels_the_scores_are_at(data):
    """Position i is at pixel 8i: without interpolation the image says which class is there."""
    for image, label in samples(data, scale=False, padding=(200, 200, 200)):
        at = image[0, ::8, ::8].astype(int)
        assert ((label == 255) == (at == 200)).all() and (label[label < 255] * 10 == at[label < 255]).all()
        assert image.shape == (3, SIZE, SIZE) and label.shape == (SIDE, SIDE) and label.dtype == np.uint8


def test_every_view_of_training_is_drawn(data):
    made, again = samples(data), samples(data)
    assert all((a == b).all() for one, other in zip(made, again) for a, b in zip(one, other))
    assert len({image.tobytes() for image, _ in made}) > 40
    labels = {int(value) for _, label in made for value in np.unique(label)}
    assert labels <= {0, 3, 7, 15, 255} and len(labels) > 3


def test_padding_is_ignored_and_has_the_colour_of_the_network(data):
    for image, label in samples(data, count=1, scale=False, mirror=False, padding=(1, 2, 3)):   # 40x90
        assert (label[5:] == 255).all() and (image[:, 40:] == np.array([1, 2, 3])[:, None, None]).all()
        assert set(np.unique(label[:5])) > {255}


def test_files_in_memory_give_the_same_samples(data):
    for one, other in zip(samples(data, 10), samples(data, 10, cache='ram')):
        assert all((a == b).all() for a, b in zip(one, other))


def test_a_mask_of_another_size_than_its_image_is_named(data, tmp_path):
    root, names = data
    for name in names:
        masks.save_mask(str(tmp_path / f'{name}.png'), np.zeros((10, 11), np.uint8))
    made = SegmentationTrainingSet(names, os.path.join(root, 'images'), str(tmp_path), SIZE, 5)
    with pytest.raises(UserError, match='2.png: 11x10, but the image is 65x65: make it again'):
        made[0, 0, 2]


# ------------------------------------------------------------------------------------------- how labels are taken
def crop(mask, size=321):
    """The mask at the top left of a square of 255."""
    square = np.full((size, size), 255, np.uint8)
    inside = mask[:size, :size]
    square[:inside.shape[0], :inside.shape[1]] = inside
    return square


def sampled(mask, size=321):
    """Labels as the training takes them."""
    view = augment.View(*mask.shape, False, 0, 0, size)
    return augment.pad_labels(augment.cut_labels(mask, view, 8), (size + 7) // 8, 255)


def nearest(mask, library):
    side = (len(mask) + 7) // 8
    if library == 'opencv':
        return cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.array(Image.fromarray(mask).resize((side, side), Image.NEAREST))


def differ(mask):
    """Fraction of labels that other ways of sampling change: OpenCV, Pillow (nearest), OpenCV (bilinear); and that of
    classes the last finds which the mask does not hold."""
    whole, labels = crop(mask), sampled(mask)
    linear = cv2.resize(whole, labels.shape, interpolation=cv2.INTER_LINEAR)
    return [np.mean(found != labels) for found in (nearest(whole, 'opencv'), nearest(whole, 'pillow'), linear)] + [
        np.mean(~np.isin(linear, np.unique(whole)))]


@pytest.mark.parametrize('size', [33, 65, 321])
def test_sampled_labels_equal_a_resize_with_aligned_corners(size):
    """At a side of 8k+1, as Caffe's DeepLab shrinks its labels; one-hot and bilinear there is the same."""
    for seed in range(5):
        mask = blobs(size, size, np.random.default_rng(seed))
        positions = np.linspace(0, size - 1, (size + 7) // 8)
        assert (positions == positions.astype(int)).all()
        np.testing.assert_array_equal(sampled(mask, size), mask[np.ix_(positions.astype(int), positions.astype(int))])


def test_sampled_labels_hold_no_class_that_the_mask_lacks():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = blobs(*rng.integers(40, 400, 2), rng)
        view = augment.random_view(*mask.shape, 65, rng)
        assert set(np.unique(augment.cut_labels(mask, view, 8))) <= set(np.unique(mask))


def test_every_other_way_moves_labels():
    found = np.mean([differ(blobs(375, 500, np.random.default_rng(seed))) for seed in range(5)], 0)
    assert (found[:3] > .005).all() and 0 < found[3] < found[2]


def test_labels_of_voc_differ_as_recorded(real_images):
    """24 masks of VOC 2012, percent."""
    paths = glob.glob(os.path.join(real_images, 'voc_mini', 'SegmentationClassAug', '*.png'))
    assert len(paths) == 24
    found = 100 * np.mean([differ(masks.read_mask(path)) for path in paths], 0)
    np.testing.assert_allclose(found, [6.5, 2.9, 4.2, 2.3], atol=.05)


# --------------------------------------------------------------------------------------------------- what is checked
def test_masks_are_counted_by_class(data):
    root, names = data
    read = [masks.read_mask(os.path.join(root, 'masks', name + '.png')) for name in names]
    problems, class_names = Problems(), ('background',) + tuple(f'class {i}' for i in range(1, 16))
    counts = check_masks('--seed-root', os.path.join(root, 'masks'), names, [mask.shape for mask in read], class_names,
                         1, problems)
    problems.raise_if_any()
    for index, row in [(i, i) for i in range(16)] + [(255, 16)]:
        assert counts.pixels[row] == sum((mask == index).sum() for mask in read)
        assert counts.images[row] == sum((mask == index).any() for mask in read)
    lines = counts.lines(class_names)
    assert len(lines) == (counts.pixels > 0).sum() + 1 and 'class 1,' in lines[-1]
    other = check_masks('--seed-root', os.path.join(root, 'masks'), names[::-1], [m.shape for m in read[::-1]],
                        class_names, 1, problems)
    assert other.checksum != counts.checksum and (other.pixels == counts.pixels).all()


def test_the_checksum_of_masks_does_not_depend_on_which_is_read_first(data, monkeypatch):
    root, names = data
    found = []
    for order in (list, lambda results: list(results)[::-1]):
        monkeypatch.setattr(parallel, 'process_map', lambda function, items, *_, order=order, **__: order(
            map(function, items)))
        found.append(check_masks('', os.path.join(root, 'masks'), names, [None] * len(names),
                                 [str(i) for i in range(16)], 2, Problems()).checksum)
    assert found[0] == found[1]


@pytest.mark.parametrize('pixels, said', [((9, 0, 5), 'nothing but background and 255'),
                                          ((9, 0, 0), 'nothing but background'), ((0, 0, 9), 'is ignored .255'),
                                          ((0, 1, 9), None)])
def test_masks_that_teach_nothing_are_refused(pixels, said):
    problems = Problems()
    check_taught(MaskCounts(np.array(pixels), np.array(pixels) > 0, ''), '--seed-root', 'seeds', problems)
    assert bool(problems) == bool(said)
    if said:
        with pytest.raises(UserError, match=f'--seed-root seeds: .*{said}'):
            problems.raise_if_any()


def test_a_palette_of_another_order_is_noticed(tmp_path):
    """Of a coloured mask that a program brought into a palette of its own the colours are right, not the indices."""
    path, mask = str(tmp_path / 'mask.png'), np.array([[0, 12], [12, 3]], np.uint8)
    masks.save_colour(path, mask)

    def found():
        with open(path, 'rb') as file:
            return masks.other_index(file.read(), np.unique(masks.read_mask(path)))
    assert found() is None
    adaptive = Image.open(path).convert('RGB').convert('P', palette=Image.ADAPTIVE, colors=4)
    adaptive.save(path)
    index, meant = found()
    assert index != meant and meant in (0, 3, 12)
    grey = Image.fromarray(mask)
    grey.save(path)
    assert found() is None
    own = Image.fromarray(mask, 'P')
    own.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    own.save(path)
    assert found() is None              # another data set's colours say nothing
