"""What stages do with devices: memory they leave, memory that runs out, forks before anything is on a GPU, and bits.

No GPU is needed: MXNet's errors are raised in its place, and devices that call themselves GPUs are asked.
"""
import gc
import os
import shutil
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest

from icd import cli, gpu, mxnet_setup
from icd.errors import UserError
from icd.model.multi_scale import MultiScale
from icd.model.padded_input import PaddedInference
from icd.mxnet_setup import gluon, mx, nn
from icd.steps import infer, own_process, predict_segmentation
from icd.train import session
from icd.train.checkpoint import Checkpoints
from icd.train.trainer import Trainer
from tests.helpers import PROJECT
from tests.helpers.small_data import RUN, list_files, run
from tests.train import toy


def predict():
    predict_segmentation.main('--image-root images --out predictions --snapshot segment --infer-size 49 --gpus cpu '
                              '--scales 1 --num-workers 0 --num-process 1'.split())


# ------------------------------------------------------------------------------------------------ memory that is left
@pytest.fixture
def networks(monkeypatch):
    """Weak references to every block that is made, in a process that does not look for cycles by itself."""
    made, init = [], gluon.Block.__init__

    def remembered(self, *arguments, **kwargs):
        made.append(weakref.ref(self))
        init(self, *arguments, **kwargs)
    monkeypatch.setattr(gluon.Block, '__init__', remembered)
    gc.collect()
    gc.disable()
    yield made
    gc.enable()


@pytest.mark.parametrize('stage', ['train', 'infer', 'merge'])
def test_no_network_outlives_its_stage(in_valid, networks, stage):
    assert run(stage) == 0 and len(networks) > 20
    assert [block() for block in networks if block() is not None] == []


def test_no_network_outlives_prediction(segmented, networks):
    predict()
    assert len(networks) > 20 and [block() for block in networks if block() is not None] == []


def test_freed_memory_of_gpus_goes_back_to_the_driver(monkeypatch):
    """After cycles were broken and the devices have finished: before, there is less to give back."""
    events = []
    monkeypatch.setattr(mx.nd, 'waitall', lambda: events.append('finished'))
    devices = [SimpleNamespace(device_type=kind, empty_cache=lambda kind=kind: events.append(kind))
               for kind in ('gpu', 'cpu', 'gpu')]
    cycle = type('Cycle', (), {})()
    cycle.self, _ = cycle, weakref.finalize(cycle, events.append, 'freed')
    with mxnet_setup.computing(devices, ''):
        del cycle
    assert events == ['freed', 'finished', 'gpu', 'gpu']


# ------------------------------------------------------------------------------------------- memory that runs out
def runs_out(*_, **__):
    raise mx.base.MXNetError('src/storage/./pooled_storage_manager.h:161: cudaMalloc retry failed: out of memory')


@pytest.mark.parametrize('stage, where, extra, remedy', [
    ('train', (Trainer, 'step'), [], '--batch-size 1 --accumulate 2,'),
    ('infer', (PaddedInference, '__call__'), ['--force'], '--infer-batch-size 2,'),
    ('infer', (PaddedInference, '__call__'), ['--force', '--infer-batch-size', '1'], 'a smaller --infer-size,'),
    ('merge', (PaddedInference, '__call__'), ['--batch-size', '6'], '--batch-size 3,')])
def test_a_stage_that_runs_out_of_memory_says_so_in_one_line(in_valid, monkeypatch, capsys, stage, where, extra,
                                                             remedy):
    monkeypatch.setattr(*where, runs_out)
    assert run(stage, extra) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if 'out of memory' in line]
    assert f'a device is out of memory: give {remedy}' in line


def test_a_prediction_that_runs_out_of_memory_says_so_in_one_line(segmented, monkeypatch):
    monkeypatch.setattr(MultiScale, '__call__', runs_out)
    with pytest.raises(UserError, match='^a device is out of memory: give --infer-batch-size 2, '):
        predict()


# ----------------------------------------------------------------------------------------------------------- forks
class Recorded:
    """What happens in this process, in order: forks, and what computes on devices."""

    events = None

    def __init__(self):
        self.events = []
        Recorded.current = self


os.register_at_fork(before=lambda: Recorded.current.events.append('fork'))
Recorded.current = Recorded()


def test_readers_are_forked_before_a_device_is_used(tmp_path, monkeypatch):
    recorded = Recorded()

    def make_task(devices, path):
        recorded.events.append('network')
        return toy.make_task(devices, path)

    def compare(*_):
        recorded.events.append('nodes compared')
        return False
    schedule = session.Schedule(160, 32, 1, .1)
    recipe = session.Recipe(toy.Points, make_task, schedule, 32, 1, 5, session.Sgd(), {'toy': 1})

    def train(name):
        saving = session.Saving(Checkpoints(str(tmp_path / name), 'toy'))
        session.run(recipe, saving, session.Machine('cpu:2', 'device', 2))
    train('one')
    assert recorded.events == ['fork', 'fork', 'network']
    recorded.events.clear()
    monkeypatch.setattr(session, 'create_kvstore', lambda *_: SimpleNamespace(num_workers=2, rank=0))
    monkeypatch.setattr(session.distributed, 'same_everywhere', compare)
    with pytest.raises(UserError, match='this worker would start with other'):
        train('two')
    assert recorded.events == ['fork', 'fork', 'nodes compared']


@pytest.mark.parametrize('stage', ['infer', 'merge'])
def test_readers_of_inference_are_forked_before_a_device_is_used(in_valid, monkeypatch, stage):
    recorded, set_data = Recorded(), gluon.Parameter._init_impl

    def record(self, *arguments):
        recorded.events.append('weights')
        return set_data(self, *arguments)
    monkeypatch.setattr(gluon.Parameter, '_init_impl', record)
    assert run(stage, ['--num-workers', '2', '--force'] if stage == 'infer' else []) == 0
    events = recorded.events
    assert 'fork' in events[:2] and 'fork' not in events[events.index('weights'):]


def test_inference_after_training_on_gpus_is_a_process_of_its_own(in_valid, monkeypatch):
    def here(*_):
        raise AssertionError('inferred in the process that trained')
    monkeypatch.setattr(own_process, 'needed', lambda gpus: True)
    monkeypatch.setattr(infer, 'run', here)
    shutil.rmtree('snap')
    assert run('run') == 0
    made = [path for path in list_files('snap/results') if path.endswith(('.npy', '.png'))]
    assert len([path for path in made if 'scores_icd' in path]) == len([path for path in made if 'crf' in path]) == 4
    # What is wrong there ends the run here, with the same exit code.
    with pytest.raises(SystemExit) as leaving:
        own_process.run('icd.steps.labels', ['nonsense'])
    assert leaving.value.code == 2


def test_a_stage_on_gpus_gets_the_options_as_a_command_line(monkeypatch):
    typed, here, options = [], [], cli.defaults(cli.SUPERPIXEL, gpus='0', image_root='my images', force=True)
    monkeypatch.setattr(own_process, 'run', lambda module, arguments: typed.append((module, arguments)))
    for on_gpus in (True, False):
        monkeypatch.setattr(own_process, 'needed', lambda gpus, on_gpus=on_gpus: on_gpus)
        own_process.stage('icd.steps.some', cli.SUPERPIXEL, options, here.append, 'first')
    assert here == [options]
    assert typed == [('icd.steps.some', ['first', '--image-root', 'my images', '--force', '--gpus', '0'])]


def test_on_the_cpu_no_stage_is_a_process_of_its_own():
    assert not own_process.needed('cpu:2') and not own_process.needed('cpu')


def test_a_gpu_stage_of_the_pipeline_is_measured_elsewhere():
    assert own_process.call(os.getpid) != os.getpid()


# ------------------------------------------------------------------------------------------------------------ bits
SHOWN = ('import os, sys; print({name: os.environ.get(name) for name in '
         '("MXNET_ENFORCE_DETERMINISM", "MXNET_CUDNN_AUTOTUNE_DEFAULT")}); sys.exit(9)')
PIPELINE = '--image-root images --labels annotations --pretrained pretrained.params --out out --gpus cpu'.split()


@pytest.mark.parametrize('module, arguments', [
    ('icd.steps.run', RUN), ('icd.steps.segment', ['train']), ('icd.steps.pipeline', PIPELINE)])
def test_deterministic_sets_its_variables_before_mxnet_is_imported(in_valid, tmp_path, module, arguments):
    (tmp_path / 'fake').mkdir()
    (tmp_path / 'fake/mxnet.py').write_text(SHOWN)
    code = f'import sys; from icd import commands; sys.exit(commands.start({module!r}))'
    names = [name for name in os.environ if name not in gpu.DETERMINISTIC]
    environment = {**{name: os.environ[name] for name in names},
                   'PYTHONPATH': os.pathsep.join([str(tmp_path / 'fake'), PROJECT])}
    for extra, shown in ([], [None, None]), (['--deterministic'], ['1', '0']):
        done = subprocess.run([sys.executable, '-c', code, *arguments, *extra], env=environment, capture_output=True,
                              text=True)
        assert done.returncode == 9 and done.stdout == f'{dict(zip(gpu.DETERMINISTIC, shown))}\n', done.stderr


def test_deterministic_is_refused_once_mxnet_is_there(monkeypatch):
    for name in gpu.DETERMINISTIC:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match='--deterministic: MXNet is imported already: set MXNET_ENFORCE_DETERMINISM=1 '):
        gpu.make_deterministic()
    for name, value in gpu.DETERMINISTIC.items():
        monkeypatch.setenv(name, value)
    gpu.make_deterministic()


@pytest.mark.parametrize('stage, tuned', [('infer', '0'), ('merge', '0'), ('train', None)])
def test_convolutions_are_tuned_where_shapes_stay_the_same(in_valid, monkeypatch, stage, tuned):
    monkeypatch.delenv('MXNET_CUDNN_AUTOTUNE_DEFAULT', raising=False)
    seen, forward = set(), nn.Conv2D.hybrid_forward

    def look(self, *arguments, **kwargs):
        seen.add(os.environ.get('MXNET_CUDNN_AUTOTUNE_DEFAULT'))
        return forward(self, *arguments, **kwargs)
    monkeypatch.setattr(nn.Conv2D, 'hybrid_forward', look)
    assert run(stage, ['--force'] if stage == 'infer' else []) == 0
    assert seen == {tuned} and 'MXNET_CUDNN_AUTOTUNE_DEFAULT' not in os.environ
