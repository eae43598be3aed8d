"""Files are whole or not there, also where several runs write into one folder."""
import multiprocessing
import os
import time

import pytest

from icd import files
from icd.errors import UserError
from tests.helpers import wait_until


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / 'deep' / 'a.txt')
    files.save_bytes(path, b'old')
    with pytest.raises(ZeroDivisionError), files.write_atomic(path) as partial, open(partial, 'w') as file:
        file.write('half')
        assert 1 / 0
    assert os.listdir(os.path.dirname(path)) == ['a.txt']
    with open(path, 'rb') as file:
        assert file.read() == b'old'


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
    process.kill()
    process.join()
    with files.folder_lock(folder, 'is here'):
        pass
    assert os.listdir(folder) == ['begun']
