"""A start from convolutions: the drawn layers know the classes before the training, and the convolutions stay."""
import numpy as np
import pytest

from icd.mxnet_setup import mx  # isort: skip
from icd.model.data_dependent import log_odds
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.losses import ranking_accuracy
from icd.train import head_start

CLASSES, SIDE = 3, 33


class Colours:
    """Images of one colour or two, with noise; every class is a colour."""

    def __init__(self, count=40):
        rng = np.random.default_rng(0)
        self.labels = np.float32(rng.random((count, CLASSES)) < .4)
        self.labels[self.labels.sum(axis=1) == 0, 0] = 1
        self._images = rng.integers(0, 60, (count, CLASSES, SIDE, SIDE)).astype(np.uint8)
        for image, label in zip(self._images, self.labels):
            image[label > 0, rng.integers(SIDE // 2):] += 190

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, key):
        return self._images[key[2]], self.labels[key[2]], np.zeros((5, 5), np.int32)


def start(devices=1, scale=1., seed=3):
    """A network, what it was given, and the notes of its start on `Colours`."""
    net, dataset = ICDNet(CLASSES, 1 / 16), Colours()
    values = initialize_missing(net, {}, 0, he=True)
    given = {name: value for name, value in values.items() if name.startswith('conv') and name != 'conv_ft_weight'}
    given['conv5_3_weight'] = given['conv5_3_weight'] * scale
    set_values(net, initialize_missing(net, given, 0), [mx.cpu(i) for i in range(devices)])
    return net, given, head_start.from_convolutions(net, given, dataset, dataset.labels, seed)[0]


def values(net, device=None):
    return {name: p.data(device or mx.cpu(0)).asnumpy() for name, p in net.collect_params().items()}


@pytest.fixture(scope='module', params=[1., 50.])
def started(request):
    return start(scale=request.param)


def test_the_classifier_ranks_what_it_learned(started):
    net, _, notes = started
    dataset = Colours()
    images = np.stack([dataset[0, 0, i][0] for i in range(len(dataset))])
    logits = net(mx.nd.array(images, dtype='uint8'))[0].mean(axis=(2, 3))
    ranking = ranking_accuracy(mx.nd, logits, mx.nd.array(dataset.labels)).asscalar()
    assert ranking > .8                 # of random layers it is .5
    assert abs((logits - net.collect_params()['fc8_bias'].data()).asnumpy().std() - 1) < .2
    assert abs(float(notes[0].rsplit(' ', 1)[1]) - ranking) < .1 and 'learned from 40 training images' in notes[0]


def test_convolutions_stay_and_the_top_down_branch_starts_from_the_other(started):
    net, given, _ = started
    found = values(net)
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for layer in 'fc6', 'fc7':
        one, two = found[f'{layer}_weight'].ravel(), found[f'{layer}_ft_weight'].ravel()
        np.testing.assert_allclose(one / np.linalg.norm(one), two / np.linalg.norm(two), atol=1e-6)


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(head_start, 'STEPS', 3)


def test_biases_start_from_frequencies(few_steps, monkeypatch):
    monkeypatch.setattr(head_start, 'RATE', 0.)
    found = values(start()[0])
    np.testing.assert_allclose(found['fc8_bias'], log_odds(Colours().labels), rtol=1e-6)


def test_gradients_are_left_at_zero(started):
    for name, parameter in started[0].collect_params().items():
        assert parameter.grad_req == 'null' or not parameter.grad().asnumpy().any(), name


def test_a_second_device_has_the_same_start(few_steps):
    net = start(2)[0]
    one, two, alone = values(net), values(net, mx.cpu(1)), values(start()[0])
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        np.testing.assert_array_equal(one[name], alone[name], err_msg=name)


def test_the_seed_decides(few_steps):
    one, two = values(start()[0]), values(start(seed=4)[0])
    assert (one['fc6_weight'] != two['fc6_weight']).any()
