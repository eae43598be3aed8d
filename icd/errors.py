"""Errors that are caused by user input, alone and many at once."""
from __future__ import annotations

_NAMED = 10             # problems of a kind that are named
_LONGEST = 200          # characters


def printable(text: str) -> str:
    """What a file of others says, as a message of one line can hold it: no line breaks, no escape sequences, short."""
    text = ''.join(letter if letter.isprintable() else '?' for letter in ' '.join(text[:2 * _LONGEST].split()))
    return text if len(text) <= _LONGEST else text[:_LONGEST - 3] + '...'


class UserError(Exception):
    """A mistake in what the user gave: one line that names the file, what is wrong and what to do.

    The commands print it without a traceback and end with exit code 2 (`icd.console.run_command`). Everything else
    that is raised is a bug of the project and keeps its traceback.

    Parameters
    ----------
    what : str
        What is wrong.
    path : str, optional
        The file, folder or option that has the problem.
    remedy : str, optional
        What the user can do.
    """

    def __init__(self, what: str, path: str | None = None, remedy: str | None = None):
        super().__init__(what, path, remedy)
        self.what, self.path, self.remedy = what, path, remedy

    def __str__(self):
        return ': '.join(part for part in (self.path, self.what, self.remedy) if part)


class Problems:
    """Problems by kind, in the order the kinds appear."""

    def __init__(self):
        self._kinds = {}

    def add(self, what: str, path: str | None = None, remedy: str | None = None):
        """Record that `path` (a file, mostly) has the problem `what`; two stages may report the same file."""
        self._kinds.setdefault((what, remedy), {})[path] = None

    def add_error(self, error: UserError):
        """Record a `UserError`."""
        self.add(error.what, error.path, error.remedy)

    def __bool__(self):
        return bool(self._kinds)

    def __str__(self):
        lines = []
        for (what, remedy), paths in self._kinds.items():
            named = [path for path in paths if path]
            if len(named) > 1:
                what += f' ({len(named)} files)'
            shown = ', '.join(named[:_NAMED]) + (', ...' if len(named) > _NAMED else '')
            lines.append(str(UserError(what, shown, remedy)))
        return '\n'.join(lines)

    def raise_if_any(self):
        """Raise a `UserError` with all problems, a line each kind, if there are any."""
        if self:
            raise UserError(str(self))
