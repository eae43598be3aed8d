"""Write a trained network as an ONNX file, which onnxruntime runs anywhere, and which needs no MXNet."""
from __future__ import annotations

import os

from icd import checks, cli, console, files, segment_options
from icd.errors import Problems, UserError
from icd.weights import onnx_export, trained


def run(options: cli.Options):
    """Export a checkpoint.

    Parameters
    ----------
    options : Options
        `icd.segment_options.EXPORT`, and `output`, the file to write.

    Raises
    ------
    UserError
        When the checkpoint is missing, damaged or of no network of this project, or the file cannot be written.
    """
    if bool(options.snapshot) == bool(options.model):
        raise UserError('exactly one of them names the network', '--snapshot, --model', 'give one')
    path, problems = options.model or trained.newest(options.snapshot, options.epoch), Problems()
    if os.path.isdir(options.output):
        problems.add('this is a folder', options.output, 'name a file')
    elif os.path.realpath(options.output) == os.path.realpath(path):
        problems.add('would overwrite the checkpoint', options.output, 'name another file')
    else:
        checks.check_folder(problems, os.path.dirname(options.output) or '.')
    problems.raise_if_any()
    network = trained.read(path, options.class_names)
    try:
        onnx_export.write(options.output, network.arrays, network.class_names, files.checksum(path),
                          network.width)
    except ValueError as error:
        raise UserError(str(error), path, 'give a whole checkpoint of icd-run or icd-segment train') from None
    console.log(f'{options.output}: {network.network} of {path}, {len(network.class_names)} scores, '
                f'{os.path.getsize(options.output) / 1e6:.1f} MB')


def parse(arguments: list) -> cli.Options:
    """Read the command line: the options of `icd.segment_options.EXPORT`, `format` and `output`."""
    parser = cli.parser(segment_options.EXPORT, 'icd-export', (__doc__ or '').strip())
    parser.add_argument('format', choices=['onnx'], help='format of the file')
    parser.add_argument('output', metavar='OUT.onnx', help='file to write')
    return parser.parse_args(arguments, cli.Options())


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    run(parse(arguments))
