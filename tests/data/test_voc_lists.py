"""The name lists of a devkit: the ones the field uses, or one line about what differs."""
import hashlib

import pytest

from icd.data import voc_lists
from tests.data import refused, write


@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A devkit, SBD and SegmentationClassAug of a few names, taken for the real ones."""
    lists = tmp_path / 'VOC2012' / 'ImageSets' / 'Segmentation'
    sbd, aug = tmp_path / 'sbd' / 'dataset', tmp_path / 'aug'
    for folder in (lists, sbd, aug):
        folder.mkdir(parents=True)
    write(lists / 'train.txt', 'c\na\n')
    write(lists / 'val.txt', 'v2\nv1\n')
    write(sbd / 'train.txt', 'a\nv1\nd\n')
    write(sbd / 'val.txt', 'v2\ne\n')
    for name in ('a', 'c', 'd', 'e', 'v1', 'v2'):
        write(aug / (name + '.png'), '')
    monkeypatch.setattr(voc_lists, 'COUNTS', {'train_aug': 4, 'val': 2, 'test': 1})
    monkeypatch.setattr(voc_lists, 'TRAIN_AUG_SHA256', hashlib.sha256(b'a\nc\nd\ne\n').hexdigest())
    return tmp_path


def build(devkit, *arguments):
    voc_lists.main(['--devkit', str(devkit / 'VOC2012'), '--out', str(devkit / 'out')] + list(arguments))
    return {path.name: path.read_text().split() for path in (devkit / 'out').iterdir()}


@pytest.mark.parametrize('source', [('--sbd', 'sbd'), ('--sbd', 'sbd/dataset'), ('--segmentation-class-aug', 'aug')])
def test_lists_of_a_devkit(devkit, capsys, source):
    made = build(devkit, source[0], str(devkit / source[1]))
    assert made == {'train_aug.txt': ['a', 'c', 'd', 'e'], 'val.txt': ['v1', 'v2']}
    assert 'OK' in capsys.readouterr().out
    write(devkit / 'VOC2012' / 'ImageSets' / 'Segmentation' / 'test.txt', 't\n')
    assert build(devkit, source[0], str(devkit / source[1]))['test.txt'] == ['t']


def test_other_lists_are_written_only_when_asked(devkit, capsys):
    write(devkit / 'sbd' / 'dataset' / 'train.txt', 'a\nb\n')
    arguments = '--sbd', str(devkit / 'sbd')
    with refused(devkit / 'VOC2012', 'not the right ones', '--any'):
        build(devkit, *arguments)
    assert not (devkit / 'out').exists()
    assert build(devkit, '--any', *arguments)['train_aug.txt'] == ['a', 'b', 'c', 'e']
    out = capsys.readouterr().out
    assert 'not the right ones' in out and 'OK' not in out
    write(devkit / 'sbd' / 'dataset' / 'val.txt', 'f\ng\nh\n')
    with refused(devkit / 'VOC2012', 'train_aug has 6 names, not 4'):
        build(devkit, *arguments)


def test_incomplete_devkit_is_named(devkit, tmp_path):
    with refused(tmp_path / 'nowhere', 'SegmentationClassAug'):
        voc_lists.devkit_lists(str(devkit / 'VOC2012'), class_aug=str(tmp_path / 'nowhere'))
    with refused(tmp_path / 'nowhere' / 'ImageSets', 'no such file'):
        voc_lists.devkit_lists(str(tmp_path / 'nowhere'), sbd=str(devkit / 'sbd'))
