"""What a converter returns, and what all of them do with the names of a file."""
from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Converted:
    """Weights by the names of this project's network.

    values : dict of str to numpy.ndarray
        float32.
    description : str
        What was recognised, taken, changed and left out: a line for the log.
    """

    values: dict
    description: str


def without_prefix(arrays: dict) -> dict:
    """`arrays` without MXNet's `arg:` and `aux:`.

    Raises
    ------
    ValueError
        When two names become the same.
    """
    values = {}
    for name, array in arrays.items():
        name = re.sub('^(arg|aux):', '', name)
        if name in values:
            raise ValueError(f'holds both arg:{name} and aux:{name}')
        values[name] = array
    return values


def natural(name: str) -> list:
    """A key that sorts names as people count: conv10 follows conv9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'([0-9]+)', name)]
