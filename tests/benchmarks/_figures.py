"""What a benchmark measured, as rows of one table: every benchmark reports, `tests/benchmarks/__main__.py` collects.

A ratio of two things measured in turns in one run means the same on every processor of a kind, and is compared with the
committed table. Times, rates and sizes are shown beside the committed ones: they change with whatever else runs.
"""
import dataclasses
import json
import os

FILE = 'ICD_FIGURES'        # environment variable: path of the file that figures are added to
RATIO = 'times'


@dataclasses.dataclass(frozen=True)
class Figure:
    """A row.

    Attributes
    ----------
    name : str
        What is measured; no two figures of a benchmark have the same.
    value : float
    unit : str
        `RATIO`, or a unit of time, memory or work a second.
    against : str
        What it is compared with.
    at_most, at_least : float or None
        Limit, of the benchmark's exit code. `at_least` also says that more is better.
    more_is_better : bool
    """

    name: str
    value: float
    unit: str
    against: str = ''
    at_most: float = None
    at_least: float = None
    more_is_better: bool = False

    @property
    def better(self):
        """1 where more is better, -1 where less is."""
        return 1 if self.more_is_better or self.at_least is not None else -1

    @property
    def kept(self):
        """Whether it keeps its limit; a value that is no number does not."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least)


def report(name, value, unit, against='', at_most=None, at_least=None, more_is_better=False):
    """Add a figure to the table of the run this benchmark is part of, if it is; see `Figure`."""
    path = os.environ.get(FILE)
    if path:
        found = Figure(name, float(value), unit, against, at_most, at_least, more_is_better)
        with open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(dataclasses.asdict(found)) + '\n')
