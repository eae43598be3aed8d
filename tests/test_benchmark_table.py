"""The table that ends a run of the benchmarks: limits, what changed against the committed table, and its file."""
import json
import os

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import _figures, _table
from tests.benchmarks._figures import RATIO, Figure

CPUINFO = """processor\t: 0
model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz
cpu family\t: 6
model\t\t: 79
flags\t\t: fpu sse4_2 avx avx2 fma

processor\t: 1
model name\t: another
"""


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Tables are read and written here, and the processor is `cpu`."""
    monkeypatch.setattr(_table, 'FOLDER', str(tmp_path / 'tables'))
    monkeypatch.setattr(_table, 'processor', lambda: 'cpu')
    return tmp_path / 'tables'


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A benchmark `one` that reports what it is given as arguments of `report`, and its exit code."""
    def write(code, *calls):
        text = 'import sys\nfrom tests.benchmarks import _figures\n'
        for call in calls:
            text += f'_figures.report(*{call[:-1]!r}, **{call[-1]!r})\n'
        (tmp_path / 'one.py').write_text(text + f'sys.exit({code})\n')
    monkeypatch.setattr(command, 'HERE', str(tmp_path))
    monkeypatch.setattr(command, 'NAMES', ['one'])
    return write


def test_kind_of_a_processor_names_model_and_instructions(tmp_path):
    (tmp_path / 'cpuinfo').write_text(CPUINFO)
    assert _table.processor(str(tmp_path / 'cpuinfo')) == 'intel-r-xeon-r-cpu-2-20ghz-family-6-model-79-avx2'
    assert _table.processor(str(tmp_path / 'nothing')) and '/' not in _table.processor()


@pytest.mark.parametrize('value, limits, kept', [
    (1, {}, True), (1, {'at_most': 1}, True), (1.01, {'at_most': 1}, False), (1, {'at_least': 1}, True),
    (.99, {'at_least': 1}, False), (float('nan'), {'at_most': 1}, False), (float('nan'), {'at_least': 1}, False)])
def test_limits(value, limits, kept):
    assert Figure('a', value, 's', **limits).kept is kept


@pytest.mark.parametrize('now, before, shown, worse', [
    (Figure('a', 2., RATIO), Figure('a', 1., RATIO), '+100 %, **worse**', True),
    (Figure('a', 2., RATIO, more_is_better=True), Figure('a', 1., RATIO), '+100 %', False),
    (Figure('a', .5, RATIO, at_least=.1), Figure('a', 1., RATIO), '-50 %, **worse**', True),
    (Figure('a', 1.1, RATIO), Figure('a', 1., RATIO), '+10 %', False),
    (Figure('a', float('nan'), RATIO), Figure('a', 1., RATIO), '+nan %, **worse**', True),
    (Figure('a', 2., 's'), Figure('a', 1., 's'), '+100 %', False),         # another load of the machine, perhaps
    (Figure('a', 2., 'ms'), Figure('a', 1., 's'), '', False),
    (Figure('a', 2., 's'), None, '', False)])
def test_only_ratios_are_called_worse(now, before, shown, worse):
    assert _table.change(now, before) == (shown, worse)


def test_a_run_ends_with_a_table_and_compares_with_the_committed_one(tables, benchmark, capfd):
    benchmark(0, ('time', 2., 's', 'theirs: 9 s', {'at_most': 3}), ('speed', 4., RATIO, {'more_is_better': True}))
    assert command.main(['one', '--save', '--note', 'idle']) == 0
    first = capfd.readouterr().out
    assert '| one | time | 2 s | at most 3 | theirs: 9 s |  |  |' in first and 'none for this kind' in first
    benchmark(0, ('time', 4., 's', 'theirs: 9 s', {'at_most': 3}), ('speed', 2., RATIO, {'more_is_better': True}))
    assert command.main(['one']) == 1
    second = capfd.readouterr().out
    assert '| one | time | 4 s **missed** | at most 3 | theirs: 9 s | 2 | +100 % |' in second
    assert '| one | speed | 2 times |  |  | 4 | -50 %, **worse** |' in second and '(idle)' in second
    assert 'limits missed: one: time\n' in second and 'worse by more than 15%: one: speed\n' in second


def test_a_figure_that_is_missing_and_a_benchmark_that_fails_are_named(tables, benchmark, capfd):
    benchmark(0, ('time', 2., 's', {}))
    assert command.main(['one', '--save']) == 0
    benchmark(3)
    assert command.main(['one']) == 3
    printed = capfd.readouterr().out
    assert '| one | time | not measured |' in printed and 'benchmarks that failed: one\n' in printed


def test_saving_keeps_the_figures_of_benchmarks_that_did_not_run(tables):
    _table.save('cpu', {'a': [Figure('x', 1., 's')], 'b': [Figure('y', 2., RATIO, 'them', at_least=1.),
                                                            Figure('none', 0., '', at_most=0.)]}, '')
    _table.save('cpu', {'a': [Figure('x', 3., 's')]}, 'busy')
    assert _table.read('cpu')['figures'] == {'a': [Figure('x', 3., 's')],
                                             'b': [Figure('y', 2., RATIO, 'them', at_least=1.),
                                                   Figure('none', 0., '', at_most=0.)]}
    assert json.loads((tables / 'cpu.json').read_text())['note'] == 'busy'


def test_nothing_is_reported_outside_of_a_run(tmp_path, monkeypatch):
    monkeypatch.delenv(_figures.FILE, raising=False)
    _figures.report('a', 1, 's')
    path = str(tmp_path / 'figures')
    monkeypatch.setenv(_figures.FILE, path)
    _figures.report('a', 1, 's')
    _figures.report('a', 2, 's')
    assert _table.read_figures(path) == [Figure('a', 2., 's')]


def test_committed_tables_are_of_benchmarks_that_exist():
    for name in os.listdir(_table.FOLDER):
        table = _table.read(name[:-len('.json')])
        assert set(table['figures']) <= set(command.NAMES) - command.NO_FIGURES, name
        assert all(one.kept for figures in table['figures'].values() for one in figures), name
