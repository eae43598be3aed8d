"""What `makeSuperpixel` records of its inputs: what is made again and what is kept, locks, runs that end early."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time
import zlib

import cv2
import numpy as np
import pytest
from tests.superpixel.superpixel_program import PROGRAM, build, call, draw, files, maps

from icd.data import superpixel_map
from icd.superpixels import slic

NAMES = ('a', 'b', 'sub/with space')
PATHS = {'a': 'images/a.jpg', 'b': 'images/b.png', 'sub/with space': 'images/sub/with space.jpg'}
PAST, FUTURE = 10 ** 9 * 946684800, 10 ** 9 * 4102444800     # the years 2000 and 2100


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder with three images, their list, and their maps."""
    build()
    root = tmp_path_factory.mktemp('made')
    os.makedirs(str(root / 'images/sub'))
    for seed, path in enumerate(PATHS.values()):
        write(root / path, seed)
    (root / 'list.txt').write_text('\n'.join(NAMES))
    assert make(root) == (0, [summary(3, 0)])
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, dates and all."""
    return pathlib.Path(shutil.copytree(str(made), str(tmp_path / 'root')))


def write(path, seed, modified=None):
    """Write a drawn image; all PNG files of these have one size."""
    cv2.imwrite(str(path), draw(60, 80, seed), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    if modified is not None:
        os.utime(str(path), ns=(modified, modified))


def make(root, *options, min_size='75', **kwargs):
    return call('list.txt', 'images', 'out', min_size, *options, cwd=str(root), **kwargs)


def summary(made, kept, bad=0):
    return f'makeSuperpixel: {made} made, {kept} already there, {bad} bad'


def state(root):
    """What changes of each map when it is made again."""
    found = {}
    for name in NAMES:
        if (root / 'out' / (name + '.png')).exists():
            status = os.stat(str(root / 'out' / (name + '.png')))
            found[name] = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return found


def record(root):
    """Lines of the record {name: identity}."""
    lines = (root / 'out/inputs.tsv').read_text(encoding='utf-8').split('\n')
    assert lines.pop() == ''
    return dict(line.rsplit('\t', 1) for line in lines)


def identity(path):
    """The identity of a file as Python computes it."""
    status = os.stat(str(path))
    return f'{status.st_size},{status.st_mtime_ns},{zlib.crc32(path.read_bytes()):08x}'


# ------------------------------------------------------------------------------------------- what is made again
def replace(modified):
    return lambda root: write(root / PATHS['a'], 7, modified)


def touch(modified):
    return lambda root: os.utime(str(root / PATHS['a']), ns=(modified, modified))


def copy_with_its_date(root):
    write(root / 'other.jpg', 7, PAST)
    subprocess.run(['cp', '-p', 'other.jpg', PATHS['a']], cwd=str(root), check=True)


def move_over(root):
    write(root / 'other.jpg', 7, PAST)
    os.replace(str(root / 'other.jpg'), str(root / PATHS['a']))


def swap(root):
    first, second = root / PATHS['a'], root / PATHS['sub/with space']
    os.rename(str(first), str(root / 'aside'))
    os.rename(str(second), str(first))
    os.rename(str(root / 'aside'), str(second))


def link_to_other_content(root):
    write(root / 'stored.jpg', 7, PAST)
    os.remove(str(root / PATHS['a']))
    os.symlink('../stored.jpg', str(root / PATHS['a']))


def link_to_same_content(root):
    os.replace(str(root / PATHS['a']), str(root / 'stored.jpg'))
    os.symlink('../stored.jpg', str(root / PATHS['a']))


def rewrite(root):
    content = (root / PATHS['a']).read_bytes()
    os.remove(str(root / PATHS['a']))
    (root / PATHS['a']).write_bytes(content)


def replace_keeping_size_and_date(root):
    modified, size = os.stat(str(root / PATHS['b'])).st_mtime_ns, os.path.getsize(str(root / PATHS['b']))
    write(root / PATHS['b'], 7, modified)
    assert os.path.getsize(str(root / PATHS['b'])) == size


def copy_everything(*options):
    def change(root):
        for folder in ('images', 'out'):
            subprocess.run(['cp', *options, folder, 'copy'], cwd=str(root), check=True)
            shutil.rmtree(str(root / folder))
            os.rename(str(root / 'copy'), str(root / folder))
    return change


def edit_record(edit):
    def change(root):
        path = root / 'out/inputs.tsv'
        path.write_bytes(edit(path.read_bytes()))
    return change


def edit_settings(before, after):
    def change(root):
        path = root / 'out/settings.json'
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
    return change


def another_png_instead(root):
    os.remove(str(root / PATHS['a']))
    write(root / 'images/a.png', 7)


REPLACED = {
    'nothing': (lambda root: None, ''),
    'other content': (replace(None), 'a'),
    'other content, older date': (replace(PAST), 'a'),
    'other content, future date': (replace(FUTURE), 'a'),
    'other content, before 1970': (replace(-10 ** 18), 'a'),
    'other content, the year 2400': (replace(10 ** 9 * 13569465600), 'a'),
    'other content, one nanosecond younger': (
        lambda root: write(root / PATHS['b'], 7, os.stat(str(root / PATHS['b'])).st_mtime_ns + 1), 'b'),
    'other content of the same size': (lambda root: write(root / PATHS['b'], 7), 'b'),
    'other content of the same size, older': (lambda root: write(root / PATHS['b'], 7, PAST), 'b'),
    'cp -p': (copy_with_its_date, 'a'),
    'mv': (move_over, 'a'),
    'two swapped': (swap, 'ac'),
    'linked to other content': (link_to_other_content, 'a'),
    'linked to the same content': (link_to_same_content, ''),
    'PNG instead of JPEG': (another_png_instead, 'a'),
    'PNG beside JPEG': (lambda root: write(root / 'images/a.png', 7), ''),
    'touched': (lambda root: os.utime(str(root / PATHS['a'])), ''),
    'touched, older date': (touch(PAST), ''),
    'touched, future date': (touch(FUTURE), ''),
    'touched, before 1970': (touch(-10 ** 18), ''),
    'same content written again': (rewrite, ''),
    'all copied with dates': (copy_everything('-a'), ''),
    'all copied without dates': (copy_everything('-r'), ''),
    'image removed': (lambda root: os.remove(str(root / PATHS['a'])), ''),
    'size and date kept': (replace_keeping_size_and_date, ''),          # it is not read
    'map removed': (lambda root: os.remove(str(root / 'out/a.png')), 'a'),
    'map empty': (lambda root: (root / 'out/a.png').write_bytes(b''), 'a'),
    'record removed': (lambda root: os.remove(str(root / 'out/inputs.tsv')), 'abc'),
    'record empty': (edit_record(lambda text: b''), 'abc'),
    'line removed': (edit_record(lambda text: b''.join(line for line in text.splitlines(True)
                                                       if not line.startswith(b'a\t'))), 'a'),
    'line of another CRC, size and date kept': (
        edit_record(lambda text: text[:-9] + b'00000000\n'), ''),
    'lines of other programs': (edit_record(lambda text: b'\0\0\nx\ta\tb\na\t1,2\n' + text + b'a\t1,2,3\n\n'), ''),
    'line repeated': (edit_record(lambda text: text + text), ''),
    'last line counts': (edit_record(lambda text: b'a\t1,2,00000000\n' + text), ''),
    'settings removed': (lambda root: os.remove(str(root / 'out/settings.json')), 'abc'),
    'another version': (edit_settings('"version": 1', '"version": 0'), 'abc'),
}


@pytest.mark.parametrize('case', sorted(REPLACED))
def test_made_again_when_and_only_when_content_or_settings_changed(case, root):
    change, expected = REPLACED[case]
    again = {name for name, letter in zip(NAMES, 'abc') if letter in expected}
    change(root)
    before = state(root)
    code, lines = make(root)
    assert (code, lines[-1]) == (0, summary(len(again), 3 - len(again))), lines
    after = state(root)
    assert {name for name in NAMES if after[name] != before.get(name)} == again
    assert make(root) == (0, [summary(0, 3)]) and state(root) == after
    if case not in ('image removed', 'size and date kept', 'line of another CRC, size and date kept'):
        paths = dict(PATHS, a='images/a.png') if case == 'PNG instead of JPEG' else PATHS
        assert record(root) == {name: identity(root / paths[name]) for name in NAMES}
        for name in NAMES:
            labels = superpixel_map.read(str(root / 'out' / (name + '.png')))
            assert (labels == slic(cv2.imread(str(root / paths[name]))[..., ::-1])).all()


def test_torn_line_is_made_again(root):
    text = (root / 'out/inputs.tsv').read_bytes()
    last = text.splitlines()[-1].rsplit(b'\t', 1)[0].decode()
    assert len(text.splitlines()[-1]) > 30
    for cut in (1, 2, 8, 9, 10, 15, 30):                # in the CRC, the time, the size
        (root / 'out/inputs.tsv').write_bytes(text[:-cut])
        before = state(root)
        assert make(root) == (0, [summary(1, 2)])
        assert {name for name, value in state(root).items() if value != before[name]} == {last}
        assert set(record(root)) == set(NAMES)


def test_settings_changed_and_changed_back(root):
    first = maps(root / 'out')
    changed = 'makeSuperpixel: out: made with other settings before: all maps are made again'
    for options in (dict(min_size='50'), {}):
        assert make(root, **options) == (0, [changed, summary(3, 0)])
        assert make(root, **options) == (0, [summary(0, 3)])
    assert maps(root / 'out') == first


@pytest.mark.parametrize('options', [['--method', 'graph'], ['--compactness', '20'], ['--iterations', '1']])
def test_another_method_or_setting_makes_all_again(options, root):
    assert make(root, *options)[1][-1] == summary(3, 0)
    assert make(root, *options) == (0, [summary(0, 3)])


def test_what_does_not_decide_labels_makes_nothing_again(root):
    assert make(root, '--threads', '1') == (0, [summary(0, 3)])
    assert make(root, '--compactness=6.0', '--iterations', '1e1', min_size='7.5e1') == (0, [summary(0, 3)])
    assert make(root, '--method', 'graph')[1][-1] == summary(3, 0)
    assert make(root, '--method', 'graph', '--compactness', '20') == (0, [summary(0, 3)])


def test_settings_changed_for_a_part_of_the_list(root):
    (root / 'list.txt').write_text('a\n')
    assert make(root, min_size='50')[1][-1] == summary(1, 0)
    (root / 'list.txt').write_text('\n'.join(NAMES))
    assert make(root, min_size='50') == (0, [summary(2, 1)])


def test_force_makes_all_again(root):
    before = state(root)
    assert make(root, '--force') == (0, [summary(3, 0)])
    assert not set(before.values()) & set(state(root).values())


def test_damaged_image_keeps_its_map_until_it_is_whole_again(root):
    content, before = (root / PATHS['a']).read_bytes(), state(root)
    (root / PATHS['a']).write_bytes(content[:len(content) // 2])
    for _ in range(2):
        code, lines = make(root)
        assert code == 1 and 'images/a.jpg: the file ends before the image does' in lines[0]
        assert lines[1] == summary(0, 2, 1)
    (root / PATHS['a']).write_bytes(content)
    assert make(root) == (0, [summary(0, 3)]) and state(root) == before


# --------------------------------------------------------------------------------------------------- the record
def test_format_of_the_record(root):
    assert record(root) == {name: identity(root / path) for name, path in PATHS.items()}
    text = (root / 'out/settings.json').read_text(encoding='utf-8')
    assert text == json.dumps({'made_by': 'makeSuperpixel', 'settings': {
        'method': 'slic', 'min_size': 75, 'compactness': 6, 'iterations': 10, 'version': 1}}, indent=2) + '\n'
    for options in (['--method', 'graph'], ['--compactness', '.3'], ['--compactness', '1e-7'], ['--compactness', '1e6']):
        make(root, *options)
        text = (root / 'out/settings.json').read_text(encoding='utf-8')
        assert text == json.dumps(json.loads(text), indent=2) + '\n'


@pytest.mark.parametrize('name', ['a\tb', 'ü', '日本', ' .x', "o'clock", 'a,b'])
def test_any_name_can_be_recorded(name, root):
    shutil.copy(str(root / PATHS['a']), str(root / f'images/{name.strip()}.jpg'))
    (root / 'list.txt').write_text(name + '\n', encoding='utf-8')
    assert make(root) == (0, [summary(1, 0)])
    assert make(root) == (0, [summary(0, 1)])
    assert record(root)[name.strip()] == identity(root / f'images/{name.strip()}.jpg')


def test_record_is_of_the_bytes_for_any_length(root):
    jpeg = (root / PATHS['a']).read_bytes()
    names = [f'n{length}' for length in range(20)]
    for length, name in enumerate(names):
        (root / f'images/{name}.jpg').write_bytes(jpeg + b'x' * length)
    (root / 'list.txt').write_text('\n'.join(names))
    assert make(root)[0] == 0
    assert {name: record(root)[name] for name in names} == {name: identity(root / f'images/{name}.jpg')
                                                            for name in names}


def test_maps_of_other_programs_are_kept_unless_forced(root):
    superpixel_map.write(str(root / 'out/a.png'), np.zeros((60, 80), np.int32))
    os.remove(str(root / 'out/inputs.tsv'))
    theirs = (root / 'out/a.png').read_bytes()
    kept = 'makeSuperpixel: out: maps of other programs are kept (1): --force replaces them'
    assert make(root) == (0, [kept, summary(2, 1)])
    assert make(root, min_size='50')[1][1:] == [kept, summary(2, 1)]
    assert (root / 'out/a.png').read_bytes() == theirs
    assert make(root, '--force', min_size='50') == (0, [summary(3, 0)])
    assert (root / 'out/a.png').read_bytes() != theirs


def test_outputs_of_another_program_are_not_mixed_in(root):
    (root / 'out/settings.json').write_text('{"made_by": "icd-superpixel", "settings": {}}\n')
    before = files(root / 'out')
    code, lines = make(root, min_size='50')
    assert code == 2 and len(lines) == 1, lines
    assert lines[0] == 'makeSuperpixel: out/settings.json: not written by makeSuperpixel: choose another TARGET_DIR'
    assert files(root / 'out') == before


# ------------------------------------------------------------------------------------------- runs that end early
def start(root, target, *options):
    """A run over 24 images, once it has made some maps."""
    names = [f'n{i}' for i in range(24)]
    content = cv2.imencode('.jpg', draw(450, 600))[1].tobytes()
    for name in names:
        (root / 'images' / (name + '.jpg')).write_bytes(content)
    (root / 'list.txt').write_text('\n'.join(names))
    running = subprocess.Popen([PROGRAM, 'list.txt', 'images', target, '75', '--method', 'graph', '--threads', '2',
                                *options], cwd=str(root), stderr=subprocess.PIPE, universal_newlines=True)
    lines = root / target / 'inputs.tsv'
    while not lines.exists() or lines.read_bytes().count(b'\nn') < 2:
        assert running.poll() is None
        time.sleep(.01)
    return names, running


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_run_is_continued(number, code, root):
    names, running = start(root, 'killed')
    running.send_signal(number)
    message = running.communicate(timeout=20)[1]
    assert running.returncode == code
    done = {name: content for name, content in maps(root / 'killed').items() if not name.startswith('.')}
    assert 0 < len(done) < len(names)
    assert all(superpixel_map.read(str(root / 'killed' / name)).shape == (450, 600) for name in done)
    if code > 0:
        assert 'run the same command again' in message and len(message.splitlines()) == 1
        assert len(maps(root / 'killed')) == len(done)
    code, lines = call('list.txt', 'images', 'killed', '75', '--method', 'graph', cwd=str(root))
    kept = int(lines[-1].split()[3])
    assert code == 0 and len(done) - 2 <= kept <= len(done)      # 2 threads may have had no time for their lines
    found = maps(root / 'killed')
    assert sorted(found) == sorted(name + '.png' for name in names) and len(set(found.values())) == 1


def test_left_over_files_of_killed_runs_are_removed(root):
    ours = ['.a.png.part', '.long gone.png.part', '.inputs.tsv.part', '.settings.json.part', 'sub/.x.png.part']
    theirs = ['.download.part', 'a.png.part', 'sub/.download.part']
    for name in ours + theirs:
        (root / 'out' / name).write_bytes(b'half')
    assert make(root) == (0, [summary(0, 3)])
    assert set(files(root / 'out')) & set(ours + theirs) == set(theirs)


# ------------------------------------------------------------------------------------------------ one run a folder
def test_second_run_into_a_folder_ends_with_one_line(root):
    running = start(root, 'out', '--force')[1]
    running.send_signal(signal.SIGSTOP)
    os.waitpid(running.pid, os.WUNTRACED)       # until all its threads stand
    before = files(root / 'out')
    code, lines = make(root)
    assert code == 2 and lines == ['makeSuperpixel: out: another run is writing to this folder: wait for it, then run '
                                   'the same command again']
    assert files(root / 'out') == before
    (root / 'list.txt').write_text('n0\n')
    assert call('list.txt', 'images', 'elsewhere', '75', cwd=str(root)) == (0, [summary(1, 0)])
    running.kill()
    running.communicate(timeout=60)
    assert make(root)[0] == 0


def test_run_waits_for_one_that_is_about_to_end(root):
    folder = os.open(str(root / 'out'), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    began = time.monotonic()
    threading.Timer(1, os.close, [folder]).start()
    assert make(root) == (0, [summary(0, 3)])
    assert time.monotonic() - began >= 1


def test_file_system_without_locks(root):
    source = root / 'flock.c'
    source.write_text('#include <errno.h>\nint flock(int d, int o) { (void)d; (void)o; errno = ENOLCK; return -1; }\n')
    subprocess.run(['g++', '-x', 'c', '-shared', '-fPIC', str(source), '-o', str(root / 'flock.so')], check=True)
    environment = dict(os.environ, LD_PRELOAD=str(root / 'flock.so'))
    assert make(root, '--force', env=environment) == (0, [summary(3, 0)])
