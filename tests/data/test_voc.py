"""VOC files: what is read is what was meant; what cannot be meant is refused in one line that names the file."""
import hashlib
import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from icd.data import geometry, images, masks, voc, voc_lists
from icd.errors import UserError

NAMES = ('cat', 'dog', 'person')


def refused(path, *words):
    """Expect a `UserError` of one line that names the file and holds `words`."""
    return pytest.raises(UserError, match='(?s)^(?!.*\n)%s.*%s' % (str(path).replace('\\', '.'), '.*'.join(words)))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# ------------------------------------------------------------------------------------------------------- lists
@pytest.mark.parametrize('content', [
    'a\nb/c\nd\n', 'a\r\nb/c\r\nd', '\n\n a  \n\tb/c\n\n\nd\t\n', '\ufeffa\nb/c\nd\n', 'a\rb/c\rd'])
def test_list_tolerates_what_editors_do(tmp_path, content):
    assert voc.read_list(write(tmp_path / 'list.txt', content)) == ['a', 'b/c', 'd']


@pytest.mark.parametrize('content, words', [
    ('', ['no names']), ('\n  \n', ['no names']), ('a\nb\na\n', ['line 3', 'already on line 1', 'remove']),
    (b'\xff\xd8\xff\xe0', ['not a text file']), (b'a\0b', ['not a text file']),
    ('/etc/passwd', ['absolute', 'relative']), ('\\\\host\\a', ['absolute']), ('c:\\a', ['absolute']),
    ('../a', ['leaves the folder']), ('a/../../b', ['leaves the folder']), ('..', ['leaves the folder']),
    ('a\\b', ['backslash']), ('a\x07b', ['unprintable']), ('./a', ['not a plain']), ('a//b', ['not a plain']),
    ('a/', ['not a plain']), ('-rf', ['not a plain']), ('a.jpg', ['without .jpg']), ('a/b.PNG', ['without .PNG']),
    ('x' * 300, ['too long']),
    ('/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png', ['absolute', 'without an ending'])])
def test_list_refuses(tmp_path, content, words):
    path = write(tmp_path / 'list.txt', content)
    with refused(path, *words):
        voc.read_list(path)


def test_missing_list_and_folder(tmp_path):
    with refused(tmp_path / 'none.txt', 'no such file', 'one name a line'):
        voc.read_list(str(tmp_path / 'none.txt'))
    with refused(tmp_path, 'folder'):
        voc.read_list(str(tmp_path))


@given(st.binary(max_size=200) | st.text(alphabet='ab/.\\\n\r \x00\u2028-', max_size=30).map(str.encode))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_list_leads_out_of_its_folder(tmp_path, content):
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


def test_class_names(tmp_path):
    assert voc.read_class_names() == voc.CATEGORIES and len(voc.CATEGORIES) == 20
    assert voc.read_class_names(write(tmp_path / 'a', 'traffic light\r\nbus\n')) == ('traffic light', 'bus')
    for content, word in (('bus\nbus', 'twice'), ('Background\nbus', 'background'), ('', 'no names'),
                          ('\n'.join(map(str, range(255))), '254')):
        path = write(tmp_path / 'b', content)
        with refused(path, word):
            voc.read_class_names(path)


# ------------------------------------------------------------------------------------------------- annotations
def annotation(*objects):
    return '<annotation><folder>f</folder>%s</annotation>' % ''.join(
        '<object><name>%s</name>%s</object>' % (name, more) for name, more in objects)


EASY, DIFFICULT = '<difficult>0</difficult>', '<difficult>1</difficult>'


@pytest.mark.parametrize('objects, classes', [
    ([], ()), ([('dog', EASY)], (1,)), ([('person', EASY), ('cat', EASY), ('cat', EASY)], (0, 2)),
    ([('dog', '')], (1,)), ([('dog', '<difficult> </difficult>')], (1,)), ([(' dog\n', EASY)], (1,)),
    ([('dog', EASY), ('cat', DIFFICULT)], (1,)), ([('dog', DIFFICULT), ('cat', DIFFICULT)], (0, 1)),
    ([('dog', EASY + '<part><name>head</name><difficult>1</difficult></part>')], (1,))])
def test_annotation(tmp_path, objects, classes):
    assert voc.read_annotation(write(tmp_path / 'a.xml', annotation(*objects)), NAMES) == classes


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16', 'iso-8859-1'])
def test_annotation_in_its_own_encoding(tmp_path, encoding):
    text = '<?xml version="1.0" encoding="%s"?>' % encoding + annotation(('b\u00e4r', EASY))
    assert voc.read_annotation(write(tmp_path / 'a.xml', text.encode(encoding)), ('b\u00e4r',)) == (0,)


BOMB = '<!DOCTYPE a [<!ENTITY x "dog"><!ENTITY y "&x;&x;">]>'


@pytest.mark.parametrize('content, words', [
    ('', ['not valid XML']), ('<annotation>', ['not valid XML']), ('\x89PNG', ['not valid XML']),
    ('<html/>', ['root is <html>']), (annotation(('', EASY)), ['has no name']),
    ('<annotation><object/></annotation>', ['has no name']),
    (annotation(('sphinx', EASY)), ["'sphinx'", 'class-names']), (annotation(('dog', '<difficult>maybe</difficult>')), ['maybe']),
    (BOMB + annotation(('&y;', EASY)), ['document type']), (BOMB.encode('utf-16'), ['document type']),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + annotation(), ['document type']),
    ('<?xml version="1.0" encoding="klingon"?>' + annotation(), ['not a usable']),
    ('<?xml version="1.0" encoding="utf-7"?>' + annotation(), ['not a usable']),
    (b'<annotation>\xff</annotation>', ['not valid XML']), ('<annotation>' + '<a>' * 100000, ['nested']),
    (' ' * (5 << 20), ['too many'])])
def test_annotation_refuses(tmp_path, content, words):
    path = write(tmp_path / 'a.xml', content)
    with refused(path, *words):
        voc.read_annotation(path, NAMES)


def test_labels(tmp_path):
    write(tmp_path / 'a.xml', annotation(('person', EASY), ('dog', EASY)))
    write(tmp_path / 'b.xml', annotation())
    labels = voc.read_labels(['a', 'b'], str(tmp_path), NAMES)
    assert labels.dtype == np.float32 and labels.tolist() == [[0, 1, 1], [0, 0, 0]]
    with refused(tmp_path / 'c.xml', 'no such file', 'annotation folder'):
        voc.read_labels(['c'], str(tmp_path), NAMES)


def test_annotations_of_photographs_hold_the_classes_of_their_masks(photographs):
    root = os.path.join(photographs, 'voc_mini')
    for name in voc.read_list(os.path.join(root, 'list.txt')):
        mask = masks.read_mask(os.path.join(root, 'SegmentationClassAug', name + '.png'))
        seen = tuple(int(v) - 1 for v in np.unique(mask) if v not in (0, geometry.IGNORE))
        assert voc.read_annotation(os.path.join(root, 'Annotations', name + '.xml')) == seen
        assert images.image_size(os.path.join(root, 'JPEGImages', name + '.jpg')) == mask.shape


# ------------------------------------------------------------------------------------------------------- masks
def random_mask(seed=0, shape=(31, 47)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_palette_is_the_one_of_voc():
    palette = masks.palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8 and len(set(map(tuple, palette))) == 256
    assert palette[[0, 1, 2, 3, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_grey_mask_is_read_as_indices_by_everybody(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    masks.save_mask(path, mask)
    assert (masks.read_mask(path) == mask).all()
    assert (np.array(Image.open(path)) == mask).all()
    assert (cv2.imread(path, cv2.IMREAD_UNCHANGED) == mask).all()


def test_palette_mask_has_vocs_colours_and_the_same_indices(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    masks.save_colour(path, mask)
    assert (masks.read_mask(path) == mask).all()
    assert (cv2.imread(path)[..., ::-1] == masks.palette()[mask]).all()


@pytest.mark.parametrize('bits', [1, 2, 4])
@pytest.mark.parametrize('mode', ['P', 'L'])
def test_masks_of_few_bits(tmp_path, bits, mode):
    """Pillow stretches grey values of 2 and 4 bits to 0..255; they are indices all the same."""
    mask, path = random_mask() % (1 << bits), str(tmp_path / 'a.png')
    image = Image.fromarray(mask, 'P')
    image.putpalette(masks.palette().tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG', bits=bits)
    data = bytearray(data.getvalue())
    if mode == 'L':
        data = grey_header(data)
    assert data[24] == bits
    assert (masks.read_mask(write(tmp_path / 'a.png', bytes(data))) == mask).all(), path


def grey_header(data):
    """A palette PNG turned into a grey one: another colour type, the palette left out."""
    data[25] = 0
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    start = data.index(b'PLTE') - 4
    return data[:start] + data[start + 12 + int.from_bytes(data[start:start + 4], 'big'):]


def test_masks_of_sixteen_bits(tmp_path):
    mask, path = random_mask(), str(tmp_path / 'a.png')
    cv2.imwrite(path, mask.astype(np.uint16))
    assert (masks.read_mask(path) == mask).all()
    cv2.imwrite(path, np.full((3, 3), 256, np.uint16))
    with refused(path, '256', 'indices'):
        masks.read_mask(path)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_colour_pictures_are_no_masks(tmp_path, mode):
    path = str(tmp_path / 'a.png')
    Image.new(mode, (5, 4)).save(path)
    with refused(path, 'colour picture', 'indices'):
        masks.read_mask(path)


@pytest.mark.parametrize('content', [b'', b'\x89PNG\r\n\x1a\n', b'GIF89a', 'cut', 'jpeg'])
def test_damaged_masks(tmp_path, content):
    good = cv2.imencode('.png', random_mask())[1].tobytes()
    content = {'cut': good[:-40], 'jpeg': cv2.imencode('.jpg', random_mask())[1].tobytes()}.get(content, content)
    path = write(tmp_path / 'a.png', content)
    with refused(path, 'not a whole PNG'):
        masks.read_mask(path)


def test_a_mask_with_a_chunk_before_its_header(tmp_path):
    good = cv2.imencode('.png', random_mask())[1].tobytes()
    gamma = b'gAMA' + struct.pack('>I', 0)
    path = write(tmp_path / 'a.png', good[:8] + struct.pack('>I', 4) + gamma + struct.pack('>I', zlib.crc32(gamma)) + good[8:])
    with refused(path, 'not a whole PNG'):
        masks.read_mask(path)


def test_save_mask_wants_indices(tmp_path):
    for wrong in (np.zeros((3, 3)), np.zeros((3, 3, 3), np.uint8)):
        with pytest.raises(ValueError):
            masks.save_mask(str(tmp_path / 'a.png'), wrong)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- photographs
def photograph(shape=(40, 60, 3), ending='.jpg'):
    return cv2.imencode(ending, random_mask(1, shape))[1].tobytes()


def test_image_is_bgr_whatever_it_was(tmp_path):
    path = write(tmp_path / 'a.jpg', photograph(ending='.png'))
    assert (images.read_image(path) == random_mask(1, (40, 60, 3))).all()
    assert images.read_image(write(tmp_path / 'a.jpg', photograph((40, 60)))).shape == (40, 60, 3)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_the_size_of_a_turned_photograph_is_the_one_it_is_decoded_to(tmp_path, kind):
    exif = Image.Exif()
    exif[0x112] = 6
    path = str(tmp_path / 'a.jpg')
    Image.fromarray(random_mask(1, (40, 60, 3))).save(path, kind, exif=exif)
    assert images.image_size(path) == images.read_image(path).shape[:2]


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
@pytest.mark.parametrize('left', [0, 1, 30, .5, -1])
def test_images_cut_short_are_refused(tmp_path, ending, left):
    data = photograph(ending=ending)
    cut = len(data) - 13 if left == -1 else int(left * len(data)) if isinstance(left, float) else left
    path = write(tmp_path / 'a.jpg', data[:cut])
    with refused(path, 'cut short' if cut >= 8 else 'not an image', 'again'):
        images.read_image(path)


def test_thumbnail_in_a_header_does_not_pass_for_the_end(tmp_path):
    thumbnail, data = photograph((8, 8)), photograph()
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    whole = data[:2] + segment + data[2:]
    assert images.read_image(write(tmp_path / 'a.jpg', whole)).shape == (40, 60, 3)
    path = write(tmp_path / 'b.jpg', whole[:-100])
    with refused(path, 'cut short'):
        images.read_image(path)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_image_size_is_that_of_the_decoded_image(tmp_path, orientation):
    path, exif = str(tmp_path / 'a.jpg'), Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(random_mask(1, (40, 60, 3))).save(path, exif=exif.tobytes())
    assert images.image_size(path) == images.read_image(path).shape[:2]


def mutated(data, rng):
    """`data` with a few bytes changed, taken out or put in."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(data)))
        kind = rng.integers(3)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            del data[at:at + int(rng.integers(1, 20))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        if not data:
            return b''
    return bytes(data)


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'mask', 'palette', 'xml', 'superpixel'])
def test_damaged_files_give_a_result_or_one_line(tmp_path, kind):
    from icd.data import superpixel_map
    palette, grey = tmp_path / 'palette.png', random_mask(2, (20, 30)) % 21
    masks.save_colour(str(palette), grey)
    good, read = {
        'jpeg': (photograph((20, 30, 3)), images.read_image), 'png': (photograph((20, 30, 3), '.png'), images.read_image),
        'mask': (cv2.imencode('.png', grey)[1].tobytes(), masks.read_mask),
        'palette': (palette.read_bytes(), masks.read_mask),
        'xml': (annotation(('dog', EASY), ('person', DIFFICULT)).encode(), lambda p: voc.read_annotation(p, NAMES)),
        'superpixel': (photograph((20, 30, 3), '.png'), superpixel_map.read)}[kind]
    rng = np.random.default_rng(2)
    for _ in range(int(os.environ.get('ICD_FUZZ', 150))):
        path = write(tmp_path / 'file', mutated(good, rng))
        for function in (read, images.image_size) if kind != 'xml' else (read,):
            try:
                function(path)
            except UserError as error:
                assert str(error).startswith(path) and '\n' not in str(error)


# -------------------------------------------------------------------------------------------- lists of a devkit
@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A devkit, SBD and SegmentationClassAug of a few names, taken for the real ones."""
    lists = tmp_path / 'VOC2012' / 'ImageSets' / 'Segmentation'
    sbd, aug = tmp_path / 'sbd' / 'dataset', tmp_path / 'aug'
    for folder in (lists, sbd, aug):
        folder.mkdir(parents=True)
    write(lists / 'train.txt', 'c\na\n')
    write(lists / 'val.txt', 'v2\nv1\n')
    write(sbd / 'train.txt', 'a\nv1\nd\n')
    write(sbd / 'val.txt', 'v2\ne\n')
    for name in ('a', 'c', 'd', 'e', 'v1', 'v2'):
        write(aug / (name + '.png'), '')
    monkeypatch.setattr(voc_lists, 'COUNTS', {'train_aug': 4, 'val': 2, 'test': 1})
    monkeypatch.setattr(voc_lists, 'TRAIN_AUG_SHA256', hashlib.sha256(b'a\nc\nd\ne\n').hexdigest())
    return tmp_path


def build(devkit, *arguments):
    voc_lists.main(['--devkit', str(devkit / 'VOC2012'), '--out', str(devkit / 'out')] + list(arguments))
    return {path.name: path.read_text().split() for path in (devkit / 'out').iterdir()}


@pytest.mark.parametrize('source', [('--sbd', 'sbd'), ('--sbd', 'sbd/dataset'), ('--segmentation-class-aug', 'aug')])
def test_lists_of_a_devkit(devkit, capsys, source):
    made = build(devkit, source[0], str(devkit / source[1]))
    assert made == {'train_aug.txt': ['a', 'c', 'd', 'e'], 'val.txt': ['v1', 'v2']}
    assert 'OK' in capsys.readouterr().out
    write(devkit / 'VOC2012' / 'ImageSets' / 'Segmentation' / 'test.txt', 't\n')
    assert build(devkit, source[0], str(devkit / source[1]))['test.txt'] == ['t']


def test_other_lists_are_written_only_when_asked(devkit, capsys):
    write(devkit / 'sbd' / 'dataset' / 'train.txt', 'a\nb\n')
    arguments = '--sbd', str(devkit / 'sbd')
    with refused(devkit / 'VOC2012', 'not the right ones', '--any'):
        build(devkit, *arguments)
    assert not (devkit / 'out').exists()
    assert build(devkit, '--any', *arguments)['train_aug.txt'] == ['a', 'b', 'c', 'e']
    out = capsys.readouterr().out
    assert 'not the right ones' in out and 'OK' not in out
    write(devkit / 'sbd' / 'dataset' / 'val.txt', 'f\ng\nh\n')
    with refused(devkit / 'VOC2012', 'train_aug has 6 names, not 4'):
        build(devkit, *arguments)


def test_incomplete_devkit_is_named(devkit, tmp_path):
    with refused(tmp_path / 'nowhere', 'SegmentationClassAug'):
        voc_lists.devkit_lists(str(devkit / 'VOC2012'), class_aug=str(tmp_path / 'nowhere'))
    with refused(tmp_path / 'nowhere' / 'ImageSets', 'no such file'):
        voc_lists.devkit_lists(str(tmp_path / 'nowhere'), sbd=str(devkit / 'sbd'))
