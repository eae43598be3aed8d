"""Every figure of the README: `make bench`, or `python -m tests.benchmarks NAME ...` for some of them."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = sorted(name[:-3] for name in os.listdir(HERE) if name.endswith('.py') and not name.startswith('_'))
# Run by themselves: two need a data set, one makes millions of links, one runs for 20 minutes.
NO_FIGURES = {'audit', 'million', 'msrc', 'soak'}


def main(wanted):
    """Run the named benchmarks, all of them by default; the exit code is that of the worst."""
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        sys.exit('no benchmark {}: choose from {}'.format(', '.join(unknown), ', '.join(NAMES)))
    codes = []
    for name in wanted or sorted(set(NAMES) - NO_FIGURES):
        print(f'\n## {name}\n', flush=True)
        codes.append(subprocess.call([sys.executable, os.path.join(HERE, name + '.py')],
                                     cwd=os.path.dirname(os.path.dirname(HERE)),
                                     env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(HERE)))))
    return max(codes)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
