"""Files are whole or not there, also where several runs write into one folder."""
import errno
import functools
import multiprocessing
import os
import time

import pytest

from icd import files
from icd.errors import UserError
from tests.helpers import wait_until


def test_a_folder_is_asked_for_many_files_at_once(tmp_path, monkeypatch):
    names = [f'{folder}{name}' for name in range(300) for folder in ('', 'sub/', 'none/')]
    for name in names[::4]:
        if not name.startswith('none'):
            files.save_bytes(str(tmp_path / name), b'')
    os.makedirs(str(tmp_path / '299'))
    os.symlink(str(tmp_path / '0'), str(tmp_path / '298'))
    os.symlink('nowhere', str(tmp_path / '297'))
    files.save_bytes(str(tmp_path / 'odd\nname'), b'')
    paths = [str(tmp_path / name) for name in (*names, '8\n', 'name', '')]
    expected, asked = [os.path.isfile(path) for path in paths], []

    def call(function, *args, **kwargs):
        asked.append(function.__name__)
        return function(*args, **kwargs)
    with monkeypatch.context() as counted:
        for module, name in ((os.path, 'isfile'), (os, 'scandir'), (os, 'stat')):
            counted.setattr(module, name, functools.partial(call, getattr(module, name)))
        there = files.Listed()
        found = [path in there for path in paths]
    assert found == expected
    assert asked.count('scandir') == 3 and len(asked) < 3 + 2 * (3 * files._FEW + 2)


def test_names_beyond_ascii_are_asked_for_after_the_listing_too(tmp_path):
    there = files.Listed()
    assert not any(str(tmp_path / f'{i}.png') in there for i in range(files._FEW + 1))
    for name in 'late.png', 'später.png':
        (tmp_path / name).write_bytes(b'')
    assert str(tmp_path / 'late.png') not in there and str(tmp_path / 'später.png') in there


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / 'deep' / 'a.txt')
    files.save_bytes(path, b'old')
    with pytest.raises(ZeroDivisionError), files.write_atomic(path) as partial, open(partial, 'w') as file:
        file.write('half')
        assert 1 / 0
    assert os.listdir(os.path.dirname(path)) == ['a.txt']
    with open(path, 'rb') as file:
        assert file.read() == b'old'


@pytest.mark.parametrize('code', [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_is_named_once(code, tmp_path, monkeypatch, capsys):
    def fsync(_):
        raise OSError(code, os.strerror(code))
    monkeypatch.setattr(os, 'fsync', fsync)
    files._say_unsynced.cache_clear()
    for name in 'ab':
        files.save_bytes(str(tmp_path / name), b'new')
    assert sorted(os.listdir(str(tmp_path))) == ['a', 'b']
    assert capsys.readouterr().err.count('power failure') == 1


def test_an_error_that_names_no_file_gets_the_name(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.EIO, 'no')
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(OSError) as raised:
        files.save_bytes(str(tmp_path / 'a'), b'new')
    assert raised.value.filename == str(tmp_path / 'a') and os.listdir(str(tmp_path)) == []
    with pytest.raises(OSError) as raised, files.named('b'):
        raise OSError(errno.EIO, 'no', 'c')
    assert raised.value.filename == 'c'


def test_clear_partial_removes_only_partial_files(tmp_path):
    (tmp_path / '.a.png.part').write_bytes(b'half')
    (tmp_path / 'b.part').write_bytes(b'mine')
    files.clear_partial(str(tmp_path))
    files.clear_partial(str(tmp_path / 'absent'))
    assert os.listdir(str(tmp_path)) == ['b.part']


def be_alone(folder):
    with files.folder_lock(folder, 'is here'):
        files.save_bytes(os.path.join(folder, 'begun'), b'')
        time.sleep(60)


def test_a_folder_lock_is_exclusive(tmp_path, monkeypatch):
    folder = str(tmp_path / 'held')
    process = multiprocessing.get_context('fork').Process(target=be_alone, args=(folder,))
    process.start()
    wait_until((tmp_path / 'held' / 'begun').exists)
    monkeypatch.setattr(files, 'PATIENCE', .2)
    with pytest.raises(UserError, match='held: another run is here'), files.folder_lock(folder, 'is here'):
        pass
    assert files.is_held(folder)
    process.kill()
    process.join()
    assert not files.is_held(folder)
    with files.folder_lock(folder, 'is here'):
        assert files.is_held(folder)
    assert os.listdir(folder) == ['begun']
