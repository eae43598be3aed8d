"""The command `icd-seeds`: seeds from the class maps of any method, and sweeps of their thresholds."""
from __future__ import annotations

import os

from icd import cli, console
from icd.data.class_maps import Source
from icd.data.inputs import read_inputs
from icd.errors import Problems, UserError
from icd.maps_options import SEEDS
from icd.steps import map_seeds, sweep
from icd.viz import sweep as shown


def sources(texts: list) -> list:
    """The folders of maps that --from-maps names: DIR, or NAME=DIR where there is no such folder.

    Raises
    ------
    UserError
        When two have one name.
    """
    found = []
    for text in texts:
        name, sign, folder = text.partition('=')
        if not sign or not name or not folder or os.path.isdir(text):
            name, folder = os.path.basename(os.path.abspath(text)), text
        found.append(Source(name, os.path.expanduser(folder)))
    names = [source.name for source in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two folders of maps are called {name}', '--from-maps', 'give NAME=DIR')
    return found


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    options = cli.parse(SEEDS, 'icd-seeds', (__doc__ or '').strip(), arguments)
    problems, found = Problems(), sources(options.from_maps)
    inputs = read_inputs(options.data_list, options.image_root, options.annotation_root, options.class_names, None,
                         problems, options.labels, options.unlabelled)
    (sweep if options.sweep else map_seeds).check(options, inputs, found, problems)
    problems.raise_if_any()
    for note in inputs.notes:
        console.log(note)
    if not options.sweep:
        map_seeds.run(options, inputs, found[0])
        return
    print(shown.as_text(sweep.run(options, inputs, found)))
    console.say_written(options.csv, options.plot)
