"""The table that ends a run of the benchmarks: all figures, their limits, and what the last committed run gave.

Tables lie in `tests/benchmarks/tables`, one a kind of processor.
"""
import dataclasses
import datetime
import json
import os
import platform
import re

from tests.benchmarks._figures import RATIO, Figure

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tables')
NOISE = .15             # between two runs of a ratio on a machine that others use
_SIMD = 'avx512f', 'avx2', 'avx', 'sse4_2', 'asimd'
_HEADER = '| benchmark | what | figure | limit | compared with | committed | change |\n|---|---|---|---|---|---|---|'


def processor(path='/proc/cpuinfo'):
    """Kind of the processor, for a file's name: model, family where the model's name alone says little, SIMD level.

    Parameters
    ----------
    path : str, optional

    Returns
    -------
    str
        Like ``amd-epyc-family-25-model-1-avx2``.
    """
    fields = {}
    try:
        with open(path, encoding='utf-8') as file:
            for line in file:
                key, _, value = line.partition(':')
                fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    flags = (fields.get('flags') or fields.get('Features') or '').split()
    numbers = [f'{word} {fields[key]}' for word, key in (('family', 'cpu family'), ('model', 'model')) if key in fields]
    parts = [fields.get('model name') or platform.machine(), *numbers, *[one for one in _SIMD if one in flags][:1]]
    return re.sub(r'[^a-z0-9]+', '-', ' '.join(parts).lower()).strip('-')


def path_of(kind):
    """Path of the committed table of a kind of processor."""
    return os.path.join(FOLDER, kind + '.json')


def read_figures(path):
    """Figures that benchmarks have added to a file; a later one replaces an earlier one of the same name."""
    found = {}
    if os.path.isfile(path):
        with open(path, encoding='utf-8') as file:
            for line in file:
                figure = Figure(**json.loads(line))
                found[figure.name] = figure
    return list(found.values())


def read(kind):
    """The committed table: date, machine, and {benchmark: [Figure]}; an empty one where there is none."""
    path = path_of(kind)
    if not os.path.isfile(path):
        return {'measured': None, 'note': '', 'figures': {}}
    with open(path, encoding='utf-8') as file:
        table = json.load(file)
    table['figures'] = {name: [Figure(**one) for one in rows] for name, rows in table['figures'].items()}
    return table


def save(kind, found, note):
    """Commit figures: those of benchmarks that did not run stay as they were."""
    figures = {**read(kind)['figures'], **found}
    table = {'processor': kind, 'cores': os.cpu_count(), 'measured': datetime.date.today().isoformat(), 'note': note,
             'figures': {name: [_as_json(one) for one in rows] for name, rows in sorted(figures.items())}}
    os.makedirs(FOLDER, exist_ok=True)
    with open(path_of(kind), 'w', encoding='utf-8') as file:
        json.dump(table, file, indent=1, ensure_ascii=False)
        file.write('\n')


def _as_json(figure):
    """A figure with five significant digits, without what it does not have."""
    found = {field.name: getattr(figure, field.name) for field in dataclasses.fields(figure)
             if getattr(figure, field.name) != field.default}
    return dict(found, value=float(f'{figure.value:.5g}'))


def change(figure, before):
    """How a figure differs from the committed one, and whether it is a ratio that is worse by more than noise."""
    if before is None or before.unit != figure.unit or not before.value:
        return '', False
    gain = figure.value / before.value - 1
    worse = figure.unit == RATIO and not figure.better * gain >= -NOISE
    shown = f'{100 * gain:+.0f} %'.replace('-0 %', '+0 %') if abs(gain) < .005 else f'{100 * gain:+.0f} %'
    return shown + (', **worse**' if worse else ''), worse


def lines(found, committed):
    """The table as Markdown.

    Parameters
    ----------
    found, committed : dict of str to list of Figure
        Of this run and of the last one that was committed, by benchmark.

    Returns
    -------
    text : list of str
    missed, worse : list of str
        Names of figures that miss their limit; that are worse than the committed ones.
    """
    text, missed, worse = [_HEADER], [], []
    for benchmark, figures in found.items():
        before = {one.name: one for one in committed.get(benchmark, [])}
        for one in figures:
            name, last = f'{benchmark}: {one.name}', before.get(one.name)
            changed, is_worse = change(one, last)
            missed += [] if one.kept else [name]
            worse += [name] if is_worse else []
            shown = f'{_number(one.value)} {one.unit}' + ('' if one.kept else ' **missed**')
            text.append(f'| {benchmark} | {one.name} | {shown} | {_limit(one)} | {one.against} | '
                        f"{_number(last.value) if last else ''} | {changed} |")
        text += [f'| {benchmark} | {name} | not measured | | | {_number(one.value)} | |'
                 for name, one in before.items() if name not in {figure.name for figure in figures}]
    return text, missed, worse


def _limit(figure):
    parts = [f'{word} {_number(limit)}' for word, limit in (('at most', figure.at_most), ('at least', figure.at_least))
             if limit is not None]
    return ', '.join(parts)


def _number(value):
    """Three significant digits, thousands in full."""
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
