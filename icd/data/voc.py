"""PASCAL VOC files: name lists, annotations, masks and photographs, and the lists of a devkit.

`python -m icd.data.voc --help` writes `train_aug.txt`, `val.txt` and `test.txt`.
"""
import contextlib
import hashlib
import io
import os
import struct
import sys
import xml.parsers.expat
import zlib

import cv2
import numpy as np
from PIL import Image, ImageFile

from icd import runtime
from icd.errors import UserError

CATEGORIES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable',
              'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
IGNORE = 255
TRAIN_AUG_SHA256 = 'd1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24'
COUNTS = {'train_aug': 10582, 'val': 1449, 'test': 1456}

_LARGEST_LIST = 64 << 20            # bytes
_LARGEST_XML = 4 << 20
_DEEPEST_XML = 64
_EXIF_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x112, 0x100, 0x101
_LARGEST_CLASS_COUNT = 254          # 0 is the background, 255 is ignored
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_AGAIN = 'copy or download it again'
# What Pillow raises on damaged files, besides OSError.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
           struct.error, zlib.error, Image.DecompressionBombError)


# ----------------------------------------------------------------------------------------------------- files
def read_bytes(path, remedy):
    """Content of a file.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.

    Returns
    -------
    bytes

    Raises
    ------
    UserError
        When there is no such file, or it may not be read. Read errors of the disk stay `OSError`.
    """
    try:
        with open(path, 'rb') as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError('%s: no such file: %s' % (path, remedy)) from None
    except IsADirectoryError:
        raise UserError('%s: this is a folder, not a file: %s' % (path, remedy)) from None
    except PermissionError:
        raise UserError('%s: may not be read: change its permissions' % path) from None


def image_path(image_root, name):
    """Where the photograph `name` of a list is."""
    return os.path.join(image_root, name + '.jpg')


def cut_short(data):
    """True for the content of a JPEG or PNG file whose end is missing: decoders may fill the rest with grey."""
    if data[:8] == PNG_SIGNATURE:
        return _png_end(data) > len(data)
    if data[:2] != b'\xff\xd8':
        return False
    start = 2
    while start + 4 <= len(data) and data[start] == 0xff and data[start + 1] != 0xda:       # up to start of scan
        start += 1 if data[start + 1] == 0xff else 2 + int.from_bytes(data[start + 2:start + 4], 'big')
    return data.rfind(b'\xff\xd9') < start                                                  # end of image


def _png_end(data):
    """Where the last chunk of a PNG file ends, by the lengths of its chunks; OpenCV takes seconds over wrong ones."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, start)
        start += 12 + length
        if kind == b'IEND':
            return start
    return start + 12


def decode_image(data, path):
    """Pixels of an encoded photograph.

    Parameters
    ----------
    data : bytes
    path : str
        Its file, for the message.

    Returns
    -------
    ndarray (H, W, 3) uint8
        BGR.

    Raises
    ------
    UserError
        When it is damaged or no image.
    """
    image = None
    if data and not cut_short(data):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:                                           # sizes that are beyond OpenCV's limits
            pass
    if image is None:
        raise UserError('%s: %s: %s' % (
            path, 'the file is cut short' if cut_short(data) else 'not an image that OpenCV can read', _AGAIN))
    return image


def read_image(path):
    """Read a photograph: (H, W, 3) uint8, BGR. Raises `UserError` when it is missing, damaged or no image."""
    return decode_image(read_bytes(path, 'check the image folder and the list of names'), path)


def _on_its_side(image):
    """True when the EXIF data of an open image, if it has any that can be read, turn it by a quarter."""
    tags = Image.Exif()
    try:
        if image.format == 'TIFF':
            tags = image.tag_v2
            if image.size != (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]):
                return False                    # newer releases of Pillow have turned the size already
        else:
            tags.load(image.info.get('exif', b''))
        return tags.get(_EXIF_ORIENTATION, 1) in range(5, 9)
    except DAMAGE:
        return False


def image_size(path, remedy='check the image folder and the list of names'):
    """Height and width of an image file, from its header.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it is not there.

    Returns
    -------
    (int, int)
        What OpenCV decodes it to: an EXIF orientation that lays it on its side is followed.

    Raises
    ------
    UserError
        When the file is missing or its header is not that of an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            on_its_side = image.format != 'WEBP' and _on_its_side(image)     # which OpenCV does not turn
    except (FileNotFoundError, NotADirectoryError):
        raise UserError('%s: no such file: %s' % (path, remedy)) from None
    except PermissionError:
        raise UserError('%s: may not be read: change its permissions' % path) from None
    except Image.DecompressionBombError:
        raise UserError('%s: more than %d million pixels: scale it down' % (
            path, 2 * Image.MAX_IMAGE_PIXELS // 1000000)) from None
    except DAMAGE:
        raise UserError('%s: not an image: %s' % (path, remedy)) from None
    return (width, height) if on_its_side else (height, width)


# ------------------------------------------------------------------------------------------------- name lists
def _lines(path, remedy):
    """Numbered lines of a text file without surrounding blanks, empty ones left out."""
    data = read_bytes(path, remedy)
    if len(data) > _LARGEST_LIST:
        raise UserError('%s: %d MB are too many for a list of names: %s' % (path, len(data) >> 20, remedy))
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError:
        text = '\0'
    if '\0' in text:
        raise UserError('%s: not a text file: %s' % (path, remedy))
    found = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise UserError('%s: holds no names: %s' % (path, remedy))
    return found


def _name_problem(name):
    """What keeps `name` from being the name of a file below a given folder, or None."""
    if name.startswith(('/', '\\')) or name[1:3] in (':/', ':\\'):
        return 'an absolute path: give names relative to the image folder, without an ending'
    if '\\' in name or not name.isprintable():
        return 'it holds a backslash or an unprintable character: put / between folders'
    if '..' in name.split('/'):
        return "it leaves the folder: names must not contain '..'"
    if os.path.normpath(name) != name or name.startswith('-'):
        return 'not a plain file name: give names like 2007_000032, or folder/2007_000032'
    if os.path.splitext(name)[1].lower() in ('.jpg', '.jpeg', '.png', '.xml'):
        return 'write names without %s' % os.path.splitext(name)[1]
    if max(len(os.fsencode(part)) for part in name.split('/')) > 230:
        return 'the name is too long for a file'
    return None


def read_list(path, remedy='give a text file with one name a line'):
    """Names of a list, one a line; blank lines, trailing blanks and CRLF are tolerated.

    Parameters
    ----------
    path : str
    remedy : str
        What the user can do when it cannot be read.

    Returns
    -------
    list of str
        All different; none leads out of the folder it is joined to. `folder/NAME` is allowed.

    Raises
    ------
    UserError
        When the file is missing, empty or no text, or a name occurs twice, leaves its folder or has an ending.
    """
    seen = {}
    for number, name in _lines(path, remedy):
        problem = _name_problem(name)
        if problem:
            raise UserError('%s: line %d, %.80r: %s' % (path, number, name, problem))
        if name in seen:
            raise UserError('%s: line %d: %s was already on line %d: remove one of them' % (
                path, number, name, seen[name]))
        seen[name] = number
    return list(seen)


def read_class_names(path=None):
    """Class names in index order, background left out: VOC's 20, or those of a file, one a line.

    Raises
    ------
    UserError
        When the file is missing, empty or no text, names a class twice, names the background, or has more than
        254 names.
    """
    if path is None:
        return CATEGORIES
    names = [name for _, name in _lines(path, 'give a text file with one class name a line')]
    if len(set(names)) < len(names):
        raise UserError('%s: a class is named twice: remove one of them' % path)
    if 'background' in (name.lower() for name in names):
        raise UserError('%s: names the background: leave it out, it has index 0 by itself' % path)
    if len(names) > _LARGEST_CLASS_COUNT:
        raise UserError('%s: %d classes: a mask has room for %d' % (path, len(names), _LARGEST_CLASS_COUNT))
    return tuple(names)


# ------------------------------------------------------------------------------------------------ annotations
class _Objects:
    """Collects name and difficulty of the `object` entries of an annotation while Expat reads it."""

    def __init__(self):
        self.found, self._path = [], []

    def start(self, tag, _):
        self._path.append(tag)
        if len(self._path) > _DEEPEST_XML:
            raise ValueError('nested too deeply')
        if len(self._path) == 1 and tag != 'annotation':
            raise ValueError('its root is <%s>, not <annotation>' % tag)
        if self._path[1:] == ['object']:
            self.found.append({'name': '', 'difficult': ''})

    def end(self, _):
        self._path.pop()

    def text(self, data):
        if len(self._path) == 3 and self._path[1] == 'object' and self._path[2] in self.found[-1]:
            self.found[-1][self._path[2]] += data

    def doctype(self, *_):
        raise ValueError('it declares a document type or entities, which annotations have no use for')


def _parse_objects(data):
    """(name, difficult) of every object; `ValueError` says what is wrong with the file."""
    objects = _Objects()
    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = objects.start, objects.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = objects.text, objects.doctype
    try:
        parser.Parse(data, True)
    except (xml.parsers.expat.ExpatError, LookupError) as error:
        raise ValueError('not valid XML (%s)' % error) from None
    for entry in objects.found:
        name, difficult = entry['name'].strip(), entry['difficult'].strip() or '0'
        if not name:
            raise ValueError('an object has no name')
        if difficult not in ('0', '1'):
            raise ValueError('difficult is %.20r, not 0 or 1' % difficult)
        yield name, difficult == '1'


def read_annotation(path, class_names=CATEGORIES):
    """Classes in a photograph, from its VOC annotation.

    Those of the objects that are not difficult; when there are none, those of the difficult ones.

    Parameters
    ----------
    path : str
        An XML file. Document types and entities are refused.
    class_names : sequence of str

    Returns
    -------
    tuple of int
        Indices into `class_names`, ascending; empty when the file has no objects.

    Raises
    ------
    UserError
        When the file is missing, damaged or not an annotation, or names an unknown class.
    """
    data = read_bytes(path, 'check the annotation folder and the list of names')
    try:
        if len(data) > _LARGEST_XML:
            raise ValueError('%d MB are too many' % (len(data) >> 20))
        objects = list(_parse_objects(data))
    except ValueError as error:
        raise UserError('%s: not a usable annotation: %s: correct the file' % (path, error)) from None
    index = {name: i for i, name in enumerate(class_names)}
    unknown = next((name for name, _ in objects if name not in index), None)
    if unknown is not None:
        raise UserError('%s: unknown class %.80r: the %d known ones are %s, ...; --class-names gives others' % (
            path, unknown, len(index), ', '.join(list(index)[:3])))
    easy = {index[name] for name, difficult in objects if not difficult}
    return tuple(sorted(easy or {index[name] for name, _ in objects}))


def no_labels(names, class_names=CATEGORIES):
    """Image labels (len(names), len(class_names)) float32 without any class yet."""
    return np.zeros((len(names), len(class_names)), np.float32)


def read_labels(names, annotation_root, class_names=CATEGORIES):
    """Image labels of a whole list.

    Parameters
    ----------
    names : sequence of str
    annotation_root : str
        Folder of NAME.xml.
    class_names : sequence of str

    Returns
    -------
    ndarray (len(names), len(class_names)) float32
        1 where the image has an object of the class, else 0.

    Raises
    ------
    UserError
        As `read_annotation`.
    """
    labels = no_labels(names, class_names)
    for row, name in zip(labels, names):
        row[list(read_annotation(os.path.join(annotation_root, name + '.xml'), class_names))] = 1
    return labels


# ------------------------------------------------------------------------------------------------------ masks
def palette():
    """VOC's colours of the 256 indices: (256, 3) uint8, RGB. The bits of an index are dealt out to the channels."""
    index = np.arange(256, dtype=np.uint8)
    bits = np.unpackbits(index[:, None], axis=1, bitorder='little')             # (256, 8), lowest bit first
    colours = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for level, bit in enumerate(range(channel, 8, 3)):
            colours[:, channel] |= bits[:, bit] << (7 - level)
    return colours


@contextlib.contextmanager
def _strict_pillow():
    """Importing GluonCV tells Pillow to fill what is missing of a damaged file with zeros: the background, in a mask."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def read_mask(path):
    """Read the class indices of a mask.

    Parameters
    ----------
    path : str
        A palette or grey PNG; its colours are of no account.

    Returns
    -------
    ndarray (H, W) uint8

    Raises
    ------
    UserError
        When the file is missing, damaged or no PNG, is a colour picture, or has values above 255.
    """
    data = read_bytes(path, 'check the folder and the list of names')
    try:
        with _strict_pillow(), Image.open(io.BytesIO(data), formats=('PNG',)) as image:
            mode, mask = image.mode, np.array(image)
    except DAMAGE:
        raise UserError('%s: not a whole PNG image: copy or make it again' % path) from None
    if mode not in ('P', 'L', '1') and not mode.startswith('I'):
        raise UserError('%s: a colour picture (mode %s): masks hold class indices, in a grey or palette PNG' % (
            path, mode))
    bits = data[24]                                     # of the header: Pillow stretches 2 and 4 bits of grey to 8
    if data[12:16] != b'IHDR':
        raise UserError('%s: not a whole PNG image: copy or make it again' % path)
    if mode == 'L' and bits < 8:
        mask = mask // (255 // (2 ** bits - 1))
    if mask.max() > 255:
        raise UserError('%s: has the index %d: masks hold class indices up to 255' % (path, mask.max()))
    return mask.astype(np.uint8)


def save_mask(path, mask):
    """Write class indices (H, W) uint8 as a grey PNG that every program reads as indices, whole or not at all."""
    runtime.save_image(path, _checked(mask))


def save_colour(path, mask):
    """Write class indices (H, W) uint8 as a palette PNG in VOC's colours, whole or not at all."""
    image = Image.fromarray(_checked(mask), 'P')
    image.putpalette(palette().tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG')
    runtime.save_bytes(path, data.getvalue())


def _checked(mask):
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError('a mask is (H, W) uint8, this is %s %s' % (mask.shape, mask.dtype))
    return np.ascontiguousarray(mask)


# -------------------------------------------------------------------------------------------- lists of a devkit
def _sbd_names(folder):
    """Names of the Semantic Boundaries Dataset: `train.txt` and `val.txt`, in the folder or its `dataset`."""
    inner = os.path.join(folder, 'dataset')
    folder = inner if os.path.isdir(inner) else folder
    return {name for part in ('train', 'val') for name in read_list(
        os.path.join(folder, part + '.txt'), 'give the folder of SBD, benchmark_RELEASE')}


def _mask_names(folder):
    """Names of the PNG files in a folder."""
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise UserError('%s: %s: give the folder of SegmentationClassAug' % (folder, error.strerror)) from None
    return {os.path.splitext(name)[0] for name in files if name.lower().endswith('.png') and name[0] != '.'}


def devkit_lists(devkit, sbd=None, class_aug=None):
    """Names for training with more annotations than VOC's own, for validation and for testing.

    Parameters
    ----------
    devkit : str
        Folder of VOC2012.
    sbd : str, optional
        Folder of the Semantic Boundaries Dataset. Its names and VOC's segmentation train names, without VOC's
        val names, make `train_aug`.
    class_aug : str, optional
        Folder `SegmentationClassAug`. The names of its masks, without VOC's val names, make the same list.

    Returns
    -------
    dict of str to list of str
        `train_aug`, `val`, and `test` where the devkit has it; sorted.

    Raises
    ------
    UserError
        When something is missing.
    """
    def voc_names(part):
        return set(read_list(os.path.join(devkit, 'ImageSets', 'Segmentation', part + '.txt'),
                             'give the folder VOCdevkit/VOC2012'))
    val = voc_names('val')
    train = _mask_names(class_aug) if sbd is None else _sbd_names(sbd) | voc_names('train')
    lists = {'train_aug': sorted(train - val), 'val': sorted(val)}
    if os.path.exists(os.path.join(devkit, 'ImageSets', 'Segmentation', 'test.txt')):
        lists['test'] = sorted(voc_names('test'))
    return lists


def _list_text(names):
    return ''.join(name + '\n' for name in names).encode()


def check_lists(lists):
    """What differs from the lists the field uses.

    Parameters
    ----------
    lists : dict
        Of `devkit_lists`.

    Returns
    -------
    list of str
        A sentence for each list that differs.
    """
    wrong = ['%s has %d names, not %d' % (part, len(names), COUNTS[part])
             for part, names in lists.items() if len(names) != COUNTS[part]]
    digest = hashlib.sha256(_list_text(lists['train_aug'])).hexdigest()
    if not wrong and digest != TRAIN_AUG_SHA256:
        wrong.append('train_aug has the right number of names, but not the right ones (sha256 %s...)' % digest[:12])
    return wrong


def parse(arguments):
    """The command line of `main`, read."""
    parser = runtime.CommandLine('python -m icd.data.voc', description='Write the name lists of VOC 2012.')
    parser.add_argument('--devkit', required=True, help='folder VOCdevkit/VOC2012')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--sbd', help='folder of the Semantic Boundaries Dataset (benchmark_RELEASE)')
    source.add_argument('--segmentation-class-aug', help='folder SegmentationClassAug')
    parser.add_argument('--out', default='data/VOC2012', help='folder to write to (default: %(default)s)')
    parser.add_argument('--any', action='store_true', help='write lists that are not the ones the field uses, too')
    return parser.parse_args(arguments)


def main(arguments):
    """Write the lists that the command line asks for."""
    options = parse(arguments)
    lists = devkit_lists(options.devkit, options.sbd, options.segmentation_class_aug)
    wrong = check_lists(lists)
    if wrong and not options.any:
        raise UserError('%s: %s: complete the folders, or write these lists all the same with --any' % (
            options.devkit, '; '.join(wrong)))
    for part, names in lists.items():
        path = os.path.join(options.out, part + '.txt')
        runtime.save_bytes(path, _list_text(names))
        print('%s: %d names' % (path, len(names)))
    if 'test' not in lists:
        print('test.txt was not written: it comes with the test devkit (ImageSets/Segmentation/test.txt)')
    print('; '.join(wrong) if wrong else 'OK: train_aug is the list of %d names the field uses' % COUNTS['train_aug'])


if __name__ == '__main__':
    sys.exit(runtime.door(main))
