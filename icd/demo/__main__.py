"""The command of the demo: `make demo`, `python -m icd.demo`."""
import os
import sys

from icd import cli, console, demo_options
from icd.demo import figures


def main(arguments: list):
    """Run the demo; print its table and where its picture is."""
    options = cli.parse(demo_options.DEMO, 'python -m icd.demo',
                        'From images to a segmentation network, on drawn images.', arguments)
    # On one thread MXNet rounds its sums alike, and the figures are the same, on any number of cores. It reads this
    # while it is imported.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    from icd.demo import pipeline
    result = pipeline.run(options)
    print(f'\n{figures.table(result)}\n')
    for what, name in (('figures', pipeline.FIGURES), ('picture', pipeline.PICTURE)):
        print(f'{what}: {os.path.join(options.snapshot, name)}')


if __name__ == '__main__':
    sys.exit(console.run_command(main))
