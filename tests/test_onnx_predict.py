"""Devices of onnxruntime: a session each, on CUDA one for every shape of images, and a line where one is not there."""
import numpy as np
import onnxruntime
import pytest

from icd import onnx_predict
from icd.errors import UserError
from icd.onnx_predict import OnnxNetwork
from icd.weights import onnx_export
from tests.weights.test_onnx_export import NAMES, WIDTH, network

CUDA, CPU = 'CUDAExecutionProvider', 'CPUExecutionProvider'


class Cuda:
    """onnxruntime for a machine with CUDA: sessions compute on the CPU, count, and say what they would compute on."""

    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, works=True):
        self.opened, self.loaded, self._works = [], 0, works

    def get_available_providers(self):
        return ['TensorrtExecutionProvider', CUDA, CPU]

    def set_default_logger_severity(self, level):
        pass

    def preload_dlls(self):
        self.loaded += 1
        print('libcudnn.so is missing')

    def InferenceSession(self, path, settings, providers):
        wanted = [one if isinstance(one, str) else one[0] for one in providers]
        session = onnxruntime.InferenceSession(path, settings, providers=[CPU])
        session.get_providers = lambda: wanted if self._works else [CPU]
        self.opened.append(providers)
        return session


@pytest.fixture
def path(tmp_path):
    onnx_export.write(str(tmp_path / 'net.onnx'), network('vgg16_largefov')[1], NAMES, 7, WIDTH)
    return str(tmp_path / 'net.onnx')


def use(monkeypatch, runtime):
    monkeypatch.setattr(onnx_predict, '_runtime', lambda: runtime)
    return runtime


def run(net, side, count=1, device=0):
    return net.run(np.full((count, 3, side, side), 40, np.uint8), ['logits'], device)[0]


def test_every_shape_has_a_session_on_cuda(path, monkeypatch, capfd):
    cuda = use(monkeypatch, Cuda())
    net, plain = OnnxNetwork(path, '0,3'), OnnxNetwork(path, 'cpu')
    assert [one[0][1] for one in cuda.opened[:2]] == [{'device_id': '0'}, {'device_id': '3'}]
    opened = len(cuda.opened)
    for side in 17, 33, 17, 33:
        np.testing.assert_array_equal(run(net, side), run(plain, side))
    assert len(cuda.opened) == opened + 1               # the first shape takes the session that is there
    run(net, 17, device=1)
    assert len(cuda.opened) == opened + 1
    run(net, 33, count=2)
    assert len(cuda.opened) == opened + 2
    assert cuda.loaded == 2 and capfd.readouterr() == ('', '')


def test_only_the_latest_shapes_keep_theirs(path, monkeypatch):
    cuda = use(monkeypatch, Cuda())
    monkeypatch.setattr(onnx_predict, '_SHAPES', 2)
    net = OnnxNetwork(path)
    for side in 17, 25, 17, 33, 17:
        run(net, side)
    assert len(cuda.opened) == 3
    run(net, 25)                                        # the oldest went for 33
    assert len(cuda.opened) == 4


def test_a_cpu_needs_one_session(path, monkeypatch):
    cuda = use(monkeypatch, Cuda())
    net = OnnxNetwork(path, 'cpu:2')
    for side in 17, 25:
        run(net, side)
        run(net, side, device=1)
    assert cuda.opened == [[CPU], [CPU]]


def test_a_device_that_is_asked_for_has_to_be_there(path, monkeypatch):
    cuda = use(monkeypatch, Cuda(works=False))
    with pytest.raises(UserError, match=r'--gpus 0: onnxruntime cannot compute there: .*, or give cpu'):
        OnnxNetwork(path, '0')
    net = OnnxNetwork(path)                             # by default the next best
    for side in 17, 25:
        run(net, side)
    assert len(cuda.opened) == 2
    use(monkeypatch, onnxruntime)
    with pytest.raises(UserError, match='the installed onnxruntime has no CUDA'):
        OnnxNetwork(path, '0')
