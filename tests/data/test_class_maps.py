"""Class maps of other programs: the same maps from every format, and what is no map refused in one line."""
import os
import pickle

import cv2
import numpy as np
import pytest

from icd.data import class_maps, score_map
from icd.data.class_maps import Source
from icd.errors import Problems, UserError
from tests.helpers.map_files import save, storage, tensor

NAMES = tuple('abcdef')
SIZE = 36, 44
CLASSES = 1, 4
MAPS = (np.random.default_rng(0).integers(-64, 64, (2, *SIZE)) / 64).astype(np.float32)     # exact in half precision
QUARTER = np.ascontiguousarray(MAPS[:, ::4, ::4])
BACKGROUND = np.full(SIZE, .5, np.float32)
KEYS = np.array(CLASSES)


def every_class(maps=MAPS):
    made = np.zeros((len(NAMES), *SIZE), maps.dtype)
    made[list(CLASSES)] = maps
    return made


FORMATS = {
    'IRN': {'keys': KEYS, 'cam': QUARTER, 'high_res': MAPS},
    'IRN with tensors': {'keys': tensor(KEYS), 'cam': tensor(QUARTER), 'high_res': MAPS},
    'nothing but tensors': {'keys': tensor(KEYS), 'high_res': tensor(MAPS)},
    'a tensor of a part of its storage': {'keys': tensor(np.array([1, 9, 4, 9]), (2,), (2,)), 'high_res': MAPS},
    'Puzzle-CAM, background first': {'keys': np.array([0, 2, 5]), 'cam': QUARTER, 'hr_cam': MAPS},
    'background with a map': {'keys': np.array([0, 2, 5]), 'rw': np.stack([BACKGROUND, *MAPS])},
    'CLIP-ES': {'keys': KEYS, 'attn_highres': MAPS.astype(np.float16)},
    'classes in another order': {'keys': KEYS[::-1], 'high_res': MAPS[::-1]},
    'a list of keys': {'keys': [1, 4], 'cam': MAPS},
    'SEAM': {1: MAPS[0], 4: MAPS[1]},
    'SEAM, double': {np.int64(4): MAPS[1].astype(np.float64), np.int64(1): MAPS[0].astype(np.float64)},
    'background and classes from 1': {0: BACKGROUND, 2: MAPS[0], 5: MAPS[1]},
    'columns first': {'keys': KEYS, 'high_res': np.asfortranarray(MAPS)},
    'big-endian': {'keys': KEYS.astype('>i4'), 'high_res': MAPS.astype('>f4')},
    'all classes': every_class(),
    'all classes, half': every_class(MAPS.astype(np.float16)),
    'all classes, columns first': np.asfortranarray(every_class()),
    'all classes and background': np.concatenate([BACKGROUND[None], every_class()])}


def read(folder, value, classes=CLASSES, names=NAMES, size=SIZE):
    save(folder / 'a.npy', value)
    return class_maps.read(Source('maps', str(folder)), 'a', classes, names, size)


@pytest.mark.parametrize('kind', FORMATS)
def test_every_format_holds_the_same_maps(tmp_path, kind):
    found = read(tmp_path, FORMATS[kind])
    assert found.maps.dtype == np.float32 and np.array_equal(found.maps, MAPS) and found.others == ()


@pytest.mark.filterwarnings('error')
def test_headers_of_python_2_are_read_without_a_warning(tmp_path):
    save(tmp_path / 'a.npy', every_class())
    whole = (tmp_path / 'a.npy').read_bytes()
    (tmp_path / 'a.npy').write_bytes(whole.replace(b'(6, 36, 44), } ', b'(6L, 36, 44), }', 1))
    found = class_maps.read(Source('maps', str(tmp_path)), 'a', CLASSES, NAMES, SIZE)
    assert b'6L' not in whole and np.array_equal(found.maps, MAPS)


def test_smaller_maps_are_scaled_to_the_image(tmp_path):
    size = 37, 50
    small = np.random.default_rng(0).random((1, 10, 13), np.float32)            # sides divided by 4, rounded up
    found = read(tmp_path, {'keys': np.array([1]), 'cam': small}, (1,), size=size)
    assert np.array_equal(found.maps[0], cv2.resize(small[0], size[::-1], interpolation=cv2.INTER_LINEAR))


def test_classes_that_nobody_asked_for_are_named(tmp_path):
    for value in FORMATS['IRN'], FORMATS['SEAM']:
        found = read(tmp_path, value, (4,))
        assert np.array_equal(found.maps, MAPS[1:]) and found.others == (1,)
    assert read(tmp_path, FORMATS['all classes'], (4,)).others == ()


@pytest.mark.parametrize('keys, classes, expected', [
    ([0, 3], (0, 3), (0, 3)), ([0, 3], (2,), (2,)), ([0, 3], (3,), (3,)), ([1, 3], (1, 3), (1, 3)),
    ([0, 3, 5], (4,), (4,)), ([0, 3, 5], (0, 5), (0, 5))])
def test_the_first_key_is_background_where_the_labels_say_so(tmp_path, keys, classes, expected):
    maps = np.stack([np.full(SIZE, key, np.float32) for key in keys])
    found = read(tmp_path, {'keys': np.array(keys), 'cam': maps}, classes)
    shifted = classes in ((2,), (4,))
    assert found.maps[:, 0, 0].tolist() == [c + shifted for c in expected]


def test_an_image_without_classes_needs_no_file(tmp_path):
    assert class_maps.read(Source('maps', str(tmp_path)), 'none', (), NAMES, SIZE).maps.shape == (0, *SIZE)


@pytest.mark.parametrize('folder', ['scores_cam', 'scores_icd'])
def test_score_maps_of_this_project_lie_in_the_letterbox(tmp_path, folder):
    scores = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    (tmp_path / folder).mkdir()
    found = read(tmp_path / folder, scores)
    assert np.array_equal(found.maps, score_map.at_image_size(scores, SIZE, 65))


def test_icd_scores_are_decided_by_the_class_activation_maps_beside_them(tmp_path):
    deciding = Source('ICD', str(tmp_path / 'scores_icd')).deciding()
    assert deciding.path('sub/a') == str(tmp_path / 'scores_cam' / 'sub/a.npy')
    assert Source('CAM', str(tmp_path / 'scores_cam')).deciding() is Source('x', str(tmp_path)).deciding() is None


SPOILT = np.where(MAPS > .9, np.nan, MAPS)
REFUSED = {
    'no map of a class': ({1: MAPS[0]}, r"lacks the map of 'e', which the labels give"),
    'no maps at all': ({}, r"lacks the map of 'b'"),
    'NaN': ({'keys': KEYS, 'high_res': SPOILT}, 'not finite'),
    'infinite in single precision': ({1: MAPS[0] * 1e300, 4: MAPS[1].astype(np.float64)}, 'not finite'),
    'no keys': ({'cam': MAPS}, 'its keys are not the indices'),
    'keys alone': ({'keys': KEYS}, "has 'keys', but none of attn_highres"),
    'keys of text': ({'keys': np.array(['cat', 'dog']), 'cam': MAPS}, 'its keys are not the indices'),
    'the same key twice': ({'keys': np.array([1, 1]), 'cam': MAPS}, 'of different classes'),
    'more maps than keys': ({'keys': KEYS[:1], 'cam': MAPS}, r"'cam' \(shape 2x36x44\) is not a map for each of 1"),
    'fewer maps, no background': ({'keys': np.array([1, 4, 5]), 'cam': MAPS}, 'the first key is not the background'),
    'a class beyond the list': ({1: MAPS[0], 4: MAPS[1], 6: MAPS[1]}, 'holds class 6, counted from 0, of 6'),
    'a negative class': ({1: MAPS[0], 4: MAPS[1], -1: MAPS[1]}, 'holds class -1'),
    'keys of two meanings': ({0: MAPS[0], 2: MAPS[0], 5: MAPS[1], 1: MAPS[1], 4: MAPS[0]}, 'the labels fit both'),
    'maps turned': ({1: MAPS[0].T, 4: MAPS[1].T}, r'shape of their image: make them .* rows before columns'),
    'maps of another image': ({1: MAPS[0][:, :30], 4: MAPS[1]}, 'do not have the shape of their image'),
    'integers': ({1: np.ones(SIZE, np.uint8), 4: MAPS[1]}, 'values of type uint8 where'),
    'objects': ({1: MAPS[0].astype(object), 4: MAPS[1]}, 'values of type object where'),
    'a number': ({1: .5, 4: MAPS[1]}, 'a float where a map'),
    'an array of objects': (MAPS.astype(object), 'array of shape 2x36x44 of object'),
    'an array of other classes': (MAPS[:1], r'an array of shape 1x36x44, not of 6 classes'),
    'an array, classes last': (every_class().transpose(1, 2, 0), 'an array of shape 36x44x6, not of 6 classes'),
    'a table': (MAPS[0], 'an array of shape 36x44'),
    'a tensor beyond its storage': ({'keys': tensor(KEYS, (3,), (1,)), 'cam': MAPS}, 'larger than its storage')}


@pytest.mark.parametrize('kind', REFUSED)
def test_other_files_are_refused_in_one_line(tmp_path, kind):
    value, what = REFUSED[kind]
    with pytest.raises(UserError, match=what) as caught:
        read(tmp_path, value)
    assert '\n' not in str(caught.value) and str(tmp_path / 'a.npy') in caught.value.path and caught.value.remedy


class Calls:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize('inner', [
    pickle.dumps(Calls()), storage(MAPS)[:60], storage(MAPS).replace(b'FloatStorage', b'load\n.'),
    storage(MAPS)[:-4], b'', storage(MAPS).replace(b'storagectorch', b'modulexctorch')])
def test_storages_inside_of_pickles_are_not_executed(tmp_path, monkeypatch, inner):
    monkeypatch.chdir(tmp_path)
    made = tensor(MAPS)
    made.arguments[0].arguments = inner,
    with pytest.raises(UserError, match='not a NumPy file of class maps'):
        read(tmp_path, {'keys': KEYS, 'high_res': made})
    assert os.listdir(tmp_path) == ['a.npy']


def test_bytes_in_place_of_a_storage_hold_nothing_else(tmp_path):
    made, parts = tensor(MAPS), (0x1950a86a20f9469cfc6c, 1001, {'little_endian': True}, {'a': 1}, [])
    for inner in b''.join(pickle.dumps(part, 2) for part in parts), 'text':
        made.arguments[0].arguments = inner,
        with pytest.raises(UserError, match='a tensor without storage'):
            read(tmp_path, {'keys': KEYS, 'high_res': made})


@pytest.mark.parametrize('value', [FORMATS['IRN with tensors'], FORMATS['all classes']])
def test_files_cut_short_are_refused(tmp_path, value):
    save(tmp_path / 'a.npy', value)
    whole = (tmp_path / 'a.npy').read_bytes()
    for size in (*range(0, 200, 7), len(whole) // 2, len(whole) - 1):
        (tmp_path / 'a.npy').write_bytes(whole[:size])
        with pytest.raises(UserError, match='not a NumPy file of class maps'):
            class_maps.read(Source('maps', str(tmp_path)), 'a', CLASSES, NAMES, SIZE)


def test_missing_files_and_other_files_are_found_by_their_beginning(tmp_path):
    problems, source = Problems(), Source('maps', str(tmp_path))
    save(tmp_path / 'a.npy', MAPS)
    (tmp_path / 'b.npy').write_bytes(b'a,b')
    assert [class_maps.check(problems, source, name) for name in 'abc'] == [True, False, False]
    assert 'b.npy: not a NumPy file' in str(problems) and 'c.npy: no such map: check --from-maps' in str(problems)
