"""`makeSuperpixel` on the command line: what it reads, keeps, refuses, and says."""
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.superpixel.superpixel_program import FOLDER, PROGRAM, build, call, draw

from icd.data import superpixel_map
from icd.data.images import read_image


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


def make(folder, *options, min_size='75', **words):
    return call('list.txt', 'images', 'out', min_size, *options, cwd=str(folder), **words)


def files(folder):
    """All files below a folder with what is in them."""
    found = {}
    for where, _, names in os.walk(str(folder)):
        for name in names:
            path = os.path.join(where, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, str(folder))] = file.read()
    return found


# ------------------------------------------------------------------------------------------------ what it reads
def test_lists_of_any_editor(images):
    (images / 'list.txt').write_bytes(b'\xef\xbb\xbfa\r\n\r\n  b \t\r\na\r\nsub/with space')
    code, said = make(images)
    assert code == 0 and said == ['makeSuperpixel: 3 made, 0 already there, 0 bad']
    assert sorted(files(images / 'out')) == ['a.png', 'b.png', 'sub/with space.png']


def test_maps_have_the_size_and_the_encoding_of_the_contract(images):
    assert make(images)[0] == 0
    encoded = cv2.imread(str(images / 'out/a.png'), cv2.IMREAD_UNCHANGED)
    assert encoded.shape == (60, 80, 3) and encoded.dtype == np.uint8
    assert (superpixel_map.read(str(images / 'out/a.png')) == encoded.astype(int) @ [1, 256, 65536]).all()


def test_jpg_is_taken_before_png(images):
    shutil.copy(str(images / 'images/b.png'), str(images / 'images/a.png'))
    cv2.imwrite(str(images / 'images/a.png'), draw(30, 30))
    assert make(images)[0] == 0
    assert superpixel_map.read(str(images / 'out/a.png')).shape == (60, 80)


def odd_images(folder):
    """Unusual images that are right, by name of the file."""
    picture = draw(50, 70)
    made = {'1x1.png': picture[:1, :1], '1x2000.png': draw(1, 2000), '2000x1.png': draw(2000, 1),
            'grey.jpg': picture[..., 0], '16bit.png': picture.astype(np.uint16) * 257,
            'grey16.png': picture[..., 0].astype(np.uint16) * 257, 'alpha.png': np.dstack([picture, picture[..., :1]])}
    for name, image in made.items():
        cv2.imwrite(os.path.join(folder, name), image)
    Image.fromarray(picture).convert('CMYK').save(os.path.join(folder, 'cmyk.jpg'))
    Image.fromarray(picture).convert('P').save(os.path.join(folder, 'palette.png'))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        Image.fromarray(picture).save(os.path.join(folder, 'exif%d.jpg' % orientation), exif=exif)
    return sorted(os.listdir(folder))


@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_odd_images_are_read_as_the_training_reads_them(method, tmp_path):
    os.makedirs(str(tmp_path / 'images'))
    os.makedirs(str(tmp_path / 'same'))
    found = odd_images(str(tmp_path / 'images'))
    names = [os.path.splitext(file)[0] for file in found]
    for file, name in zip(found, names):       # the training's decoding, without loss
        cv2.imwrite(str(tmp_path / 'same' / (name + '.png')), read_image(str(tmp_path / 'images' / file)))
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    for folder in ('images', 'same'):
        code, said = call('list.txt', folder, 'out_' + folder, 20, '--method', method, cwd=str(tmp_path))
        assert code == 0, said
    for name in names:
        given, same = (superpixel_map.read(str(tmp_path / ('out_' + f) / (name + '.png'))) for f in ('images', 'same'))
        assert given.shape == same.shape and (given == same).all(), name


def test_large_image(images):
    cv2.imwrite(str(images / 'images/a.jpg'), cv2.resize(draw(400, 600), (6000, 4000)))
    (images / 'list.txt').write_text('a\n')
    code, said = make(images, min_size='2000')
    assert code == 0, said
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
def test_a_bad_image_is_named_and_the_others_go_on(file, images):
    content = bad_images()[file]
    name = os.path.splitext(file)[0]
    if content is not None:
        (images / 'images' / file).write_bytes(content)
    (images / 'list.txt').write_text('a\n%s\nb\n' % name)
    code, said = make(images)
    assert code == 1 and len(said) == 2, said
    assert said[0].startswith('makeSuperpixel: images/%s.' % name) and 'take the name off the list' in said[0]
    assert said[1] == 'makeSuperpixel: 2 made, 0 already there, 1 bad'
    assert sorted(files(images / 'out')) == ['a.png', 'b.png']


def test_a_folder_or_a_pipe_is_no_image(images):
    os.makedirs(str(images / 'images/c.jpg'))
    os.mkfifo(str(images / 'images/d.jpg'))
    (images / 'list.txt').write_text('c\nd\na\n')
    code, said = make(images)
    assert code == 1 and len(said) == 3 and 'c.jpg' in ''.join(said[:2]) and 'd.jpg' in ''.join(said[:2])


# ------------------------------------------------------------------------------------------------ bad commands
BAD_COMMANDS = {
    'no K': (['list.txt', 'images', 'out'], 'DATA_LIST IMAGE_DIR TARGET_DIR K'),
    'too much': (['list.txt', 'images', 'out', '75', '80'], 'DATA_LIST IMAGE_DIR TARGET_DIR K'),
    'K is 0': (['list.txt', 'images', 'out', '0'], "K '0'"),
    'K below 0': (['list.txt', 'images', 'out', '-75'], "K '-75'"),
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
    'empty list': (['empty.txt', 'images', 'out', '75'], 'empty.txt: no names'),
    'no images': (['list.txt', 'nowhere', 'out', '75'], 'nowhere: not a folder'),
    'images are a file': (['list.txt', 'list.txt', 'out', '75'], 'list.txt: not a folder'),
    'target is a file': (['list.txt', 'images', 'list.txt', '75'], 'list.txt: this is a file'),
    'target below a file': (['list.txt', 'images', 'list.txt/a', '75'], 'list.txt/a: a part of this path is a file'),
}


@pytest.mark.parametrize('case', sorted(BAD_COMMANDS))
def test_a_wrong_command_gets_one_line_and_writes_nothing(case, images):
    arguments, message = BAD_COMMANDS[case]
    (images / 'empty.txt').write_text('\n\r\n \n')
    before = files(images)
    code, said = call(*arguments, cwd=str(images))
    assert code == 2 and len(said) == 1 and said[0].startswith('makeSuperpixel: ') and message in said[0], said
    assert files(images) == before and not os.path.exists(str(images / 'out'))


@pytest.mark.parametrize('name', ['../a', 'sub/../../a', '/a', '..', 'sub/', 'a.jpg', 'a.PNG'])
def test_names_stay_below_their_folders(name, images):
    cv2.imwrite(str(images / 'a.jpg'), draw(20, 20))
    (images / 'list.txt').write_text('b\n%s\n' % name)
    before = files(images)
    code, said = make(images)
    assert code == 2 and len(said) == 1 and "line 2, '%s'" % name in said[0], said
    assert files(images) == before


def test_links_out_of_the_folder_are_not_followed(images):
    os.makedirs(str(images / 'elsewhere'))
    os.makedirs(str(images / 'out'))
    os.symlink(str(images / 'elsewhere'), str(images / 'out/sub'))
    code, said = make(images)
    assert code == 1 and 'link' in said[0] and not os.listdir(str(images / 'elsewhere')), said


def test_an_image_is_never_replaced_by_its_labels(images):
    before = files(images / 'images')
    for options in ([], ['--force']):
        code, said = call('list.txt', 'images', 'images/.', '75', *options, cwd=str(images))
        assert code == 1 and len(said) == 2 and 'images/b.png: its label map would replace it' in said[0], said
    after = files(images / 'images')
    assert sorted(set(after) - set(before)) == ['a.png', 'sub/with space.png']
    assert all(after[name] == before[name] for name in before)


def test_help():
    done = subprocess.run([PROGRAM, '--help'], stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0
    for word in ('--method', '--compactness', '--iterations', '--threads', '--force', 'Exit code'):
        assert word in done.stdout


# ------------------------------------------------------------------------------------------ keeping and resuming
def test_finished_maps_are_kept_unless_forced(images):
    make(images)
    before = files(images / 'out')
    os.remove(str(images / 'out/b.png'))
    stamp = os.stat(str(images / 'out/a.png')).st_mtime_ns
    assert make(images) == (0, ['makeSuperpixel: 1 made, 2 already there, 0 bad'])
    assert os.stat(str(images / 'out/a.png')).st_mtime_ns == stamp
    assert make(images, '--force') == (0, ['makeSuperpixel: 3 made, 0 already there, 0 bad'])
    assert os.stat(str(images / 'out/a.png')).st_mtime_ns > stamp
    assert files(images / 'out') == before


@pytest.mark.parametrize('options', [['--method', 'graph'], ['--compactness', '20'], ['--iterations', '1']])
def test_maps_made_in_another_way_are_made_again(options, images):
    make(images)
    assert make(images, *options)[1] == ['makeSuperpixel: 3 made, 0 already there, 0 bad']
    assert make(images, *options)[1] == ['makeSuperpixel: 0 made, 3 already there, 0 bad']
    assert make(images, *options, min_size='50')[1] == ['makeSuperpixel: 3 made, 0 already there, 0 bad']


def test_maps_of_other_programs_are_kept(images):
    os.makedirs(str(images / 'out'))
    superpixel_map.write(str(images / 'out/a.png'), np.zeros((60, 80), np.int32))
    (images / 'out/b.png').write_bytes(b'')
    assert make(images)[1] == ['makeSuperpixel: 2 made, 1 already there, 0 bad']
    assert not superpixel_map.read(str(images / 'out/a.png')).any()


def test_a_killed_run_is_continued(images):
    names = ['n%d' % i for i in range(40)]
    picture = cv2.imencode('.jpg', draw(450, 600))[1].tobytes()
    for name in names:
        (images / 'images' / (name + '.jpg')).write_bytes(picture)
    (images / 'list.txt').write_text('\n'.join(names))

    def start(to):
        running = subprocess.Popen([PROGRAM, 'list.txt', 'images', to, '75', '--method', 'graph', '--threads', '2'],
                                   cwd=str(images), stderr=subprocess.PIPE, universal_newlines=True)
        while not os.path.isdir(str(images / to)) or len(os.listdir(str(images / to))) < 3:
            assert running.poll() is None
            time.sleep(.01)
        return running
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        running = start('out')
        running.send_signal(number)
        said = running.communicate(timeout=20)[1]
        assert running.returncode == code
        if code > 0:
            assert 'run the same command again' in said and len(said.splitlines()) == 1
            assert all(file.endswith('.png') and not file.startswith('.') for file in files(images / 'out'))
        done = files(images / 'out')
        assert 0 < len(done) < len(names)
        assert all(superpixel_map.read(str(images / 'out' / f)).shape == (450, 600) for f in done if f[0] != '.')
        if code != -9:
            shutil.rmtree(str(images / 'out'))
    (images / 'out/.n39.png.part').write_bytes(b'half')
    assert make(images, '--method', 'graph')[0] == 0
    found = files(images / 'out')
    assert sorted(found) == sorted(name + '.png' for name in names) and len(set(found.values())) == 1


def test_a_map_that_another_run_writes_is_left_to_it(images):
    os.makedirs(str(images / 'out'))
    name = (images / 'list.txt').read_text().split()[0]
    partial = images / 'out' / ('.%s.png.part' % name)
    with open(str(partial), 'wb') as file:
        file.write(b'theirs')
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        code, said = make(images)
        assert code == 2 and '%s.png: another run is writing this file: wait for it' % name in said[0], said
        assert partial.read_bytes() == b'theirs'
    assert make(images)[0] == 0 and not partial.exists()


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


def test_full_disk(small_disk):
    names = ['n%d' % i for i in range(60)]              # of 10 kB each
    for name in names:
        cv2.imwrite(str(small_disk / 'images' / (name + '.png')), draw(200, 200))
    (small_disk / 'list.txt').write_text('\n'.join(names))
    code, said = make(small_disk)
    assert code == 2 and len(said) == 1 and 'the disk is full' in said[0], said
    found = files(small_disk / 'out')
    assert 0 < len(found) < 60 and not any(name.startswith('.') for name in found)
    assert all(superpixel_map.read(str(small_disk / 'out' / name)).shape == (200, 200) for name in found)


def test_read_only_folder(small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk / 'out')], check=True)
    code, said = make(small_disk)
    assert code == 2 and len(said) == 1 and 'read-only' in said[0], said


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='counts memory the Linux way')
@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_memory(method, images):
    """A VOC photograph of 500 x 375 takes less than 60 MB on one thread, OpenCV and its libraries counted."""
    cv2.imwrite(str(images / 'images/a.jpg'), draw(375, 500))
    (images / 'list.txt').write_text('a\n')
    # A small process in between: what a process had before it became another program counts for its peak.
    count = ('import resource, subprocess, sys; subprocess.check_call(sys.argv[1:], stderr=subprocess.DEVNULL); '
             'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)')
    used = subprocess.run([sys.executable, '-c', count, PROGRAM, 'list.txt', 'images', 'out', '75', '--method', method,
                           '--threads', '1'], cwd=str(images), stdout=subprocess.PIPE, check=True).stdout
    assert int(used) < 60 * 1024


def test_without_opencv_make_says_what_to_install():
    done = subprocess.run(['make', '-B', '-C', FOLDER, 'opencv', 'OPENCV_PACKAGE=', 'OPENCV_ROOTS=/nowhere'],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode != 0 and 'apt-get install libopencv-imgcodecs-dev' in done.stderr.splitlines()[0]
