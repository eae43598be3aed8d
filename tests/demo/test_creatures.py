"""The drawn data set: its truth is exact, its files are whole, and a seed decides everything."""
import hashlib
import os

import numpy as np
import pytest

from icd.data import images, masks, voc
from icd.demo import creatures, dataset


def digests(folder):
    found = {}
    for root, _, files in os.walk(folder):
        for file in set(files) - {'inputs.tsv'}:            # its lines are in the order of the processes
            with open(os.path.join(root, file), 'rb') as content:
                found[os.path.relpath(os.path.join(root, file), folder)] = hashlib.sha256(content.read()).hexdigest()
    return found


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('toy'))
    dataset.draw(folder, 24, 7)
    return folder


def test_layout_is_the_one_of_voc(drawn):
    names = voc.read_list(os.path.join(drawn, 'list.txt'))
    assert len(names) == 24
    assert voc.read_class_names(os.path.join(drawn, 'class_names.txt')) == creatures.CLASS_NAMES
    for name in names:
        assert images.read_image(images.image_path(os.path.join(drawn, 'JPEGImages'), name)).shape == (257, 257, 3)
        assert masks.read_mask(os.path.join(drawn, 'Saliency', name + '.png')).shape == (257, 257)


def test_annotations_hold_the_classes_of_the_truth(drawn):
    counts = []
    for name in voc.read_list(os.path.join(drawn, 'list.txt')):
        mask = masks.read_mask(os.path.join(drawn, 'SegmentationClass', name + '.png'))
        classes = voc.read_annotation(os.path.join(drawn, 'Annotations', name + '.xml'), creatures.CLASS_NAMES)
        assert mask.shape == (257, 257) and set(np.unique(mask)) - {0} == {c + 1 for c in classes}
        counts.append(len(classes))
    assert set(counts) == {0, 1, 2}


def test_truth_is_the_creature():
    """Coats are red rather than blue, and most backgrounds are not: colour alone nearly finds the truth."""
    agreements = []
    for number in range(25):
        image, mask, anybody = creatures.draw_picture(1, number)
        assert not mask[~anybody].any()
        warm = image[..., 0] > image[..., 2].astype(int) + 15
        if anybody.any():
            agreements.append((warm & anybody).sum() / (warm | anybody).sum())
    assert np.median(agreements) > .95


def test_decoys_pairs_and_classes_have_their_frequencies():
    casts = [creatures.cast(np.random.default_rng([1, number])) for number in range(3000)]
    patterns = [[pattern for pattern, *_ in cast] for cast in casts]
    decoys = [p for p in patterns if len(p) == 1 and p[0] not in creatures.CLASS_NAMES]
    assert [round(len(found) / 3000, 1) for found in (decoys, [p for p in patterns if not p])] == [.1, .1]
    two = [p for p in patterns if len(p) == 2]
    assert .13 < len(two) / 3000 < .17 and all(len(set(p)) == 2 for p in two)
    ones = [p[0] for p in patterns if len(p) == 1]
    assert all(420 < ones.count(name) < 560 for name in creatures.CLASS_NAMES)


def test_creatures_cover_about_a_sixth():
    assert .14 < np.mean([(creatures.draw_picture(2, number)[1] > 0).mean() for number in range(40)]) < .23


def test_pictures_of_seed_0_are_those_of_the_published_figures():
    """Areas and mean colours as first drawn; other releases of OpenCV may round single pixels differently."""
    areas = [(creatures.draw_picture(0, number)[1] > 0).sum() for number in range(8)]
    np.testing.assert_allclose(areas, [0, 16167, 18848, 15687, 0, 17893, 13388, 16949], rtol=.005)
    colours = [creatures.draw_picture(0, number)[0].mean((0, 1)) for number in range(3)]
    np.testing.assert_allclose(colours, [[123.51, 100.01, 154.63], [122.41, 141.5, 108.26], [126.14, 93.09, 121.18]],
                               atol=.3)
    pictures, labels = creatures.draw_parts(3, 0)
    assert [np.flatnonzero(shown).tolist() for shown in labels] == [
        [7, 8, 9, 13], [0, 4, 7, 9, 11], [0, 4, 7, 8, 9, 13]]
    np.testing.assert_allclose(pictures.mean((2, 3)), [[96.51, 130.31, 115.5], [153.95, 105.56, 138.98],
                                                       [162.39, 152.24, 88.78]], atol=.3)


def test_seed_decides_everything(drawn, tmp_path):
    dataset.draw(str(tmp_path / 'again'), 24, 7, num_process=2)
    assert digests(str(tmp_path / 'again')) == digests(drawn)
    dataset.draw(str(tmp_path / 'fewer'), 5, 7)
    fewer, all_of_them = digests(str(tmp_path / 'fewer')), digests(drawn)
    assert {f: d for f, d in fewer.items() if f != 'list.txt'}.items() <= all_of_them.items()
    dataset.draw(str(tmp_path / 'fewer'), 5, 8)
    other = digests(str(tmp_path / 'fewer'))
    assert all(other[f] != fewer[f] for f in fewer if f.startswith('JPEGImages'))


def test_existing_pictures_are_kept_and_missing_ones_drawn(drawn):
    before = {f: os.stat(os.path.join(drawn, f)).st_mtime_ns for f in digests(drawn)}
    content = digests(drawn)
    dataset.draw(drawn, 24, 7)
    assert before == {f: os.stat(os.path.join(drawn, f)).st_mtime_ns for f in digests(drawn)}
    os.remove(os.path.join(drawn, 'Annotations', 'toy_0003.xml'))
    open(os.path.join(drawn, 'JPEGImages', '.toy_0003.jpg.part'), 'w').close()
    dataset.draw(drawn, 24, 7)
    assert digests(drawn) == content


def test_parts_for_pretraining_have_consistent_labels():
    images, labels = creatures.draw_parts(120, 3)
    assert images.shape == (120, 3, 97, 97) and images.dtype == np.uint8
    assert labels.shape == (120, 14) == (120, len(creatures.PARTS)) and labels.dtype == np.float32
    assert set(np.unique(labels)) == {0, 1}
    assert (labels[:, 10:].sum(axis=1) == 1).all(), 'one background each'
    assert (labels[:, 1:7].sum(axis=1) <= labels[:, 0]).all(), 'a head has fur'
    assert (labels.mean(axis=0)[1:] > .02).all() and (labels.mean(axis=0) < .95).all()
    again = creatures.draw_parts(5, 3)
    assert (again[0] == images[:5]).all() and (again[1] == labels[:5]).all()
    assert (creatures.draw_parts(5, 4)[0] != images[:5]).any()
