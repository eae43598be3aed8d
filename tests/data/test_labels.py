"""Image labels: whatever the format, the same labels; what is wrong is refused in one line, and nothing is executed."""
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from icd import console, files
from icd.data import inputs, labels, masks, voc
from icd.data.labels import folders
from icd.data.labels.write import KINDS
from icd.errors import Problems, UserError
from icd.steps import labels as command
from tests.data import encoded_image, refused, write

CLASSES = 'traffic light', 'dog', 'caf\u00e9 & bar'
LABELS = {'a': (0,), 'street/b': (0, 2), 'c.v2': (2,), 'M\u00fcnchen 1x': (1,), 'e': ()}
MATRIX = [[1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
OUT = dict(xml='xml', folders='classes', csv='a.csv', tsv='a.tsv', columns='b.csv', json='a.json', coco='coco.json',
           npy='cls_labels.npy', list='labels.txt')


def text_of(*lines):
    return ''.join(f'{line}\n' for line in lines)


@pytest.fixture(scope='module')
def formats(tmp_path_factory):
    """One data set in all formats that can be written, made from JSON."""
    root = tmp_path_factory.mktemp('formats')
    for name in LABELS:
        files.save_bytes(str(root / 'images' / (name + '.jpg')), encoded_image())
    write(root / 'names.txt', text_of(*CLASSES))
    write(root / 'list.txt', text_of(*LABELS))
    source = write(root / 'given.json', json.dumps({k: [CLASSES[c] for c in v] for k, v in LABELS.items()}))
    for kind in KINDS:
        assert console.run_command(command.main, [
            'convert', source, str(root / OUT[kind]), '--to', kind, '--class-names', str(root / 'names.txt'),
            '--image-root', str(root / 'images')]) == 0
    return root


@pytest.mark.parametrize('kind', KINDS)
def test_all_formats_give_the_same_labels(formats, kind):
    names = [name for name in LABELS if name != 'e' or kind != 'folders']       # it is in no folder of a class
    matrix = labels.read(str(formats / OUT[kind]), names, CLASSES)
    assert matrix.dtype == np.float32 and matrix.tolist() == MATRIX[:len(names)]
    assert labels.read(str(formats / OUT[kind]), names[::-1], CLASSES).tolist() == MATRIX[:len(names)][::-1]


@pytest.mark.parametrize('kind', KINDS)
def test_a_run_takes_any_of_them(formats, kind):
    problems, asked = Problems(), (str(formats / 'list.txt'), str(formats / 'images'), '', str(formats / 'names.txt'))
    found = inputs.read_inputs(*asked, 3, problems, str(formats / OUT[kind]), 'skip')
    assert not problems and found.labels[:].tolist() == MATRIX[:4] and found.names == list(LABELS)[:4]
    assert found.sizes == [(40, 60)] * 4 and '1 of 5 images have no class and are left out' in found.notes[0]


@pytest.mark.parametrize('content, classes', [
    ('a,dog\nb.png,cat;dog\n', [(1,), (0, 1)]), ('Image;Label\nx/a.jpg;dog\nb;cat\nb;dog\n', [(1,), (0, 1)]),
    ('id\tfile\n', None), ('file\tcomment\tlabel\na\tx\tdog\nb\ty\tdog;cat\n', [(1,), (0, 1)]),
    ('a,0,1\nb,1,1\n', [(1,), (0, 1)]), ('photo,dog,cat\na,1,0\nb,1,1\n', [(1,), (0, 1)]),
    ('name,dog\na,1\nb,0\n', [(1,), ()]), ('a,dog\nb,cat,dog\n', [(1,), (0, 1)]), ('"a", dog \n"b",\n', [(1,), ()]),
    ('./a 1\n/x/b.jpg 0 1\n', [(1,), (0, 1)]), ('a\nb 0\n', [(), (0,)]), ('\ufeffa,dog\r\nb,cat\r\n', [(1,), (0,)]),
    ('{"a": "dog", "b": [0, "dog"]}', [(1,), (0, 1)]), ('{"x/a.jpg": ["dog"], "b": []}', [(1,), ()])])
def test_texts_are_read_as_people_write_them(tmp_path, content, classes):
    path = write(tmp_path / 'any', content)
    if classes is None:
        assert not labels.read_source(path).entries
    else:
        assert labels.classes_of(labels.read_source(path), ['a', 'b'], ('cat', 'dog')) == classes


@pytest.mark.parametrize('key', ['2007_000032', '2007_000032.jpg', 2007000032, np.int64(2007000032)])
def test_dictionaries_of_the_pytorch_codebases(tmp_path, key):
    path = str(tmp_path / 'cls_labels.npy')
    np.save(path, {key: np.eye(20, dtype=np.float32)[[0, 14]].sum(0)}, allow_pickle=True)
    assert np.flatnonzero(labels.read(path, ['2007_000032'], voc.CATEGORIES)).tolist() == [0, 14]
    with refused(path, 'is of 20 classes, not 2', 'class-names'):
        labels.read(path, ['2007_000032'], ('cat', 'dog'))


def test_lists_of_deeplab_give_the_classes_of_their_masks(tmp_path):
    masks.save_mask(str(tmp_path / 'SegmentationClassAug/a.png'), np.array([[0, 3, 255], [1, 1, 0]], np.uint8))
    os.makedirs(str(tmp_path / 'lists'))
    path = write(tmp_path / 'lists/train.txt', '/JPEGImages/a.jpg /SegmentationClassAug/a.png\n')
    table = labels.read_source(path)
    assert table.truth and labels.read(path, ['a'], CLASSES).tolist() == [[1, 0, 1]]
    assert any('pixel truth' in note for note in read_inputs(tmp_path, 'a', path).notes)


def read_inputs(root, names, source, unlabelled='refuse', classes=CLASSES):
    for name in names.split():
        files.save_bytes(str(root / 'images' / (name + '.jpg')), encoded_image())
    problems = Problems()
    found = inputs.read_inputs(
        write(root / 'list.txt', text_of(*names.split())), str(root / 'images'), str(root / 'none'),
        write(root / 'names.txt', text_of(*classes)), None, problems, source, unlabelled)
    problems.raise_if_any()
    return found


# ------------------------------------------------------------------------------------------------ names of images
def table(*names):
    return labels.Table('test', 'source', {name: (i,) for i, name in enumerate(names)})


@pytest.mark.parametrize('source, name, index', [
    (['a', 'b'], 'b', 1), (['x/a.jpg', 'b.JPEG'], 'a', 0), (['a'], 'street/a', 0), (['y/x/a', 'z/a'], 'x/a', 0),
    (['e\u0301'], '\u00e9', 0), (['a', 'x/a'], 'a', 0), (['a', 'x/a'], 'x/a', 1), (['/JPEGImages/a.tiff'], 'a', 0),
    (['x\\a.bmp'], 'x/a', 0), ([2008000001], '2008_000001', 0), ([9], 'COCO_val2014_000000000009', 0)])
def test_names_match_with_or_without_ending_and_folder(source, name, index):
    assert labels.classes_of(table(*source), [name], CLASSES) == [(index,)]


@pytest.mark.parametrize('source, names, message', [
    (['x/a', 'y/a'], ['a'], 'several images of this name'), (['a'], ['x/a', 'y/a'], 'one image for several'),
    (['a'], ['b'], 'no such image'), (['xa'], ['a'], 'no such image'), (['x/a'], ['y/a'], 'no such image')])
def test_what_could_mean_two_images_is_refused(source, names, message):
    assert message in str(labels.classes_of(table(*source), names, CLASSES)[-1])


def test_an_image_in_several_class_folders_has_several_classes(tmp_path):
    for path, seed in (('cat/1.png', 1), ('dog/1.jpg', 1), ('cat/2.png', 2), ('dog/2.png', 3), ('dog/x/4.PNG', 4)):
        files.save_bytes(str(tmp_path / path), bytes([seed]))
    found = labels.read_source(str(tmp_path))
    assert found.class_names == ('cat', 'dog') and found.copies == {'dog/1.jpg'}
    names = ['1', 'dog/1', 'cat/2', 'dog/2', 'x/4']
    assert labels.classes_of(found, names, found.class_names) == [(0, 1), (0, 1), (0,), (1,), (1,)]
    assert 'several images' in str(labels.classes_of(found, ['2'], found.class_names)[0])


# ---------------------------------------------------------------------------------- images and classes without labels
def test_images_without_labels_are_refused_skipped_or_kept(tmp_path):
    source = write(tmp_path / 'a.json', json.dumps({'a': [CLASSES[0]], 'b': [], 'c': [CLASSES[0]]}))
    with pytest.raises(UserError, match=r'a\.json \(b\): has no class: .*--unlabelled skip.*--unlabelled keep'):
        read_inputs(tmp_path, 'a b c', source)
    assert read_inputs(tmp_path, 'a b c', source, 'skip').names == ['a', 'c']
    kept = read_inputs(tmp_path, 'a b c', source, 'keep')
    assert kept.names == ['a', 'b', 'c'] and kept.labels.sum(1).tolist() == [1, 0, 1]
    assert '1 of 3 images have no class and are taken for background' in kept.notes[0]
    assert '2 of 3 classes are in no image of the list: dog' in kept.notes[1]
    assert read_inputs(tmp_path, 'a z', source, 'skip').names == ['a']
    for unlabelled in ('refuse', 'keep'):                                    # it may be a name that is mistyped
        with pytest.raises(UserError, match=r'\(z\): .*no such image'):
            read_inputs(tmp_path, 'a z', source, unlabelled)


@pytest.mark.parametrize('unlabelled', ['refuse', 'skip', 'keep'])
def test_a_source_in_which_nothing_is_found_ends_the_run(tmp_path, unlabelled):
    deeper = '<annotation><objects><object><name>dog</name></object></objects></annotation>'
    for name in 'ab':
        files.save_bytes(str(tmp_path / 'xml' / (name + '.xml')), deeper.encode())
    with pytest.raises(UserError, match=r'(?s)^(?!.*\n).*/xml: none of the 2 images has a class'):
        read_inputs(tmp_path, 'a b', str(tmp_path / 'xml'), unlabelled)


# --------------------------------------------------------------------------------------------------- the command
def test_show_counts_classes_and_names_what_is_unknown(tmp_path, capsys):
    source = write(tmp_path / 'a.csv', 'a,dog\nb,dog;cat\nc,sphinx\nd,\n')
    names, out = write(tmp_path / 'names.txt', 'cat\ndog\nbird\n'), str(tmp_path / 'list.txt')
    assert console.run_command(command.main, ['show', source, '--class-names', names, '--save-list', out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith('CSV, 4 images')
    assert [line.split()[-2:] for line in lines[1:4]] == [['cat', '1'], ['dog', '2'], ['bird', '0']]
    assert lines[4:] == ['images without any class: 1: d', 'unknown classes: 1: sphinx (1)']
    assert voc.read_list(out) == ['a', 'b', 'c']
    assert console.run_command(command.main, ['show', source, '--save-class-names', names]) == 0
    assert voc.read_class_names(names) == ('cat', 'dog', 'sphinx')


@pytest.mark.parametrize('arguments, message', [
    (['given.json', 'out.doc'], 'no format has the ending'), (['given.json', 'xml'], 'there and not empty'),
    (['given.json', 'out', '--to', 'folders'], '--image-root'),
    (['given.json', 'out.csv', '--class-names', 'list.txt'], 'unknown class')])
def test_conversions_that_cannot_be_are_refused(formats, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(str(formats))
    before = sorted(os.listdir(str(formats)))
    assert console.run_command(command.main, ['convert', *arguments]) == 2
    assert message in capsys.readouterr().err and sorted(os.listdir(str(formats))) == before


# ---------------------------------------------------------------------------------------------------------- hostile
class Calls:
    """A pickle of it makes a file when it is read by Python's unpickler."""

    def __reduce__(self):
        return os.mkdir, ('executed',)


def npy(value, shape=None):
    """A `.npy` file whose array of objects is the pickle `value`."""
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape or '()'}, }}".ljust(117) + '\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header.encode() + value


ENTITIES = '<!DOCTYPE a [<!ENTITY b "{}">]><annotation><object><name>&b;</name></object></annotation>'
COCO = '{{"images": [{}], "annotations": [{}], "categories": [{{"id": 1, "name": "dog"}}]}}'
IMAGE = '{"id": 1, "file_name": "a.jpg"}'
# id: (files by name, what the line says); the first file, or its folder where its name has one, is the source
HOSTILE = {
    'JSON nested deeply': ({'a.json': '{"a": ' + '[' * 100000}, 'nested too deeply|not usable JSON'),
    'JSON of a huge number': ({'a.json': '{"a": [' + '9' * 100000 + ']}'}, 'a number of 100000 digits'),
    'JSON of many values': ({'a.json': '{"a": [' + '[],' * 13_000_000 + '0]}'}, 'holds too much'),
    'JSON with a name twice': ({'a.json': '{"a": ["dog"], "a": ["cat"]}'}, "'a' is there twice"),
    'JSON cut short': ({'a.json': '{"a": ["dog"'}, 'not usable JSON'),
    'JSON in Latin-1': ({'a.json': b'{"caf\xe9": ["dog"]}'}, 'not UTF-8'),
    'JSON of other things': ({'a.json': '{"a": {"b": 1}}'}, 'no list of classes'),
    'JSON list': ({'a.json': '[1, 2]'}, 'neither'),
    'COCO of an unknown image': ({'a.json': COCO.format(IMAGE, '{"image_id": 2, "category_id": 1}')}, 'not instances'),
    'COCO of lists': ({'a.json': COCO.format('[1]', '[2]')}, 'not instances of COCO'),
    'COCO with an id twice': ({'a.json': COCO.format(IMAGE + ',' + IMAGE, '')}, 'one id or one name'),
    'pickle that calls': ({'a.npy': npy(pickle.dumps(Calls()))}, 'not a NumPy file of a dictionary'),
    'pickle that calls inside': ({'a.npy': npy(pickle.dumps({'a': Calls()}))}, 'not a NumPy file of a dictionary'),
    'npy that announces a terabyte': ({'a.npy': npy(b'', '(1099511627776,)')}, 'not a NumPy file'),
    'npy of another thing': ({'a.npy': npy(pickle.dumps({'a': 'x' * 9}))}, 'no array of 0 and 1'),
    'npy of lengths that differ': ({'a.npy': npy(pickle.dumps({'a': [0], 'b': [0, 1]}))}, 'different lengths'),
    'plain pickle': ({'a.pkl': pickle.dumps({'a': Calls()})}, 'an archive or a pickle'),
    'CSV with NULs': ({'a.csv': 'a,dog\nb,\0\n'}, 'not a text file'),
    'CSV of an open quote': ({'a.csv': 'a,dog\n"b,dog\n'}, 'line 2 is not understood'),
    'CSV of many columns': ({'a.csv': 'a' + ',1' * 5000}, '5001 columns'),
    'CSV without a name': ({'a.csv': 'a,dog\n,dog\n'}, 'line 2 has no name'),
    'list with a name twice': ({'a.txt': 'a 1\na 2\n'}, 'was there before'),
    'list that leaves its folder': ({'a.txt': 'a.jpg ../../etc/a.png'}, 'must not leave'),
    'masks that are not there': ({'a.txt': '/a.jpg /b.png'}, 'neither beside the list'),
    'XML with entities': ({'xml/a.xml': ENTITIES.format('&b;' * 9)}, 'declares a document type'),
    'XML of great length': ({'xml/a.xml': '<annotation>' + ' ' * (5 << 20)}, 'too many'),
    'XML alone': ({'a.xml': '<annotation/>'}, 'give the folder'),
    'empty folder': ({'x/readme.md': ''}, 'no XML files and no folders of images'),
    'empty file': ({'a.csv': ''}, 'holds no labels'),
    'archive': ({'a.zip': b'PK\x03\x04'}, 'an archive'),
}


@pytest.mark.parametrize('case', sorted(HOSTILE))
def test_hostile_files_are_refused_in_one_line(tmp_path, monkeypatch, capsys, case):
    contents, message = HOSTILE[case]
    monkeypatch.chdir(str(tmp_path))
    for name, content in contents.items():
        files.save_bytes(name, content if isinstance(content, bytes) else content.encode())
    source = next(iter(contents)).split('/')[0]
    size = sum(os.path.getsize(name) for name in contents)
    tracemalloc.start()
    code = console.run_command(command.main, ['show', source])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and source in lines[0], lines
    assert any(part in lines[0] for part in message.split('|')), lines
    assert peak < 32e6 + 4 * size and not os.path.exists('executed')


@pytest.mark.parametrize('make, message', [
    (lambda: os.symlink('loop', 'loop'), 'loop: '), (lambda: os.symlink('/nowhere', 'loop'), 'loop: no such file'),
    (lambda: os.mkfifo('loop'), 'neither a folder nor a file')])
def test_links_that_lead_nowhere_are_refused(tmp_path, monkeypatch, capsys, make, message):
    monkeypatch.chdir(str(tmp_path))
    make()
    assert console.run_command(command.main, ['show', 'loop']) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_holds_itself_is_read_once(tmp_path):
    files.save_bytes(str(tmp_path / 'xml/a.xml'), b'<annotation><object><name>dog</name></object></annotation>')
    os.symlink('..', str(tmp_path / 'xml/again'))
    assert list(folders.read(str(tmp_path / 'xml')).entries) == ['a']


def test_polygons_of_a_large_file_are_left_out(tmp_path):
    polygon = '[[' + ', '.join(['1.25, -3e2'] * 40) + ']]'
    note = f'{{"id": 7, "segmentation": {polygon}, "image_id": 1, "category_id": 1, "bbox": [1, 2.5, 3, 4]}}'
    crowd = '{"segmentation": {"counts": [' + '12,' * 90 + '3]}, "image_id": 1, "category_id": 1}'
    path = write(tmp_path / 'a.json', COCO.format(IMAGE, ', '.join([note] * 1500 + [crowd] * 1500)))
    assert os.path.getsize(path) > 1 << 20
    assert labels.classes_of(labels.read_source(path), ['a'], ('dog',)) == [(0,)]
