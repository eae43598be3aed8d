"""`--precision`: what the commands compute in half precision where a device can, and what they say where it cannot."""
import os
import types

import numpy as np
import pytest

from icd import cli, precision, segment_options
from icd.errors import UserError
from icd.steps import score_files, train, train_segmentation
from icd.train import checkpoint, head_start
from icd.weights import mxnet_params
from tests.helpers import read_inputs
from tests.helpers.segment_data import run as segment
from tests.helpers.small_data import assert_refused, run
from tests.steps.test_train import data, make_options
from tests.steps.test_train import run as train_stage
from tests.steps.test_train_start import pretrained

__all__ = ['data']
CONTEXT = types.SimpleNamespace


# ------------------------------------------------------------------------------------------- what a device cannot do
def test_float32_is_never_tried():
    precision.check('float32', [CONTEXT(device_type='cpu', device_id=0)], trial=None)


def test_every_gpu_is_tried_and_the_cpu_once():
    tried = []

    def trial(*names):
        tried.append(names)
        return {'gpu:3': 'MXNetError: MXNetError: of no use'}
    devices = [CONTEXT(device_type='gpu', device_id=i) for i in (1, 3)]
    with pytest.raises(UserError) as raised:
        precision.check('float16', devices, trial)
    assert str(raised.value) == ('--precision float16: MXNet has no such convolutions on GPU 3 (of no use): leave it '
                                 'out; icd-doctor lists what each device computes in')
    precision.check('bfloat16', [CONTEXT(device_type='cpu', device_id=i) for i in (0, 1)],
                    lambda *names: tried.append(names) or {})
    assert tried == [('float16', 'gpu:1', 'gpu:3'), ('bfloat16', 'cpu:0')]


@pytest.mark.parametrize('kind, variables, reason', [
    ('bfloat16', {'DNNL_MAX_CPU_ISA': 'AVX2'}, 'could not create a primitive descriptor iterator'),
    ('bfloat16', {'PYTHONOPTIMIZE': '2'}, 'MXNet cannot be imported without docstrings')])
def test_the_trial_finds_out_in_a_process_of_its_own(kind, variables, reason, monkeypatch):
    """A processor without AVX-512, and a process that does not live to say what is wrong."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    precision.try_devices.cache_clear()
    found = precision.try_devices(kind, 'cpu:0')
    precision.try_devices.cache_clear()
    assert list(found) == ['cpu:0'] and reason in found['cpu:0']


@pytest.mark.parametrize('command', ['train', 'infer', 'merge'])
def test_what_the_cpu_cannot_compute_in_is_refused_before_the_first_step(command, in_valid, capfd):
    assert_refused(lambda: run(command, ['--precision', 'float16']), '--precision float16: MXNet has no such '
                   'convolutions on the CPU .FP16 gemm on cpu not implemented!.: leave it out', capfd)


def test_an_onnx_file_is_computed_in_float32():
    with pytest.raises(UserError, match='^--precision bfloat16: an ONNX file is computed in float32: leave it out, or '
                                        'give a checkpoint in place of net.onnx$'):
        precision.check_onnx('bfloat16', 'net.onnx')
    precision.check_onnx('float32', 'net.onnx')


# ----------------------------------------------------------------------------------------- what bfloat16 computes here
def arrays_of(path):
    return {name.partition(':')[2]: value for name, value in mxnet_params.read(str(path)).items()}


def test_scores_in_bfloat16_are_nearly_those_of_float32_and_made_anew(in_valid, bfloat16):
    def scores(*extra):
        assert run('infer', ['--no-superpixel', *extra]) == 0
        return {(kind, name): np.load(f'snap/results/scores_{kind}/{name}.npy') for kind in ('cam', 'icd')
                for name in 'abc'}
    whole, halves = scores('--force'), scores('--precision', bfloat16)
    for key, score in whole.items():
        assert halves[key].dtype == np.float32
        assert 0 < abs(halves[key] - score).max() < .05 * max(abs(whole[key[0], name]).max() for name in 'abc')


def test_merging_in_bfloat16_is_merging(in_valid, bfloat16):
    assert run('merge', ['--precision', bfloat16]) == 0
    assert os.path.isfile('merged/a.png')


def test_a_training_in_bfloat16_resumes_to_the_same_bits_and_with_no_other_precision(data, tmp_path, bfloat16):    # noqa: F811
    train_stage(data, tmp_path / 'whole', precision=bfloat16, gpus='cpu:2')
    train_stage(data, tmp_path / 'parts', precision=bfloat16, gpus='cpu:2')
    for name in ('0001.params', '0001.states'):
        os.remove(str(tmp_path / 'parts' / f'vgg16_icd-{name}'))
    train_stage(data, tmp_path / 'parts', precision=bfloat16, gpus='cpu:2')
    whole, parts = (arrays_of(tmp_path / folder / 'vgg16_icd-0001.params') for folder in ('whole', 'parts'))
    assert all((whole[name] == parts[name]).all() and whole[name].dtype == np.float32 for name in whole)
    found = checkpoint.read(str(tmp_path / 'whole' / 'vgg16_icd-0001.params'))
    assert found.settings['precision'] == bfloat16 and found.scaling is None        # its range is that of float32
    with open(str(tmp_path / 'whole' / 'log.txt')) as file:
        assert 'convolutions in bfloat16\n' in file.read()
    with pytest.raises(UserError, match='comes from a training with another --precision .bfloat16.'):
        train_stage(data, tmp_path / 'whole')


def test_trainings_begin_alike_in_every_precision(data, tmp_path, monkeypatch, bfloat16):      # noqa: F811
    """Also what is learned before the first step: at a rate of almost nothing they end as they begin."""
    weights = pretrained(str(tmp_path / 'some.params'), with_fc=False)
    monkeypatch.setattr(head_start, 'STEPS', 5)
    found = []
    for kind in ('float32', bfloat16):
        train_stage(data, tmp_path / kind, pretrained=weights, num_epoch=1, learning_rate=1e-30, precision=kind)
        found.append(arrays_of(tmp_path / kind / 'vgg16_icd-0000.params'))
    moved = {name for name in found[0] if abs(found[0][name] - found[1][name]).max() > 1e-20}
    assert moved <= {'feat_bn_moving_mean', 'feat_bn_moving_var', 'icd_accum_resign_moving_mean'}


def test_segmentation_trains_and_predicts_in_bfloat16(segmented, bfloat16):
    assert segment('predict', '--save-logits', 'eighth', '--crf', 'none') == 0
    whole = {name: np.load(f'out/logits/{name}.npy') for name in 'abc'}
    assert segment('predict', '--save-logits', 'eighth', '--crf', 'none', '--precision', bfloat16) == 0
    for name, logits in whole.items():
        found = np.load(f'out/logits/{name}.npy')
        assert found.dtype == np.float32 and 0 < abs(found - logits).max() < .05 * abs(logits).max()
    options = cli.defaults(segment_options.SEGMENT_TRAIN, **dict(
        image_root='images', seed_root='masks', data_list='list.txt', snapshot='trained', pretrained='none',
        width=1 / 32, image_size=33, batch_size=2, num_epoch=1, gpus='cpu', num_workers=0, num_process=1,
        precision=bfloat16))
    assert train_segmentation.run(options) is True
    assert checkpoint.read('trained/deeplab-0000.params').settings['precision'] == bfloat16


# --------------------------------------------------------------------------------------------- records of float32
def test_records_and_settings_of_float32_do_not_name_it(data, tmp_path):        # noqa: F811
    """They are what they were before there was a choice: older outputs stay up to date, older trainings resume."""
    for kind in precision.PRECISIONS:
        options = make_options(data, tmp_path, precision=kind)
        named = {} if kind == 'float32' else {'precision': kind}
        of_scores = score_files.outputs(options, types.SimpleNamespace(num_classes=3), 1., 'abc').settings
        of_training = train.settings(options, read_inputs(options))
        for found in of_scores, of_training:
            assert {name: value for name, value in found.items() if name == 'precision'} == named
