"""What the value of an option may be: types for argparse, which refuse everything else in one line."""
from __future__ import annotations

import argparse
import os
import re
from typing import Callable

from icd.shards import Shard
from icd.weights import source_input

_LONGEST_NAME = 100     # bytes; file systems take 255, and epochs, endings and the like are put behind it


def number(kind: type, low: float, high: float | None = None, above: bool = False) -> Callable:
    """A type for argparse: an int or float at least `low` (more than `low` with `above`), at most `high`."""
    name = {int: 'a whole number', float: 'a number'}[kind]
    want = f"{name} {'>' if above else '>='} {low:g}"
    want += '' if high is None else f' and <= {high:g}'

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (value > low if above else value >= low) or value == float('inf') or (
                high is not None and value > high):
            raise argparse.ArgumentTypeError(f'{text!r} is not {want}')
        return value
    convert.metavar = {int: 'N', float: 'X'}[kind]
    return convert


def image_size(text: str) -> int:
    """Network inputs are 8k+1: then feature-map positions fall on every eighth pixel."""
    value = number(int, 33)(text)
    if value % 8 != 1:
        below = value - (value - 1) % 8
        raise argparse.ArgumentTypeError(f'{text!r} is not 8k+1: use {below} or {below + 8}')
    return value


def choices(*names: str) -> Callable:
    """A comma-separated choice of `names`."""
    def convert(text):
        chosen = [part.strip() for part in text.split(',')]
        if any(c not in names for c in chosen):
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(names)}, separated by commas")
        return tuple(n for n in names if n in chosen)
    return convert


def path(text: str) -> str:
    """A path; a `~` at its beginning is the home folder."""
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError(f'{text!r} is not a path')
    return os.path.expanduser(text)


def plain_name(text: str) -> str:
    """The beginning of file names: no folders in it, nothing that hides a file."""
    if not text.isprintable() or not text or '/' in text or text[0] in '.-' or len(os.fsencode(text)) > _LONGEST_NAME:
        raise argparse.ArgumentTypeError(f'{text!r:.80} is not a plain name: give letters and digits, no folders; '
                                         '--snapshot names the folder')
    return text


def numbers(count: int, deviations: int) -> Callable:
    """`count` positive numbers separated by commas: first standard deviations of at least 1, then weights."""
    def convert(text):
        values = text.split(',')
        if len(values) != count:
            raise argparse.ArgumentTypeError(f'{text!r} is not {count} numbers separated by commas')
        return tuple((DEVIATION if i < deviations else WEIGHT)(v) for i, v in enumerate(values))
    return convert


def pretrained_input(text: str) -> str:
    """What a pretrained network expects: see `icd.weights.source_input.parse`, which reads it again."""
    try:
        return str(source_input.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shard(text: str) -> Shard:
    """I/N: the I-th of N shards, from 1."""
    found = re.fullmatch('([0-9]{1,9})/([0-9]{1,9})', text)
    made = Shard(*map(int, found.groups())) if found else None
    if made is None or not 1 <= made.number <= made.count:
        raise argparse.ArgumentTypeError(f'{text!r} is not I/N, the I-th of N shards: 1/4, 2/4, 3/4, 4/4, say')
    return made


def fractions(text: str) -> tuple:
    """Different numbers above 0, at most 1, with at most four decimals, separated by commas."""
    values = tuple(number(float, 0, 1, above=True)(t) for t in text.split(','))
    if len(set(values)) < len(values) or any(value != round(value, 4) for value in values):
        raise argparse.ArgumentTypeError(f'{text!r}: give different numbers with at most four decimals')
    return values


def scales(text: str) -> tuple:
    """Different numbers from 0.1 to 4, separated by commas."""
    values = tuple(number(float, .1, 4)(part) for part in text.split(','))
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f'{text!r}: give different numbers')
    return values


image_size.metavar = 'N'
plain_name.metavar = 'NAME'
scales.metavar = 'X,X'
shard.metavar = 'I/N'
pretrained_input.metavar = 'NAME|ORDER,MEAN,STD,LARGEST'
POSITIVE, COUNT = number(int, 1), number(int, 0)
NOT_NEGATIVE, ABOVE_ZERO = number(float, 0), number(float, 0, above=True)
DEVIATION, WEIGHT = number(float, 1, 1e6), number(float, 0, 1e6, above=True)
