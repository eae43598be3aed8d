"""`icd-weights`: what is in a file, conversion without MXNet, and what activations say of weights."""
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mxnet.gluon.model_zoo import vision

from icd import console
from icd.errors import UserError
from icd.model.icd_net import ICDNet
from icd.steps import weights
from icd.weights import formats, load, vgg16
from tests.helpers import PROJECT
from tests.helpers import weights_files as sources
from tests.helpers.weights_files import SOURCES, WIDTH
from tests.weights import zoo_network


@pytest.fixture(scope='module')
def torch_file(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('weights') / 'vgg.pth')
    SOURCES['torchvision .pth'][0](path, sources.draw())
    return path


def call(capsys, *arguments):
    """What the command prints; it ends with 0."""
    assert console.run_command(weights.main, list(arguments)) == 0
    return capsys.readouterr().out


def test_show_lists_arrays_and_says_what_they_are(torch_file, capsys):
    printed = call(capsys, 'show', torch_file)
    assert 'vgg.pth: PyTorch .pth, 30 arrays, 131,542 values' in printed
    assert 'features.0.weight    2x3x3x3          float32' in printed
    assert '--pretrained: VGG16, fc6 and fc7 decimated, input RGB,0.485:0.456:0.406,' in printed
    printed = call(capsys, 'show', '--pretrained-input', 'caffe', torch_file)
    assert 'input BGR,103.939:116.779:123.68,1,255 (given)' in printed


def test_names_of_others_cannot_change_the_terminal(tmp_path, capsys):
    arrays = sources.with_norms(sources.draw())
    del arrays['features.1.bias']
    np.savez(tmp_path / 'x.npz', **{name.replace('features', 'a\n\x1b[31mb'): array for name, array in arrays.items()})
    printed = call(capsys, 'show', str(tmp_path / 'x.npz'))
    assert 'a ?[31mb.1.running_mean' in printed and '\x1b' not in printed
    with pytest.raises(UserError, match=r'batch normalisation of a \?\[31mb.1.running_mean is not whole'):
        load.read_pretrained(str(tmp_path / 'x.npz'), ICDNet(3, WIDTH))


def test_show_reads_files_of_other_networks(tmp_path, capsys):
    np.savez(tmp_path / 'x.npz', a=np.zeros((3, 2)))
    assert '--pretrained: no pretrained weights: not the weights of a VGG16' in call(
        capsys, 'show', str(tmp_path / 'x.npz'))


@pytest.mark.parametrize('ending', ['params', 'npz', 'safetensors'])
def test_converted_files_are_read_without_a_guess(torch_file, tmp_path, capsys, ending):
    output = str(tmp_path / f'out.{ending}')
    printed = call(capsys, 'convert', torch_file, output)
    assert 'vgg.pth (PyTorch .pth, CRC-32 ' in printed and f'written: {output}' in printed
    values, net = load.read_pretrained(torch_file, ICDNet(3, WIDTH)), ICDNet(3, WIDTH)
    again = load.read_pretrained(output, net)
    assert set(again) == set(values) == set(vgg16.NAMES)
    assert all((again[name] == value).all() for name, value in values.items())
    assert [path.name for path in tmp_path.iterdir()] == [f'out.{ending}']
    assert '(given)' in call(capsys, 'convert', torch_file, '--pretrained-input', 'keras', output)


def test_show_and_convert_import_no_mxnet(torch_file, tmp_path):
    code = ('import sys; from icd.steps import weights; weights.main(["show", sys.argv[1]]); '
            'weights.main(["convert", *sys.argv[1:]]); sys.exit("mxnet" in sys.modules)')
    output = tmp_path / 'out.npz'
    assert subprocess.run([sys.executable, '-c', code, torch_file, str(output)], cwd=PROJECT,
                          stdout=subprocess.DEVNULL).returncode == 0
    assert output.exists()


@pytest.mark.parametrize('arguments, message', [
    (['convert', 'none.pth', 'out.npz'], 'none.pth: no such file'),
    (['convert', 'x.npz', 'out.npz'], 'x.npz: not the weights of a VGG16.*icd-weights show'),
    (['convert', 'x.npz', 'out.pth'], 'out.pth: a file of this ending cannot be written: end it with .params'),
    (['convert', 'out.npz'], 'give either FILE or --from-zoo'),
    (['convert', 'x.npz', '--from-zoo', 'vgg16', 'out.npz'], 'give either FILE or --from-zoo'),
    (['show', 'x.npz', '--pretrained-input', 'RGB'], "--pretrained-input: 'RGB' is not ORDER,MEAN,STD,LARGEST"),
    (['delete', 'x.npz'], "'delete' is none of show, convert, check"),
    (['check', 'x.npz', '--image-root', 'nowhere'], '--image-root nowhere: no such folder'),
    (['check', 'x.npz', '--image-root', '.'], 'fewer than two images'), (['check', 'x.npz'], '--image-root')])
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.savez('x.npz', a=np.zeros((3, 2)))
    with pytest.raises(UserError, match=message) as caught:
        weights.main(arguments)
    assert '\n' not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ['x.npz']


def test_help_is_printed(capsys):
    for arguments in [], ['--help']:
        with pytest.raises(SystemExit) as leaving:
            weights.main(arguments)
        assert not leaving.value.code and 'icd-weights show FILE | convert FILE OUT' in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- check
def test_check_prints_activations_of_every_layer_and_a_verdict(torch_file, valid, capsys):
    printed = call(capsys, 'check', torch_file, '--image-root', f'{valid}/images', '--width', str(WIDTH),
                   '--image-size', '49', '--gpus', 'cpu')
    rows = [line for line in printed.splitlines() if line.startswith('conv')]
    assert [row.split()[0] for row in rows] == list(vgg16.LAYERS[:13])
    assert 'rms' in printed and printed.splitlines()[-1].split(':')[0] in ('fine', 'wrong')


@pytest.mark.parametrize('rms, alike, word', [
    (12., .1, 'fine'), (12., .5, 'wrong: the features of different'), (1e4, .1, 'wrong: .*far too large'),
    (float('nan'), .1, 'broken'), (float('inf'), .1, 'broken')])
def test_verdicts(rms, alike, word):
    assert re.match(word, weights.verdict(rms, alike))


# ------------------------------------------------------------------------------------------------------- downloads
class Downloaded:
    """A network of the zoo that has the weights `arrays`."""

    def __init__(self, arrays):
        self.arrays = arrays

    def collect_params(self):
        return {name: SimpleNamespace(data=lambda array=array: SimpleNamespace(asnumpy=lambda: array))
                for name, array in self.arrays.items()}


def test_the_downloaded_network_becomes_a_file_for_pretrained(tmp_path, monkeypatch):
    arrays = zoo_network()[1](0)
    monkeypatch.setattr(vision, 'vgg16', lambda pretrained: Downloaded(arrays))
    output = str(tmp_path / 'out.params')
    weights.main(['convert', '--from-zoo', 'vgg16', output])
    assert formats.name_of(output) == 'MXNet .params'
    values = load.read_pretrained(output, ICDNet())
    assert (values['fc7_bias'] == np.arange(0, 4096, 4)).all()
    assert (values['conv5_3_weight'] == arrays['vgg0_conv12_weight']).all()


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(pretrained):
        assert pretrained
        raise OSError('no route\nto host')
    monkeypatch.setattr(vision, 'vgg16', fail)
    with pytest.raises(UserError, match='cannot be downloaded .no route to host'):
        weights.main(['convert', '--from-zoo', 'vgg16', str(tmp_path / 'out.params')])
