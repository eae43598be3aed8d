"""MXNet's profile of a few steps of a training."""
from __future__ import annotations

import contextlib

from icd import files
from icd.mxnet_setup import mx

PROFILED = 10                           # steps of a profile, after as many that are not


class Profile:
    """MXNet's profile of ten steps, once the first ten are over; a context manager.

    Parameters
    ----------
    path : str
        File for chrome://tracing.
    steps : int
        Steps the training will do; when they are few, the last ones are profiled.
    """

    def __init__(self, path: str, steps: int):
        self._path, self._done = path, 0
        self._first = max(0, min(PROFILED, steps - PROFILED))
        self._last = min(self._first + PROFILED, steps)

    def __enter__(self):
        self._file = contextlib.ExitStack()
        self._turn()
        return self

    def step(self):
        """A step was given to the devices."""
        self._done += 1
        self._turn()

    def _turn(self):
        if self._done == self._first < self._last:
            mx.nd.waitall()
            partial = self._file.enter_context(files.write_atomic(self._path))
            mx.profiler.set_config(profile_symbolic=True, profile_imperative=True, profile_memory=False,
                                   profile_api=False, filename=partial)
            mx.profiler.set_state('run')
        elif self._done == self._last > self._first:
            mx.nd.waitall()
            mx.profiler.set_state('stop')
            mx.profiler.dump()
            self._file.close()

    def __exit__(self, *error):
        return self._file.__exit__(*error)
