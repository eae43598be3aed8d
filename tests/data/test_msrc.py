"""MSRC v2: from the archive's colours to masks, labels and lists."""
import cv2
import numpy as np
import pytest

from icd import console, files
from icd.data import images, labels, masks, msrc, voc
from tests.data import refused


def archive(root, *names):
    """A small archive: each image is half a cow, a strip of grass and nothing, and little of a face."""
    for i, name in enumerate(names):
        truth = np.zeros((20, 30, 3), np.uint8)
        truth[:10] = msrc.COLOURS['cow'] if i < 4 else msrc.COLOURS['sky']
        truth[10:15] = msrc.COLOURS['grass']
        truth[19, 28:] = msrc.COLOURS['face']
        files.save_image(str(root / 'GroundTruth' / (name + '_GT.bmp')), truth[..., ::-1])
        files.save_image(str(root / 'Images' / (name + '.bmp')), truth + 7)
    return str(root)


def test_the_archive_becomes_a_data_set(tmp_path):
    out, names = tmp_path / 'out', [f'{i}_1_s' for i in range(1, 6)]
    source = archive(tmp_path / 'MSRC_ObjCategImageDatabase_v2', *names)
    for _ in range(2):                                              # the second time over the first
        assert console.run_command(msrc.main, ['--archive', str(tmp_path), '--out', str(out), '--any']) == 0
    assert voc.read_class_names(str(out / 'class_names.txt')) == msrc.CLASSES and len(msrc.CLASSES) == 15
    assert voc.read_list(str(out / 'train.txt')) == ['1_1_s', '2_1_s', '3_1_s']
    assert voc.read_list(str(out / 'test.txt')) == ['4_1_s']
    mask = masks.read_mask(str(out / 'SegmentationClass/1_1_s.png'))
    assert (mask[:10] == 1).all() and (mask[10:15] == 0).all() and (mask[15:] == 255).all()
    matrix = labels.read(str(out / 'labels.json'), ['1_1_s', '5_1_s'], msrc.CLASSES)
    assert matrix.sum(1).tolist() == [1, 0] and matrix[0, 0] == 1
    image = images.single_path(str(out / 'JPEGImages'), '1_1_s')
    assert image.endswith('.bmp') and (images.read_image(image) == cv2.imread(source + '/Images/1_1_s.bmp')).all()


def test_colours_are_those_of_vocs_palette():
    """The archive numbers its classes so, with gaps for classes it has no more."""
    palette = [tuple(colour) for colour in masks.palette().tolist()]
    indices = [palette.index(colour) for colour in msrc.COLOURS.values()]
    assert indices == sorted(set(indices)) and len(indices) == 24 and set(msrc.CLASSES) < set(msrc.COLOURS)


def test_other_colours_and_archives_are_refused(tmp_path, capsys):
    path = str(tmp_path / 'a.bmp')
    files.save_image(path, np.full((4, 4, 3), (1, 2, 3), np.uint8))
    with refused(path, r'\(3, 2, 1\)', 'no class'):
        msrc.read_mask(path)
    asked = ['--archive', archive(tmp_path / 'x', 'a'), '--out', str(tmp_path / 'out')]
    assert console.run_command(msrc.main, asked) == 2 and '1 images, not 591' in capsys.readouterr().err
    (tmp_path / 'x/GroundTruth/a_GT.bmp').unlink()
    assert console.run_command(msrc.main, [*asked, '--any']) == 2
    assert 'a_GT.bmp: no such file' in capsys.readouterr().err
    assert console.run_command(msrc.main, ['--archive', str(tmp_path)]) == 2
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('count, tested', [(3, 0), (4, 1), (11, 2)])
def test_every_fourth_image_is_for_testing(count, tested):
    lists = msrc.split([f'{i}_{i}_s' for i in range(count)])
    assert len(lists['test']) == tested and not set(lists['train']) & set(lists['test'])
    assert len(lists['train']) == count - tested
