"""Parameter files: the original's `arg:NAME`/`aux:NAME` format both ways, and VGG16 weights from the Gluon model zoo.

The format is the one of `mx.nd.save`, which `mx.nd.load` reads. It is read and written here byte by byte: MXNet
aborts or allocates without bounds on a damaged file, and does not notice a full disk.

`python -m icd.weights.params ZOO.params OUT.params` converts a Gluon VGG16;
`python -m icd.weights.params --from-zoo vgg16 OUT.params` downloads it first.
"""
import os
import re
import struct
import textwrap

import numpy as np

from icd import console, files
from icd.errors import UserError
from icd.model.icd_net import AUXILIARY
from icd.model.initial import initialize_missing, set_values
from icd.data.geometry import GREY
from icd.model.vgg import BLOCKS
from icd.mxnet_setup import mx

_LIST_MAGIC, _V1_MAGIC, _V2_MAGIC, _V3_MAGIC = 0x112, 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = dict(enumerate(('float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64', 'bool')))
_FLAGS = {np.dtype(name): flag for flag, name in _DTYPES.items()}
_CPU = (1, 0)
_LARGEST_RANK = 32

ZOO_MEAN, ZOO_STD = np.array([.485, .456, .406]), np.array([.229, .224, .225])


# ------------------------------------------------------------------------------------------------- bytes of a file
class _Reader:
    """Little-endian fields of `data`, never beyond its end."""

    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, count):
        if count > len(self.data) - self.position:
            raise ValueError('it ends in the middle of an array or a name')
        self.position += count
        return self.data[self.position - count:self.position]

    def fields(self, layout):
        return struct.unpack('<' + layout, self.take(struct.calcsize('<' + layout)))

    def count(self, least):
        """A number of things that take `least` bytes each."""
        number, = self.fields('Q')
        if number * least > len(self.data) - self.position:
            raise ValueError('it announces more than it holds')
        return number

    def shape(self):
        magic, = self.fields('I')
        wide = magic in (_V1_MAGIC, _V2_MAGIC, _V3_MAGIC)
        if magic in (_V2_MAGIC, _V3_MAGIC) and self.fields('i') != (0,):
            raise ValueError('it holds a sparse array')
        rank = self.fields('I')[0] if wide else magic           # the oldest format starts with the rank
        if not 0 < rank <= _LARGEST_RANK:
            raise ValueError('it holds an array of %d dimensions' % rank)
        shape = self.fields('%d%s' % (rank, 'q' if wide else 'I'))
        if min(shape) < 1:
            raise ValueError('it holds an array without values')
        return shape

    def array(self):
        shape = self.shape()
        _, _, flag = self.fields('iii')                         # device type and number matter no more
        if flag not in _DTYPES:
            raise ValueError('it holds numbers of the unknown type %d' % flag)
        dtype = np.dtype(_DTYPES[flag])
        size = dtype.itemsize
        for side in shape:
            size *= side
        return np.frombuffer(self.take(size), dtype.newbyteorder('<')).reshape(shape)


def _parse(data):
    reader = _Reader(data)
    if reader.fields('QQ') != (_LIST_MAGIC, 0):
        raise ValueError('it does not start as one')
    arrays = [reader.array() for _ in range(reader.count(16))]
    names = [bytes(reader.take(reader.count(1))).decode() for _ in range(reader.count(8))]
    if reader.position != len(data):
        raise ValueError('something follows its end')
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise ValueError('its names and arrays do not match')
    return dict(zip(names, arrays))


def read(path):
    """Arrays of a parameter file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to NDArray
        On the CPU, by the names in the file.

    Raises
    ------
    UserError
        When the file does not exist or is no whole parameter file.
    """
    return {name: mx.nd.array(array, ctx=mx.cpu(), dtype=array.dtype) for name, array in _views(path).items()}


def _views(path):
    """`read` without copies: read-only numpy arrays into one buffer."""
    try:
        with open(path, 'rb') as file:
            return _parse(memoryview(file.read()))
    except FileNotFoundError:
        raise UserError('no such parameter file', path, 'check the path') from None
    except (ValueError, struct.error) as error:
        raise UserError(f'not a whole MXNet parameter file ({error})', path, 'copy or download it again') from None


def _numpy(array):
    return array.asnumpy() if isinstance(array, mx.nd.NDArray) else array


def write(path, arrays):
    """Write a parameter file, whole or not at all; `mx.nd.load` reads it.

    Parameters
    ----------
    path : str
    arrays : dict of str to NDArray or numpy.ndarray
        At least one-dimensional. Written in this order.
    """
    with files.write_atomic(path) as partial, open(partial, 'wb') as file:
        file.write(struct.pack('<QQQ', _LIST_MAGIC, 0, len(arrays)))
        for array in arrays.values():
            array = np.ascontiguousarray(_numpy(array))
            file.write(struct.pack('<IiI%dqiii' % array.ndim, _V2_MAGIC, 0, array.ndim, *array.shape, *_CPU,
                                   _FLAGS[array.dtype]))
            file.write(array.astype(array.dtype.newbyteorder('<'), copy=False).data)
        file.write(struct.pack('<Q', len(arrays)))
        for name in arrays:
            file.write(struct.pack('<Q', len(name.encode())) + name.encode())


# -------------------------------------------------------------------------------------------- a network's parameters
def save(path, net):
    """Write a network's parameters under the original's names, `arg:NAME` and `aux:NAME`.

    What several devices hold apart, the running statistics, is averaged over them.

    Parameters
    ----------
    path : str
    net : ICDNet
    """
    arrays = {}
    for name, parameter in net.collect_params().items():
        copies = parameter.list_data()
        if name in AUXILIARY and len(copies) > 1:
            value = sum(copy.as_in_context(mx.cpu()) for copy in copies) / len(copies)
        else:
            value = copies[0]
        arrays[('aux:' if name in AUXILIARY else 'arg:') + name] = value
    write(path, arrays)


def read_trained(path, net):
    """Parameters of a file that holds all of a network's and no others.

    Parameters
    ----------
    path : str
    net : ICDNet
        Only its parameters' names and shapes count; it need not be initialised.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, read-only.

    Raises
    ------
    UserError
        When the file is damaged, or a parameter is missing, of another shape or unknown.
    """
    values = _bare(path, _views(path))
    _check(path, net, values, list(net.collect_params()))
    unknown = sorted(set(values) - set(net.collect_params()))
    if unknown:
        raise UserError(f'holds parameters this network does not have ({_some(unknown)})', path,
                        'give a file made for it')
    return values


def load(path, net, ctx=None):
    """Give a network the parameters of a file that holds all of them.

    Parameters
    ----------
    path : str
    net : ICDNet
    ctx : mxnet.Context or list of them, optional
        Devices to put them on; by default where the network is, or the CPU.

    Raises
    ------
    UserError
        See `read_trained`.
    """
    set_values(net, read_trained(path, net), ctx)


def read_pretrained(path, net):
    """What a file of pretrained parameters gives a network.

    Parameters
    ----------
    path : str
        A file with at least conv1_1 to conv5_3, fc6 and fc7; what else in it fits the network is used, too.
        'none' for a random start.
    net : ICDNet or VGG16
        A backbone alone needs only the convolutions. It need not be initialised.

    Returns
    -------
    dict of str to numpy.ndarray
        float32, read-only.

    Raises
    ------
    UserError
        When the file is missing or damaged, or a parameter it must hold is missing or of another shape.
    """
    if path == 'none':
        return {}
    if not os.path.isfile(path):
        raise UserError('no such file of pretrained parameters', path,
                        'see data/README.md for where to get it, or give --pretrained none for a random start')
    parameters, given = net.collect_params(), _bare(path, _views(path))
    _check(path, net, given, [name for name in parameters if re.match(r'(conv\d_\d|fc[67])_(weight|bias)', name)])
    return {name: value for name, value in given.items()
            if name in parameters and value.shape == parameters[name].shape}


def load_pretrained(path, net, seed, ctx=None):
    """Start a network from ImageNet weights, or from nothing.

    Parameters
    ----------
    path, net : see `read_pretrained`
    seed : int
        Of the parameters the file does not give, see `icd.model.initial.starting_values`.
    ctx : see `load`

    Raises
    ------
    UserError
        See `read_pretrained`.
    """
    given = read_pretrained(path, net)
    set_values(net, initialize_missing(net, given, seed, he=path == 'none'), ctx)


def _bare(path, arrays):
    """`arrays` without `arg:` and `aux:`, float32."""
    values = {}
    for name, array in arrays.items():
        name = re.sub('^(arg|aux):', '', name)
        if name in values:
            raise UserError(f'holds both arg:{name} and aux:{name}', path, 'give a file written by a training')
        values[name] = array.astype('float32', copy=False)
    return values


def _check(path, net, values, required):
    """Raise a UserError unless `values` hold all `required` parameters of `net`, in its shapes and finite."""
    parameters = net.collect_params()
    missing = [name for name in required if name not in values]
    if missing:
        raise UserError(f"lacks {'all' if len(missing) == len(required) else len(missing)} of the {len(required)} "
                        f"parameters it must hold ({_some(missing)})", path, 'give a file made for this network')
    wrong = ['%s is %s, not %s' % (name, values[name].shape, parameters[name].shape) for name in required
             if values[name].shape != parameters[name].shape]
    if wrong:
        raise UserError(f"does not fit this network ({_some(wrong, '; ')})", path,
                        'give the --width and --num-cls it was made with')
    broken = [name for name in required if not np.isfinite(values[name]).all()]
    if broken:
        raise UserError(f'holds values that are no numbers ({_some(broken)})', path,
                        'the training it comes from diverged; take an earlier checkpoint')


def _some(words, separator=', '):
    """The first few of `words` and how many more there are."""
    shown = separator.join(words[:4])
    return shown if len(words) <= 4 else '%s%sand %d more' % (shown, separator, len(words) - 4)


# -------------------------------------------------------------------------------------------------- Gluon model zoo
def convert_gluon_vgg16(source):
    """Parameters of this project's network from a VGG16 of the Gluon model zoo (mxnet or gluoncv).

    - The zoo's input is ((RGB / 255) - mean) / std, ours RGB - 127. Both are affine, so conv1_1 absorbs the
      difference: weight / (255 std), and what 127 grey would have given goes into the bias. This is exact wherever
      the convolution sees the image only. On the outermost row and column of conv1_1 it sees padding, which is
      the mean colour (124, 116, 104) in the zoo and 127 grey here; no weights can undo that, since the bias is the
      same everywhere. Grey is the colour the input pipeline pads with, too.
    - The fully connected layers become convolutions by decimation, as in DeepLab-LargeFOV (Chen et al. 2015): fc6
      as 4096 x 512 x 7 x 7 keeps every fourth filter and rows and columns 0, 3, 6: 1024 x 512 x 3 x 3; fc7 keeps
      every fourth output of every fourth input: 1024 x 1024 x 1 x 1. The classifier is left out.

    Parameters
    ----------
    source : gluon.Block or dict of str to array
        The network, or its parameters by the names of `save_parameters` or `collect_params`.

    Returns
    -------
    dict of str to numpy.ndarray
        conv1_1 to conv5_3, fc6, fc7: `NAME_weight` and `NAME_bias`, float32.

    Raises
    ------
    ValueError
        When the parameters are not those of a VGG16.
    """
    weights, biases = _zoo_layers(source)
    scale = 1 / (255 * ZOO_STD)
    shift = (GREY / 255 - ZOO_MEAN) / ZOO_STD
    first = weights[0].astype(np.float64)
    biases[0] = biases[0] + (first.sum(axis=(2, 3)) * shift).sum(axis=1)
    weights[0] = first * scale[:, None, None]
    weights[13] = weights[13].reshape(4096, 512, 7, 7)[::4, :, ::3, ::3]
    weights[14] = weights[14][::4, ::4, None, None]
    biases[13:15] = [bias[::4] for bias in biases[13:15]]
    names = ['conv%d_%d' % (i, j + 1) for i, block in enumerate(BLOCKS, 1) for j in range(block[0])] + ['fc6', 'fc7']
    values = {}
    for name, weight, bias in zip(names, weights, biases):
        values[name + '_weight'] = np.ascontiguousarray(weight, np.float32)
        values[name + '_bias'] = np.ascontiguousarray(bias, np.float32)
    return values


def _zoo_layers(source):
    """Weights and biases (numpy) of the 13 convolutions and the first two dense layers, in order."""
    if not isinstance(source, dict):
        source = {name: parameter.data() for name, parameter in source.collect_params().items()}

    def order(name):            # conv10 follows conv9
        return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]
    names = sorted((name for name in source if name.endswith('weight')), key=order)
    shapes, last = [], 3
    for count, channels, _, _ in BLOCKS:
        for _ in range(count):
            shapes.append((channels, last, 3, 3))
            last = channels
    shapes += [(4096, 25088), (4096, 4096)]
    layers = [(name, name[:-len('weight')] + 'bias') for name in names[:len(shapes)]]
    if [source[name].shape for name, _ in layers] != shapes or not all(bias in source for _, bias in layers) or any(
            not name.endswith(('weight', 'bias')) for name in source):
        raise ValueError('not the parameters of a VGG16 without batch normalisation')
    return [_numpy(source[name]) for name, _ in layers], [_numpy(source[bias]) for _, bias in layers]


def _zoo_parameters(options):
    if not options.from_zoo:
        return read(options.file), options.file
    from icd.mxnet_setup import gluon
    try:
        return gluon.model_zoo.vision.vgg16(pretrained=True), 'vgg16'
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot be downloaded ({textwrap.shorten(str(error), 200, placeholder=' ...')})",
                        '--from-zoo vgg16', 'download it elsewhere and give the file') from None


def parse(arguments):
    """The command line of `main`, read."""
    parser = console.ArgumentParser('python -m icd.weights.params', description=main.__doc__)
    parser.add_argument('file', metavar='FILE.params', nargs='?', help='parameters of the zoo network')
    parser.add_argument('output', metavar='OUT.params', help='file to write')
    parser.add_argument('--from-zoo', choices=['vgg16'], help='download them instead of reading FILE.params')
    options = parser.parse_args(arguments)
    if bool(options.file) == bool(options.from_zoo):
        parser.error('give either FILE.params or --from-zoo vgg16')
    return options


def main(arguments):
    """Convert a VGG16 of the Gluon model zoo to a file for `--pretrained`."""
    options = parse(arguments)
    source, name = _zoo_parameters(options)
    try:
        values = convert_gluon_vgg16(source)
    except ValueError as error:
        raise UserError(str(error), name, "give the model zoo's vgg16") from None
    write(options.output, {'arg:' + name: value for name, value in values.items()})


if __name__ == '__main__':
    raise SystemExit(console.run_command(main))
