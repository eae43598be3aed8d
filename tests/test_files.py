"""Files are whole or not there, also where several runs write into one folder."""
import multiprocessing
import os
import time

import pytest

from icd import files
from icd.errors import UserError
from tests.helpers import wait_until


def test_whole_file_appears_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / 'deep' / 'a.txt')
    files.save_bytes(path, b'old')
    with pytest.raises(ZeroDivisionError):
        with files.write_atomic(path) as partial, open(partial, 'w') as file:
            file.write('half')
            assert 1 / 0
    assert os.listdir(os.path.dirname(path)) == ['a.txt']
    with open(path, 'rb') as file:
        assert file.read() == b'old'


def test_clear_partial_removes_only_what_was_left_behind(tmp_path):
    (tmp_path / '.a.png.part').write_bytes(b'half')
    (tmp_path / 'b.part').write_bytes(b'mine')
    files.clear_partial(str(tmp_path))
    files.clear_partial(str(tmp_path / 'absent'))
    assert os.listdir(str(tmp_path)) == ['b.part']


def hold(path):
    """Write a file for ever."""
    with files.write_atomic(path) as partial:
        files.save_bytes(path + '.begun', b'')
        with open(partial, 'wb') as file:
            file.write(b'theirs')
            file.flush()
            time.sleep(60)


@pytest.fixture
def other_run(tmp_path):
    """Another process, which is writing the file `a`."""
    process = multiprocessing.get_context('fork').Process(target=hold, args=(str(tmp_path / 'a'),))
    process.start()
    wait_until((tmp_path / 'a.begun').exists)
    yield process
    process.kill()
    process.join()


def test_a_file_that_another_run_writes_is_left_to_it(other_run, tmp_path):
    path, partial = str(tmp_path / 'a'), str(tmp_path / '.a.part')
    with pytest.raises(UserError, match='a: another run is writing this file: wait for it'):
        files.save_bytes(path, b'ours')
    files.clear_partial(str(tmp_path))
    wait_until(lambda: open(partial, 'rb').read() == b'theirs')
    other_run.kill()
    other_run.join()
    assert os.path.exists(partial) and not os.path.exists(path)
    files.save_bytes(path, b'ours')
    assert open(path, 'rb').read() == b'ours' and not os.path.exists(partial)


def test_what_another_run_left_is_removed_once_it_is_gone(other_run, tmp_path):
    other_run.kill()
    other_run.join()
    files.clear_partial(str(tmp_path))
    assert sorted(os.listdir(str(tmp_path))) == ['a.begun']


def taken_over(monkeypatch, action):
    """Have another process act between the opening and the locking of a file."""
    lock, late = files._lock, [action]

    def locked(file):
        while late:
            late.pop()()
        return lock(file)
    monkeypatch.setattr(files, '_lock', locked)


def test_a_file_that_its_last_owner_finishes_meanwhile_is_not_written_into(tmp_path, monkeypatch):
    path, partial = str(tmp_path / 'a'), str(tmp_path / '.a.part')
    with open(partial, 'wb') as file:
        file.write(b'theirs')
    taken_over(monkeypatch, lambda: os.replace(partial, path))
    with files.write_atomic(path) as ours:
        assert open(path, 'rb').read() == b'theirs'
        with open(ours, 'wb') as file:
            file.write(b'ours')
    assert open(path, 'rb').read() == b'ours' and os.listdir(str(tmp_path)) == ['a']


def test_a_file_that_is_begun_meanwhile_is_not_cleared_away(tmp_path, monkeypatch):
    partial = tmp_path / '.a.part'
    partial.write_bytes(b'old')

    def begin():
        os.replace(str(partial), str(tmp_path / 'a'))
        partial.write_bytes(b'new')
    taken_over(monkeypatch, begin)
    files.clear_partial(str(tmp_path))
    assert partial.read_bytes() == b'new' and (tmp_path / 'a').read_bytes() == b'old'


def be_alone(folder):
    with files.folder_lock(folder, 'is here'):
        files.save_bytes(os.path.join(folder, 'begun'), b'')
        time.sleep(60)


def test_one_run_alone_holds_a_folder(tmp_path, monkeypatch):
    folder = str(tmp_path / 'held')
    process = multiprocessing.get_context('fork').Process(target=be_alone, args=(folder,))
    process.start()
    wait_until((tmp_path / 'held' / 'begun').exists)
    monkeypatch.setattr(files, '_PATIENCE', .2)
    with pytest.raises(UserError, match='held: another run is here'):
        with files.folder_lock(folder, 'is here'):
            pass
    process.kill()
    process.join()
    with files.folder_lock(folder, 'is here'):
        pass
    assert os.listdir(folder) == ['begun']
