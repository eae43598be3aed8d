"""The content of a weights file decides its format, whatever its name."""
import numpy as np
import pytest

from icd.errors import UserError
from icd.weights import formats, mxnet_params


def test_the_format_is_recognised_by_content_not_name(tmp_path):
    path = str(tmp_path / 'weights.pth')
    mxnet_params.write(path, {'x': np.arange(3, dtype=np.float32)})
    assert formats.read(path)['x'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('content', [b'', b'\x12', b'<!DOCTYPE html><html>', b'\x89PNG\r\n\x1a\n', b'\0' * 99])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / 'x.params'
    path.write_bytes(content)
    with pytest.raises(UserError, match='x.params: not a weights file of a known format .MXNet .params, .*ONNX.: copy'):
        formats.read(str(path))


def test_a_damaged_file_is_refused_by_its_reader(tmp_path):
    path = str(tmp_path / 'x')
    mxnet_params.write(path, {'x': np.ones(3, np.float32)})
    with open(path, 'r+b') as file:
        file.truncate(60)
    with pytest.raises(UserError, match='not a whole MXNet .params file'):
        formats.read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match='nothing: no such file: look elsewhere'):
        formats.read(str(tmp_path / 'nothing'), 'look elsewhere')
    with pytest.raises(UserError, match='this is a folder'):
        formats.read(str(tmp_path))
