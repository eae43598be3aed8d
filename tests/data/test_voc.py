"""Lists and annotations: what is read is what was meant; the rest is refused in one line that names the file."""
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icd.data import geometry, images, masks, voc
from icd.errors import UserError
from tests.data import refused, write

NAMES = ('cat', 'dog', 'person')


@pytest.mark.parametrize('content', [
    'a\nb/c\nd\n', 'a\r\nb/c\r\nd', '\n\n a  \n\tb/c\n\n\nd\t\n', '\ufeffa\nb/c\nd\n', 'a\rb/c\rd', './a\nb//c\n././d',
    '\u200ba\xa0\nb/c\u3000\n\ufeffd'])
def test_list_tolerates_byte_order_marks_blank_lines_and_crlf(tmp_path, content):
    assert voc.read_list(write(tmp_path / 'list.txt', content)) == ['a', 'b/c', 'd']


@pytest.mark.parametrize('content, message', [
    ('', ['no names']), ('\n  \n', ['no names']), ('a\nb\na\n', ['line 3', 'already on line 1', 'remove']),
    (b'a\r\xff\xd8\xff\xe0', ['line 2 is not UTF-8', 'save']), (b'a\0b', ['not a text file']),
    ('/etc/passwd', ['absolute', 'relative']), ('\\\\host\\a', ['absolute']), ('c:\\a', ['absolute']),
    ('../a', ['leaves the folder']), ('a/../../b', ['leaves the folder']), ('..', ['leaves the folder']),
    ('a\\b', ['backslash']), ('a\x07b', ['unprintable']), ('.', ['not a plain']),
    ('a\n./a', ['line 2', 'already on line 1']),
    ('a/', ['not a plain']), ('-rf', ['not a plain']), ('a.jpg', ['without .jpg']), ('a/b.PNG', ['without .PNG']),
    ('x' * 300, ['too long']),
    ('/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png', ['absolute', 'without an ending'])])
def test_list_refuses(tmp_path, content, message):
    path = write(tmp_path / 'list.txt', content)
    with refused(path, *message):
        voc.read_list(path)


def test_missing_list_and_folder_are_named(tmp_path):
    with refused(tmp_path / 'none.txt', 'no such file', 'one name a line'):
        voc.read_list(str(tmp_path / 'none.txt'))
    with refused(tmp_path, 'folder'):
        voc.read_list(str(tmp_path))


@given(st.binary(max_size=200) | st.text(alphabet='ab/.\\\n\r \x00\u2028-', max_size=30).map(str.encode))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, content):
    path = write(tmp_path / 'list.txt', content)
    try:
        names = voc.read_list(path)
    except UserError as error:
        assert str(error).startswith(path) and '\n' not in str(error)
        return
    assert len(set(names)) == len(names) > 0
    for name in names:
        inside = os.path.normpath(os.path.join('/images', name + '.jpg'))
        assert inside.startswith('/images/') and inside == '/images/' + name + '.jpg' and '\0' not in name


def test_class_names_are_checked(tmp_path):
    assert voc.read_class_names() == voc.CATEGORIES and len(voc.CATEGORIES) == 20
    assert voc.read_class_names(write(tmp_path / 'a', 'traffic light\r\nbus\n')) == ('traffic light', 'bus')
    for content, message in (('bus\nbus', 'twice'), ('Background\nbus', 'background'), ('', 'no names'),
                          ('\n'.join(map(str, range(255))), '254')):
        path = write(tmp_path / 'b', content)
        with refused(path, message):
            voc.read_class_names(path)


def annotation(*objects):
    return '<annotation><folder>f</folder>{}</annotation>'.format(''.join(
        f'<object><name>{name}</name>{more}</object>' for name, more in objects))


EASY, DIFFICULT = '<difficult>0</difficult>', '<difficult>1</difficult>'


@pytest.mark.parametrize('objects, classes', [
    ([], ()), ([('dog', EASY)], (1,)), ([('person', EASY), ('cat', EASY), ('cat', EASY)], (0, 2)),
    ([('dog', '')], (1,)), ([('dog', '<difficult> </difficult>')], (1,)), ([(' dog\n', EASY)], (1,)),
    ([('dog', EASY), ('cat', DIFFICULT)], (1,)), ([('dog', DIFFICULT), ('cat', DIFFICULT)], (0, 1)),
    ([('dog', '<difficult>Unspecified</difficult>'), ('cat', '<difficult>true</difficult>')], (1,)),
    ([('dog', '<difficult>FALSE</difficult>'), ('cat', '<difficult>Yes</difficult>')], (1,)),
    ([('dog', '<deleted>0</deleted>'), ('cat', '<deleted>1</deleted>')], (1,)),
    ([('dog', '<deleted>1</deleted>')], ()), ([('', '<deleted>true</deleted>'), ('dog', '')], (1,)),
    ([('dog', EASY + '<part><name>head</name><difficult>1</difficult></part>')], (1,))])
def test_annotation_gives_the_classes_of_its_objects(tmp_path, objects, classes):
    assert voc.read_annotation(write(tmp_path / 'a.xml', annotation(*objects)), NAMES) == classes


def test_annotation_in_a_namespace_is_read(tmp_path):
    text = annotation(('dog', EASY)).replace('<annotation', '<annotation xmlns="http://example.org/voc"', 1)
    assert voc.read_annotation(write(tmp_path / 'a.xml', text), NAMES) == (1,)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16', 'iso-8859-1'])
def test_annotation_in_any_encoding_is_read(tmp_path, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + annotation(('b\u00e4r', EASY))
    assert voc.read_annotation(write(tmp_path / 'a.xml', text.encode(encoding)), ('b\u00e4r',)) == (0,)


BOMB = '<!DOCTYPE a [<!ENTITY x "dog"><!ENTITY y "&x;&x;">]>'


@pytest.mark.parametrize('content, message', [
    ('', ['not valid XML']), ('<annotation>', ['not valid XML']), ('\x89PNG', ['not valid XML']),
    ('<html/>', ['root is <html>']), (annotation(('', EASY)), ['has no name']),
    ('<annotation><object/></annotation>', ['has no name']),
    (annotation(('sphinx', EASY)), ["'sphinx'", 'class-names']),
    (annotation(('dog', '<difficult>maybe</difficult>')), ['maybe']),
    (annotation(('dog', '<difficult>2</difficult>')), ['not 0 or 1']),
    (BOMB + annotation(('&y;', EASY)), ['document type']), (BOMB.encode('utf-16'), ['document type']),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + annotation(), ['document type']),
    ('<?xml version="1.0" encoding="klingon"?>' + annotation(), ['not a usable']),
    ('<?xml version="1.0" encoding="utf-7"?>' + annotation(), ['not a usable']),
    (b'<annotation>\xff</annotation>', ['not valid XML']), ('<annotation>' + '<a>' * 100000, ['nested']),
    (' ' * (5 << 20), ['too many']), ('<annotation>' + '<a>' * 100 + '</a>' * 100 + '</annotation>', ['nested']),
    ('<x:annotation/>', ['not valid XML'])])
def test_annotation_refuses(tmp_path, content, message):
    path = write(tmp_path / 'a.xml', content)
    with refused(path, *message):
        voc.read_annotation(path, NAMES)


def test_labels_are_one_row_an_image(tmp_path):
    write(tmp_path / 'a.xml', annotation(('person', EASY), ('dog', EASY)))
    write(tmp_path / 'b.xml', annotation())
    labels = voc.read_labels(['a', 'b'], str(tmp_path), NAMES)
    assert labels.dtype == np.float32 and labels.tolist() == [[0, 1, 1], [0, 0, 0]]
    with refused(tmp_path / 'c.xml', 'no such file', 'annotation folder'):
        voc.read_labels(['c'], str(tmp_path), NAMES)


def test_annotations_hold_the_classes_of_the_masks(real_images):
    root = os.path.join(real_images, 'voc_mini')
    for name in voc.read_list(os.path.join(root, 'list.txt')):
        mask = masks.read_mask(os.path.join(root, 'SegmentationClassAug', name + '.png'))
        seen = tuple(int(v) - 1 for v in np.unique(mask) if v not in (0, geometry.IGNORE))
        assert voc.read_annotation(os.path.join(root, 'Annotations', name + '.xml')) == seen
        assert images.image_size(os.path.join(root, 'JPEGImages', name + '.jpg')) == mask.shape
