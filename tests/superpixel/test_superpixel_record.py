"""What `makeSuperpixel` records of its inputs, and what it makes again when they were replaced."""
import json
import os
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from icd.data import superpixel_map
from icd.superpixels import slic
from tests.superpixel.superpixel_program import NAMES, PATHS, files, identity, make, maps, record, summary, write

PAST, FUTURE = 10 ** 9 * 946684800, 10 ** 9 * 4102444800     # the years 2000 and 2100


def state(root):
    """What changes of each map when it is made again."""
    found = {}
    for name in NAMES:
        if (root / 'out' / (name + '.png')).exists():
            status = os.stat(str(root / 'out' / (name + '.png')))
            found[name] = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return found


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
    'touched': (lambda root: os.utime(str(root / PATHS['a'])), ''),
    'touched, older date': (touch(PAST), ''),
    'touched, future date': (touch(FUTURE), ''),
    'touched, before 1970': (touch(-10 ** 18), ''),
    'same content written again': (rewrite, ''),
    'all copied with dates': (copy_everything('-a'), ''),
    'all copied without dates': (copy_everything('-r'), ''),
    'image removed': (lambda root: os.remove(str(root / PATHS['a'])), ''),
    'other content, size and date kept': (replace_keeping_size_and_date, 'b'),
    'map removed': (lambda root: os.remove(str(root / 'out/a.png')), 'a'),
    'map empty': (lambda root: (root / 'out/a.png').write_bytes(b''), 'a'),
    'record removed': (lambda root: os.remove(str(root / 'out/inputs.tsv')), 'abc'),
    'record empty': (edit_record(lambda text: b''), 'abc'),
    'line removed': (edit_record(lambda text: b''.join(line for line in text.splitlines(True)
                                                       if not line.startswith(b'a\t'))), 'a'),
    'line of another CRC': (edit_record(lambda text: text[:-9] + b'00000000\n'), ''),           # it is not read
    'line taken back': (edit_record(lambda text: text + b'a\n'), 'a'),
    'line taken back and added again': (edit_record(lambda text: b'a\n' + text), ''),
    'lines of other programs': (edit_record(lambda text: b'\0\0\nx\ta\tb\na\t1,2\n' + text + b'a\t1,2,3\n\n'), ''),
    'line repeated': (edit_record(lambda text: text + text), ''),
    'last line counts': (edit_record(lambda text: b'a\t1,2,3,00000000\n' + text), ''),
    'settings removed': (lambda root: os.remove(str(root / 'out/settings.json')), 'abc'),
    'another version': (edit_settings('"version": 1', '"version": 0'), 'abc'),
}


@pytest.mark.parametrize('case', sorted(REPLACED))
def test_maps_are_made_again_exactly_when_an_input_changes(case, root):
    change, expected = REPLACED[case]
    again = {name for name, letter in zip(NAMES, 'abc') if letter in expected}
    change(root)
    before = state(root)
    code, lines = make(root)
    assert (code, lines[-1]) == (0, summary(len(again), 3 - len(again))), lines
    after = state(root)
    assert {name for name in NAMES if after[name] != before.get(name)} == again
    assert make(root) == (0, [summary(0, 3)]) and state(root) == after
    if case not in ('image removed', 'line of another CRC'):
        paths = dict(PATHS, a='images/a.png') if case == 'PNG instead of JPEG' else PATHS
        assert record(root) == {name: identity(root / paths[name]) for name in NAMES}
        for name in NAMES:
            labels = superpixel_map.read(str(root / 'out' / (name + '.png')))
            assert (labels == slic(cv2.imread(str(root / paths[name]))[..., ::-1])).all()


def test_torn_line_is_made_again(root):
    assert make(root) == (0, [summary(0, 3)])           # from now on a line a name
    text = (root / 'out/inputs.tsv').read_bytes()
    last = text.splitlines()[-1].rsplit(b'\t', 1)[0].decode()
    assert len(text.splitlines()[-1]) > 30
    for cut in (1, 2, 8, 9, 10, 15, 30):                # in the CRC, the time, the size
        (root / 'out/inputs.tsv').write_bytes(text[:-cut])
        before = state(root)
        assert make(root) == (0, [summary(1, 2)])
        assert {name for name, value in state(root).items() if value != before[name]} == {last}
        assert set(record(root)) == set(NAMES)


def test_settings_changed_and_changed_back_make_all_again(root):
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


def test_only_settings_that_decide_labels_count(root):
    assert make(root, '--threads', '1') == (0, [summary(0, 3)])
    assert make(root, '--compactness=6.0', '--iterations', '1e1', min_size='7.5e1') == (0, [summary(0, 3)])
    assert make(root, '--method', 'graph')[1][-1] == summary(3, 0)
    assert make(root, '--method', 'graph', '--compactness', '20') == (0, [summary(0, 3)])


def test_names_added_later_are_made_with_the_new_settings(root):
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
    for options in ('--method=graph', '--compactness=.3', '--compactness=1e-7', '--compactness=1e6'):
        make(root, options)
        text = (root / 'out/settings.json').read_text(encoding='utf-8')
        assert text == json.dumps(json.loads(text), indent=2) + '\n'


@pytest.mark.parametrize('name', ['ü', '日本', ' .x', "o'clock", 'a,b'])
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
