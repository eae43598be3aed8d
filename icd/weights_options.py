"""Options of `icd-weights`: a table each of its commands, as in `icd.cli`."""
from __future__ import annotations

from icd import option_types as types
from icd.cli import OF_RUN, Option

_FILE = Option('file', None, 'weights of any format', types.path)

SHOW = {'Show': [_FILE, OF_RUN['--pretrained-input']]}
CONVERT = {'Convert': [
    Option('file', None, 'weights of any format', types.path, nargs='?'),
    Option('output', None, 'file to write: .params, .npz or .safetensors', types.path, metavar='OUT'),
    OF_RUN['--pretrained-input'],
    Option('--from-zoo', None, "download the Gluon model zoo's network instead of reading FILE (needs MXNet)", str,
           choices=('vgg16',)),
]}
CHECK = {'Check': [
    _FILE,
    Option('--image-root', None, 'folder of images, of which ten are shown to the network', types.path, required=True),
    Option('--image-size', 321, 'side of the network input, 8k+1', types.image_size),
    OF_RUN['--pretrained-input'], OF_RUN['--width'], OF_RUN['--gpus'],
]}
COMMANDS = {'show': SHOW, 'convert': CONVERT, 'check': CHECK}      # tables by the second word of the command line
