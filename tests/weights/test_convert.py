"""The command that converts the model zoo's VGG16."""
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mxnet.gluon.model_zoo import vision

from icd import console
from icd.errors import UserError
from icd.model.icd_net import ICDNet
from icd.weights import convert, load, mxnet_params
from tests.weights import zoo_network


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
    convert.main(['--from-zoo', 'vgg16', output])
    net = ICDNet()
    load.load_pretrained(output, net, 0)
    assert (net.collect_params()['fc7_bias'].data().asnumpy() == np.arange(0, 4096, 4)).all()
    assert (net.collect_params()['conv5_3_weight'].data().asnumpy() == arrays['vgg0_conv12_weight']).all()


def test_files_of_other_networks_are_refused(tmp_path):
    source, output = str(tmp_path / 'zoo.params'), str(tmp_path / 'out.params')
    mxnet_params.write(source, {'vgg0_conv0_weight': np.ones((2, 3, 3, 3), np.float32)})
    with pytest.raises(UserError, match="zoo.params: not the weights of a VGG16 .*: give the model zoo's vgg16"):
        convert.main([source, output])


@pytest.mark.parametrize('arguments', [['out.params'], ['in.params', '--from-zoo', 'vgg16', 'out.params'], []])
def test_one_source_must_be_given(arguments, capsys):
    assert console.run_command(convert.main, arguments) == 2


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def vgg16(pretrained):
        assert pretrained
        raise OSError('no route\nto host')
    monkeypatch.setattr(vision, 'vgg16', vgg16)
    with pytest.raises(UserError, match='cannot be downloaded .no route to host'):
        convert.main(['--from-zoo', 'vgg16', str(tmp_path / 'out.params')])


def test_converting_a_file_imports_no_mxnet():
    code = 'import sys, icd.weights.convert; sys.exit("mxnet" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
