"""The smallest task: a two-layer network that separates two clouds of points, some of which have no label."""
import os
import signal
import sys
from typing import Any, NamedTuple

import numpy as np

from icd.mxnet_setup import HybridBlock, init, mx, nn
from icd.train import session
from icd.train.checkpoint import Checkpoints
from icd.train.task import Fit, Losses, Task
from icd.weights import load

OVERFLOWS = 1, 4, 9         # steps in which a training in float16 finds infinite gradients, on the last device


class Points:
    class Batch(NamedTuple):
        point: Any
        label: Any

    def __len__(self):
        return 160

    def layout(self, count):
        return {'point': ((count, 2), np.float32), 'label': ((count,), np.float32)}

    def fill(self, keys, arrays):
        for i, (epoch, position, index) in enumerate(keys):
            if os.environ.get('TOY_DIES_AT') == f'{epoch},{position}':
                os.kill(os.getpid(), signal.SIGKILL)
            arrays['point'][i] = np.random.default_rng([epoch, position]).normal(2 * (index % 2) - 1, .7, 2)
            arrays['label'][i] = 255 if index % 5 == 0 else index % 2
        return {}


class ToyLoss(HybridBlock):
    def hybrid_forward(self, F, score, label, labelled):
        valid, right = label != 255, F.broadcast_equal(score > 0, label)
        entropy = (F.relu(score) - score * label + F.Activation(-F.abs(score), act_type='softrelu')) * valid
        watched = F.sum(entropy) / F.sum(valid), F.sum(right * valid) / F.sum(valid), F.max(score)
        return (F.broadcast_div(F.sum(entropy), labelled),) + tuple(F.stop_gradient(value) for value in watched)


class ToyTask(Task):
    figures = ('loss', 'accuracy', 'score_max')
    line = bar = 'loss {loss:.3f}, accuracy {accuracy:.2f}'
    shared, mean_over_images = {'labelled': (1,)}, False

    def __init__(self, net):
        super().__init__(net)
        self.blocks = self._loss, = ToyLoss(),

    def measure(self, outputs, batch):
        return {'labelled': (batch.label != 255).sum()}

    def prepare(self, step, sums):
        self._labelled = {array.context: array for array in sums['labelled']}

    def loss(self, outputs, batch):
        loss, *watched = self._loss(outputs.reshape(-1), batch.label, self._labelled[outputs.context])
        return Losses(loss, dict(zip(self.figures, watched)))


def make_task(devices, path):
    net = nn.HybridSequential(prefix='')
    net.add(nn.Dense(8, in_units=2, prefix='hidden_'), nn.BatchNorm(in_channels=8, prefix='norm_'),
            nn.Activation('relu'), nn.Dropout(.2), nn.Dense(1, in_units=8, prefix='score_'))
    mx.random.seed(3)
    net.initialize(init.Xavier(), ctx=devices)
    task = ToyTask(net)
    if path:
        load.load_trained(path, net, devices)
    else:
        task.fit = Fit(('hidden_weight',), {'hidden_weight': .5})      # a resumed run must find it in the checkpoint
    return task


class Overflowing(ToyTask):
    def prepare(self, step, sums):
        super().prepare(step, sums)
        self._overflows = step in OVERFLOWS and list(self._labelled)[-1]

    def loss(self, outputs, batch):
        found = super().loss(outputs, batch)
        return found._replace(loss=found.loss * np.inf) if outputs.context == self._overflows else found


def make_overflowing(devices, path):
    task = make_task(devices, path)
    task.__class__ = Overflowing
    return task


def train(folder, gpus='cpu:2', batch_size=16, accumulate=2, workers=0, log_frequency=1, precision='float32'):
    schedule = session.Schedule(160, batch_size * accumulate, 3, .1, log_frequency=log_frequency)
    task = make_task if precision == 'float32' else make_overflowing
    session.run(session.Recipe(Points, task, schedule, batch_size, accumulate, 5, session.Sgd(), {'toy': 1}),
                session.Saving(Checkpoints(folder, 'toy'), every=2),
                session.Machine(gpus, 'device', workers, precision))


if __name__ == '__main__':
    train(sys.argv[1])
