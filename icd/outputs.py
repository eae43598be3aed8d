"""The files that a stage makes in a folder, a name each: what they were made with and from, and whether that changed.

Two files in the folder record this (docs/formats.md):

- `settings.json`: which stage made the outputs, and the settings that decide them;
- `inputs.tsv`: a line an output, its name and the identity of each of its inputs, separated by tabs. The identity of
  a file is `SIZE,MTIME_NS,CTIME_NS,CRC32`; a value that is no file (the classes of an image) stands behind `=`.

An output is out of date when the settings or the content of an input changed. Dates decide nothing: files that are
restored or copied keep older dates or get newer ones. They only tell what need not be read: a file that has the
recorded size and both recorded times is unchanged, any other is read and its checksum compared.
"""
from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
from typing import Collection, Iterable, Sequence

from icd import console, files
from icd.errors import Problems, UserError

SETTINGS, INPUTS = 'settings.json', 'inputs*.tsv'


class Input:
    """A file that an output is made from, as it is now.

    Parameters
    ----------
    path : str
        It need not exist.
    """

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
        with open(os.path.join(folder, SETTINGS), encoding='utf-8') as file:
            made_by = json.load(file).get('made_by')
    except (OSError, ValueError, AttributeError):
        return '', 0
    recorded = {}
    for path in glob.glob(os.path.join(glob.escape(folder), INPUTS)):
        with contextlib.suppress(OSError), open(path, encoding='utf-8', errors='replace', newline='\n') as file:
            for line in file:
                name, *identities = line.rstrip('\n').split('\t')
                if line.endswith('\n'):
                    recorded[name] = bool(identities)
    return str(made_by or ''), sum(recorded.values())


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
    part : (int, int), optional
        This process makes only part `part[0]` of `part[1]` of the names, and others with the same settings may
        make the rest at the same time.
    """

    def __init__(self, folder: str, made_by: str, settings: dict, part: tuple | None = None):
        self.folder, self.made_by = folder, made_by
        self.settings = json.loads(json.dumps(settings))        # as they read back: lists, not tuples
        self._record = 'inputs.tsv' if part is None else f'inputs-{part[0]}-of-{part[1]}.tsv'
        self._part, self._file, self._stale_lines, self._refreshed = part, None, False, {}
        self._recorded = self._read_inputs() if self._read_settings() == self._header() else {}

    def _header(self):
        return {'made_by': self.made_by, 'settings': self.settings}

    def _read_settings(self):
        try:
            path = os.path.join(self.folder, SETTINGS)
            with files.named(path), open(path, encoding='utf-8') as file:
                return json.load(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def _read_inputs(self):
        """Identities by name. Of several lines of a name the last counts; one that a crash tore is left out."""
        found = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), INPUTS))):
            with files.named(path), open(path, encoding='utf-8', errors='replace', newline='\n') as file:
                for line in file:
                    name, *identities = line[:-1].split('\t')
                    self._stale_lines |= name in found or not line.endswith('\n')
                    if line.endswith('\n'):
                        found[name] = identities
        return found

    def check_owner(self, problems: Problems):
        """Record when the folder holds the outputs of another stage: each would take the other's for out of date."""
        found = self._read_settings()
        if isinstance(found, dict) and found.get('made_by', self.made_by) != self.made_by:
            problems.add(f"holds the outputs of {found['made_by']}", self.folder, 'choose another folder')

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
        recorded = self._recorded.get(name)
        if recorded is None or len(recorded) != len(inputs) or not all(map(os.path.isfile, paths)):
            return False
        if not all(one.is_still(identity) for one, identity in zip(inputs, recorded)):
            return False
        now = [one.recorded_as(identity) for one, identity in zip(inputs, recorded)]
        if now != recorded:                                     # another date: the next run need not read it again
            self._refreshed[name] = now
        return True

    def record(self, name: str, identities: Iterable[str]):
        """Record that an output was made, from inputs of these identities. Within `writing`, after its last rename."""
        with files.named(os.path.join(self.folder, self._record)):
            _append(self._file, _line(name, identities))

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
            When another run is writing here, which is not a part of the same work.
        """
        join = None if self._part is None else functools.partial(self._join, sub_folders)
        with files.folder_lock(self.folder, join=join):
            if join is None:
                self._begin()
            # Of several parts only the first may clear away: what it finds is nobody's.
            clear = files.nothing_partial(self.folder, sub_folders) if join is None else contextlib.nullcontext()
            with clear:
                self._file = self._open_record()
                try:
                    with files.named(os.path.join(self.folder, self._record)):
                        _append(self._file, b''.join(_line(name, ()) for name in names if name in self._recorded))
                    yield
                finally:
                    os.close(self._file)

    def _join(self, sub_folders, first):
        if first:
            self._begin()
            with files.nothing_partial(self.folder, sub_folders):
                return True
        return self._read_settings() == self._header()

    def _begin(self):
        """Note the settings; what was recorded under others is forgotten."""
        found = self._read_settings()
        if found == self._header():
            return
        before = found.get('settings') if isinstance(found, dict) else None
        if isinstance(before, dict) and found.get('made_by') == self.made_by:
            changed = sorted(key for key in {**before, **self.settings} if before.get(key) != self.settings.get(key))
            console.log(f"{self.folder}: everything is made again because of changed settings: {', '.join(changed)}")
        for path in glob.glob(os.path.join(glob.escape(self.folder), INPUTS)):
            os.remove(path)
        files.save_json(os.path.join(self.folder, SETTINGS), self._header())

    def _open_record(self):
        """Descriptor of this process's record, to which lines are appended."""
        path = os.path.join(self.folder, self._record)
        if self._part is None and (self._stale_lines or self._refreshed):
            recorded = self._read_inputs()                          # another run may have been here meanwhile
            recorded.update((name, identities) for name, identities in self._refreshed.items()
                            if recorded.get(name) == self._recorded[name])
            files.save_bytes(path, b''.join(map(_line, recorded, recorded.values())))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        if self._part is not None and not files.try_lock(file):
            os.close(file)
            raise UserError('another run makes the same part', self.folder, 'wait for it, or give another part')
        return file


def _append(file, data):
    """Write all of `data`: a disk that gets full takes the beginning first."""
    while data:
        data = data[os.write(file, data):]


def _line(name, identities):
    return ('\t'.join([name, *identities]) + '\n').encode()
