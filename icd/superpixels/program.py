"""The program makeSuperpixel: where it is, and running it."""
from __future__ import annotations

import os
import shutil
import subprocess

from icd.errors import UserError

PROGRAM = os.path.normpath(os.path.join(os.path.dirname(__file__), '..', '..', 'external', 'superpixel',
                                        'makeSuperpixel'))


def find(path: str = PROGRAM) -> str:
    """The program: `path`, or one on the PATH.

    Raises
    ------
    UserError
        When there is none.
    """
    found = path if os.path.isfile(path) else shutil.which('makeSuperpixel')
    if not found:
        raise UserError('not built', path, 'run `make -C external/superpixel`')
    return found


def run(program: str, arguments: list):
    """Run the program; its messages go where this process's go.

    Raises
    ------
    UserError
        When it fails.
    """
    done = subprocess.run([program, *arguments])
    if done.returncode:
        raise UserError(f'ended with exit code {done.returncode}', program, 'see its messages above')
