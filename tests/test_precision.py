"""`--precision`: what the commands compute in half precision where a device can, and what they say where it cannot."""
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from icd import cli, precision, segment_options
from icd.errors import UserError
from icd.steps import score_files, train, train_segmentation
from icd.train import checkpoint, head_start
from icd.weights import mxnet_params
from tests.helpers import PROJECT, read_inputs
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


# -------------------------------------------------------------------------------------------------- the matrix units
# A convolution of each precision, by which oneDNN says how it computes it, and a checksum of the one of float32.
CONVOLUTIONS = """
import sys, types, zlib
from icd import precision
precision.check(sys.argv[1], [types.SimpleNamespace(device_type='cpu', device_id=0)], lambda *_: {})
from icd.mxnet_setup import mx
mx.random.seed(0)
arrays = [mx.nd.random.normal(shape=shape) for shape in ((1, 64, 20, 20), (64, 64, 3, 3), (64,))]
for kind in 'float32', 'bfloat16':
    made = mx.nd.Convolution(*(mx.nd.amp_cast(one, dtype=kind) for one in arrays), kernel=(3, 3), num_filter=64)
    print(kind, zlib.crc32(mx.nd.amp_cast(made, dtype='float32').asnumpy().tobytes()))
"""


@pytest.fixture
def untouched(monkeypatch):
    """The environment without oneDNN's variable, as it is again afterwards."""
    monkeypatch.setenv('DNNL_MAX_CPU_ISA', '')          # so that it is restored, whatever sets it
    monkeypatch.delenv('DNNL_MAX_CPU_ISA')


@pytest.fixture
def asked(monkeypatch):
    """Calls of the system, which are all granted; set `refuses` for what they return."""
    calls = types.SimpleNamespace(made=[], refuses=0)
    library = types.SimpleNamespace(syscall=lambda *call: calls.made.append(call) or calls.refuses)
    monkeypatch.setattr(precision.ctypes, 'CDLL', lambda name: library)
    return calls


@pytest.mark.parametrize('flags, refuses, used', [
    ('fpu amx_bf16 amx_tile', 0, True), ('fpu amx_bf16 amx_tile', -1, False), ('fpu avx512_bf16 amx_tile', 0, False),
    (None, 0, False)])
def test_matrix_units_are_used_where_the_system_allows_it(flags, refuses, used, untouched, asked, tmp_path):
    if flags:
        (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\nflags\t\t: {flags}\n')
    asked.refuses = refuses
    precision.use_matrix_units(str(tmp_path / 'cpuinfo'))
    assert os.environ.get('DNNL_MAX_CPU_ISA') == ('AVX512_CORE_AMX' if used else None)
    assert asked.made == [(158, 0x1023, 18)] * bool(flags and 'amx_bf16' in flags)


def test_what_the_user_allows_onednn_stays(monkeypatch, asked, tmp_path):
    monkeypatch.setenv('DNNL_MAX_CPU_ISA', 'AVX2')
    (tmp_path / 'cpuinfo').write_text('flags\t\t: amx_bf16\n')
    precision.use_matrix_units(str(tmp_path / 'cpuinfo'))
    assert asked.made and os.environ['DNNL_MAX_CPU_ISA'] == 'AVX2'


@pytest.mark.skipif(not precision.has_matrix_units(), reason='no matrix units (amx_bf16) in this processor')
def test_matrix_units_compute_bfloat16_and_nothing_of_float32(untouched):
    def printed(kind):
        done = subprocess.run([sys.executable, '-c', CONVOLUTIONS, kind], capture_output=True, text=True, check=True,
                              env=dict(os.environ, DNNL_VERBOSE='1', PYTHONPATH=PROJECT))
        lines = done.stdout.splitlines()
        return ({line.partition(' ')[0]: line for line in lines if not line.startswith('dnnl')},
                [line.split(',')[4] for line in lines if line.startswith('dnnl_verbose,exec,cpu,convolution')])
    (full, ways), (half, ways_of_half) = printed('float32'), printed('bfloat16')
    assert not any('amx' in way for way in ways)
    assert ['amx' in way for way in ways_of_half] == [False, True]
    assert full['float32'] == half['float32']


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
