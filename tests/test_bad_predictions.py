"""What users feed prediction, submission and export, and what they get; as `test_bad_inputs`."""

import numpy as np
import onnx
import pytest

from icd import files
from tests.helpers.segment_data import run
from tests.helpers.small_data import assert_refused, list_files
from tests.test_bad_inputs import cut, folder, link, nothing, picture, put, remove, spoil, weights

NET = 'segment/net-0001.params'


def rename(before, after):
    def change(arrays):
        arrays[after] = arrays.pop(before)
    return change


def copy(path, *others):
    def make():
        for other in others:
            with open(path, 'rb') as file:
                files.save_bytes(other, file.read())
    return make


def other_onnx():
    """A valid ONNX model that is something else."""
    value = onnx.helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, ['n', 3, 'h', 'w'])
    result = onnx.helper.make_tensor_value_info('logits', onnx.TensorProto.UINT8, ['n', 3, 'h', 'w'])
    node = onnx.helper.make_node('Identity', ['image'], ['logits'])
    graph = onnx.helper.make_graph([node], 'other', [value], [result])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 13)], ir_version=7)
    files.save_bytes('segment.onnx', made.SerializeToString())


def spoiled_onnx():
    """Class names that are not those of the scores."""
    made = onnx.load('segment.onnx')
    for entry in made.metadata_props:
        if entry.key == 'class_names':
            entry.value = '["background", "cat"]'
    files.save_bytes('segment.onnx', made.SerializeToString())


def index(path, value):
    return lambda: files.save_image(path, np.full((36, 44), value, np.uint8))


def tail_cut(path):
    def change():
        with open(path, 'r+b') as file:
            file.truncate(len(file.read()) - 40)
    return change


TABLE = {
    # the network
    'no snapshot': ('predict', nothing, ['--snapshot', 'nowhere'], r'--snapshot nowhere: no such folder: give'),
    'snapshot without checkpoints': ('predict', remove(NET), [], r'segment: holds no checkpoint: give'),
    'snapshot of several trainings': ('predict', copy(NET, 'segment/x-0001.params'), [],
                                      r'segment: .*several trainings \(net, x\): name one file'),
    'no such epoch': ('predict', nothing, ['--epoch', '7'], r'segment: .* no checkpoint of epoch 7: give one of 1 to'),
    'no such model': ('predict', nothing, ['--model', 'none.params'], r'none\.params: no such file'),
    'checkpoint cut short': ('predict', cut(NET, 900), [], r'net-0001\.params: not a whole'),
    'checkpoint of ICD': ('predict', nothing, ['--model', 'snap/vgg16_icd-0000.params'],
                          r'vgg16_icd-0000\.params: a network of ICD.*: give one of icd-segment train'),
    'pretrained weights': ('predict', weights(NET, rename('arg:fc8_weight', 'arg:x')), [],
                           r'net-0001\.params: not the weights of a network that was trained here: give'),
    'weights of another network': ('predict', weights(NET, rename('arg:conv3_1_bias', 'arg:conv3_4_bias')), [],
                                   r'net-0001\.params: lacks 1 of .*conv3_1_bias'),
    'weights that are not finite': ('predict', weights(NET, spoil('arg:fc8_bias')), [], r'not finite \(fc8_bias\)'),
    'other classes': ('predict', put('names.txt', 'cat\ndog\n'), ['--class-names', 'names.txt'],
                      r'--class-names names\.txt: names 2 classes, the network has 20: give'),
    # ONNX files
    'ONNX of something else': ('predict onnx', other_onnx, [], r'segment\.onnx: an ONNX model, but not.*: give a file'),
    'ONNX cut short': ('predict onnx', cut('segment.onnx', 5000), [], r'segment\.onnx: not a model that onnxruntime'),
    'ONNX empty': ('predict onnx', put('segment.onnx', ''), [], r'segment\.onnx: not a model that onnxruntime can run'),
    'ONNX missing': ('predict onnx', remove('segment.onnx'), [], r'segment\.onnx: no such file'),
    'ONNX with other class names': ('predict onnx', spoiled_onnx, [], r'segment\.onnx: an ONNX model, but not'),
    'ONNX and other classes': ('predict onnx', put('names.txt', 'cat\ndog\n'), ['--class-names', 'names.txt'],
                               r'--class-names names\.txt: names other classes than the ONNX file'),
    'ONNX of ICD': ('predict onnx', nothing, ['--model', 'icd.onnx'], r'icd\.onnx: a network of ICD'),
    'ONNX on no such GPU': ('predict onnx', nothing, ['--gpus', '0'], r'--gpus 0: .*onnxruntime has no CUDA: pip'),
    'ONNX on no device': ('predict onnx', nothing, ['--gpus', 'cpu:'], r'--gpus cpu:: not a list of different devices'),
    'seeds by an ONNX that segments': ('infer onnx', nothing, ['--onnx', 'segment.onnx'],
                                       r'segment\.onnx: vgg16_largefov, a network that segments: give an'),
    'seeds by an ONNX of other classes': ('infer onnx', put('names.txt', 'dog\ncat\n'), ['--class-names', 'names.txt'],
                                          r'icd\.onnx: gives scores of 20 other classes: give the --class-names'),
    'training by an ONNX': ('infer onnx', nothing, ['--only-train'], r'--only-train, --only-infer'),
    # images
    'no images': ('predict', remove('images'), [], r'--image-root images: no such folder'),
    'no images in it': ('predict', folder('empty'), ['--image-root', 'empty', '--data-list', 'list.txt'],
                        r'empty/a\.jpg, .*no such image'),
    'image missing': ('predict', remove('images/a.jpg'), [], r'images/a\.jpg: no such image: check --image-root'),
    'image is text': ('predict', put('images/a.jpg', 'x'), [], r'images/a\.jpg: not an image'),
    'list missing': ('predict', remove('list.txt'), [], r'list\.txt: no such file'),
    # folders
    'predictions among the images': ('predict', nothing, ['--out', 'images/new'],
                                     r'--out images/new: lies in --image-root'),
    'predictions over a link to the images': ('predict', link('other', 'images'), ['--out', 'other'],
                                              r'--out other: lies in --image-root: give'),
    'predictions in a file': ('predict', nothing, ['--out', 'list.txt'], r'list\.txt: .*choose another folder'),
    'predictions over seeds': ('predict', put('out/raw/settings.json', '{"made_by": "seeds", "settings": {}}'), [],
                               r'out/raw: holds the outputs of seeds: choose another'),
    # options
    'scales': ('predict', nothing, ['--scales', '1,0'], r"--scales: '0' is not a number >= 0\.1"),
    'scales repeat': ('predict', nothing, ['--scales', '1,1'], r"--scales: '1,1': give different"),
    'fusion': ('predict', nothing, ['--fusion', 'median'], r'--fusion: .*median'),
    'known classes without annotations': ('predict', nothing, ['--only-known-classes'],
                                          r'--only-known-classes: needs to know them: give either --labels'),
    'annotations of nothing': ('predict', nothing, ['--annotation-root', 'annotations'],
                               r'--annotation-root annotations: is not used: add --only-known-classes'),
    'labels missing': ('predict', nothing, ['--only-known-classes', '--labels', 'none.csv'],
                       r'none\.csv: no such file'),
    'two sources of labels': ('predict', nothing, ['--only-known-classes', '--labels', 'list.txt', '--annotation-root',
                                                   'annotations'], r'--only-known-classes: .*give either'),
    'two files for one image': ('predict', copy('images/a.jpg', 'images/a.png'), [], r'several files for one image'),
    'annotation missing': ('predict', remove('annotations/a.xml'),
                           ['--only-known-classes', '--annotation-root', 'annotations'],
                           r'annotations/a\.xml: no such annotation: check'),
    'annotation of unknown class': ('predict', put('annotations/a.xml', '<annotation><object><name>fox</name></object>'
                                                   '</annotation>'),
                                    ['--only-known-classes', '--annotation-root', 'annotations'],
                                    r"annotations/a\.xml: unknown class 'fox'"),
    # submission
    'prediction missing': ('submit', remove('masks/a.png'), [], r'masks/a\.png: no such prediction: the server wants'),
    'prediction in colours': ('submit', picture('masks/a.png', (36, 44, 3), value=9), [], r'masks/a\.png: a colour'),
    'prediction cut short': ('submit', cut('masks/a.png', 60), [], r'masks/a\.png: not a whole PNG'),
    'prediction that ignores': ('submit', index('masks/a.png', 255), [],
                                r'masks/a\.png \(index 255\): has an index beyond the 21 classes: submit'),
    'prediction of another size': ('submit', picture('masks/a.png', (3, 3)), [],
                                   r'masks/a\.png \(3x3, not 44x36\): prediction and image differ in size'),
    'image of a prediction missing': ('submit', remove('images/a.jpg'), [], r'images/a\.jpg: no such image'),
    'archive that the server refuses': ('submit', nothing, ['--out', 'results.tar'], r'--out results\.tar: .*\.tgz'),
    'no predictions': ('submit', remove('masks'), [], r'--pred masks: no such folder'),
    # export
    'export of nothing': ('export', nothing, [], r'--snapshot, --model: exactly one'),
    'export of two': ('export', nothing, ['--snapshot', 'segment', '--model', NET],
                      r'--snapshot, --model: exactly one'),
    'export of pretrained weights': ('export', nothing, ['--model', 'list.txt'], r'list\.txt: not a weights file'),
    'export of half a network': ('export', weights(NET, rename('arg:conv3_1_bias', 'arg:conv3_4_bias')),
                                 ['--model', NET], r'net-0001\.params: lacks conv3_1_bias: give a whole checkpoint'),
    'export over a folder': ('export', folder('out.onnx'), ['--model', NET], r'out\.onnx: this is a folder: name a'),
    'export over the checkpoint': ('export', link('out.onnx', NET), ['--model', NET],
                                   r'out\.onnx: would overwrite the checkpoint'),
}


@pytest.mark.parametrize('row', TABLE)
def test_bad_input_is_one_line_with_exit_code_2(row, segmented, capfd):
    command, break_it, extra, message = TABLE[row]
    break_it()
    assert_refused(lambda: run(command, *extra), message, capfd)


def test_an_image_that_turns_out_to_be_damaged_keeps_what_is_finished(segmented, capfd):
    tail_cut('images/c.jpg')()
    for command in 'predict', 'predict onnx':
        assert run(command, '--infer-batch-size', '1') == 2
        printed = capfd.readouterr().err
        assert 'images/c.jpg: the file is cut short: copy' in printed and 'Traceback' not in printed
        assert 'out/raw/a.png' in list_files('out')
        assert not [path for path in list_files('.') if path.endswith('.part')]
