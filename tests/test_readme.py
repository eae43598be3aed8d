"""What the README says can be typed and looked up is there."""
import importlib
import os
import re
import shlex

import pytest

from tests.helpers import PROJECT
from icd import cli

with open(os.path.join(PROJECT, 'README.md'), encoding='utf-8') as file:
    README = file.read()
TABLES = {'run_icd.py': cli.RUN, 'icd-run': cli.RUN, 'generate_superpixel.py': cli.SUPERPIXEL,
          'icd-superpixel': cli.SUPERPIXEL, 'icd-evaluate': cli.EVALUATE}


def commands():
    """Command lines in the README's code blocks that the option tables know."""
    for block in re.findall(r'```(?:\w*)\n(.*?)```', README, re.S):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True) if line.count('"') % 2 == 0 and line.count("'") % 2 == 0 else []
            for i, word in enumerate(words):
                if word in TABLES and (words[i - 1:i] == ['python'] if word.endswith('.py') else i == 0):
                    yield word, words[i + 1:]


def modules():
    """Modules that the README runs, with their arguments."""
    for line in re.findall(r'^ *python -m (icd\.(?:weights|data)\..*)$', README, re.M):
        yield line.split()[0], shlex.split(line)[1:]


def test_every_option_is_in_the_readme_as_it_is():
    for title, table in cli.tables():
        assert table in README, 'run python -m icd.cli and put its tables into the README (%s)' % title


@pytest.mark.parametrize('command, words', list(commands()))
def test_the_readmes_commands_are_understood(command, words):
    cli.parse(TABLES[command], command, '', [word for word in words if word != '...'])


@pytest.mark.parametrize('module, words', list(modules()))
def test_the_readmes_modules_understand_their_arguments(module, words):
    importlib.import_module(module).parse(words)


def test_the_readme_shows_commands():
    assert len(list(commands())) > 5 and len(list(modules())) > 1


@pytest.mark.parametrize('target', re.findall(r'\]\((?!http)([^)#]+)', README))
def test_files_the_readme_points_to_are_there(target):
    assert os.path.exists(os.path.join(PROJECT, target))


@pytest.mark.parametrize('anchor', re.findall(r'\]\(#([^)]+)\)', README))
def test_sections_the_readme_points_to_are_there(anchor):
    titles = [re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-')
              for title in re.findall(r'^#+ (.*)$', README, re.M)]
    assert anchor in titles


@pytest.mark.parametrize('path', sorted(set(re.findall(r'`((?:icd|tests|external|data)/[\w./]+\.(?:py|md|cpp))`', README))))
def test_files_the_readme_names_are_there(path):
    assert os.path.exists(os.path.join(PROJECT, path))
