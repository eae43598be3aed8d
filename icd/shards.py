"""Shards: parts of a list of images that different processes, on any machines, compute at the same time."""
from __future__ import annotations

import glob
from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True, order=True)
class Shard:
    """The shard `number`, from 1, of `count`; as text `number/count`.

    Every `count`-th name is its own: shards are disjoint, together they are the list, and they cost about the same
    where images of a kind stand side by side.
    """

    number: int
    count: int

    def __str__(self):
        return f'{self.number}/{self.count}'

    @property
    def title(self) -> str:
        """The shard in a sentence."""
        return f'shard {self.number} of {self.count}'

    @property
    def in_names(self) -> str:
        """The shard in the names of its files."""
        return f'{self.number}-of-{self.count}'

    def of(self, items: Sequence) -> Sequence:
        """Those of `items` that belong to the shard."""
        return items[self.number - 1::self.count]


def own(items: Sequence, shard: Shard | None) -> Sequence:
    """Those of `items` that a process with this `--shard` computes: without one, all."""
    return items if shard is None else shard.of(items)


def files(start: str, end: str) -> dict:
    """Paths of the files of shards, `start`, `Shard.in_names`, `end`, by shard, in order."""
    found = {}
    for path in glob.glob(glob.escape(start) + '*-of-*' + glob.escape(end)):
        number, _, count = path[len(start):len(path) - len(end)].partition('-of-')
        if number.isdigit() and count.isdigit():
            found[Shard(int(number), int(count))] = path
    return dict(sorted(found.items()))
