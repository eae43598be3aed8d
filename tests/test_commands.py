"""The commands: what happens while their code is imported."""
import functools
import os
import signal
import subprocess
import sys

import pytest

from icd import commands
from tests.helpers import PROJECT

NAMES = sorted(name for name, value in vars(commands).items() if isinstance(value, functools.partial))
INTERRUPT = 'os.kill(os.getpid(), signal.SIGINT)'
# Does something first, and something else as soon as tqdm is imported, which every command does.
DISTURBED = """
import os, signal, sys
class Disturbing:
    def find_spec(self, name, path, target=None):
        if name == 'tqdm':
            {meanwhile}
sys.meta_path.insert(0, Disturbing())
{first}
from icd import commands
sys.argv[0] = '/some/icd-{name}'
sys.exit(commands.{name}())
"""


def call(name, meanwhile, *arguments, first=''):
    """Exit code, standard output and standard error of a command."""
    code = DISTURBED.format(name=name, meanwhile=meanwhile, first=first)
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT))
    return done.returncode, done.stdout, done.stderr


def test_every_script_has_its_command():
    with open(os.path.join(PROJECT, 'setup.py')) as file:
        found = [line.split('icd.commands:')[1].split("'")[0] for line in file if 'icd.commands:' in line]
    assert sorted(found + ['deeplab']) == NAMES


@pytest.mark.parametrize('name', ['run', 'evaluate', 'launch'])
def test_an_interrupt_meanwhile_is_one_line(name):
    assert call(name, INTERRUPT) == (130, '', f'icd-{name}: interrupted before anything was done\n')


def test_an_interrupt_that_is_ignored_stays_ignored():
    code, printed, errors = call('run', INTERRUPT, '--version', first='signal.signal(signal.SIGINT, signal.SIG_IGN)')
    assert code == 0 and printed.startswith('icd ') and not errors


def test_interrupts_are_errors_again_afterwards(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['icd-run', '--version'])
    with pytest.raises(SystemExit):
        commands.run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_package_that_is_missing_is_one_line():
    assert call('labels', 'raise ModuleNotFoundError(name=name)') == (
        2, '', 'icd-labels: the package tqdm is not installed: `make env`, then `. .venv/bin/activate`\n')


def test_a_module_of_its_own_that_is_missing_is_a_bug():
    code, printed, errors = call('labels', "raise ModuleNotFoundError(name='icd.nothing')")
    assert code == 1 and not printed and errors.startswith('Traceback')


def test_commands_without_their_scripts():
    done = subprocess.run([sys.executable, '-m', 'icd.commands', 'labels', 'nonsense'], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=PROJECT))
    assert done.returncode == 2 and done.stderr.startswith('icd-labels: ') and 'nonsense' in done.stderr


def test_arguments_before_those_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['run_deeplab.py', '--nonsense'])
    assert commands.deeplab() == 2
    error = capsys.readouterr().err
    assert error.startswith('run_deeplab.py: ') and '--nonsense' in error and 'icd-segment train' in error
