"""A network at several scales and mirrored."""
import numpy as np
import pytest

from icd.data.geometry import GREY
from icd.method.multi_scale import Views, resize_letterbox
from icd.model import deeplab
from icd.model.icd_net import ICDNet
from icd.model.initial import initialize_missing, set_values
from icd.model.multi_scale import MultiScale, PaddedMultiScale, resize
from icd.model.padded_input import PaddedInference, ScoreMaps
from icd.mxnet_setup import mx
from tests.model.test_padded_input import network

SIDE, LARGE = 65, 129


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


# ------------------------------------------------------------------------------------ padded letterboxes, of ICD
@pytest.fixture(scope='module')
def icd_net():
    """Biases and padding matter everywhere."""
    return network(ICDNet, 3, 1 / 32)


def padded(images):
    """Letterboxes (N, 3, LARGE, LARGE) of images (N, 3, h, w)."""
    square = np.full((*images.shape[:2], LARGE, LARGE), GREY, np.uint8)
    square[:, :, :images.shape[2], :images.shape[3]] = images
    return square


def images(height, width):
    return np.random.default_rng(1).integers(0, 256, (2, 3, height, width)).astype(np.uint8)


def means(net, views, letterbox, fitted):
    """CAM and top-down scores of letterboxes of images of one size."""
    maps = PaddedMultiScale(ScoreMaps, net, views)(mx.nd.array(letterbox, dtype='uint8'), [fitted] * len(letterbox))
    maps = [one.asnumpy() for one in maps]
    return [[views.mean([one[i] for one in maps[kind::2]], fitted) for i in range(len(letterbox))] for kind in range(2)]


@pytest.mark.parametrize('scales, flip', [((.5, 1., 1.5), True), ((.75, 1.25), False)])
def test_what_padding_leaves_out_changes_no_score(icd_net, scales, flip):
    views = Views(LARGE, scales, flip)
    for fitted in (1, 1), (20, 45), (70, 129):
        letterbox = padded(images(*fitted))
        whole = [icd_net(mx.nd.array(seen, dtype='uint8')) for seen in views.of(letterbox, fitted)]
        for ours, output in zip(means(icd_net, views, letterbox, fitted), (0, 2)):
            for i in range(len(letterbox)):
                expected = views.mean([maps[output][i].asnumpy() for maps in whole], fitted)
                assert expected.shape[1:] >= views.positions(fitted) == ours[i].shape[1:]
                np.testing.assert_allclose(ours[i], expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_plain_view_gives_the_bits_of_one_inference(icd_net):
    letterbox, sizes = mx.nd.array(padded(images(33, 50)), dtype='uint8'), [(33, 50), (20, 41)]
    ours = PaddedMultiScale(ScoreMaps, icd_net, Views(LARGE))(letterbox, sizes)
    for one, other in zip(ours, PaddedInference(ScoreMaps, icd_net, LARGE)(letterbox, sizes)):
        assert one.asnumpy().tobytes() == other.asnumpy().tobytes()


def test_images_of_several_sizes_are_mirrored_each_by_itself(icd_net):
    views, pixels = Views(LARGE, (.5, 1.), True), images(30, 45)
    both = np.concatenate([padded(pixels[:1]), padded(pixels[1:, :, :20, :33])])
    network = PaddedMultiScale(ScoreMaps, icd_net, views)
    maps = [one.asnumpy() for one in network(mx.nd.array(both, dtype='uint8'), [(30, 45), (20, 33)])]
    for i, fitted in enumerate([(30, 45), (20, 33)]):
        alone = means(icd_net, views, both[i:i + 1], fitted)
        for kind in range(2):
            np.testing.assert_allclose(views.mean([one[i] for one in maps[kind::2]], fitted), alone[kind][0], rtol=0,
                                       atol=1e-5 * abs(alone[kind][0]).max())


@pytest.mark.parametrize('scales, width', [((1.,), 33), ((.5, 1., 1.5), 57), ((.5,), 129)])
def test_a_mirrored_image_gives_mirrored_scores(icd_net, scales, width):
    fitted, pixels, wide = (40, width), images(40, width), width // 8 + 1
    letterbox, mirrored = padded(pixels), padded(pixels[..., ::-1])
    for flip in True, False:
        views = Views(LARGE, scales, flip)
        for ours, others in zip(means(icd_net, views, letterbox, fitted), means(icd_net, views, mirrored, fitted)):
            apart = abs(ours[0][..., :wide] - others[0][..., :wide][..., ::-1]).max() / abs(ours[0]).max()
            assert apart < 1e-5 if flip else apart > 1e-3       # which the network alone does not
