"""The command `icd-labels`: what a source of image labels holds, and the same in another format."""
from __future__ import annotations

from collections import Counter

from icd import console, files
from icd.data import labels, voc
from icd.data.labels import write
from icd.data.labels.contents import class_names_of, contents


def parse(arguments: list):
    """Read the command line: `command`, `source`, `class_names`, `list` and what belongs to the command."""
    parser = console.ArgumentParser('icd-labels', description='Image labels of any format (docs/data.md).')
    commands = parser.add_subparsers(dest='command', required=True, metavar='show|convert', parser_class=type(parser))
    show = commands.add_parser('show', description='Count the images of each class.', prog='icd-labels show')
    convert = commands.add_parser('convert', description='Write image labels in another format.',
                                  prog='icd-labels convert')
    for each in (show, convert):
        each.add_argument('source', help='image labels')
        if each is convert:
            each.add_argument('out', help='file or new folder to write')
        each.add_argument('--class-names', help='file with a class name a line (default: the names that the source '
                          "has, else VOC's)")
        each.add_argument('--list', help='only these images: a file with a name a line')
    show.add_argument('--save-class-names', metavar='FILE', help='write the class names, one a line')
    show.add_argument('--save-list', metavar='FILE', help='write the names of the images that have a class, one a line')
    convert.add_argument('--to', choices=write.KINDS, help='format (default: by the ending of OUT; a folder: xml)')
    convert.add_argument('--image-root', help='folder of the images, for --to folders')
    return parser.parse_args(arguments)


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    options = parse(arguments)
    table = labels.read_source(options.source)
    found = contents(table, options.list and voc.read_list(options.list))
    class_names = class_names_of(table, found, options.class_names)
    if options.command == 'convert':
        _convert(options, found, class_names)
    else:
        _show(options, table, found, class_names)


def _show(options, table, found, class_names):
    counts, unknown, without = Counter(), Counter(), []
    for name, classes in found.items():
        for one in classes:
            if isinstance(one, str) and one in class_names:
                counts[class_names.index(one)] += 1
            elif isinstance(one, int) and one < len(class_names):
                counts[one] += 1
            else:
                unknown[one] += 1
        if not classes:
            without.append(name)
    print(f'{table.path}: {table.kind}, {len(found)} images')
    width = max(map(len, class_names))
    for i, name in enumerate(class_names):
        print(f'{i:4d}  {name:{width}s} {counts[i]:8d}')
    print(f"images without any class: {len(without)}{_some(without)}")
    print(f"unknown classes: {len(unknown)}{_some([f'{one} ({count})' for one, count in unknown.most_common()])}")
    if table.truth:
        print('the classes are those of masks: pixel truth')
    if options.save_class_names:
        files.save_bytes(options.save_class_names, ''.join(f'{name}\n' for name in class_names).encode())
    if options.save_list:
        names = ''.join(f'{name}\n' for name, classes in found.items() if classes)
        files.save_bytes(options.save_list, names.encode())


def _some(names):
    return ': ' + ', '.join(map(str, names[:10])) + (', ...' if len(names) > 10 else '') if names else ''


def _convert(options, found, class_names):
    kind = options.to or write.kind_of(options.out)
    known = {name: voc.indices(classes, class_names, f'{options.source} ({name})') for name, classes in found.items()}
    write.write(options.out, kind, known, class_names, options.image_root)
    without = sum(not classes for classes in known.values())
    print(f'{options.out}: {len(known)} images, {without} of them without any class')
    if kind in ('npy', 'list'):
        print(f"classes in the order of {options.class_names or ', '.join(class_names)}")
