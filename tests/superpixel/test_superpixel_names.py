"""`makeSuperpixel` takes lists and image files for what the Python commands take them for."""
import os
import sys
import unicodedata

import pytest

from icd import files
from icd.data import images, listing, voc
from icd.errors import UserError
from tests.helpers.lists import IMAGES, LISTS
from tests.superpixel import unicode_tables
from tests.superpixel.superpixel_program import build, call, encoded


@pytest.fixture(scope='module', autouse=True)
def built():
    build()


@pytest.mark.parametrize('case', LISTS)
def test_lists_are_read_alike(tmp_path, case):
    content, expected = LISTS[case]
    (tmp_path / 'list.txt').write_bytes(content)
    (tmp_path / 'images').mkdir()
    code, lines = call('list.txt', 'images', 'out', 75, cwd=str(tmp_path))
    if isinstance(expected, str):
        assert code == 2 and len(lines) == 1 and lines[0].startswith('makeSuperpixel: list.txt: '), lines
        with pytest.raises(UserError) as caught:
            voc.read_list(str(tmp_path / 'list.txt'))
        assert expected in lines[0] and expected in str(caught.value)
        assert '\n' not in str(caught.value) and len(str(caught.value).splitlines()) == 1
    else:
        assert voc.read_list(str(tmp_path / 'list.txt')) == expected
        missing = sorted(line.split(': ')[1] for line in lines[:-1])
        assert code == 1 and missing == sorted(f'images/{name}.jpg' for name in expected)


@pytest.mark.parametrize('case', IMAGES)
def test_names_mean_the_same_files(tmp_path, case):
    found, name, expected = IMAGES[case]
    for file in found:
        files.save_bytes(str(tmp_path / 'images' / file), b'no image')
    (tmp_path / 'list.txt').write_text(name, encoding='utf-8')
    code, lines = call('list.txt', 'images', 'out', 75, cwd=str(tmp_path))
    root = str(tmp_path / 'images')
    assert code == 1 and len(lines) == 2
    if expected is None:
        with pytest.raises(UserError, match='several files for one image: keep one'):
            images.single_path(root, name)
        assert 'several files for one image: keep one' in lines[0]
    else:
        assert images.single_path(root, name) == images.image_path(root, name) == os.path.join(root, expected)
        assert lines[0].startswith(f'makeSuperpixel: images/{expected}: '), lines


def test_all_characters_are_compared_as_in_python(tmp_path):
    """Every character that is composed of others is found by what it is composed of."""
    composed = [chr(code) for code in unicode_tables.decompositions()] + [chr(c) for c in range(0xac00, 0xd7a4, 399)]
    marks = [chr(first) for first, _, _ in unicode_tables.combining_classes()]
    on_disk = [''.join(composed[i:i + 14]) for i in range(0, len(composed), 14)]
    on_disk += ['a' + ''.join(marks[i:i + 14]) for i in range(0, len(marks), 14)]
    wanted = [unicodedata.normalize('NFD', name) for name in on_disk]
    for name in on_disk:
        files.save_bytes(str(tmp_path / 'images' / (name + '.png')), encoded('.png'))
    (tmp_path / 'list.txt').write_text('\n'.join(wanted), encoding='utf-8')
    code, lines = call('list.txt', 'images', 'out', 75, cwd=str(tmp_path))
    assert code == 0, lines
    assert [listing.normal(name) for name in on_disk] == wanted and len(lines) == 1


def test_the_tables_are_those_of_python():
    with open(unicode_tables.HEADER, encoding='ascii') as file:
        made = file.read()
    version = tuple(map(int, unicodedata.unidata_version.split('.')))
    if version == (14, 0, 0):
        assert made == unicode_tables.header()
    assert sys.maxunicode == 0x10ffff and 'Unicode 14.0.0' in made
