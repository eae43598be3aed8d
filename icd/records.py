"""The files that record what outputs were made from (`icd.outputs`): a line an output, its name and identities.

`inputs.tsv` has such lines only. Shards (`icd.shards`) append to a record of their own each, `inputs-I-of-N.tsv`,
where every run of a shard begins with a line without a name: the number of the run, which is larger than those of all
runs on record when it began, and the settings.
"""
from __future__ import annotations

import json
import os
import re
from typing import Iterable, NamedTuple

from icd import files, shards
from icd.lines import Lines
from icd.shards import Shard

SETTINGS, INPUTS = 'settings.json', 'inputs.tsv'
ANY_INPUTS = 'inputs*.tsv'      # also of shards, for glob
_OF_SHARD, _ENDING = 'inputs-', '.tsv'
_BEGIN = re.compile(rb'^(?:\t[^\n]*)?\n', re.MULTILINE)     # where a run of a shard begins: a line without a name


class Run(NamedTuple):
    """What a run has recorded: its number, the content of `settings.json`, and whole lines of a name and identities."""

    number: int
    header: dict | None
    lines: bytes


def path_of(folder: str, shard: Shard | None) -> str:
    """The record that a process with this `--shard` writes."""
    return os.path.join(folder, INPUTS if shard is None else f'{_OF_SHARD}{shard.in_names}{_ENDING}')


def of_shards(folder: str) -> dict:
    """Paths of the records of all shards, by shard."""
    return shards.files(os.path.join(folder, _OF_SHARD), _ENDING)


def read_settings(folder: str) -> dict | None:
    """The content of `settings.json`; None when there is none, or it is damaged."""
    return _parsed(read(os.path.join(folder, SETTINGS)))


def all_runs(folder: str) -> list:
    """Every `Run` on record, the first one first: `inputs.tsv` is older than all shards."""
    first = Run(0, read_settings(folder), _whole(read(os.path.join(folder, INPUTS))))
    later = [run for path in of_shards(folder).values() for run in runs(path)]
    return [first, *sorted(later, key=lambda run: run.number)]


def runs(path: str) -> list:
    """The runs of a shard's record, in order."""
    text = _whole(read(path))
    begins = list(_BEGIN.finditer(text))
    found = []
    for begin, after in zip(begins, [*begins[1:], None]):
        fields = begin.group().decode(errors='replace')[1:-1].split('\t')
        number, header = fields if len(fields) == 2 and fields[0].isdigit() else ('0', '')
        found.append(Run(int(number), _parsed(header), text[begin.end():after and after.start()]))
    return found


def latest(found: Iterable[Run], header: dict) -> Lines:
    """The last line of each name; one of a run with another header takes the name back."""
    texts = [run.lines if run.header == header else _names_alone(run.lines) for run in found if run.lines]
    return Lines(texts[0] if len(texts) == 1 else b''.join(texts))


def owners(folder: str) -> list:
    """The content of `settings.json` by every run on record; None where there is none, or it is damaged."""
    return [read_settings(folder), *(run.header for path in of_shards(folder).values() for run in runs(path))]


def stamp(folder: str) -> list:
    """What changes when a record does: files, sizes and times."""
    found = []
    for path in (os.path.join(folder, SETTINGS), os.path.join(folder, INPUTS), *of_shards(folder).values()):
        try:
            status = os.stat(path)
        except OSError:                                     # none
            continue
        found.append((path, status.st_ino, status.st_size, status.st_mtime_ns))
    return found


def line(name: str, identities: Iterable[str]) -> bytes:
    """The line of an output; without identities it takes back those before."""
    return ('\t'.join([name, *identities]) + '\n').encode()


def begin_run(path: str, number: int, header: dict) -> bytes:
    """What is appended to a shard's record where a run begins."""
    begun = read(path)
    torn = b'\t\n' if begun and not begun.endswith(b'\n') else b''      # a line with a field too many is nothing
    return torn + line('', [str(number), json.dumps(header)])


def append(file: int, data: bytes):
    """Write all of `data` to an open file: a disk that gets full takes the beginning first."""
    while data:
        data = data[os.write(file, data):]


def read(path: str) -> bytes:
    """The content of a file that may be missing."""
    try:
        with files.named(path), open(path, 'rb') as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return b''


def _whole(text):
    """The lines of a record without one that a crash tore."""
    return text if text.endswith(b'\n') else text[:text.rfind(b'\n') + 1]


def _names_alone(text):
    return re.sub(rb'\t[^\n]*', b'', text)


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None
