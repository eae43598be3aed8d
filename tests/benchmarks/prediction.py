"""Time of a prediction, single and at three scales with mirrored images, and by onnxruntime beside MXNet.

    python tests/benchmarks/prediction.py [--images FOLDER_OF_JPG] [--weights VGG16] [--count 4] [--side 321]

The networks are DeepLab (VGG16-LargeFOV) and ICD at full width, with random weights, or with the convolutions of a file
of ImageNet weights that the commands read, which makes scores and seeds those of real features. Without images it draws
some. All compute on one core, and times are CPU seconds: what else the machine does hardly changes them.
"""
import argparse
import os
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(TESTS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from icd import files  # noqa: E402
from icd.data.datasets import InferenceSet  # noqa: E402
from icd.data.score_map import at_image_size  # noqa: E402
from icd.method.multi_scale import best_class, fuse, resize_letterbox  # noqa: E402
from icd.method.seed_map import seed_map  # noqa: E402
from icd.model import deeplab, initial  # noqa: E402
from icd.model.icd_net import ICDNet  # noqa: E402
from icd.model.multi_scale import MultiScale  # noqa: E402
from icd.model.padded_input import PaddedInference, ScoreMaps  # noqa: E402
from icd.mxnet_setup import mx  # noqa: E402
from icd.onnx_predict import OnnxNetwork  # noqa: E402
from icd.weights import load, onnx_export  # noqa: E402
from tests.benchmarks import _figures  # noqa: E402

SCALES = .75, 1, 1.25
OWN = 3, 7                      # classes of every image, for seeds


def drawn(folder, count):
    rng = np.random.RandomState(0)
    for i in range(count):
        image = cv2.resize(rng.randint(0, 256, (9, 12, 3), np.uint8), (320, 213))
        files.save_image(os.path.join(folder, f'{i}.jpg'), image)


def network(kind, weights, folder):
    """A network and its ONNX file."""
    net = ICDNet() if kind == 'ICD' else deeplab.create('vgg16_largefov', 21)
    given = load.read_pretrained(weights, net)
    values = {**initial.initialize_missing(net, {}, 0, he=True), **given}
    if given and kind == 'ICD':
        values['feat_bn_moving_var'] *= 400         # of conv5_3 of ImageNet weights, about
    initial.set_values(net, values, mx.cpu())
    arrays = {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}
    path = os.path.join(folder, kind + '.onnx')
    onnx_export.write(path, arrays, [f'class {i}' for i in range(20 + (kind != 'ICD'))])
    return net, OnnxNetwork(path, 'cpu')


def timed(function, items, turns=2):
    """CPU seconds an item, the best of several turns after one that is not counted; and what the function returned."""
    function(*items[0])
    found, best = [], np.inf
    for _ in range(turns):
        start = time.process_time()
        found = [function(*item) for item in items]
        best = min(best, (time.process_time() - start) / len(items))
    return best, found


def compare(title, by_mxnet, by_onnx, items, labels):
    """Print times and differences; the time of MXNet."""
    (seconds, ours), (others_seconds, others) = timed(by_mxnet, items), timed(by_onnx, items)
    apart = max(abs(a - b).max() / abs(a).max() for one, two in zip(ours, others) for a, b in zip(one, two))
    pixels = np.mean([(labels(a, item) != labels(b, item)).mean() for a, b, item in zip(ours, others, items)])
    print(f'one core, {title}: MXNet {seconds:.2f} s an image, onnxruntime {others_seconds:.2f} s '
          f'({seconds / others_seconds:.2f} times as fast)', flush=True)
    _figures.report(f'{title}, MXNet', seconds, 's')
    _figures.report(f'{title}, onnxruntime as fast as MXNet', seconds / others_seconds, _figures.RATIO,
                    f'MXNet: {seconds:.2f} s', more_is_better=True)
    print(f'{title}: scores differ by at most {apart:.1e} of the largest, {1e4 * pixels:.2f} pixels in 10,000')
    return seconds


def compare_segmentation(weights, folder, items, side):
    net, model = network('DeepLab', weights, folder)
    net.hybridize()

    def labels(maps, item):
        _, size, fitted = item
        return best_class(fuse(maps, fitted, side, 'mean+max'), size)
    times = []
    for scales, flip in ((1,), False), (SCALES, True):
        multi = MultiScale(net, side, scales, flip)

        def by_mxnet(image, *_, multi=multi):
            return [maps.asnumpy()[0] for maps in multi(mx.nd.array(image[None], dtype='uint8'), [])]

        def by_onnx(image, *_, sides=multi.sides, flip=flip):
            maps = []
            for scaled in sides:
                letterbox = resize_letterbox(image[None], scaled)
                scores, = model.run(letterbox, ['logits'])
                if flip:
                    scores = (scores + model.run(letterbox[..., ::-1], ['logits'])[0][..., ::-1]) / 2
                maps.append(scores[0])
            return maps
        times.append(compare(f'DeepLab, {len(scales)} scales, flip {flip}', by_mxnet, by_onnx, items, labels))
    _figures.report('DeepLab, three scales with flip, time', times[1] / times[0], _figures.RATIO,
                    f'one scale: {times[0]:.2f} s, 6.25 times fewer pixels')
    print(f'DeepLab, three scales with flip: {times[1] / times[0]:.2f} times one scale (6.25 times its pixels)')


def compare_icd(weights, folder, items, side):
    net, model = network('ICD', weights, folder)
    inference = PaddedInference(ScoreMaps, net, side)

    def by_mxnet(image, _, fitted):
        cam, icd = (maps.asnumpy()[0] for maps in inference(mx.nd.array(image[None], dtype='uint8'), [fitted]))
        shape = cam.shape[1:]
        return cam, icd, shape

    def labels(maps, item):
        _, size, _ = item
        whole = (side - 1) // 8 + 1
        full = [at_image_size(np.pad(one[list(OWN)], [(0, 0)] + [(0, whole - n) for n in one.shape[1:]]), size, side)
                for one in maps[:2]]
        return seed_map(full[1], full[0], OWN)

    def positions(found, shape):
        return [one[:, :shape[0], :shape[1]] for one in found[:2]]
    shapes = {item[2]: by_mxnet(*item)[2] for item in items}
    compare('ICD', lambda *item: positions(by_mxnet(*item), shapes[item[2]]),
            lambda image, _, fitted: positions([one[0] for one in model.run(image[None], ['cam', 'top_down'])],
                                               shapes[fitted]), items, labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', default=os.path.join(os.path.dirname(os.path.dirname(TESTS)), 'shared', 'msrc',
                                                         'JPEGImages'))
    parser.add_argument('--weights', default='none')
    parser.add_argument('--count', type=int, default=4)
    parser.add_argument('--side', type=int, default=321)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = options.images
        if not os.path.isdir(images):
            print(f'drawn images (no images at {images})')
            drawn(folder, options.count)
            images = folder
        names = sorted(name[:-4] for name in os.listdir(images) if name.endswith('.jpg'))[:options.count]
        dataset = InferenceSet(names, images, options.side)
        items = [dataset[i] for i in range(len(names))]
        print(f'{len(items)} images in {options.side}x{options.side}, weights {options.weights}')
        compare_segmentation(options.weights, folder, items, options.side)
        compare_icd(options.weights, folder, items, options.side)


if __name__ == '__main__':
    main()
