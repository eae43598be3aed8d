"""A training that starts from convolutions alone: what is drawn is scaled to its images, everywhere the same."""
import os

from icd.model import data_dependent
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing
from icd.train import checkpoint, head_start
from icd.weights import mxnet_params
from tests.helpers import results
from tests.steps.test_train import data, run  # noqa: F401  (a fixture)

FIT = data_dependent.fit_scales


def pretrained(path, with_fc):
    """A file of weights with convolutions 50 times as large as others at the end, and with fc6 and fc7 or without."""
    net = ICDNet(3, 1 / 32)
    values = initialize_missing(net, {}, 0, he=True)
    values['conv5_3_weight'] = 50 * values['conv5_3_weight']
    chosen = ('conv', 'fc6', 'fc7') if with_fc else 'conv'
    mxnet_params.write(path, {'arg:' + name: value for name, value in values.items()
                              if name.startswith(chosen) and '_ft' not in name})
    return path


def start(data, folder, monkeypatch, with_fc=False, **values):      # noqa: F811
    """The log's lines of a run, and what it was given to start with."""
    found = {}

    def watched(net, given, images):
        found.update(images=images, factors=FIT(net, given, images))
        return found['factors']
    monkeypatch.setattr(data_dependent, 'fit_scales', watched)
    monkeypatch.setattr(head_start, 'STEPS', 5)         # each of them is tested with the head start
    run(data, folder, pretrained=pretrained(str(folder) + '.params', with_fc), num_epoch=1, **values)
    with open(os.path.join(str(folder), 'log.txt')) as file:
        return file.read(), found


def test_what_a_file_lacks_is_scaled_and_logged(data, tmp_path, monkeypatch):       # noqa: F811
    log, found = start(data, tmp_path / 'run', monkeypatch)
    assert set(found['factors']) == {'fc6_weight', 'fc7_weight', 'fc6_ft_weight', 'fc7_ft_weight', 'fc8_weight'}
    assert found['images'].shape == (13, 3, 33, 33) and found['images'].std() > 10
    assert f"fc6 x {found['factors']['fc6_weight']:.4g}" in log and 'not in it: icd_bu, fc6, fc7, fc8' in log
    kept = checkpoint.read(str(tmp_path / 'run' / 'vgg16_icd-0000.params')).fit
    assert kept.factors == found['factors'] and 'conv5_3_weight' in kept.slowed
    # Other processes that read the images, and a second device, give the same start.
    again = start(data, tmp_path / 'again', monkeypatch, num_workers=2, gpus='cpu:2')[1]
    assert again['factors'] == found['factors']
    assert start(data, tmp_path / 'other', monkeypatch, seed=1)[1]['factors'] != found['factors']


def test_a_file_with_all_layers_is_taken_as_it_is(data, tmp_path, monkeypatch):     # noqa: F811
    log, found = start(data, tmp_path / 'run', monkeypatch, with_fc=True)
    assert not found and 'scaled' not in log


def test_the_same_start_gives_the_same_bits(data, tmp_path, monkeypatch):           # noqa: F811
    for name in ('one', 'two'):
        start(data, tmp_path / name, monkeypatch)
    one, two = results(tmp_path / 'one'), results(tmp_path / 'two')
    assert one and one == two
