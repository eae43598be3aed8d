"""The archive for VOC's evaluation server."""
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from icd import files
from icd.data import masks
from icd.errors import UserError
from icd.steps import submit
from tests.helpers.segment_data import SIZES, run
from tests.helpers.small_data import NAMES

FOLDER = 'results/VOC2012/Segmentation/comp6_test_cls/'


def test_an_archive_holds_every_name_as_palette_png(segmented):
    assert run('submit') == 0
    with tarfile.open('results.tgz', 'r:gz') as archive:
        assert archive.getnames() == [FOLDER + name + '.png' for name in NAMES]
        for name, size in SIZES.items():
            with Image.open(io.BytesIO(archive.extractfile(FOLDER + name + '.png').read())) as image:
                assert image.mode == 'P' and image.size == size[::-1]
                assert image.getpalette() == masks.palette().ravel().tolist()
                assert (np.array(image) == masks.read_mask(f'masks/{name}.png')).all()


def test_the_same_predictions_give_the_same_bytes(segmented, monkeypatch):
    assert run('submit') == 0
    monkeypatch.setattr('time.time', lambda: 2e9)
    assert run('submit', '--out', 'other.tar.gz') == 0
    assert open('results.tgz', 'rb').read() == open('other.tar.gz', 'rb').read()
    assert run('submit', '--competition', 'comp5') == 0
    with tarfile.open('results.tgz') as archive:
        assert 'comp5_test_cls' in archive.getnames()[0]


def grey_png():
    files.save_image('x.png', np.zeros((3, 3), np.uint8))
    return open('x.png', 'rb').read()


def other_palette():
    image, data = Image.fromarray(np.zeros((3, 3), np.uint8), 'P'), io.BytesIO()
    image.putpalette([255, 0, 0] * 256)
    image.save(data, 'PNG')
    return data.getvalue()


@pytest.mark.parametrize('content, message', [
    (grey_png, 'a.png is no palette PNG'), (other_palette, 'a.png is no palette PNG'),
    (lambda: masks.colour_png(np.full((3, 3), 255, np.uint8)), 'a.png has the index 255'), (lambda: None, 'missing')])
def test_an_archive_that_the_server_would_refuse_is_found(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    data = content()
    with tarfile.open('x.tgz', 'w:gz') as archive:
        if data:
            member = tarfile.TarInfo(FOLDER + 'a.png')
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match=message):
        submit.check_archive('x.tgz', ['a'])
