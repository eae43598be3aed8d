"""What weights files hold: `icd-weights show`, `convert` and `check`.

MXNet is imported to check weights, and to download them, only.
"""
from __future__ import annotations

import os

import cv2
import numpy as np

from icd import cli, weights_options
from icd.data import geometry, images
from icd.errors import UserError, printable
from icd.weights import formats, pretrained, source_input

_CHECKED = 10                               # images
_ENDINGS = '.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'
_APART = 4                                  # of the positions of conv5_3, every fourth is compared
# conv5_3 of a VGG16 at positions of different images correlates by 0.01 to 0.27 (images of one class) with ImageNet's
# weights, by 0.8 with random ones, by 0.5 to 0.6 with an input a hundred times too small (measured on MSRC).
_MOST_ALIKE = .4
_LARGEST = 1e3                              # rms of conv5_3: 12 for Caffe's weights


def _source(options):
    return source_input.parse(options.pretrained_input) if options.pretrained_input else None


# ---------------------------------------------------------------------------------------------------------- show
def show(options: cli.Options) -> str:
    """Print what a weights file holds, and what --pretrained would make of it.

    Raises
    ------
    UserError
        When it is no weights file. Weights of an unknown network are shown.
    """
    arrays = formats.read(options.file)
    lines = [f'{options.file}: {formats.name_of(options.file)}, {len(arrays)} arrays, '
             f'{sum(array.size for array in arrays.values()):,} values', '']
    longest = max((len(printable(name)) for name in arrays), default=0)
    lines += [f"{printable(name):{longest}}  {'x'.join(map(str, array.shape)) or 'one':16} {array.dtype}"
              for name, array in arrays.items()]
    try:
        said = pretrained.convert(arrays, _source(options)).description
    except ValueError as error:
        said = f'no pretrained weights: {printable(str(error))}'
    return '\n'.join(lines + ['', f'--pretrained: {said}'])


# ------------------------------------------------------------------------------------------------------- convert
def _download(name):
    """Weights of a network of the model zoo, by name."""
    from icd.mxnet_setup import gluon
    try:
        net = getattr(gluon.model_zoo.vision, name)(pretrained=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f'cannot be downloaded ({printable(str(error))})', f'--from-zoo {name}',
                        'download it elsewhere and give the file') from None
    return {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}


def convert(options: cli.Options) -> str:
    """Write a file for --pretrained, with this project's names and input.

    Raises
    ------
    UserError
        When the file cannot be read or holds no network that is known, or OUT is of a format that is not written.
    """
    formats.check_writable(options.output)
    if options.from_zoo:
        converted = pretrained.convert(_download(options.from_zoo), _source(options))
    else:
        converted = pretrained.read(options.file, None, _source(options))
    formats.write(options.output, converted.values)
    return f'{converted.description}\nwritten: {options.output}'


# --------------------------------------------------------------------------------------------------------- check
def _images(options):
    """(N, 3, side, side) uint8: images from all over a folder, in the top left corners of grey squares."""
    if not os.path.isdir(options.image_root):
        raise UserError('no such folder', f'--image-root {options.image_root}', 'check the path')
    names = sorted(name for name in os.listdir(options.image_root) if name.lower().endswith(_ENDINGS))
    names = [names[i] for i in sorted(set(np.linspace(0, len(names) - 1, _CHECKED).astype(int)))] if names else []
    if len(names) < 2:
        raise UserError('holds fewer than two images', f'--image-root {options.image_root}', 'give a folder of images')
    side = options.image_size
    made = np.full((len(names), side, side, 3), geometry.GREY, np.uint8)
    for square, name in zip(made, names):
        image = images.read_image(os.path.join(options.image_root, name))
        rows, columns = geometry.fitted_size(*image.shape[:2], side)
        square[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(made.transpose(0, 3, 1, 2))


def _activations(net, pixels):
    """(name, activations (1, c, h, w)) of every convolution, for one image after the other."""
    from icd.mxnet_setup import mx
    for image in pixels:
        value = mx.nd.array(image[None], ctx=net.layers[0].weight.list_ctx()[0]).astype('float32') - net.mean
        for layer in net.layers:
            value = layer(value)
            if layer.name.startswith('conv'):
                yield layer.name.rstrip('_'), value.asnumpy()


def check(options: cli.Options) -> str:
    """Print the activations of every layer on ten images, and what they say of the weights.

    Returns
    -------
    str
        A table and a sentence.

    Raises
    ------
    UserError
        When the weights do not fit, or there are no images.
    """
    pixels = _images(options)
    from icd import mxnet_setup
    from icd.model.vgg import VGG16
    from icd.weights import load
    net = VGG16(options.width, geometry.GREY)
    given = load.load_pretrained(options.file, net, 0, mxnet_setup.devices(options.gpus)[:1], _source(options))
    figures, features = {}, []
    for name, value in _activations(net, pixels):
        figures.setdefault(name, []).append((np.square(value, dtype=np.float64).mean(), value.max(),
                                             (value == 0).mean(), value.max(axis=(0, 2, 3)) == 0))
        if name == 'conv5_3':
            features.append(value[0, :, ::_APART, ::_APART].reshape(value.shape[1], -1).T)
    lines = [given.description, '', f"{'layer':8} {'rms':>10} {'largest':>10} {'zeros':>6} {'dead channels':>13}"]
    for name, rows in figures.items():
        squares, largest, zeros, dead = zip(*rows)
        rms = float(np.sqrt(np.mean(squares)))
        lines.append(f'{name:8} {rms:10.4g} {max(largest):10.4g} {np.mean(zeros):6.0%} '
                     f'{np.mean(np.all(dead, axis=0)):13.0%}')
    alike = _alike(features)
    return '\n'.join(lines + ['', f'correlation of conv5_3 at positions of different images: {alike:.2f}', '',
                              verdict(rms, alike)])


def _alike(features):
    """Mean correlation of the rows of arrays (n, c) with those of other arrays; a row that does not vary has none."""
    values = np.concatenate(features).astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
    values = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
    sums = values.reshape(len(features), -1, values.shape[1]).sum(axis=1)
    within, count = np.square(sums).sum(), len(features[0])
    return float((np.square(sums.sum(axis=0)).sum() - within) / (count ** 2 * len(sums) * (len(sums) - 1)))


def verdict(rms: float, alike: float) -> str:
    """What activations say of pretrained weights.

    Parameters
    ----------
    rms : float
        Of conv5_3.
    alike : float
        Mean correlation of conv5_3 at positions of different images.
    """
    if not np.isfinite(rms):
        return 'broken: the activations are not finite'
    if rms > _LARGEST:
        return ('wrong: the activations are far too large: the network was trained with a smaller range of values; '
                'give its --pretrained-input')
    if alike > _MOST_ALIKE:
        return ('wrong: the features of different images are nearly the same: these are not trained weights, or they '
                'were trained with a larger range of values; give their --pretrained-input')
    return ('fine: these features tell images apart, as those of a trained network do (whether channels are RGB or BGR '
            'and which mean was subtracted does not show in these figures)')


# --------------------------------------------------------------------------------------------------- the command
def parse(arguments: list) -> tuple:
    """Read a command line: the name of a command, and its options.

    Raises
    ------
    UserError
        Naming what is wrong with it.
    """
    command = arguments[0] if arguments else '--help'
    if command in ('-h', '--help'):
        print('usage: icd-weights show FILE | convert FILE OUT | check FILE --image-root DIR\n\n'
              'icd-weights COMMAND --help lists the options of a command.')
        raise SystemExit(0)
    if command not in weights_options.COMMANDS:
        raise UserError(f"{command!r} is none of {', '.join(weights_options.COMMANDS)} (icd-weights --help)")
    about = (_COMMANDS[command].__doc__ or '').partition('\n')[0]         # python -OO takes them away
    parser = cli.parser(weights_options.COMMANDS[command], f'icd-weights {command}', about)
    options = parser.parse_intermixed_args(arguments[1:], cli.Options())        # options may stand between files
    if command == 'convert' and bool(options.file) == bool(options.from_zoo):
        raise UserError('give either FILE or --from-zoo vgg16 (icd-weights convert --help)')
    return command, options


_COMMANDS = {'show': show, 'convert': convert, 'check': check}


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    command, options = parse(arguments)
    print(_COMMANDS[command](options))
