"""The command `icd-labels`: what a source of image labels holds, and the same in another format."""
from __future__ import annotations

import os
from collections import Counter

from icd import console, files
from icd.data import images, labels, voc
from icd.data.labels import write
from icd.errors import Problems, UserError


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
    found = _classes(table, options.list)
    class_names = _class_names(table, options.class_names, found)
    if options.command == 'convert':
        _convert(options, found, class_names)
    else:
        _show(options, table, found, class_names)


def _plain(name):
    """The name of a list for a name of a source."""
    if isinstance(name, int):
        digits = str(name)
        return f'{digits[:4]}_{digits[4:]}' if len(digits) == 10 else digits        # as VOC's are
    stem, ending = os.path.splitext(name.replace('\\', '/'))
    name = stem if ending.lower() in images.ENDINGS + ('.xml',) else stem + ending
    return '/'.join(part for part in name.split('/') if part not in ('', '.'))


def _classes(table, data_list):
    """Classes by name, as the source has them: names or indices."""
    problems, found = Problems(), {}
    matcher = labels.Matcher(table)
    names = table.entries if data_list is None else voc.read_list(data_list)
    for name in names:
        if name in table.copies:
            continue
        try:
            found[_plain(name)] = tuple(table.read(table.entries[name] if data_list is None else matcher.find(name)))
        except UserError as error:
            problems.add_error(error)
    problems.raise_if_any()
    if not found:
        raise UserError('holds no image labels', table.path, 'see docs/data.md')
    return found


def _class_names(table, path, found):
    """The class names given, those of the source, those that occur, or VOC's."""
    if path is not None:
        return voc.read_class_names(path)
    occurring = sorted({one for classes in found.values() for one in classes if isinstance(one, str)})
    names = tuple(table.class_names) or tuple(occurring) or voc.CATEGORIES
    if table.number_of_classes not in (None, len(names)):
        raise UserError(f'is of {table.number_of_classes} classes and does not name them', table.path,
                        'give their names with --class-names')
    return names


def _show(asked, table, found, class_names):
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
    if asked.save_class_names:
        files.save_bytes(asked.save_class_names, ''.join(f'{name}\n' for name in class_names).encode())
    if asked.save_list:
        names = ''.join(f'{name}\n' for name, classes in found.items() if classes)
        files.save_bytes(asked.save_list, names.encode())


def _some(names):
    return ': ' + ', '.join(map(str, names[:10])) + (', ...' if len(names) > 10 else '') if names else ''


def _convert(asked, found, class_names):
    kind = asked.to or write.kind_of(asked.out)
    known = {name: voc.indices(classes, class_names, f'{asked.source} ({name})') for name, classes in found.items()}
    write.write(asked.out, kind, known, class_names, asked.image_root)
    without = sum(not classes for classes in known.values())
    print(f'{asked.out}: {len(known)} images, {without} of them without any class')
    if kind in ('npy', 'list'):
        print(f"classes in the order of {asked.class_names or ', '.join(class_names)}")


def command() -> int:
    """Console script `icd-labels`: returns the exit code."""
    return console.run_command(main)


if __name__ == '__main__':
    raise SystemExit(command())
