"""Damaged files for every reader, and whether the search finds what it should."""
import pytest

from icd.errors import UserError
from tests.fuzz import check, fuzz


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    assert fuzz(2000, seed=0, keep=str(tmp_path)) == []


def failing(error):
    def reader(path):
        raise error
    return reader


@pytest.mark.parametrize('reader', [failing(KeyError('x')), failing(UserError('something is wrong')), lambda _: False])
def test_the_fuzzer_detects_bad_readers(reader, tmp_path):
    assert check('kind', b'content', reader, str(tmp_path))
