"""Many short lines by key, in little more memory than the lines take: a dictionary takes five times as much."""
from __future__ import annotations

import io
from array import array
from typing import Iterator


class Lines:
    """Lines `KEY`, or `KEY<TAB>REST`, each with its end; of several lines of a key the last counts.

    A hash table of their positions, 16 to 32 bytes a line beside the text.

    Parameters
    ----------
    text : bytes
        What follows the last line end does not count.
    """

    def __init__(self, text: bytes = b''):
        self._text = text
        self._mask = (4 << text.count(b'\n').bit_length()) // 2 - 1
        self._table = array('Q', bytes(8 * (self._mask + 1)))       # positions from 1 on; 0: nothing
        self._sorted, position, before = True, 0, b''
        for line in io.BytesIO(text):
            if not line.endswith(b'\n'):
                break
            key, tab, _ = line.rstrip(b'\n').partition(b'\t')
            self._table[self._slot(key)] = position + 1
            self._sorted = self._sorted and bool(tab) and (before < key or not position)
            position, before = position + len(line), key

    def _slot(self, key):
        """Where the position of a key's line is, or belongs."""
        slot, table, text = hash(key) & self._mask, self._table, self._text
        possible = not (b'\t' in key or b'\n' in key)
        while table[slot]:
            begin = table[slot] - 1
            end = begin + len(key)
            if possible and text.startswith(key, begin) and text[end] in b'\t\n':
                break
            slot = (slot + 1) & self._mask
        return slot

    def get(self, key: bytes) -> bytes | None:
        """What stands behind the key and its tab, empty where there is no tab; None where no line has the key."""
        begin = self._table[self._slot(key)]
        if not begin:
            return None
        begin += len(key)
        return self._text[begin:self._text.index(b'\n', begin - 1)] if self._text[begin - 1] == 9 else b''

    def __contains__(self, key):
        return bool(self._table[self._slot(key)])

    def __iter__(self) -> Iterator[bytes]:
        """The lines that count, with their ends, in the order they stand in."""
        for begin in sorted(self._table) if not self._sorted else ():
            if begin:
                yield self._text[begin - 1:self._text.index(b'\n', begin - 1) + 1]
        yield from io.BytesIO(self._text[:self._text.rfind(b'\n') + 1]) if self._sorted else ()

    def in_order(self) -> bytes:
        """The lines that count and have something behind their key, sorted by key."""
        if self._sorted:
            return self._text[:self._text.rfind(b'\n') + 1]
        return b''.join(sorted((line for line in self if b'\t' in line), key=_key))


def _key(line):
    return line.partition(b'\t')[0]
