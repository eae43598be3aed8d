"""The files that a stage makes in a folder, a name each: what they were made with and from, and whether that changed.

Two files in the folder record this (docs/formats.md):

- `settings.json`: which stage made the outputs, and the settings that decide them;
- `inputs.tsv`: a line an output, its name and the identity of each of its inputs, separated by tabs. The identity of
  a file is `SIZE,MTIME_NS,CTIME_NS,CRC32`; a value that is no file (the classes of an image) stands behind `=`.

An output is out of date when the settings or the content of an input changed. Dates decide nothing: files that are
restored or copied keep older dates or get newer ones. They only tell what need not be read: a file that has the
recorded size and both recorded times is unchanged, any other is read and its checksum compared.

Shards (`icd.shards`) write to one folder at the same time, from computers whose locks may not reach each other. So none
touches a file of another, records included (`icd.records`). A run that is no shard puts all records together.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import Collection, Iterable, Sequence

from icd import console, files, records
from icd.errors import Problems, UserError
from icd.lines import Lines
from icd.shards import Shard


class Input:
    """A file that an output is made from, as it is now.

    Parameters
    ----------
    path : str
        It need not exist.
    """

    __slots__ = 'path', 'stat', '_crc'

    def __init__(self, path: str):
        self.path, self.stat, self._crc = path, _stat(path), None

    def identity(self) -> str:
        """The identity of the file this was created for; of one that changed since, one that no file has."""
        if self._crc is None:
            try:
                self._crc = f'{files.checksum(self.path):08x}'
            except OSError:
                self._crc = 'missing'
        return f'{self.stat},{self._crc if _stat(self.path) == self.stat else "changed"}'

    def content(self) -> str:
        """The part of the identity that copying does not change."""
        size, *_, crc = self.identity().split(',')
        return f'{size},{crc}'

    def is_still(self, identity: str) -> bool:
        """Whether the file has the content of a recorded identity, or is gone: then nothing can be made from it."""
        if not self.stat:
            return True
        if identity.startswith(self.stat + ','):
            return not identity.endswith('changed')
        size, crc = identity.split(',')[0], identity.rpartition(',')[2]
        return size == self.stat.split(',')[0] and crc == self.identity().rpartition(',')[2]

    def recorded_as(self, identity: str) -> str:
        """The identity of this file, which `is_still` what was recorded, without reading it again."""
        return identity if not self.stat else f"{self.stat},{identity.rpartition(',')[2]}"


class Value:
    """Something that an output is made from and that is no file; `text` holds no tabs and no line breaks."""

    __slots__ = 'text',

    def __init__(self, text: str):
        self.text = text

    def identity(self) -> str:
        """See `Input.identity`."""
        return '=' + self.text

    content = identity

    def is_still(self, identity: str) -> bool:
        """See `Input.is_still`."""
        return identity == self.identity()

    def recorded_as(self, identity: str) -> str:
        """See `Input.recorded_as`."""
        return identity


def _stat(path):
    """Size and modification time of a file as an identity begins; empty when there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ''
    return f'{found.st_size},{found.st_mtime_ns},{found.st_ctime_ns}'


def progress(folder: str) -> tuple[str, int]:
    """Which stage makes the outputs of a folder, and how many it has recorded; looks at the records alone.

    Returns
    -------
    (str, int)
        `made_by`, empty where nothing is recorded, and the number of outputs. A line that is just being written does
        not count yet.
    """
    try:
        runs = records.all_runs(folder)
    except OSError:
        return '', 0
    headers = [run.header for run in runs if isinstance(run.header, dict)]
    if not headers:
        return '', 0
    recorded = Lines(b''.join(run.lines for run in runs)).in_order().count(b'\n')
    return str(headers[-1].get('made_by') or ''), recorded


class Outputs:
    """The outputs of one stage in one folder.

    Parameters
    ----------
    folder : str
        It need not exist.
    made_by : str
        The stage.
    settings : dict
        JSON values that decide the outputs, next to their inputs.
    shard : Shard, optional
        This process makes only the names of this shard, and others may make the rest at the same time.
    """

    def __init__(self, folder: str, made_by: str, settings: dict, shard: Shard | None = None):
        self.folder, self.made_by, self._shard = folder, made_by, shard
        self.settings = json.loads(json.dumps(settings))        # as they read back: lists, not tuples
        self._header = {'made_by': made_by, 'settings': self.settings}
        self._record = records.path_of(folder, shard)
        self._file, self._refreshed, self._there = None, {}, files.Listed()
        self._read = None
        self._recorded = self._identities()

    def _identities(self):
        """Identities by name, of the last line of each: none where it takes the name back or has other settings."""
        stamp = records.stamp(self.folder)
        if not self._read or self._read[0] != stamp:
            self._read = stamp, records.latest(records.all_runs(self.folder), self._header)
        return self._read[1]

    def check_owner(self, problems: Problems):
        """Record when the folder holds the outputs of another stage: each would take the other's for out of date."""
        for found in records.owners(self.folder):
            if isinstance(found, dict) and found.get('made_by', self.made_by) != self.made_by:
                problems.add(f"holds the outputs of {found['made_by']}", self.folder, 'choose another folder')
                return

    def is_current(self, name: str, paths: Iterable[str], inputs: Sequence[Input | Value]) -> bool:
        """Whether an output needs not be made again.

        Parameters
        ----------
        name : str
            Of a list: no tabs, no line breaks.
        paths : iterable of str
            The output's files.
        inputs : sequence of Input or Value
            What it would be made from now, one at least.
        """
        line = self._recorded.get(name.encode())
        recorded = line.decode(errors='replace').split('\t') if line else ()
        if len(recorded) != len(inputs) or not all(path in self._there for path in paths):
            return False
        if not all(one.is_still(identity) for one, identity in zip(inputs, recorded)):
            return False
        now = [one.recorded_as(identity) for one, identity in zip(inputs, recorded)]
        if now != recorded:                                     # another date: the next run need not read it again
            self._refreshed[name] = records.line(name, now)
        return True

    def report_missing(self, names: Sequence[str], wanted: Collection[str]):
        """Log which shards have not made all of their images; a shard does not look at others.

        Parameters
        ----------
        names : sequence of str
            All names, in the order that the shards had them in.
        wanted : collection of str
            Of the outputs to be made.
        """
        wanted = set(wanted)
        numbers = {shard: records.runs(path)[-1:] for shard, path in records.of_shards(self.folder).items()}
        newest = max(((runs[0].number, shard.count) for shard, runs in numbers.items() if runs), default=(0, 0))
        for shard in (Shard(number + 1, newest[1]) for number in range(newest[1] if self._shard is None else 0)):
            own = shard.of(names)
            missing = sum(name in wanted for name in own)
            if missing:
                console.log(f'{self.folder}: {shard.title} has not made {missing} of its {len(own)} images: they are '
                            'made now')

    def record(self, name: str, identities: Iterable[str]):
        """Record that an output was made, from inputs of these identities. Within `writing`, after its last rename."""
        with files.named(self._record):
            records.append(self._file, records.line(name, identities))

    @contextlib.contextmanager
    def writing(self, names: Collection[str], sub_folders: Iterable[str] = ()):
        """Hold the folder while outputs are made: no other run changes it, and nothing half-written stays.

        Parameters
        ----------
        names : collection of str
            Of the outputs to be made. What was recorded of them is forgotten now: a run that is killed between
            writing an output and recording it leaves one that is made again.
        sub_folders : iterable of str
            Where there may be files, relative to the folder; '' is the folder itself.

        Raises
        ------
        UserError
            When another run is writing here, which is not a shard of the same work.
        """
        with files.folder_lock(self.folder, shared=self._shard is not None):
            self._refuse_others()
            if self._shard is None:
                self._begin()
            # What a killed shard left half-written is removed by the run that comes last: here it may be another's.
            clear = files.nothing_partial(self.folder, sub_folders) if self._shard is None else contextlib.nullcontext()
            with clear, self._opened():
                forgotten = [records.line(name, ()) for name in names if name.encode() in self._recorded]
                with files.named(self._record):
                    records.append(self._file, b''.join(forgotten))
                yield
            if self._shard is None:
                self._save(self._identities())

    def _refuse_others(self):
        """Raise a `UserError` when a shard is at work here that this run is no other shard of."""
        for shard, path in records.of_shards(self.folder).items():
            if path == self._record:
                continue
            file = os.open(path, os.O_RDONLY)
            try:
                files.wait_until(lambda s=shard, p=path, f=file: self._shares(s, p) or files.try_lock(f, fcntl.LOCK_SH),
                                 UserError(f'{shard.title} is being made here', self.folder,
                                           'wait for it, or choose another folder'))
            finally:
                os.close(file)

    def _shares(self, shard, path):
        """Whether another shard, with its record, is of the same work; one that has not begun yet may be."""
        headers = [run.header for run in records.runs(path)[-1:]]
        return self._shard is not None and shard.count == self._shard.count and headers in ([], [self._header])

    def _report_changed(self, made):
        """Log which settings are others than those of what is there, unless shards have begun with them."""
        found = records.read_settings(self.folder)
        before = found.get('settings') if isinstance(found, dict) else None
        if isinstance(before, dict) and found.get('made_by') == self.made_by and not made.in_order():
            changed = sorted(key for key in {**before, **self.settings} if before.get(key) != self.settings.get(key))
            console.log(f"{self.folder}: everything is made again because of changed settings: {', '.join(changed)}")

    def _begin(self):
        """Note the settings, and put all records together; what was recorded under others is forgotten."""
        found = self._identities()                              # another run may have been here meanwhile
        if records.read_settings(self.folder) != self._header:
            self._report_changed(found)
            with contextlib.suppress(FileNotFoundError):        # first: these lines are of other settings
                os.remove(self._record)
            files.save_json(os.path.join(self.folder, records.SETTINGS), self._header)
        self._save(found)
        for path in records.of_shards(self.folder).values():
            os.remove(path)

    def _save(self, found):
        """Write the record of identities by name, a line a name in their order, unless it reads so already."""
        changed = [line for name, line in self._refreshed.items()
                   if found.get(name.encode()) == self._recorded.get(name.encode())]
        data = Lines(b''.join([found.in_order(), *changed])).in_order() if changed else found.in_order()
        if data != records.read(self._record):
            files.save_bytes(self._record, data)

    @contextlib.contextmanager
    def _opened(self):
        """This process's record is open, to which lines are appended; a shard's is locked, and has a new run."""
        self._file = os.open(self._record, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if self._shard is not None:
                files.wait_until(lambda: files.try_lock(self._file, fcntl.LOCK_EX), UserError(
                    'another run makes the same shard', self.folder, 'wait for it, or give another --shard'))
                if records.read_settings(self.folder) != self._header:
                    self._report_changed(self._recorded)
                number = 1 + records.all_runs(self.folder)[-1].number
                with files.named(self._record):
                    records.append(self._file, records.begin_run(self._record, number, self._header) +
                                   b''.join(self._refreshed.values()))
            yield
        finally:
            os.close(self._file)

