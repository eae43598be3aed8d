"""Every figure of the README and of docs/benchmarks.md: `make bench`, or `python -m tests.benchmarks NAME ...`.

Ends with one table of all figures, their limits, what they are compared with in the same run, and how they differ from
the table that was last committed for this kind of processor (`tests/benchmarks/tables`), which `--save` writes.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from tests.benchmarks import _figures, _table

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NAMES = sorted(name[:-3] for name in os.listdir(HERE) if name.endswith('.py') and not name.startswith('_'))
# Run by themselves: these need a data set or files, make millions of links, or run for twenty minutes.
NO_FIGURES = {'audit', 'million', 'msrc', 'onnx_devices', 'overfit', 'soak'}


def run(names, folder):
    """Run benchmarks, one after the other; their exit codes and their figures, by name."""
    codes, found = {}, {}
    for name in names:
        print(f'\n## {name}\n', flush=True)
        path = os.path.join(folder, name)
        codes[name] = subprocess.call([sys.executable, os.path.join(HERE, name + '.py')], cwd=ROOT,
                                      env={**os.environ, 'PYTHONPATH': ROOT, _figures.FILE: path})
        found[name] = _table.read_figures(path)
    return codes, found


def main(arguments):
    """Run the named benchmarks, by default all; the exit code is that of the worst."""
    parser = argparse.ArgumentParser(prog='python -m tests.benchmarks', description=__doc__.split('\n', 1)[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(NAMES))
    parser.add_argument('--save', action='store_true', help='write the figures as the table of this kind of processor')
    parser.add_argument('--note', default='', help='what to know of the machine, for --save')
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error('no benchmark {}: choose from {}'.format(', '.join(unknown), ', '.join(NAMES)))
    kind = _table.processor()
    with tempfile.TemporaryDirectory() as folder:
        codes, found = run(options.names or sorted(set(NAMES) - NO_FIGURES), folder)
    committed = _table.read(kind)
    text, missed, worse = _table.lines(found, committed['figures'])
    print(f"\n## All figures\n\n{kind}; committed: {committed['measured'] or 'none for this kind of processor'}"
          + (f" ({committed['note']})" if committed['note'] else '') + '\n')
    print('\n'.join(text))
    for title, names in (('limits missed', missed), (f'ratios worse by more than {_table.NOISE:.0%}', worse),
                         ('benchmarks that failed', [name for name, code in codes.items() if code])):
        print(f"\n{title}: {', '.join(names) or 'none'}")
    if options.save:
        _table.save(kind, {name: rows for name, rows in found.items() if rows}, options.note)
        print(f'\nwritten: {_table.path_of(kind)}')
    return max([int(bool(missed)), *map(abs, codes.values())])         # less than 0: ended by a signal


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
