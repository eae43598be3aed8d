"""A network at several scales and mirrored."""
import numpy as np
import pytest

from icd.method.multi_scale import resize_letterbox
from icd.model import deeplab
from icd.model.initial import initialize_missing, set_values
from icd.model.multi_scale import MultiScale, resize
from icd.mxnet_setup import mx

SIDE = 65


def letterboxes(count=2, side=SIDE):
    pixels = np.random.RandomState(0).randint(0, 256, (count, 3, side, side))
    return mx.nd.array(pixels, dtype='uint8')


@pytest.fixture(scope='module')
def net():
    made = deeplab.create('vgg16_largefov', 4, 1 / 32)
    set_values(made, initialize_missing(made, {}, 0, he=True), mx.cpu())
    return made


@pytest.mark.parametrize('side', [33, 49, 81, 97])
def test_the_device_resizes_to_the_same_levels(side):
    letterbox = letterboxes()
    assert (resize(letterbox, side).asnumpy() == resize_letterbox(letterbox.asnumpy(), side)).all()


def test_one_scale_without_mirroring_is_the_network(net):
    found, = MultiScale(net, SIDE)(letterboxes(), [])
    assert (found.asnumpy() == net(letterboxes()).asnumpy()).all()


def test_a_mirrored_letterbox_gives_mirrored_scores(net):
    network, letterbox = MultiScale(net, SIDE, (.75, 1, 1.25), flip=True), letterboxes()
    for maps, mirrored in zip(network(letterbox, []), network(mx.nd.flip(letterbox, axis=3), [])):
        scale = maps.abs().max().asscalar()
        np.testing.assert_allclose(maps.asnumpy(), mirrored.asnumpy()[..., ::-1], atol=1e-5 * scale)
    plain = MultiScale(net, SIDE)(letterbox, [])[0] - mx.nd.flip(
        MultiScale(net, SIDE)(mx.nd.flip(letterbox, axis=3), [])[0], axis=3)
    assert plain.abs().max().asscalar() > 1e-3 * scale          # which the network alone does not


def test_three_scales_and_mirrored_are_6_25_times_the_pixels():
    seen = []

    def network(letterbox):
        seen.append(letterbox.size)
        return mx.nd.zeros((len(letterbox), 2, letterbox.shape[2] // 8 + 1, letterbox.shape[3] // 8 + 1))
    maps = MultiScale(network, 513, (.75, 1, 1.25), flip=True)(letterboxes(1, 513), [])
    assert [one.shape[2:] for one in maps] == [(49, 49), (65, 65), (81, 81)]
    assert len(seen) == 6 and sum(seen) / (3 * 513 ** 2) < 6.26
