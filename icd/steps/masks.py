"""The command `icd-masks`: masks in colours, or with a palette of another order, to masks of class indices."""
from __future__ import annotations

import functools
import os

from icd import checks, console, files, parallel
from icd.data import images, listing, mask_colours, masks, voc
from icd.errors import Problems, UserError
from icd.option_types import POSITIVE

_CHECK = 'check the folder and the list of names'


def parse(arguments: list):
    """Read the command line: `command`, `source`, `out`, `colours`, `list` and `num_process`."""
    parser = console.ArgumentParser('icd-masks', description='Masks of class indices from masks in colours.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='convert', parser_class=type(parser))
    convert = commands.add_parser('convert', prog='icd-masks convert', description=(
        'Write, as grey PNG, the class indices that the colours of masks mean: colour pictures, and palettes in any '
        'order.'))
    convert.add_argument('source', help='folder of NAME.png')
    convert.add_argument('out', help='folder to write')
    convert.add_argument('--colours', metavar='FILE', help='"R G B" of a class a line, background first, or "R G B '
                         'INDEX" (default: the colours of VOC, and white for 255)')
    convert.add_argument('--list', help='only these: a file with a name a line')
    convert.add_argument('--num-process', type=POSITIVE, metavar='N', help='worker processes (default: one a core)')
    return parser.parse_args(arguments)


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    options = parse(arguments)
    if os.path.realpath(options.source) == os.path.realpath(options.out):
        raise UserError('would overwrite the masks', options.out, 'give another folder')
    problems = Problems()
    if checks.check_input_folder(problems, 'SOURCE', options.source):
        checks.check_folder(problems, options.out)
    problems.raise_if_any()
    colours = mask_colours.read(options.colours) if options.colours else mask_colours.of_voc()
    names = _names(options)
    work = functools.partial(_convert, options.source, options.out, colours)
    with files.folder_lock(options.out):
        files.clear_partial(options.out)
        for error in parallel.process_map(work, names, options.num_process or parallel.number_of_cores(),
                                          desc='masks'):
            if error is not None:
                problems.add_error(error)
    problems.raise_if_any()
    print(f'{options.out}: {len(names)} masks')


def _names(options):
    if options.list:
        return voc.read_list(options.list)
    names = [path[:-len('.png')] for path in listing.walk(options.source) if path.endswith('.png')]
    if not names:
        raise UserError('no NAME.png in it', options.source, 'check the path')
    return names


def _convert(source, out, colours, name):
    """Write one mask; the error, if there is one: all of them are told together."""
    path = os.path.join(source, name + '.png')
    try:
        mask = mask_colours.indices(images.read_bytes(path, _CHECK), path, colours)
    except UserError as error:
        return error
    masks.save_mask(os.path.join(out, name + '.png'), mask)
    return None
