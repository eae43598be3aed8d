"""Parts of the mistrust: brute-force oracles, and properties of what follows from them."""
import doctest
import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from icd.method import audit, metrics
from icd.method.seed_map import cam_seed_map

SHAPE = (14, 18)


def blob(rng, radius=5.):
    """A score map (H, W) that is positive inside a disc, somewhere."""
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return (radius - np.hypot(y - rng.uniform(5, 9), x - rng.uniform(6, 12)) + rng.normal(0, .3, SHAPE)).astype(
        np.float32)


def seeded(rng, classes, **changes):
    """`Measures` of an image whose maps and seed agree, up to noise and what `changes` replaces."""
    scores = np.stack([blob(rng) for _ in classes]) if classes else np.zeros((0, *SHAPE), np.float32)
    seed = np.zeros(SHAPE, np.uint8)
    for c, score in zip(classes, scores):
        seed[score > 0] = c + 1
    blocks = (np.arange(SHAPE[0])[:, None] // 2 * 9 + np.arange(SHAPE[1]) // 2)
    given = dict(dict(seed=seed, scores_icd=scores, scores_cam=scores, superpixels=blocks), **changes)
    return audit.measure(given['seed'], given['scores_icd'], given['scores_cam'], classes, given['superpixels'])


def test_examples():
    result = doctest.testmod(audit)
    assert result.attempted >= 6 and not result.failed


def test_agreement_is_the_best_over_all_thresholds():
    rng = np.random.default_rng(0)
    for _ in range(5):
        classes, maps = (2, 7), np.stack([blob(rng), blob(rng)])
        seed = rng.choice([0, 3, 8, 255], SHAPE).astype(np.uint8)
        wanted = np.max([metrics.iou(metrics.class_counts(metrics.confusion_matrix(
            seed % 255, cam_seed_map(maps, classes, level / 20), 9)))[[3, 8]] for level in range(1, 21)], axis=0)
        found = audit.measure(seed, maps, maps, classes)
        assert np.allclose(100 * found.agreement, wanted)
        assert np.isnan(found.cut)


def test_separation_is_the_fraction_of_pairs():
    rng = np.random.default_rng(1)
    for region in (rng.random(SHAPE) < .2, blob(rng) > 1):
        score = np.round(10 * rng.normal(size=SHAPE)).clip(-20, 20)
        pairs = score[region][:, None] - score[~region]
        assert np.isclose(audit.separation(score, region), np.mean((pairs > 0) + .5 * (pairs == 0)))
        assert np.isclose(audit.separation(-score, region), 1 - audit.separation(score, region))
    for region in (np.zeros(SHAPE, bool), np.ones(SHAPE, bool)):
        assert audit.separation(score, region) == .5


def test_superpixels_that_a_seed_cuts():
    rng = np.random.default_rng(2)
    labels, seed = rng.integers(0, 6, SHAPE), rng.choice([0, 4, 255], SHAPE).astype(np.uint8)
    minority = [sum(sorted(np.unique(seed[labels == one], return_counts=True)[1])[:-1]) for one in range(6)]
    assert np.isclose(audit.cut_superpixels(seed, labels), sum(minority) / seed.size)
    whole = rng.choice([0, 4, 255], 6).astype(np.uint8)[labels]
    assert audit.cut_superpixels(whole, labels) == 0


def test_a_missing_class_is_the_worst_there_is():
    found = seeded(np.random.default_rng(3), (1, 4), seed=np.uint8(np.full(SHAPE, 2)))
    assert found.agreement[1] == 0 and found.separation.tolist() == [.5, .5] and found.shares.tolist() == [1, 0]


def labels_of(all_classes, count):
    labels = np.zeros((len(all_classes), count))
    for row, classes in zip(labels, all_classes):
        row[list(classes)] = 1
    return labels


def population(rng):
    """Twelve good seeds of two classes; their labels."""
    classes = [(i % 2,) for i in range(12)]
    return [seeded(rng, one) for one in classes], labels_of(classes, 3)


BROKEN = {'cam': {'scores_cam': np.linspace(-1, 1, 14 * 18, dtype=np.float32).reshape(1, *SHAPE)},
          'icd': {'scores_icd': -blob(np.random.default_rng(5))[None]},
          'superpixels': {'superpixels': np.zeros(SHAPE, int)},
          'share': {'seed': np.pad(np.ones((1, 1), np.uint8), ((7, 6), (9, 8)))}}


@pytest.mark.parametrize('part, broken', BROKEN.items())
def test_each_part_finds_what_is_planted_for_it(part, broken):
    rng = np.random.default_rng(4)
    measured, labels = population(rng)
    measured[6] = seeded(rng, (0,), **broken)
    found = audit.parts(measured, labels)
    column = found[:, audit.PARTS.index(part)]
    assert column.argmax() == 6 and column[6] > 1.5 * np.delete(column, 6).max()


def test_an_image_that_is_the_worst_by_every_part_has_all_the_mistrust():
    rng = np.random.default_rng(4)
    measured, labels = population(rng)
    measured[6] = seeded(rng, (0,), **{name: value for broken in BROKEN.values() for name, value in broken.items()})
    found = audit.mistrust(audit.parts(measured, labels))
    assert found[6] == 100 and np.delete(found, 6).max() < 95


def test_the_usual_share_is_the_median():
    measured, labels = population(np.random.default_rng(9))
    for c in range(2):
        shares = [float(one.shares[0]) for one in measured[c::2]]
        assert np.isclose(audit.usual_shares(measured, labels)[c], np.median(shares)) and len(set(shares)) > 2


def test_mistrust_is_made_of_ranks_whatever_the_order():
    rng = np.random.default_rng(6)
    parts = rng.integers(0, 5, (9, 4)).astype(float)
    wanted = 100 * np.mean([((rankdata(column) - 1) / 8) ** 2 for column in parts.T], axis=0) ** .5
    assert np.allclose(audit.mistrust(parts), wanted)
    order = rng.permutation(9)
    assert np.allclose(audit.mistrust(parts[order]), wanted[order])
    assert np.allclose(audit.mistrust(np.exp(parts)), wanted)               # any scale
    parts[:, 2] = np.nan
    assert np.allclose(audit.mistrust(parts), audit.mistrust(np.delete(parts, 2, axis=1)))
    assert audit.ranks(np.array([3.])).tolist() == [0]


def test_images_without_classes_are_not_suspicious():
    measured, labels = population(np.random.default_rng(7))
    measured.append(seeded(np.random.default_rng(8), ()))
    found = audit.parts(measured, np.vstack([labels, np.zeros(3)]))
    assert found[-1].tolist() == [0, 0, 0, 1] and audit.mistrust(found).argmin() == 12
    assert np.isnan(audit.usual_shares(measured, np.vstack([labels, np.zeros(3)]))[2])


def test_classes_that_labels_do_not_separate():
    for seed in range(20):
        labels = np.random.default_rng(seed).random((5, 4)) < .5
        found = audit.never_alone(labels)
        for one, other in itertools.permutations(range(4), 2):
            if labels[:, one].any() and labels[labels[:, one], other].all():
                assert found[one] <= other
        assert all(labels[labels[:, one], other].all() and labels[:, one].any() for one, other in found.items())
