"""`makeSuperpixel` on the command line: what it reads, writes, refuses and reports."""
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data import superpixel_map
from icd.data.images import read_image
from tests.superpixel.superpixel_program import FOLDER, PROGRAM, build, call, draw, files, maps


@pytest.fixture(scope='module', autouse=True)
def built():
    build()


@pytest.fixture
def images(tmp_path):
    """A folder with a.jpg, b.png and 'sub/with space.jpg', and their list."""
    for name in ('images/a.jpg', 'images/b.png', 'images/sub/with space.jpg'):
        os.makedirs(str((tmp_path / name).parent), exist_ok=True)
        cv2.imwrite(str(tmp_path / name), draw(60, 80))
    (tmp_path / 'list.txt').write_text('a\nb\nsub/with space\n')
    return tmp_path


def make(folder, *options, min_size='75', **kwargs):
    return call('list.txt', 'images', 'out', min_size, *options, cwd=str(folder), **kwargs)


# ------------------------------------------------------------------------------------------------ what it reads
def test_lists_from_any_editor(images):
    (images / 'list.txt').write_bytes(b'\xef\xbb\xbfa\r\n\r\n  b \t\r\n./sub//with space')
    code, lines = make(images)
    assert code == 0 and lines == ['makeSuperpixel: 3 made, 0 already there, 0 bad']
    assert sorted(maps(images / 'out')) == ['a.png', 'b.png', 'sub/with space.png']


def test_size_and_encoding_of_maps(images):
    assert make(images)[0] == 0
    encoded = cv2.imread(str(images / 'out/a.png'), cv2.IMREAD_UNCHANGED)
    assert encoded.shape == (60, 80, 3) and encoded.dtype == np.uint8
    assert (superpixel_map.read(str(images / 'out/a.png')) == encoded.astype(int) @ [1, 256, 65536]).all()


def test_two_files_of_one_name_are_refused(images):
    shutil.copy(str(images / 'images/b.png'), str(images / 'images/a.png'))
    code, lines = make(images)
    assert code == 1 and lines == [
        'makeSuperpixel: images/a.jpg, images/a.png: several files for one image: keep one of them under this name',
        'makeSuperpixel: 2 made, 0 already there, 1 bad']
    assert sorted(maps(images / 'out')) == ['b.png', 'sub/with space.png']


def odd_images(folder):
    """Unusual images that are right, by name of the file."""
    drawn = draw(50, 70)
    made = {'1x1.png': drawn[:1, :1], '1x2000.png': draw(1, 2000), '2000x1.png': draw(2000, 1),
            'grey.jpg': drawn[..., 0], '16bit.png': drawn.astype(np.uint16) * 257,
            'grey16.png': drawn[..., 0].astype(np.uint16) * 257, 'alpha.png': np.dstack([drawn, drawn[..., :1]])}
    for name, image in made.items():
        cv2.imwrite(os.path.join(folder, name), image)
    made = {'colour.bmp': drawn, 'grey.BMP': drawn[..., 0], 'lossy.webp': drawn, 'transparent.webp': made['alpha.png'],
            'rgb.tif': drawn, 'grey_of.tiff': drawn[..., 0], '16bit.TIF': made['16bit.png']}
    for name, image in made.items():
        cv2.imwrite(os.path.join(folder, 'of_' + name), image)
    Image.fromarray(drawn).save(os.path.join(folder, 'lossless.webp'), lossless=True)
    Image.fromarray(drawn).convert('P').save(os.path.join(folder, 'palette_of.bmp'))
    Image.fromarray(drawn).convert('P').save(os.path.join(folder, 'palette_lzw.tif'), compression='tiff_lzw')
    Image.fromarray(drawn).convert('CMYK').save(os.path.join(folder, 'cmyk.jpg'))
    Image.fromarray(drawn).convert('P').save(os.path.join(folder, 'palette.png'))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        for ending in ('jpg', 'png', 'webp', 'tif'):
            Image.fromarray(drawn).save(os.path.join(folder, f'{ending}_exif{orientation}.{ending}'), exif=exif)
    return sorted(os.listdir(folder))


@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_odd_images_are_decoded_as_in_training(method, tmp_path):
    os.makedirs(str(tmp_path / 'images'))
    os.makedirs(str(tmp_path / 'same'))
    found = odd_images(str(tmp_path / 'images'))
    names = [os.path.splitext(file)[0] for file in found]
    assert len(set(names)) == len(names) > 40
    for file, name in zip(found, names):       # the training's decoding, without loss
        cv2.imwrite(str(tmp_path / 'same' / (name + '.png')), read_image(str(tmp_path / 'images' / file)))
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    for folder in ('images', 'same'):
        code, lines = call('list.txt', folder, 'out_' + folder, 20, '--method', method, cwd=str(tmp_path))
        assert code == 0, lines
    for name in names:
        given, same = (superpixel_map.read(str(tmp_path / ('out_' + f) / (name + '.png'))) for f in ('images', 'same'))
        assert given.shape == same.shape and (given == same).all(), name


def test_image_of_24_megapixels_is_cut(images):
    cv2.imwrite(str(images / 'images/a.jpg'), cv2.resize(draw(400, 600), (6000, 4000)))
    (images / 'list.txt').write_text('a\n')
    code, lines = make(images, min_size='2000')
    assert code == 0, lines
    with Image.open(str(images / 'out/a.png')) as labels:
        assert labels.size == (6000, 4000)


# ------------------------------------------------------------------------------------------------- bad images
def bad_images():
    jpeg = cv2.imencode('.jpg', draw(60, 80))[1].tobytes()
    png = cv2.imencode('.png', draw(60, 80))[1].tobytes()
    wrong = bytearray(png)
    wrong[len(png) // 2] ^= 0xff
    return {'missing': None, 'empty.jpg': b'', 'text.jpg': b'not an image\n', 'half.jpg': jpeg[:len(jpeg) // 2],
            'end.jpg': jpeg[:-2], 'head.jpg': jpeg[:150], 'half.png': png[:len(png) // 2], 'head.png': png[:40],
            'wrong.png': bytes(wrong), 'empty.png': b''}


@pytest.mark.parametrize('file', sorted(bad_images()))
def test_bad_image_is_named_and_the_others_are_made(file, images):
    content = bad_images()[file]
    name = os.path.splitext(file)[0]
    if content is not None:
        (images / 'images' / file).write_bytes(content)
    (images / 'list.txt').write_text(f'a\n{name}\nb\n')
    code, lines = make(images)
    assert code == 1 and len(lines) == 2, lines
    assert lines[0].startswith(f'makeSuperpixel: images/{name}.') and 'take the name off the list' in lines[0]
    assert lines[1] == 'makeSuperpixel: 2 made, 0 already there, 1 bad'
    assert sorted(maps(images / 'out')) == ['a.png', 'b.png']


def test_folders_and_pipes_are_bad_images(images):
    os.makedirs(str(images / 'images/c.jpg'))
    os.mkfifo(str(images / 'images/d.jpg'))
    (images / 'list.txt').write_text('c\nd\na\n')
    code, lines = make(images)
    assert code == 1 and len(lines) == 3 and 'c.jpg' in ''.join(lines[:2]) and 'd.jpg' in ''.join(lines[:2])


# ------------------------------------------------------------------------------------------------ bad commands
BAD_COMMANDS = {
    'no K': (['list.txt', 'images', 'out'], 'DATA_LIST IMAGE_DIR TARGET_DIR K'),
    'too much': (['list.txt', 'images', 'out', '75', '80'], 'DATA_LIST IMAGE_DIR TARGET_DIR K'),
    'K is 0': (['list.txt', 'images', 'out', '0'], "K '0'"),
    'negative K': (['list.txt', 'images', 'out', '-75'], "K '-75'"),
    'K no number': (['list.txt', 'images', 'out', 'many'], "K 'many'"),
    'K with more': (['list.txt', 'images', 'out', '75px'], "K '75px'"),
    'K no whole number': (['list.txt', 'images', 'out', '7.5'], "K '7.5'"),
    'K empty': (['list.txt', 'images', 'out', ''], "K ''"),
    'K nan': (['list.txt', 'images', 'out', 'nan'], "K 'nan'"),
    'K huge': (['list.txt', 'images', 'out', '1e30'], "K '1e30'"),
    'unknown method': (['list.txt', 'images', 'out', '75', '--method', 'lsc'], 'slic or graph'),
    'unknown option': (['list.txt', 'images', 'out', '75', '--fast'], '--fast'),
    'no value': (['list.txt', 'images', 'out', '75', '--threads'], '--threads: its value is missing'),
    'no threads': (['list.txt', 'images', 'out', '75', '--threads', '0'], "--threads '0'"),
    'no iterations': (['list.txt', 'images', 'out', '75', '--iterations=0'], "--iterations '0'"),
    'negative compactness': (['list.txt', 'images', 'out', '75', '--compactness', '-1'], "--compactness '-1'"),
    'no list': (['nowhere.txt', 'images', 'out', '75'], 'nowhere.txt: no such file'),
    'list is a folder': (['images', 'images', 'out', '75'], 'images: this is a folder'),
    'empty list': (['empty.txt', 'images', 'out', '75'], 'empty.txt: holds no names'),
    'no images': (['list.txt', 'nowhere', 'out', '75'], 'nowhere: not a folder'),
    'images are a file': (['list.txt', 'list.txt', 'out', '75'], 'list.txt: not a folder'),
    'target is a file': (['list.txt', 'images', 'list.txt', '75'], 'list.txt: this is a file'),
    'target inside a file': (['list.txt', 'images', 'list.txt/a', '75'], 'list.txt/a: a part of this path is a file'),
}


@pytest.mark.parametrize('case', sorted(BAD_COMMANDS))
def test_bad_command_is_one_line_and_writes_nothing(case, images):
    arguments, message = BAD_COMMANDS[case]
    (images / 'empty.txt').write_text('\n\r\n \n')
    before = files(images)
    code, lines = call(*arguments, cwd=str(images))
    assert code == 2 and len(lines) == 1 and lines[0].startswith('makeSuperpixel: ') and message in lines[0], lines
    assert files(images) == before and not os.path.exists(str(images / 'out'))


@pytest.mark.parametrize('name', ['../a', 'sub/../../a', '/a', '..', 'sub/', 'a.jpg', 'a.PNG'])
def test_names_that_leave_their_folders_are_refused(name, images):
    cv2.imwrite(str(images / 'a.jpg'), draw(20, 20))
    (images / 'list.txt').write_text(f'b\n{name}\n')
    before = files(images)
    code, lines = make(images)
    assert code == 2 and len(lines) == 1 and f"line 2, '{name}'" in lines[0], lines
    assert files(images) == before


def test_links_out_of_the_folder_are_not_followed(images):
    os.makedirs(str(images / 'elsewhere'))
    os.makedirs(str(images / 'out'))
    os.symlink(str(images / 'elsewhere'), str(images / 'out/sub'))
    code, lines = make(images)
    assert code == 1 and 'link' in lines[0] and not os.listdir(str(images / 'elsewhere')), lines


@pytest.mark.parametrize('options', [[], ['--force']])
def test_image_is_never_replaced_by_its_map(images, options):
    before = files(images / 'images')
    code, lines = call('list.txt', 'images', 'images/.', '75', *options, cwd=str(images))
    assert code == 1 and len(lines) == 2 and 'images/b.png: its label map would replace it' in lines[0], lines
    after = files(images / 'images')
    assert sorted(set(after) - set(before)) == ['a.png', 'inputs.tsv', 'settings.json', 'sub/with space.png']
    assert all(after[name] == before[name] for name in before)


def test_help_shows_every_option():
    done = subprocess.run([PROGRAM, '--help'], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    for text in ('--method', '--compactness', '--iterations', '--threads', '--force', 'Exit code'):
        assert text in done.stdout


# ------------------------------------------------------------------------------------------------ the machine
@pytest.fixture
def small_disk(images):
    target = str(images / 'out')
    os.makedirs(target)
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', target], stderr=subprocess.DEVNULL)
    if mounted.returncode:
        pytest.skip('mounting needs root')
    yield images
    subprocess.run(['umount', target], check=True)


def test_full_disk_ends_the_run_with_one_line(small_disk):
    names = [f'n{i}' for i in range(60)]              # of 10 kB each
    for name in names:
        cv2.imwrite(str(small_disk / 'images' / (name + '.png')), draw(200, 200))
    (small_disk / 'list.txt').write_text('\n'.join(names))
    code, lines = make(small_disk)
    assert code == 2 and len(lines) == 1 and 'the disk is full' in lines[0], lines
    found = maps(small_disk / 'out')
    assert 0 < len(found) < 60 and not any(name.startswith('.') for name in found)
    assert all(superpixel_map.read(str(small_disk / 'out' / name)).shape == (200, 200) for name in found)


def test_read_only_folder_ends_the_run_with_one_line(small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk / 'out')], check=True)
    code, lines = make(small_disk)
    assert code == 2 and len(lines) == 1 and 'read-only' in lines[0], lines


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='counts memory the Linux way')
@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_peak_memory_is_below_60_mb(method, images):
    """An image of 500 x 375 takes less than 60 MB on one thread, OpenCV and its libraries counted."""
    cv2.imwrite(str(images / 'images/a.jpg'), draw(375, 500))
    (images / 'list.txt').write_text('a\n')
    # A small process in between: what a process had before it became another program counts for its peak.
    count = ('import resource, subprocess, sys; subprocess.check_call(sys.argv[1:], stderr=subprocess.DEVNULL); '
             'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)')
    used = subprocess.run([sys.executable, '-c', count, PROGRAM, 'list.txt', 'images', 'out', '75', '--method', method,
                           '--threads', '1'], cwd=str(images), stdout=subprocess.PIPE, check=True).stdout
    assert int(used) < 60 * 1024


def test_without_opencv_make_names_what_to_install():
    done = subprocess.run(['make', '-B', '-C', FOLDER, 'opencv', 'OPENCV_PACKAGE=', 'OPENCV_ROOTS=/nowhere'],
                          capture_output=True, text=True)
    assert done.returncode != 0 and 'apt-get install libopencv-imgcodecs-dev' in done.stderr.splitlines()[0]
