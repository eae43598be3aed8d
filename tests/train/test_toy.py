"""Another network than ICD trains through the same trainer, loop, loader, log and checkpoints."""
import csv
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from icd.errors import UserError
from icd.train.checkpoint import Checkpoints
from tests.helpers import PROJECT, results
from tests.train import toy

FIGURES = ['epoch', 'batch', 'step', 'learning_rate', 'loss', 'accuracy', 'score_max']


def log_of(folder):
    """Columns of the log, and its rows without what depends on the clock."""
    with open(os.path.join(folder, 'log.csv'), newline='') as file:
        reader = csv.DictReader(file)
        return reader.fieldnames, [[row[name] for name in FIGURES] for row in reader]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder of an undisturbed training."""
    folder = str(tmp_path_factory.mktemp('whole'))
    toy.train(folder)
    return folder


def test_training_learns_and_logs_its_figures(whole):
    columns, rows = log_of(whole)
    assert columns == FIGURES + ['images_per_second', 'seconds_left', 'input_s', 'compute_s', 'update_s']
    assert [row[:3] for row in rows] == [[str(step // 5), str(step % 5), str(step + 1)] for step in range(15)]
    losses, accuracies = np.array([[float(row[4]), float(row[5])] for row in rows]).T
    assert losses[-5:].mean() < .8 * losses[:5].mean() and accuracies[-5:].mean() > .8
    with open(os.path.join(whole, 'log.txt')) as file:
        assert 'epoch 2 batch 4: loss ' in file.read()


def test_killed_training_resumes_to_the_same_bits(whole, tmp_path):
    folder = str(tmp_path)

    def run(**environment):
        return subprocess.run([sys.executable, toy.__file__, folder], stderr=subprocess.PIPE, text=True, timeout=120,
                              env=dict(os.environ, PYTHONPATH=PROJECT, **environment))
    assert run(TOY_DIES_AT='1,100').returncode == -signal.SIGKILL
    assert Checkpoints(folder, 'toy').newest().position == (1, 2, 7)
    done = run()
    assert done.returncode == 0 and 'from epoch 1, batch 2' in done.stderr
    assert results(folder) == results(whole) and log_of(folder) == log_of(whole)


def test_workers_change_no_bits(whole, tmp_path):
    toy.train(str(tmp_path), workers=2, log_frequency=4)
    assert results(str(tmp_path)) == results(whole)


def test_measured_sums_are_over_the_whole_batch(tmp_path, monkeypatch):
    """The loss of a batch is the mean over its labelled points, however they are spread over devices and parts."""
    def losses(folder, **how):
        toy.train(str(tmp_path / folder), **how)
        return [float(row[4]) for row in log_of(str(tmp_path / folder))[1]]
    monkeypatch.setattr(toy.ToyTask, 'loss', only_labelled(toy.ToyTask.loss))
    assert losses('parts') == pytest.approx([1.] * 15)
    assert losses('one', gpus='cpu', batch_size=32, accumulate=1) == pytest.approx([1.] * 15)


def only_labelled(real):
    """`ToyTask.loss`, with the part's fraction of all labelled points, times the number of parts, as its figure."""
    def loss(task, outputs, batch):
        found = real(task, outputs, batch)
        parts = 32 // len(batch.label)
        found.figures['loss'] = (batch.label != 255).sum() * parts / task._labelled[outputs.context]
        return found
    return loss


def test_a_log_of_another_task_is_begun_anew(whole, tmp_path):
    with open(str(tmp_path / 'log.csv'), 'w') as file:
        file.write('epoch,batch,step,learning_rate,precision,b,c,d,e,f,g,h\n0,0,0,.1,.5,0,0,0,0,0,0,0\n')
    toy.train(str(tmp_path))
    assert log_of(str(tmp_path)) == log_of(whole)


def test_a_non_finite_figure_ends_training_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(toy.ToyLoss, 'hybrid_forward', lambda self, F, score, label, labelled: (
        F.broadcast_div(F.sum(score), labelled * 0), F.sum(score) / 0, F.sum(label), F.max(score)))
    with pytest.raises(UserError, match='^training diverged .loss (inf|-inf|nan).*: give a smaller --learning-rate$'):
        toy.train(str(tmp_path))
    assert results(str(tmp_path)) == {}


def test_weights_that_are_not_finite_end_the_training_at_the_next_log_line(tmp_path, monkeypatch):
    """GPUs make 0 of NaN in ReLU and pooling: the loss stays finite while the network is dead."""
    loss = toy.ToyTask.loss

    def deaf(self, outputs, batch):
        found = loss(self, outputs, batch)
        return found._replace(figures=dict.fromkeys(found.figures, 0.))

    def dead(devices, path):
        task = make_task(devices, path)
        weight = task.net.collect_params()['hidden_weight']
        weight.set_data(weight.data(devices[0]) * float('nan'))
        return task
    make_task = toy.make_task
    monkeypatch.setattr(toy.ToyTask, 'loss', deaf)
    monkeypatch.setattr(toy, 'make_task', dead)
    with pytest.raises(UserError, match='training diverged .weights that are not finite.: give a smaller'):
        toy.train(str(tmp_path))
    assert log_of(str(tmp_path))[1] == []
