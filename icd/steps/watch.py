"""Watch a run while it goes on: a page on this machine with its curves, previews, stages and time left."""
from __future__ import annotations

import os
import socket

import cv2
import numpy as np

from icd import checks, cli, files
from icd.errors import Problems, UserError
from icd.live import run as live
from icd.live import server
from icd.viz import report, watch_page
from icd.watch_options import WATCH

_WIDEST = 720               # of a preview inside the page, pixels
_MOST_EPOCHS = 40           # with a preview inside the page, the newest of each training


def run(options: cli.Options):
    """Serve the page until it is interrupted, or write it once.

    Parameters
    ----------
    options : Options
        `icd.watch_options.WATCH`.

    Raises
    ------
    UserError
        When what is to be watched is a file, the port is in use, or the page cannot be written.
    """
    if os.path.lexists(options.snapshot) and not os.path.isdir(options.snapshot):
        raise UserError('a file or a broken link where a folder is needed', options.snapshot,
                        'give the --snapshot of a training, or the --out of icd-pipeline')
    if options.once:
        _write(options.snapshot, options.once)
        print(f'written: {options.once}')
        return
    with server.Server(options.snapshot, options.port) as serving:
        print(f'watching {options.snapshot}: http://{server.ADDRESS}:{serving.port}/ (Ctrl-C ends it)')
        print(f'from another machine: ssh -L {serving.port}:{server.ADDRESS}:{serving.port} {socket.gethostname()}, '
              'and the same address there', flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:       # the usual end
            print()


def _write(folder, path):
    """Write the page as it is now, with the previews inside."""
    problems = Problems()
    checks.check_written_files(problems, {'--once': path}, [], [])
    if not os.path.isdir(folder):
        problems.add('no such folder', folder, 'check the path')
    problems.raise_if_any()
    state, previews = live.look(folder)
    for training in state['trainings']:
        training['previews'] = _embedded(training['previews'][-_MOST_EPOCHS:], previews)
    state['previews'] = _embedded(state['previews'], previews)
    files.save_bytes(path, watch_page.page(state, live=False).encode())


def _embedded(shown, previews):
    """Previews whose `url` holds their content; those that are no images by now are left out."""
    found = []
    for each in shown:
        try:
            image = cv2.imdecode(np.frombuffer(previews[each['url']].read(), np.uint8), cv2.IMREAD_COLOR)
        except (OSError, UserError, cv2.error):
            image = None
        if image is not None:
            found.append(dict(each, url=report.data_uri(image, _WIDEST)))
    return found


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    run(cli.parse(WATCH, 'icd-watch', (__doc__ or '').strip(), arguments))
