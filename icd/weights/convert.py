"""Command that converts a VGG16 of the Gluon model zoo to a file for `--pretrained`.

`python -m icd.weights.convert ZOO.params OUT.params` converts a file;
`python -m icd.weights.convert --from-zoo vgg16 OUT.params` downloads it first.
"""
from __future__ import annotations

import textwrap

from icd import console
from icd.errors import UserError
from icd.weights import formats, mxnet_params, vgg16


def _download():
    """Weights of the model zoo's VGG16, by name."""
    from icd.mxnet_setup import gluon
    try:
        net = gluon.model_zoo.vision.vgg16(pretrained=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot be downloaded ({textwrap.shorten(str(error), 200, placeholder=' ...')})",
                        '--from-zoo vgg16', 'download it elsewhere and give the file') from None
    return {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}


def parse(arguments: list):
    """Read the command line: `file`, `output` and `from_zoo`."""
    parser = console.ArgumentParser('python -m icd.weights.convert', description=main.__doc__)
    parser.add_argument('file', metavar='FILE.params', nargs='?', help="weights of the model zoo's network")
    parser.add_argument('output', metavar='OUT.params', help='file to write')
    parser.add_argument('--from-zoo', choices=['vgg16'], help='download them instead of reading FILE.params')
    options = parser.parse_args(arguments)
    if bool(options.file) == bool(options.from_zoo):
        parser.error('give either FILE.params or --from-zoo vgg16')
    return options


def main(arguments: list):
    """Convert a VGG16 of the Gluon model zoo to a file for `--pretrained`."""
    options = parse(arguments)
    arrays = _download() if options.from_zoo else formats.read(options.file)
    try:
        values = vgg16.convert(arrays)
    except ValueError as error:
        raise UserError(str(error), options.file or 'vgg16', "give the model zoo's vgg16") from None
    mxnet_params.write(options.output, {f'arg:{name}': value for name, value in values.items()})


if __name__ == '__main__':
    raise SystemExit(console.run_command(main))
