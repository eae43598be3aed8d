"""What users feed the commands, and what they get: the exit code and the line that helps, nothing else.

A row breaks a small, valid data set in one way and runs one command on it. The command must end with exit code 2,
name on each of its lines the file (or the option) and the remedy, print no traceback and leave no new file.
"""
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from icd import cli, files
from icd.errors import Problems
from icd.steps import infer, seeds, train
from tests.helpers import read_inputs
from tests.helpers.small_data import ANNOTATION, COMMANDS, NAMES, assert_refused, run


# ---------------------------------------------------------------------------------------------------- what breaks
def remove(path):
    return lambda: shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def put(path, content):
    content = content if isinstance(content, bytes) else content.encode()
    return lambda: files.save_bytes(path, content)


def cut(path, size):
    return lambda: os.truncate(path, size)


def picture(path, shape, dtype=np.uint8, value=0):
    return lambda: files.save_image(path, np.full(shape, value, dtype))


def folder(path):
    def make():
        if os.path.lexists(path):
            os.remove(path)
        os.makedirs(path)
    return make


def bitmap(path, width, height):
    """The header of a BMP file: what a size is read from."""
    return put(path, b'BM' + struct.pack('<IIIIiiHHIIiiII', 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0))


def devkit():
    for part in ('train', 'val'):
        files.save_bytes(f'ImageSets/Segmentation/{part}.txt', b'z\n')


def array(path, value, **kwargs):
    return lambda: np.save(path, value, **kwargs)


def link(path, target):
    def make():
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        os.symlink(target, path)
    return make


def weights(path, change):
    def make():
        from icd.weights import mxnet_params
        arrays = mxnet_params.read(path)
        change(arrays)
        mxnet_params.write(path, arrays)
    return make


def drop(name):
    return lambda arrays: arrays.pop(name)


def spoil(name):
    def change(arrays):
        arrays[name] = np.full_like(arrays[name], np.nan)
    return change


def nothing():
    pass


SCORES = 'snap/results/scores_icd/a.npy'
TRAINED = 'snap/vgg16_icd-0000.params'
ENTITY = '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation><object><name>&b;</name></object></annotation>'
# id: (command, how to break the data set, further arguments, what the message must match)
TABLE = {
    # lists
    'list missing': ('run', remove('list.txt'), [], r'list\.txt: no such file: give'),
    'list empty': ('run', put('list.txt', ''), [], r'list\.txt: .*empty|list\.txt: .*no name'),
    'list blank': ('seeds', put('list.txt', '\n \r\n'), [], r'list\.txt: holds no names: give'),
    'list binary': ('run', put('list.txt', b'\x89PNG\0\1'), [], r'list\.txt: not a text file: give'),
    'list utf-16': ('run', put('list.txt', 'a\nb\n'.encode('utf-16')), [], r'list\.txt: not a text file'),
    'list is a folder': ('run', folder('list.txt'), [], r'list\.txt: this is a folder'),
    'list climbs out': ('run', put('list.txt', 'a\n../b\n'), [], r"list\.txt: line 2, '\.\./b': it leaves the folder"),
    'list absolute': ('seeds', put('list.txt', '/etc/passwd\n'), [], r'list\.txt: line 1.*absolute path: give'),
    'list with endings': ('merge', put('list.txt', 'a.jpg\n'), [], r'list\.txt: line 1.*without \.jpg'),
    'list repeats': ('evaluate', put('list.txt', 'a\nb\na\n'), [],
                     r'list\.txt: line 3: a was already on line 1: remove'),
    'list with an unknown name': ('run', put('list.txt', 'a\nzebra\n'), [],
                                  r'images/zebra\.jpg.*: no such image.*check --image-root'),
    'class names missing': ('run', nothing, ['--class-names', 'none.txt'], r'none\.txt: no such file'),
    'class names of other number': ('run', put('names.txt', 'x\ny\n'), ['--class-names', 'names.txt', '--num-cls', '3'],
                                    r'--num-cls 3.*names\.txt names 2'),
    'class names repeat': ('run', put('names.txt', 'x\nx\n'), ['--class-names', 'names.txt'],
                           r'names\.txt: a class is named twice: remove'),
    # images
    'image missing': ('run', remove('images/a.jpg'), [], r'images/a\.jpg.*: no such image.*check --image-root'),
    'all images missing': ('train', remove('images'), [], r'--image-root images: no such folder: check'),
    'all images missing for merging': ('merge', remove('images'), [], r'--image-root images: no such folder: check'),
    'all annotations missing': ('seeds', remove('annotations'), [], r'--annotation-root annotations: no such folder'),
    'image whose header claims many pixels': ('seeds', bitmap('images/b.jpg', 20000, 20000), [],
                                 r'images/b\.jpg: not an image'),
    'image empty': ('train', put('images/b.jpg', ''), [], r'images/b\.jpg: not an image'),
    'image is text': ('infer', put('images/b.jpg', '<html>'), [], r'images/b\.jpg: not an image'),
    'image cut in its header': ('seeds', cut('images/b.jpg', 60), [], r'images/b\.jpg: the file is cut short'),
    'image is a folder': ('seeds', folder('images/b.jpg'), [], r'images/b\.jpg: this is a folder'),
    'image missing for merging': ('merge', remove('images/b.jpg'), [], r'images/b\.jpg: no such image: check'),
    'image is text for merging': ('merge', put('images/b.jpg', 'x'), [], r'images/b\.jpg: not an image'),
    'two files of an image': ('seeds', picture('images/a.PNG', (36, 44, 3)), [],
                              r'images/a\.jpg, images/a\.PNG: several files for one image: keep one'),
    'two files of an image for merging': ('merge', picture('images/a.bmp', (36, 44, 3)), [],
                                          r'images/a\.jpg, images/a\.bmp: several files for one image: keep one'),
    # image labels
    'labels missing': ('run', nothing, ['--labels', 'none.csv'], r'none\.csv: no such file: give'),
    'labels are no labels': ('infer', nothing, ['--labels', 'images/a.jpg'], r'images/a\.jpg: .*not a text file: give'),
    'labels of an unknown class': ('train', put('l.csv', 'a,dog\nb,sphinx\nc,cat\nsub/d,cat\n'), ['--labels', 'l.csv'],
                                   r"l\.csv: unknown class 'sphinx'.*--class-names"),
    'labels without an image': ('seeds', put('l.json', '{"a": "dog", "b": "cat", "d": "cat"}'), ['--labels', 'l.json'],
                                r'l\.json \(c\): .*no such image: check'),
    'labels of other indices': ('run', put('l.txt', 'a 1\nb 20\nc 2\nd 3\n'), ['--labels', 'l.txt'],
                                r'l\.txt: unknown class index 20: indices are 0 to 19'),
    'labels as annotations': ('run', put('l.csv', 'a,dog\n'), ['--annotation-root', 'l.csv'],
                              r'--annotation-root l\.csv: a file.*give it to --labels'),
    'labels of scores missing': ('evaluate', nothing, ['--scores', 'snap/results/scores_icd', '--labels', 'none.npy'],
                                 r'none\.npy: no such file: give'),
    # annotations
    'annotation without objects': ('train', put('annotations/b.xml', '<annotation/>'), [],
                                   r'annotations/b\.xml: has no class: label'),
    'annotation missing': ('train', remove('annotations/a.xml'), [],
                           r'annotations/a\.xml: no such annotation: check --annotation-root'),
    'annotation empty': ('train', put('annotations/a.xml', ''), [], r'annotations/a\.xml: .*not valid XML'),
    'annotation is no XML': ('infer', put('annotations/a.xml', 'dog'), [], r'annotations/a\.xml: .*not valid XML'),
    'annotation cut short': ('infer', cut('annotations/a.xml', 40), [], r'annotations/a\.xml: .*not valid XML'),
    'annotation of unknown class': ('seeds', put('annotations/a.xml', ANNOTATION % 'unicorn'), [],
                                    r'annotations/a\.xml: .*unicorn.*--class-names'),
    'annotation with entities': ('seeds', put('annotations/a.xml', ENTITY), [], r'annotations/a\.xml: .*declares'),
    'annotation without class': ('run', put('annotations/a.xml', '<annotation><object/></annotation>'), [],
                                 r'annotations/a\.xml: .*an object has no name: correct'),
    'annotation is a picture': ('run', picture('annotations/a.png', (3, 3)), ['--annotation-root', 'images'],
                                r'images/a\.xml.*: no such annotation'),
    # superpixels
    'superpixels missing': ('train', remove('superpixels/a.png'), [],
                            r'superpixels/a\.png: no such superpixel map: make them with makeSuperpixel'),
    'superpixels of another size': ('train', picture('superpixels/a.png', (36, 45, 3)), [],
                                    r'superpixels/a\.png \(45x36, not 44x36\)'),
    'superpixels are text': ('train', put('superpixels/a.png', 'x'), [], r'superpixels/a\.png: not an image'),
    'superpixels cut in their header': ('infer', cut('superpixels/a.png', 20), [],
                                        r'superpixels/a\.png: the file is cut short'),
    'superpixel folder wrong': ('train', nothing, ['--superpixel-root', 'nowhere'],
                                r'--superpixel-root nowhere: no such folder: check'),
    'raw superpixel folder wrong': ('merge', nothing, ['--superpixel-root', 'nowhere'],
                                    r'nowhere: no such folder: make them'),
    'raw superpixels missing': ('merge', remove('raw/a.png'), [], r'raw/a\.png: no such superpixels: make them'),
    'raw superpixels of another size': ('merge', picture('raw/a.png', (36, 45, 3)), [], r'raw/a\.png.*45.*36'),
    'raw superpixels are text': ('merge', put('raw/a.png', 'x'), [], r'raw/a\.png: not an image'),
    # saliency
    'saliency missing': ('seeds', remove('saliency/a.png'), ['--use-sal'],
                         r'saliency/a\.png: no such saliency map: check --saliency-root'),
    'saliency of another size': ('seeds', picture('saliency/a.png', (9, 9)), ['--seeds', 'sal'],
                                 r'saliency/a\.png \(9x9, not 44x36\)'),
    'saliency folder wrong': ('run', nothing, ['--use-sal', '--saliency-root', 'nowhere'],
                              r'--saliency-root nowhere: no such folder: check'),
    'saliency is text': ('seeds', put('saliency/a.png', 'x'), ['--seeds', 'sal'], r'saliency/a\.png: not an image'),
    # weights
    'weights missing': ('train', nothing, ['--pretrained', 'no.params'], r'no\.params: .*--pretrained none'),
    'weights empty': ('train', put('pretrained.params', ''), [], r'pretrained\.params: not a weights file'),
    'weights cut short': ('train', cut('pretrained.params', 5000), [], r'pretrained\.params: not a whole MXNet'),
    'weights are a page': ('train', put('pretrained.params', '<html>404</html>' * 9), [],
                           r'pretrained\.params: not a weights file'),
    'weights are an array': ('train', array('p.npy', np.ones(9)), ['--pretrained', 'p.npy'], r'p\.npy: not a weights'),
    'weights of another width': ('train', nothing, ['--width', '0.0625'], r'pretrained\.params: .*--width'),
    'weights lack a layer': ('train', weights('pretrained.params', drop('arg:fc6_weight')), [],
                             r'pretrained\.params: lacks 1 .*fc6_weight'),
    'weights diverged': ('infer', weights(TRAINED, spoil('arg:fc6_weight')), [], r'0000\.params: .*diverged'),
    'weights for merging missing': ('merge', nothing, ['--pretrained', 'no.params'],
                                    r'no\.params: no such file.*--pretrained none'),
    'nothing trained': ('infer', remove(TRAINED), [], r'vgg16_icd-0000\.params: no such file: train'),
    'trained for fewer epochs': ('infer', nothing, ['--num-epoch', '9'], r'vgg16_icd-0008\.params: no such file'),
    'trained with other classes': ('infer', weights(TRAINED, drop('arg:fc8_weight')), [],
                                   r'0000\.params: lacks 1 .*fc8_weight'),
    'first epoch missing': ('train', nothing, ['--begin-epoch', '4', '--num-epoch', '9'],
                            r'0003\.params: no such file'),
    'nothing to convert': ('weights', nothing, ['convert', 'none.params', 'out.params'], r'none\.params: no such'),
    'converting the wrong file': ('weights', put('x.params', 'x' * 99), ['convert', 'x.params', 'out.params'],
                                  r'x\.params: not a weights file'),
    # scores
    'scores missing': ('seeds', remove(SCORES), [], r'scores_icd/a\.npy: no such score file: run inference'),
    'scores of other labels': ('seeds', array(SCORES, np.ones((3, 7, 7), np.float32)), [],
                               r'scores_icd/a\.npy: maps of 3 classes'),
    'scores of another size': ('seeds', nothing, ['--infer-size', '57'],
                               r'scores_icd/a\.npy.*do not come from --infer-size 57'),
    'scores pickled': ('seeds', array(SCORES, np.array([{}]), allow_pickle=True), [],
                       r'scores_icd/a\.npy: holds no floating-point numbers: remove'),
    'scores are text': ('seeds', put(SCORES, 'x'), [], r'scores_icd/a\.npy: not a NumPy array file'),
    'scores cut short': ('seeds', cut(SCORES, 200), [], r'scores_icd/a\.npy: the file is cut short'),
    # exported scores
    'export needs pickles': ('run', nothing, ['--export-scores', 'maps.npy'], r'--export-scores maps\.npy: .*pickles'),
    'export folder is a file': ('run', nothing, ['--export-scores', 'list.txt'], r'list\.txt: .*choose another folder'),
    'export among the results': ('run', nothing, ['--export-scores', 'snap/results'],
                                 r'snap/results: .*folder of its own'),
    'export among the scores': ('run', nothing, ['--export-scores', 'snap/results/scores_cam'],
                                r'scores_cam: .*its own'),
    'export among seeds to come': ('run', nothing,
                                   ['--snapshot', 'fresh', '--export-scores', 'fresh/results/seeds/crf'],
                                   r'seeds/crf: .*folder of its own'),
    'export among the images': ('seeds', nothing, ['--export-scores', 'images'], r'images: .*folder of its own'),
    'export over the list': ('seeds', put('x.npz', 'a\n'), ['--data-list', 'x.npz', '--export-scores', 'x.npz'],
                             r'x\.npz: .*folder of its own'),
    'export of full size only': ('seeds', nothing, ['--export-full-size'],
                                 r'--export-full-size: .*give --export-scores'),
    'export below a file': ('infer', nothing, ['--export-scores', 'list.txt/a.npz'],
                            r'list\.txt: .*choose another folder'),
    'scores to export missing': ('seeds', remove(SCORES), ['--seeds', 'cam', '--export-scores', 'maps'],
                                 r'scores_icd/a\.npy: no such score file'),
    # options
    'unknown option': ('run', nothing, ['--speed', '9'], r'unrecognized arguments: --speed 9'),
    'image size': ('run', nothing, ['--image-size', '320'], r"--image-size: '320' is not 8k\+1"),
    'batch of nothing': ('run', nothing, ['--batch-size', '0'], r'--batch-size.*>= 1'),
    'batch larger than the data': ('train', nothing, ['--batch-size', '64'],
                                   r'--batch-size 64: .*only 4 images.*use a smaller'),
    'batch that devices cannot divide': ('train', nothing, ['--gpus', 'cpu:3'], r'--batch-size 2: not divisible by 3'),
    'learning rate': ('run', nothing, ['--learning-rate', '-1'], r'--learning-rate.*> 0'),
    'no number': ('run', nothing, ['--num-epoch', 'x'], r"--num-epoch: 'x' is not a whole number"),
    'kind of seed': ('seeds', nothing, ['--seeds', 'best'], r'--seeds.*crf, sal, raw'),
    'superpixels to keep': ('merge', nothing, ['--max-superpixel-num', '0'], r'--max-superpixel-num: .*>= 1'),
    'two stages alone': ('run', nothing, ['--only-infer', '--only-train'], r'--only-train, --only-infer.*give one'),
    'digits of another kind': ('run', nothing, ['--gpus', '\u00b2'], r'--gpus \u00b2: not a list of different'),
    'iterations without end': ('seeds', nothing, ['--crf-iterations', '3000000000'], r'--crf-iterations.*<= 10000'),
    'deviation of a CRF': ('seeds', nothing, ['--crf-gaussian', '1e308,1'], r"--crf-gaussian: '1e308'.*<= 1e\+06"),
    'weight of a CRF': ('seeds', nothing, ['--crf-gaussian', '3,1e39'], r"--crf-gaussian: '1e39'.*<= 1e\+06"),
    'classes to evaluate': ('evaluate', nothing, ['--num-cls', '0'], r'--num-cls: .*>= 2'),
    'required option': ('evaluate', nothing, ['--pred'], r'--pred: expected one argument'),
    # folders
    'snapshot is a file': ('run', put('snapshot', 'x'), ['--snapshot', 'snapshot'],
                           r'snapshot: .*choose another folder'),
    'snapshot below a file': ('run', nothing, ['--snapshot', 'list.txt/deep'], r'list\.txt: .*choose another folder'),
    'seeds are a file': ('run', put('fresh/results/seeds/crf', 'x'), ['--snapshot', 'fresh'],
                         r'fresh/results/seeds/crf: .*choose another folder'),
    'seeds over saliency maps': ('run', nothing, ['--snapshot', 'fresh', '--use-sal', '--saliency-root',
                                                  'fresh/results/seeds/sal'], r'would overwrite the saliency maps'),
    'colour copies are a file': ('run', put('fresh/results/seeds/crf_colour', 'x'), ['--snapshot', 'fresh', '--colour'],
                                 r'fresh/results/seeds/crf_colour: .*choose another folder'),
    'a link leads out of the overlays': ('seeds', link('snap/results/seeds/crf_overlay/sub', '../../../..'),
                                         ['--colour'],
                                         r'seeds/crf_overlay/sub: a link leads outside'),
    'snapshot is a broken link': ('run', link('lost', 'nowhere/at/all'), ['--snapshot', 'lost'], r'lost: .*link'),
    'a link leads out of the snapshot': ('seeds', link('snap/results/seeds/crf/sub', '../../../..'), [],
                                        r'seeds/crf/sub: a link leads outside'),
    'merged folder is a file': ('merge', nothing, ['--save-superpixel-root', 'list.txt'], r'list\.txt.*choose another'),
    # devices
    'no such GPU': ('run', nothing, ['--gpus', '7'], r'--gpus 7: .*--gpus cpu'),
    'devices unreadable': ('run', nothing, ['--gpus', 'all'], r'--gpus all: not a list of different'),
    'no CPU at all': ('infer', nothing, ['--gpus', 'cpu:0'], r'--gpus cpu:0: not a list of different'),
    'devices for merging': ('merge', nothing, ['--gpus', '0,0'], r'--gpus 0,0: not a list of different'),
    # masks to evaluate
    'prediction missing': ('evaluate', remove('pred/a.png'), [], r'pred/a\.png: no such seed: check'),
    'no predictions': ('evaluate', remove('pred'), [], r'--pred pred: no such folder: check'),
    'truth missing': ('evaluate', remove('truth/a.png'), [], r'truth/a\.png: no such truth: check'),
    'prediction of another size': ('evaluate', picture('pred/a.png', (3, 3)), [], r'pred/a\.png \(3x3, not 44x36\)'),
    'prediction in colours': ('evaluate', picture('pred/a.png', (36, 44, 3), value=128), [], r'pred/a\.png: a colour'),
    'prediction of unknown class': ('evaluate', picture('pred/a.png', (36, 44), value=77), [],
                                    r'pred/a\.png \(index 77\): .*beyond the 21'),
    'prediction is text': ('evaluate', put('pred/a.png', 'x'), [], r'pred/a\.png: not a whole PNG'),
    'figures over the list': ('evaluate', nothing, ['--json', 'list.txt'], r'--json list\.txt: .*name another'),
    'figures over a seed': ('evaluate', nothing, ['--json', 'pred/x.png'], r'--json pred/x\.png: .*name another'),
    'page over an image': ('evaluate', nothing, ['--html', 'images/a.jpg', '--image-root', 'images'],
                           r'--html images/a\.jpg: would overwrite an input'),
    'figures cannot be written': ('evaluate', nothing, ['--json', 'list.txt/x.json'], r'list\.txt: .*choose another'),
    # lists of a devkit
    'devkit missing': ('lists', nothing, ['--devkit', 'nowhere', '--segmentation-class-aug', 'truth'],
                       r'nowhere/ImageSets.*no such file: give'),
    'lists where a file is': ('lists', devkit,
                              ['--devkit', '.', '--segmentation-class-aug', 'truth', '--any', '--out', 'list.txt'],
                              r'list\.txt: .*choose another path'),
    'neither SBD nor masks': ('lists', nothing, ['--devkit', '.'], r'--sbd --segmentation-class-aug is required'),
}


@pytest.mark.parametrize('row', TABLE)
def test_bad_input_is_one_line_with_exit_code_2(row, valid, tmp_path, monkeypatch, capfd):
    command, break_it, extra, message = TABLE[row]
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    break_it()
    assert_refused(lambda: run(command, extra), message, capfd, one_line=False)


def test_the_valid_data_set_is_valid(valid, tmp_path, monkeypatch):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    assert [run(command) for command in ('merge', 'run', 'evaluate')] == [0, 0, 0]


def test_all_problems_are_reported_grouped_and_counted(valid, tmp_path, monkeypatch, capfd):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    many = [f'n{i:02d}' for i in range(12)]
    put('list.txt', '\n'.join(list(NAMES) + many))()
    remove('superpixels/b.png')()
    put('pretrained.params', 'x')()
    assert run('run', ['--gpus', '5']) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if ': ' in line]
    missing, = [line for line in lines if 'no such image' in line]
    assert 'n09.jpg' in missing and 'n10.jpg' not in missing and '(12 files)' in missing
    assert len([line for line in lines if re.search(r'no such superpixel map \(13 files\)', line)]) == 1
    assert any('pretrained.params' in line for line in lines) and any('--gpus 5' in line for line in lines)


def test_files_with_one_mistake_take_one_line(valid, tmp_path, monkeypatch, capfd):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    for name in NAMES:
        put(f'annotations/{name}.xml', ANNOTATION % 'wolf')()
    assert run('seeds') == 2
    line, = capfd.readouterr().err.splitlines()         # and nothing about scores, which are of other classes now
    assert re.search(
        r"annotations/a\.xml, .*: unknown class 'wolf' \(4 files\): the 20 known ones.*--class-names", line)


def test_missing_inputs_are_reported_once(valid, tmp_path, monkeypatch, capfd):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)

    def reported(*arguments):
        assert run('seeds', list(arguments)) == 2
        return capfd.readouterr().err.splitlines()
    saliency, = reported('--use-sal', '--saliency-root', 'nowhere')
    assert '--saliency-root nowhere: no such folder' in saliency
    folder, names = reported('--image-root', 'nowhere', '--data-list', 'none.txt')
    assert '--image-root nowhere: no such folder' in folder and 'none.txt: no such file' in names
    remove('images/a.jpg')()
    remove(SCORES)()
    image, = reported('--seeds', 'cam', '--export-scores', 'maps')
    assert 'images/a.jpg: no such image' in image
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: access(path, mode) and path != 'images')
    closed, = reported()
    assert '--image-root images: permission denied: change its permissions' in closed


def test_only_missing_outputs_need_disk_space(valid, tmp_path, monkeypatch):
    root = str(tmp_path / 'data')
    shutil.copytree(valid, root)
    monkeypatch.chdir(root)
    options = cli.parse(cli.RUN, '', '', COMMANDS['run'][1] + ['--colour', '--width', '1'])
    inputs = read_inputs(options)

    def needed(stage, upcoming=()):
        return stage.check(options, inputs, Problems(), upcoming)
    before = needed(train), needed(infer, ('train',)), needed(seeds, ('train', 'infer'))
    assert before[0] > 1e9 and before[1] == 0 and before[2] > 3 * 4 * 4096
    assert run('run', ['--colour']) == 0
    assert needed(train) < before[0] and needed(infer) == needed(seeds) == 0


def test_scripts_name_missing_packages(tmp_path):
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for script in ('run_icd.py', 'run_deeplab.py', 'generate_superpixel.py'):
        done = subprocess.run([sys.executable, '-S', '-E', os.path.join(project, script)], cwd=str(tmp_path),
                              capture_output=True)
        assert done.returncode == 2 and not done.stdout
        assert re.fullmatch(script + r': the package \w+ is not installed: `make env`, then .*activate`\n',
                            done.stderr.decode())


@pytest.mark.parametrize('module', ['mxnet'])
def test_a_missing_package_is_named(module, valid, tmp_path):
    hide = (f'class Hidden:\n    def find_spec(self, name, path, target=None):\n        if name == {module!r}:\n'
            f'            raise ModuleNotFoundError("No module named {module}", name=name)\n')
    code = f'import sys\n{hide}sys.meta_path.insert(0, Hidden())\nfrom icd import commands\nsys.exit(commands.run())'
    done = subprocess.run([sys.executable, '-c', code] + COMMANDS['train'][1], cwd=valid, capture_output=True,
                          env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(
                              os.path.abspath(__file__)))))
    assert done.returncode == 2 and b'Traceback' not in done.stderr, done.stderr
    assert b'package mxnet is not installed: pip install' in done.stderr
