"""Loaders: batches depend on the seed alone, every image is seen, and broken files end the run with one line."""
import os
import signal
import time
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from mxnet import gluon

from icd.data import augment, datasets, geometry, images, loader, superpixel_map
from icd.errors import UserError
from tests.data import cut

NAMES = [f'n{i:02d}' for i in range(11)]
LABELS = np.eye(11, 4, dtype=np.float32)
SIZE = 49


@pytest.fixture
def folder(tmp_path):
    """Eleven small images of different sizes with superpixels."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        height, width = rng.integers(20, 90, 2)
        small = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
        image = cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / (name + '.jpg')), image)
        superpixel_map.write(superpixel_map.path(str(tmp_path / 'superpixels'), name),
                             np.arange(height)[:, None] // 9 * 1000 + np.arange(width) // 9)
    return str(tmp_path)


def training_set(folder, seed=3, **changes):
    values = dict(superpixel_root=os.path.join(folder, 'superpixels'), size=SIZE, seed=seed)
    return datasets.IcdTrainingSet(NAMES, LABELS, folder, **dict(values, **changes))


@pytest.fixture
def loaders():
    """Makes loaders and closes them."""
    made = []

    def make(dataset, batch_size=4, num_workers=0, part=0, parts=1, seed=3):
        sampler = loader.EpochSampler(len(dataset), batch_size, seed, 0, part, parts)
        made.append(loader.BatchLoader(dataset, sampler, num_workers))
        return made[-1]
    yield make
    for each in made:
        each.close()


def content(batches):
    return [(b.image.asnumpy(), b.label.asnumpy(), b.superpixel.asnumpy(), b.names) for b in batches]


def same(first, second):
    return len(first) == len(second) and all(
        all((x == y).all() for x, y in zip(a[:3], b[:3])) and a[3] == b[3] for a, b in zip(first, second))


def test_sample_equals_the_view_of_its_files(folder):
    dataset = training_set(folder)
    for index, name in enumerate(NAMES):
        image, label, superpixel = dataset[2, 5, index]
        path = os.path.join(folder, name)
        whole = images.read_image(path + '.jpg')
        view = augment.random_view(*whole.shape[:2], SIZE, np.random.default_rng([2, 3, 2, 5]))
        crop, labels = cut(whole, superpixel_map.read(os.path.join(folder, 'superpixels', name + '.png')), view)
        assert image.dtype == np.uint8 and (image == crop[..., ::-1].transpose(2, 0, 1)).all()
        assert label.dtype == np.float32 and (label == LABELS[index]).all()
        assert superpixel.dtype == np.int32
        assert (superpixel == superpixel_map.renumber(superpixel_map.sample(labels))).all()


def test_batch_has_the_shapes_and_types_of_the_network(folder, loaders):
    for batch in loaders(training_set(folder)).epoch(0):
        assert batch.image.shape == (4, 3, SIZE, SIZE) and batch.image.dtype == np.uint8
        assert batch.label.shape == (4, 4) and batch.label.dtype == np.float32
        assert batch.superpixel.shape == (4, 7, 7) and batch.superpixel.dtype == np.int32
        assert (batch.label.asnumpy() == LABELS[[NAMES.index(n) for n in batch.names]]).all()
        assert batch.num_superpixels == batch.superpixel.asnumpy().max() + 1


def test_batches_do_not_depend_on_workers_or_cache(folder, loaders):
    made = [loaders(training_set(folder, cache=cache), 4, workers)
            for workers, cache in ((0, 'none'), (1, 'none'), (2, 'none'), (3, 'ram'), (0, 'ram'))]
    for epoch in (0, 1, 7):
        first, *others = [content(each.epoch(epoch)) for each in made]
        assert len(first) == 2 and all(same(first, other) for other in others)


def test_batches_depend_on_seed_and_epoch(folder, loaders):
    base = content(loaders(training_set(folder)).epoch(0))
    assert same(base, content(loaders(training_set(folder)).epoch(0)))
    assert not same(base, content(loaders(training_set(folder)).epoch(1)))
    assert not same(base, content(loaders(training_set(folder, seed=4)).epoch(0)))
    assert not same(base, content(loaders(training_set(folder), seed=4).epoch(0)))


@pytest.mark.parametrize('workers', [0, 2])
def test_skipping_gives_the_rest_and_reads_nothing_else(folder, loaders, workers):
    dataset = training_set(folder)
    whole = content(loaders(dataset, 2, workers).epoch(1))
    for skip in range(6):
        assert same(whole[skip:], content(loaders(dataset, 2, workers).epoch(1, skip)))
    os.remove(os.path.join(folder, whole[0][3][0] + '.jpg'))
    assert same(whole[1:], content(loaders(dataset, 2, workers).epoch(1, 1)))


class Ramps:
    """A data set of its own kind: a signal and its mean, both of which depend on the whole key."""

    class Batch(NamedTuple):
        signal: Any
        mean: Any
        keys: list

    def __len__(self):
        return 9

    def layout(self, count):
        return {'signal': ((count, 5), np.float32), 'mean': ((count,), np.float64)}

    def fill(self, keys, arrays):
        for i, (epoch, position, index) in enumerate(keys):
            arrays['signal'][i] = 100 * epoch + 10 * position + index * np.arange(5)
        arrays['mean'][:] = arrays['signal'].mean(axis=1)
        return {'keys': keys}


@pytest.mark.parametrize('workers', [0, 2])
def test_any_data_set_can_be_loaded(loaders, workers):
    batches = list(loaders(Ramps(), 2, workers, part=1, parts=2).epoch(3, skip=1))
    assert len(batches) == 3 and all(type(batch) is Ramps.Batch for batch in batches)
    for batch in batches:
        (epoch, position, index), = batch.keys
        assert epoch == 3 and batch.signal.shape == (1, 5) and batch.mean.dtype == np.float64
        assert (batch.signal.asnumpy() == 300 + 10 * position + index * np.arange(5)).all()
        assert batch.mean.asscalar() == 300 + 10 * position + 2 * index
    assert [batch.keys[0][1] for batch in batches] == [3, 5, 7]


def test_plain_gluon_loader_gives_the_same_batches(folder, loaders):
    """The data set and the sampler are Gluon's: its own loader can take them."""
    dataset = training_set(folder)
    plain = gluon.data.DataLoader(dataset, batch_sampler=loader.EpochSampler(len(NAMES), 4, 3))
    for ours, (image, label, superpixel) in zip(content(loaders(dataset).epoch(0)), plain):
        assert (ours[0] == image.asnumpy()).all() and (ours[1] == label.asnumpy()).all()
        assert (ours[2] == superpixel.asnumpy()).all()


# -------------------------------------------------------------------------------------------------- the order
def order(*arguments, epoch=0, **more):
    sampler = loader.EpochSampler(*arguments, **more)
    sampler.epoch = epoch
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


def test_epoch_is_a_permutation_without_the_incomplete_batch():
    for epoch in range(3):
        batches = order(23, 5, 0, epoch=epoch)
        indices = [index for batch in batches for _, _, index in batch]
        assert [len(b) for b in batches] == [5] * 4 and len(set(indices)) == 20 and set(indices) <= set(range(23))
        assert [key[:2] for batch in batches for key in batch] == [(epoch, p) for p in range(20)]
    orders = [[index for _, _, index in order(23, 23, seed, epoch=epoch)[0]] for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_number_of_samples():
    whole = [index for batch in order(23, 4, 0) for _, _, index in batch]
    assert [index for batch in order(23, 4, 0, 9) for _, _, index in batch] == whole[:8]
    keys = [key for batch in order(23, 4, 0, 46) for key in batch]
    assert [i for _, _, i in keys[:20]] == whole and len(set(keys)) == len(keys) == 44
    counts = np.bincount([i for _, _, i in [key for batch in order(5, 5, 0, 20) for key in batch]])
    assert counts.tolist() == [4] * 5


@pytest.mark.parametrize('parts', [2, 3])
def test_parts_of_nodes_make_up_the_batches_of_a_single_node(parts):
    single = order(23, 6, 0, epoch=2)
    by_part = [order(23, 6, 0, 0, part, parts, epoch=2) for part in range(parts)]
    for batch, *pieces in zip(single, *by_part):
        assert {len(piece) for piece in pieces} == {6 // parts}
        assert [key for piece in pieces for key in piece] == batch


def test_each_node_loads_its_part_of_every_batch(folder, loaders):
    dataset = training_set(folder)
    single = content(loaders(dataset, 4, 0).epoch(0))
    by_part = [content(loaders(dataset, 4, 1, part, 2).epoch(0)) for part in range(2)]
    for whole, first, second in zip(single, *by_part):
        assert (np.concatenate([first[0], second[0]]) == whole[0]).all() and first[3] + second[3] == whole[3]


def test_impossible_batch_sizes_are_refused():
    with pytest.raises(UserError, match='--batch-size 24: an epoch has only 23 images: use a smaller batch'):
        order(23, 24, 0)
    with pytest.raises(UserError, match='--batch-size 5: not divisible by 2 nodes: use a multiple of 2'):
        order(23, 5, 0, 0, 0, 2)


def test_without_superpixels_every_position_has_its_own_label(folder):
    os.remove(os.path.join(folder, 'superpixels', NAMES[0] + '.png'))
    image, _, superpixel = training_set(folder, superpixel_root=None)[0, 0, 0]
    assert superpixel.dtype == np.int32 and (superpixel == np.arange(49).reshape(7, 7)).all()


# -------------------------------------------------------------------------------------------------- what breaks
def break_file(folder, kind):
    path = os.path.join(folder, *(('superpixels', NAMES[4] + '.png') if 'superpixel' in kind else (NAMES[4] + '.jpg',)))
    if 'missing' in kind:
        os.remove(path)
    elif 'cut' in kind:
        with open(path, 'rb+') as file:
            file.truncate(os.path.getsize(path) // 2)
    else:
        superpixel_map.write(path, np.zeros((5, 6), np.int32))
    return path


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ['missing image', 'cut image', 'missing superpixel', 'cut superpixel',
                                  'small superpixel'])
def test_broken_file_ends_the_epoch_with_one_line(folder, loaders, workers, kind):
    made = loaders(training_set(folder), 1, workers)
    path = break_file(folder, kind)
    with pytest.raises(UserError, match='(?s)^(?!.*\n)' + path):
        content(made.epoch(0))


def test_ram_cache_reports_missing_files_and_short_memory_at_start(folder, monkeypatch):
    monkeypatch.setattr(datasets, 'free_memory', lambda: 1000)
    with pytest.raises(UserError, match='--cache ram: .*use --cache none'):
        training_set(folder, cache='ram')
    monkeypatch.undo()
    path = break_file(folder, 'missing superpixel')
    with pytest.raises(UserError, match=path + ': no such file'):
        training_set(folder, cache='ram')


def test_killed_worker_ends_training_within_seconds(folder, loaders):
    made = loaders(training_set(folder), 1, 2)
    batches = made.epoch(0)
    next(batches)
    os.kill(made.processes[0].pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(UserError, match='was killed'):
        list(batches)
    assert time.monotonic() - start < 2


# --------------------------------------------------------------------------------------------------- inference
@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('size', [65, 97])
def test_inference_sees_every_image_once(folder, workers, size):
    batches = loader.InferenceLoader(NAMES, folder, size, 4, workers)
    assert len(batches) == 3
    for _ in range(2):
        seen = []
        for batch in batches:
            assert batch.image.shape == (len(batch.names), 3, size, size) and batch.image.dtype == np.uint8
            assert len(batch.names) == len(batch.scaled_sizes)
            for k, name in enumerate(batch.names):
                image = images.read_image(os.path.join(folder, name + '.jpg'))
                square, scaled = augment.letterbox(image, size)
                assert (batch.image[k].asnumpy() == square[..., ::-1].transpose(2, 0, 1)).all()
                assert batch.scaled_sizes[k] == scaled
            seen += batch.names
        assert seen == NAMES
    assert len(batch.names) == 3
    batches.close()


def sizes_of(folder):
    return [images.image_size(images.image_path(folder, name)) for name in NAMES]


@pytest.mark.parametrize('workers', [0, 2])
def test_inference_batches_hold_images_of_one_group(folder, workers):
    def group(scaled):
        return scaled[0] > 60
    groups = [group(geometry.fitted_size(*size, size=97)) for size in sizes_of(folder)]
    assert 1 < groups.count(True) < len(groups) - 1
    batches = loader.InferenceLoader(NAMES, folder, 97, 3, workers, sizes_of(folder), group)
    seen = [(group(batch.scaled_sizes[0]), batch.names) for batch in batches]
    images = {name: image for batch in batches for name, image in zip(batch.names, batch.image.asnumpy())}
    batches.close()
    assert [key for key, _ in seen] == sorted((key for key, _ in seen), reverse=groups[0])
    assert all(key == groups[NAMES.index(name)] for key, names in seen for name in names)
    assert sorted(name for _, names in seen for name in names) == sorted(NAMES)
    assert len(seen) == sum(-(-groups.count(key) // 3) for key in (True, False))
    for batch in loader.InferenceLoader(NAMES, folder, 97, 1, 0):
        assert (images[batch.names[0]] == batch.image[0].asnumpy()).all()


def test_an_image_replaced_since_the_check_is_refused(folder):
    sizes = sizes_of(folder)
    sizes[2] = sizes[2][::-1] if sizes[2][0] != sizes[2][1] else (1, 1)
    with pytest.raises(UserError, match=NAMES[2] + '.jpg: was replaced'):
        list(loader.InferenceLoader(NAMES, folder, 97, 3, 0, sizes, lambda scaled: None))
