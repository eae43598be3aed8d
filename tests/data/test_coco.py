"""COCO's instances: lists, labels and masks of what polygons, run lengths and crowds say."""
import json

import numpy as np
import pytest

from icd import console
from icd.data import coco, labels, masks, voc
from tests.data import write

HEIGHT, WIDTH = 8, 10


def box(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def runs(covered):
    """Run lengths of a mask, column by column, as COCO has them."""
    flat = np.concatenate([[0], covered.T.ravel(), [1 - covered.T.ravel()[-1]]])
    ends = np.flatnonzero(np.diff(flat))
    return {'counts': np.diff(np.concatenate([[0], ends])).tolist(), 'size': list(covered.shape)}


def ring():
    """A mask with a hole."""
    covered = np.zeros((HEIGHT, WIDTH), int)
    covered[1:6, 2:8] = 1
    covered[3:4, 4:6] = 0
    return covered


def annotation(image, category, shape, area=1., crowd=0):
    return {'id': 1, 'image_id': image, 'category_id': category, 'segmentation': shape, 'area': area, 'iscrowd': crowd,
            'bbox': [0, 0, 1, 1]}


def instances(tmp_path, *annotations, name='instances_own.json', **changes):
    value = {'info': {}, 'licenses': [], 'images': [
        {'id': 9, 'file_name': 'COCO_a_009.jpg', 'height': HEIGHT, 'width': WIDTH},
        {'id': 7, 'file_name': 'sub/b.jpg', 'height': HEIGHT, 'width': WIDTH},
        {'id': 8, 'file_name': 'none.jpg', 'height': HEIGHT, 'width': WIDTH}],
        'annotations': list(annotations),
        'categories': [{'id': 90, 'name': 'toothbrush', 'supercategory': 'x'}, {'id': 1, 'name': 'person'},
                       {'id': 3, 'name': 'car'}]}
    return write(tmp_path / name, json.dumps(dict(value, **changes)))


def run(tmp_path, source, *extra):
    return console.run_command(coco.main, ['--instances', source, '--out', str(tmp_path / 'out'), '--num-process', '1',
                                           *extra])


def mask_of(tmp_path, name):
    return masks.read_mask(str(tmp_path / 'out' / 'SegmentationClass' / (name + '.png')))


def test_everything_is_written_for_a_run(tmp_path):
    source = instances(
        tmp_path, annotation(9, 90, [box(0, 0, 4, 4), box(6, 0, 4, 4)], 32.), annotation(9, 1, [box(1, 1, 2, 2)], 4.),
        annotation(7, 3, runs(ring())), annotation(9, 3, runs(np.ones((HEIGHT, WIDTH), int)), 80., 1))
    assert run(tmp_path, source) == 0
    out = tmp_path / 'out'
    assert voc.read_class_names(str(out / 'class_names.txt')) == ('person', 'car', 'toothbrush')
    assert voc.read_list(str(out / 'own.txt')) == ['COCO_a_009', 'sub/b']
    assert voc.read_list(str(out / 'own_all.txt')) == ['COCO_a_009', 'sub/b', 'none']
    expected = np.full((HEIGHT, WIDTH), 255)                        # a crowd lies below what lies on it
    expected[:4, :4] = expected[:4, 6:] = 3
    expected[1:3, 1:3] = 1                                          # the smaller one lies on the larger one
    assert (mask_of(tmp_path, 'COCO_a_009') == expected).all()
    assert (mask_of(tmp_path, 'sub/b') == 2 * ring()).all() and not mask_of(tmp_path, 'none').any()
    for labelled in (source, str(out / 'labels_own.json')):
        matrix = labels.read(labelled, ['COCO_a_009', 'sub/b', 'none'], ('person', 'car', 'toothbrush'))
        assert matrix.tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_compressed_run_lengths_are_read(tmp_path):
    from pycocotools import mask as coco_mask
    packed = coco_mask.encode(np.asfortranarray(ring().astype(np.uint8)))
    shape = {'counts': packed['counts'].decode(), 'size': packed['size']}
    assert run(tmp_path, instances(tmp_path, annotation(7, 1, shape))) == 0
    assert (mask_of(tmp_path, 'sub/b') == ring()).all()


@pytest.mark.parametrize('shape', [
    [], [[1, 2, 3]], [[0, 0, 1, 1]], [[1e9] * 6], [[float('nan')] * 6], {'counts': [80], 'size': [10, 8]}, None, 'x',
    {'counts': [1, 2], 'size': [8, 10]}, {'counts': [-1, 81], 'size': [8, 10]}, {'counts': 'o' * 99, 'size': [8, 10]},
    {'counts': '\u00e9', 'size': [8, 10]}, {'counts': [[80]], 'size': [8, 10]}, {'size': [8, 10]}], ids=repr)
def test_damaged_shapes_are_refused(tmp_path, capsys, shape):
    assert run(tmp_path, instances(tmp_path, annotation(7, 1, shape))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and ('correct' in lines[0] or 'give a file' in lines[0]), lines
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('changes, message', [
    (dict(images=[{'id': 1, 'file_name': '../../a.jpg', 'height': 1, 'width': 1}]), 'no name of a file below'),
    (dict(images=[{'id': 1, 'file_name': 'a.jpg', 'height': 1e9, 'width': 1}]), 'pixels'),
    (dict(annotations=[annotation(1234, 1, [])]), 'KeyError'), (dict(categories=[]), 'KeyError'),
    (dict(images=3), 'TypeError')])
def test_damaged_files_are_refused(tmp_path, capsys, changes, message):
    assert run(tmp_path, instances(tmp_path, annotation(7, 1, [box(0, 0, 1, 1)]), **changes)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_counts_of_the_field_are_checked(tmp_path, capsys):
    source = instances(tmp_path, annotation(7, 1, [box(0, 0, 2, 2)]), name='instances_val2014.json')
    assert run(tmp_path, source) == 2 and not (tmp_path / 'out').exists()
    assert '3 images, 1 with an instance, not 40504 and 40137' in capsys.readouterr().err
    assert run(tmp_path, source, '--any', '--no-masks') == 0
    assert not (tmp_path / 'out' / 'SegmentationClass').exists()
    assert run(tmp_path, source, '--any', '--image-root', str(tmp_path)) == 2
    assert 'no such image (3 files)' in capsys.readouterr().err
