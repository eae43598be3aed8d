"""What users feed `icd-seeds`, and what they get; as `test_bad_inputs`."""
import os
import shutil

import numpy as np
import pytest

from icd.data import score_map
from tests.helpers.map_files import save, tensor
from tests.helpers.small_data import NAMES, assert_refused
from tests.steps.test_map_seeds import DOG, irn, run
from tests.test_bad_inputs import cut, folder, nothing, picture, put, remove

MAPS = np.random.default_rng(0).random((1, 36, 44), np.float32)
A = 'irn/a.npy'


def dictionary(value, path=A):
    return lambda: save(path, value)


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def maps(change, **others):
    """IRN's dictionary with changed maps."""
    return dictionary({'keys': np.array([DOG]), 'high_res': change(MAPS), **others})


def spoilt(array):
    array = array.copy()
    array[0, 3, 4] = np.nan
    return array


MAKE = '--from-maps', 'irn', '--out', 'out'
SWEEP = '--from-maps', 'irn', '--sweep'
TRUTH = (*SWEEP, '--truth', 'truth')
# id: (how to break the data set, arguments, what the message must match)
TABLE = {
    # files
    'no maps': (remove('irn'), MAKE, r'--from-maps irn: no such folder: check'),
    'an empty folder': (lambda: [shutil.rmtree('irn'), os.mkdir('irn')], MAKE,
                        r'irn/a\.npy, irn/b\.npy, .*: no such map \(4 files\): check --from-maps and the list'),
    'a map missing': (remove('irn/b.npy'), MAKE, r'irn/b\.npy: no such map: check'),
    'a map missing in a sweep': (remove('irn/b.npy'), TRUTH, r'irn/b\.npy: no such map: check'),
    'a map is text': (put(A, 'x'), MAKE, r'irn/a\.npy: not a NumPy file: write it again'),
    'a map is a folder': (folder(A), MAKE, r'irn/a\.npy: this is a folder'),
    'a map cut short': (cut(A, 900), MAKE, r'irn/a\.npy: not a NumPy file of class maps \(.*docs/seeds\.md'),
    'a header cut short': (cut(A, 20), MAKE, r'irn/a\.npy: not a NumPy file of class maps \(its header is damaged\)'),
    'an array cut short': (lambda: [save(A, np.zeros((20, 36, 44), np.float32)), os.truncate(A, 900)], MAKE,
                           r'irn/a\.npy: .*does not hold what its shape says'),
    # pickles
    'a command': (dictionary({'keys': Calls(os.system, 'touch executed')}), MAKE,
                  r'irn/a\.npy: .*posix\.system, which is not allowed'),
    'evaluated text': (dictionary({DOG: Calls(eval, "open('executed', 'w')")}), MAKE, r'irn/a\.npy: .*eval, which is'),
    'a list': (dictionary(np.array([[1], 'x'], object)), MAKE, r'irn/a\.npy: .*an array of shape 2 of object'),
    'a tensor without values': (dictionary({'keys': tensor(np.array([DOG]), (9,), (1,)), 'cam': MAPS}), MAKE,
                                r'irn/a\.npy: .*larger than its storage'),
    # dictionaries
    'another dictionary': (dictionary({'logits': MAPS}), MAKE, r'irn/a\.npy: its keys are not the indices'),
    'no keys': (dictionary({'cam': MAPS, 'high_res': MAPS}), MAKE, r'irn/a\.npy: its keys are not the indices'),
    'keys alone': (dictionary({'keys': np.array([DOG])}), MAKE, r"irn/a\.npy: has 'keys', but none of"),
    'keys of names': (dictionary({'dog': MAPS[0]}), MAKE, r'irn/a\.npy: its keys are not the indices'),
    'no map of the class': (dictionary({3: MAPS[0]}), MAKE, r"irn/a\.npy: lacks the map of 'dog', which the labels"),
    'class out of the list': (dictionary({DOG: MAPS[0], 20: MAPS[0]}), MAKE, r'irn/a\.npy: holds class 20, .* of 20'),
    # maps
    'maps of another size': (maps(lambda m: m[:, :30]), MAKE, r'irn/a\.npy \(44x30, not 44x36\): maps do not have'),
    'maps turned': (maps(lambda m: m.transpose(0, 2, 1)), MAKE, r'irn/a\.npy \(36x44, not 44x36\): .*rows before'),
    'classes last': (maps(lambda m: m.transpose(1, 2, 0)), MAKE, r"irn/a\.npy: its 'high_res' .* for each of 1 keys"),
    'NaN': (maps(spoilt), MAKE, r'irn/a\.npy: holds values that are not finite: write it again'),
    'NaN in a sweep': (maps(spoilt), TRUTH, r'irn/a\.npy: holds values that are not finite'),
    'too large for single precision': (maps(lambda m: m * 1e300), MAKE, r'irn/a\.npy: .*not finite'),
    'integers': (maps(lambda m: (255 * m).astype(np.uint8)), MAKE, r'irn/a\.npy: values of type uint8 where a map'),
    'objects': (maps(lambda m: m.astype(object)), MAKE, r'irn/a\.npy: values of type object where a map'),
    'an array of some classes': (dictionary(MAPS), MAKE, r'irn/a\.npy: an array of shape 1x36x44, not of 20 classes'),
    'an array, classes last': (dictionary(np.zeros((36, 44, 20), np.float32)), MAKE,
                               r'irn/a\.npy: an array of shape 36x44x20, not of 20 classes'),
    'scores of other labels': (dictionary(np.zeros((3, 7, 7), np.float32), 'snap/results/scores_cam/a.npy'),
                               ('--from-maps', 'snap/results/scores_cam', '--out', 'out'),
                               r'scores_cam/a\.npy: maps of 3 classes, the annotation has 1'),
    'scores that are not square': (dictionary(np.zeros((1, 7, 8), np.float32), 'snap/results/scores_cam/a.npy'),
                                   ('--from-maps', 'snap/results/scores_cam', '--out', 'out'),
                                   r'scores_cam/a\.npy: scores of shape 1x7x8: square maps are needed'),
    # options
    'no folder for seeds': (nothing, ('--from-maps', 'irn'), r'--from-maps: names no folder for the seeds: give --out'),
    'two folders for seeds': (nothing, (*MAKE, '--from-maps', 'truth'), r'--from-maps: seeds are made from the maps'),
    'one name twice': (nothing, (*TRUTH, '--from-maps', 'irn'), r'two folders of maps are called irn: give NAME=DIR'),
    'truth without a sweep': (nothing, (*MAKE, '--truth', 'truth'), r'--truth: only a sweep compares seeds'),
    'a sweep of nothing': (nothing, SWEEP, r'--sweep: needs something to compare seeds with: give --truth'),
    'a sweep that writes': (nothing, (*TRUTH, '--out', 'out'), r'--out: a sweep writes no seeds'),
    'a threshold above 1': (nothing, (*SWEEP, '0.3,1.5', '--truth', 'truth'), r"--sweep: '1\.5' is not a number > 0"),
    'seeds over the images': (lambda: os.rename('images', 'raw_0.30'), (*MAKE[:2], '--out', '.', '--image-root',
                              'raw_0.30', '--seeds', 'raw'), r'raw_0\.30: would overwrite an input'),
    'seeds of another stage': (put('out/crf_0.30/settings.json', '{"made_by": "seeds"}'), MAKE,
                               r'out/crf_0\.30: holds the outputs of seeds'),
    'seeds where a file is': (put('out', 'x'), MAKE, r'out: .*choose another folder'),
    # what a sweep compares with, and writes
    'truth missing': (remove('truth/b.png'), TRUTH, r'truth/b\.png: no such mask: check --truth'),
    'no truth': (remove('truth'), TRUTH, r'--truth truth: no such folder'),
    'truth of another size': (picture('truth/b.png', (3, 3)), TRUTH, r'truth/b\.png \(3x3, not 44x36\)'),
    'truth of an unknown class': (picture('truth/b.png', (36, 44), value=21), TRUTH,
                                  r'truth/b\.png \(index 21\): has an index beyond the 21 classes'),
    'truth that ignores everything': (lambda: [picture(f'truth/{name}.png', (36, 44), value=255)() for name in NAMES],
                                      TRUTH, r'truth: ignores every pixel of every image'),
    'a picture of another kind': (nothing, (*TRUTH, '--plot', 'a.gif'), r'--plot a\.gif: .*\.png or \.svg'),
    'a picture over the truth': (nothing, (*TRUTH, '--plot', 'truth/a.png'), r'--plot truth/a\.png: is or lies among'),
    'a table over the list': (nothing, (*TRUTH, '--csv', 'list.txt'), r'--csv list\.txt: is or lies among the inputs'),
    'a table and a picture in one': (nothing, (*TRUTH, '--csv', 'a.png', '--plot', 'a.png'), r'both name the')}


@pytest.fixture(scope='module')
def mapped(valid, tmp_path_factory):
    """The valid data set without what `icd-seeds` does not read, and with maps of IRN's kind."""
    root = str(tmp_path_factory.mktemp('mapped') / 'data')
    shutil.copytree(valid, root, ignore=shutil.ignore_patterns('*.params', 'superpixels', 'raw', 'saliency', 'pred'))
    before = os.getcwd()
    os.chdir(root)
    try:
        irn()
    finally:
        os.chdir(before)
    return root


@pytest.fixture
def here(mapped, tmp_path, monkeypatch):
    """A copy of the data set to break, the working directory."""
    shutil.copytree(mapped, str(tmp_path / 'data'))
    monkeypatch.chdir(str(tmp_path / 'data'))


@pytest.mark.parametrize('row', TABLE)
def test_bad_input_is_one_line_with_exit_code_2(row, here, capfd):
    break_it, arguments, message = TABLE[row]
    break_it()
    assert_refused(lambda: run(*arguments), message, capfd)


def test_the_valid_data_set_is_valid(here):
    assert run(*MAKE) == run(*TRUTH) == 0
    assert score_map.side('snap/results/scores_cam/a.npy') == 7 and len(os.listdir('out/crf_0.30')) == len(NAMES) + 2
