"""What the README and the pages of `docs/` ask people to type, import and look up is there."""
import glob
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess

import numpy as np
import pytest

from icd import (
    __version__,
    audit_options,
    cli,
    demo_options,
    doctor_options,
    evaluate_options,
    files,
    maps_options,
    option_page,
    pipeline_options,
    segment_options,
    watch_options,
    weights_options,
)
from icd.data import masks
from icd.steps import export_onnx
from tests.helpers import PROJECT

PROGRAM = os.path.join(PROJECT, 'external', 'superpixel', 'makeSuperpixel')
TABLES = {'run_icd.py': cli.RUN, 'icd-run': cli.RUN, 'generate_superpixel.py': cli.SUPERPIXEL,
          'icd-superpixel': cli.SUPERPIXEL, 'icd-evaluate': evaluate_options.EVALUATE, 'icd.demo': demo_options.DEMO,
          'icd-pipeline': pipeline_options.PIPELINE, 'icd-doctor': doctor_options.DOCTOR,
          'icd-seeds': maps_options.SEEDS,
          'icd-audit': audit_options.AUDIT,
          'icd-watch': watch_options.WATCH,
          'run_deeplab.py': segment_options.SEGMENT_TRAIN,
          **{f'icd-segment {stage}': table for stage, table in segment_options.COMMANDS.items()},
          **{f'icd-weights {name}': table for name, table in weights_options.COMMANDS.items()}}
NOTEBOOK = 'docs/quickstart.ipynb'
OTHERS = {'icd-labels': 'icd.steps.labels', 'icd-masks': 'icd.steps.masks'}      # commands whose options are their own


def read(name):
    with open(os.path.join(PROJECT, name), encoding='utf-8') as file:
        return file.read()


PAGES = {name: read(name) for name in ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'data/README.md'] + sorted(
    os.path.relpath(path, PROJECT) for path in glob.glob(os.path.join(PROJECT, 'docs', '*.md')))}
PAGES[NOTEBOOK] = '\n\n'.join(''.join(cell['source']) for cell in json.loads(read(NOTEBOOK))['cells']
                              if cell['cell_type'] == 'markdown')


def lines_of_code(text):
    """Lines of the code blocks that are not Python's, those that continue in the next one joined."""
    for language, block in re.findall(r'^ *```(\w*)\n(.*?)^ *```', text, re.S | re.M):
        if not language:
            yield from block.replace('\\\n', ' ').splitlines()


def commands(text):
    """(command, its arguments) for each line that starts one of the project's commands or modules."""
    for line in lines_of_code(text):
        arguments = shlex.split(line, comments=True) if line.count('"') % 2 == 0 and line.count("'") % 2 == 0 else []
        for i, argument in enumerate(arguments):
            first = arguments[i - 1:i] == ['python'] if argument.endswith('.py') else i == 0
            if argument in OTHERS and i == 0:
                yield OTHERS[argument], arguments[1:]
            elif first and (argument in TABLES or argument in ('icd-export', 'icd-launch')):
                yield argument, arguments[i + 1:]
            elif i == 1 and f'{arguments[0]} {argument}' in TABLES:
                yield f'{arguments[0]} {argument}', arguments[2:]
            elif arguments[i - 2:i] == ['python', '-m']:
                yield argument, arguments[i + 1:]


def quoted(text):
    """The parts of a page between single back-ticks."""
    return re.findall(r'`([^`\n]+)`', re.sub(r'^ *```.*?^ *```', '', text, flags=re.S | re.M))


def headings(text):
    """Anchors of a page's headings, as Git hosts make them."""
    titles = re.findall(r'^#+ (.*)$', re.sub(r'^ *```.*?^ *```', '', text, flags=re.S | re.M), re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in titles}


def on_pages(find):
    """(page, what `find` yields) over all pages, once each, as parameters of a test."""
    return sorted({(name, found) for name, text in PAGES.items() for found in find(text)})


def named_files(text):
    """Files and folders of the project that a page names."""
    for phrase in quoted(text):
        yield from re.findall(r'^((?:icd|tests|external|data|docs)/[\w./]*(?:/|\.(?:py|md|cpp|h|html)))$', phrase)


def dotted_names(text):
    """Modules and what is in them; not the first column of tables, where the changes have the names of before."""
    for phrase in quoted(re.sub(r'^\|[^|]*\|', '', text, flags=re.M)):
        yield from re.findall(r'^(?:python -m )?(icd(?:\.\w+)+)$', phrase)


@pytest.mark.parametrize('page, command, arguments', [(name, *found) for name, text in PAGES.items()
                                                  for found in commands(text)])
def test_commands_are_understood(page, command, arguments):
    if command in TABLES:
        cli.parse(TABLES[command], command, '', arguments)
    elif command == 'icd-export':
        export_onnx.parse(arguments)
    elif command == 'icd-launch' and '--shards' in arguments:
        command, *arguments = arguments[arguments.index('--') + 1:]
        cli.parse(TABLES[command], command, '', arguments)
    elif command == 'icd-launch':
        cli.parse(cli.RUN, 'icd-run', '', arguments[arguments.index('--') + 1:])
    elif hasattr(importlib.import_module(command), 'parse'):
        importlib.import_module(command).parse(arguments)


def test_commands_are_found_on_the_pages():
    shown = [command for text in PAGES.values() for command, _ in commands(text)]
    assert len(shown) > 12 and {'run_icd.py', 'icd-evaluate', 'icd-weights convert', 'icd-launch'} <= set(shown)


def test_options_are_those_of_the_table():
    generated = '\n'.join(f'### `{title}`\n\n{table}\n' for title, table in cli.tables(
        option_page.PAGE))
    assert re.search(r'^### .*', PAGES['docs/options.md'], re.S | re.M).group(0).strip() == generated.strip(), (
        'docs/options.md is not up to date: make options')


def test_flags_exist():
    sources = [read(f'icd/{name}.py') for name in ('data/voc_lists', 'data/coco', 'data/msrc', 'steps/labels',
                                                   'steps/masks', 'train/launch')]
    sources.append(subprocess.run([PROGRAM, '--help'], stdout=subprocess.PIPE, text=True).stdout)
    known = {option.flag for table in TABLES.values() for options in table.values() for option in options}
    known |= {flag for source in sources for flag in re.findall(r'--[a-z][\w-]*', source)} | {'--help'}
    used = {flag for text in PAGES.values() for phrase in quoted(text) for flag in re.findall(r'--[a-z][\w-]*', phrase)}
    assert len(used) > 40 and used - known == set()


def test_documented_usage_is_that_of_the_superpixel_program():
    usage = next(line for line in lines_of_code(PAGES['docs/superpixels.md']) if line.startswith('makeSuperpixel'))
    printed = subprocess.run([PROGRAM, '--help'], stdout=subprocess.PIPE, text=True).stdout
    assert set(re.findall(r'--[\w-]+', usage)) == set(re.findall(r'^ +(--[\w-]+)', printed, re.M)) - {'--help'}


@pytest.mark.parametrize('page, target', on_pages(lambda text: re.findall(r'\]\((?!http)([^)]+)\)', text)))
def test_links_resolve(page, target):
    path, _, anchor = target.partition('#')
    name = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    assert os.path.exists(os.path.join(PROJECT, name))
    assert not anchor or anchor in headings(PAGES[name])


@pytest.mark.parametrize('page, path', on_pages(named_files))
def test_named_files_exist(page, path):
    assert os.path.exists(os.path.join(PROJECT, path))


@pytest.mark.parametrize('page, name', on_pages(dotted_names))
def test_named_modules_exist(page, name):
    module, _, attribute = name.rpartition('.')
    assert importlib.util.find_spec(module) and (
        hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name))


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The names that the examples in Python use, in a folder with the files that they read."""
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(36, 44, 3), dtype=np.uint8)
    truth = rng.integers(21, size=(36, 44), dtype=np.uint8)
    files.save_image(str(tmp_path / 'dog.jpg'), image)
    for folder in ('seeds', 'SegmentationClassAug'):
        masks.save_mask(str(tmp_path / folder / 'a.png'), truth)
    files.save_bytes(str(tmp_path / 'val.txt'), b'a')
    for folder in ('scores', 'cam'):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / 'scores/2007_000032.npz', classes=[11], cam_full=rng.normal(size=(1, 36, 44)))
    monkeypatch.chdir(tmp_path)
    return dict(image=image, truth=truth, pairs=[(truth, truth)], class_names=[str(c) for c in range(21)],
                logits=rng.normal(size=(21, 36, 44)).astype(np.float32))


@pytest.mark.parametrize('page, block', [(name, block) for name, text in PAGES.items()
                                         for block in re.findall(r'^ *```python\n(.*?)^ *```', text, re.S | re.M)])
def test_examples_in_python_run(example, page, block):
    exec(compile(block, page, 'exec'), example)


@pytest.mark.parametrize('page, target', on_pages(lambda text: [
    target for phrase in [*quoted(text), *lines_of_code(text)] for target in re.findall(r'^make (\w+)', phrase)]))
def test_make_targets_exist(page, target):
    assert re.search(rf'^{target}:', read('Makefile'), re.M)


def test_readme_is_short_and_has_picture_and_promise_first():
    readme = PAGES['README.md']
    assert len(readme.splitlines()) <= 150
    assert 'Seeds need no threshold tuned on pixel truth; background is where every logit is negative.' in readme
    assert readme.index('](docs/seeds.jpg)') < 300      # the picture comes first


def test_links_lead_from_the_readme_to_every_page():
    found, waiting = set(), ['README.md']
    while waiting:
        page = waiting.pop()
        if page in PAGES and page not in found:
            found.add(page)
            waiting += [os.path.normpath(os.path.join(os.path.dirname(page), link.partition('#')[0]))
                        for link in re.findall(r'\]\((?!http)([^)]+)\)', PAGES[page])]
    assert set(PAGES) - found == set()


@pytest.mark.parametrize('name, extra', [('cpu', 'cpu'), ('gpu', 'cu117')])
def test_docker_files_install_an_extra_and_end_without_root(name, extra):
    lines = read(f'docker/Dockerfile.{name}').splitlines()
    assert any(f"'.[{extra}]'" in line for line in lines) and f"'{extra}': [" in read('setup.py')
    user = lines.index('USER icd')
    assert not any(line.startswith(('RUN', 'COPY')) for line in lines[user:]) and any('makeSuperpixel' in line
                                                                                        for line in lines[:user])
    assert any(f'docker/Dockerfile.{name}' in line for line in PAGES['docs/machines.md'].splitlines())


def test_citations_agree():
    cff, bibtex = read('CITATION.cff'), re.search(r'@InProceedings.*?^}', PAGES['README.md'], re.S | re.M).group(0)
    fields = dict(re.findall(r'^ +(\w+): (\S.*)$', cff, re.M))
    assert re.search(r'^version: (.*)$', cff, re.M).group(1) == __version__
    assert f"{fields['start']}--{fields['end']}" in bibtex and fields['year'] in bibtex
    assert re.findall(r'family-names: (.*)', cff) == re.findall(r'(\w+), \w+(?: and|})', bibtex)
    assert f"{{{fields['title']}}}" in bibtex
