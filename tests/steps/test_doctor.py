"""The command `icd-doctor`: its table, its exit code, and checks whose process does not survive them."""
import json
import signal
from types import SimpleNamespace

import pytest

from icd import console
from icd.doctor import result
from icd.doctor.result import Failed, Result
from icd.steps import doctor

GOOD = Result('cpu(0)', 'dropout', result.OK, 'half is dropped', '', .25)
NOTED = Result('machine', 'disk', result.NOTE, 'slow', 'take another')
BAD = Result('gpu(0)', 'NaN', result.FAILED, 'is not noticed', 'compare a training')


@pytest.mark.parametrize('results, code, last', [
    ([GOOD], 0, '1 checks in 0 s: all that is promised holds'),
    ([GOOD, NOTED], 0, '2 checks in 0 s: all that is promised holds, 1 notes'),
    ([BAD, GOOD, NOTED], 1, '3 checks in 0 s: 1 failed, 1 notes')])
def test_the_exit_code_says_whether_all_holds(monkeypatch, capsys, tmp_path, results, code, last):
    monkeypatch.setattr(doctor, 'found', lambda options: iter(results))
    path = str(tmp_path / 'found.json')
    try:
        left = console.run_command(doctor.main, ['--json', path])
    except SystemExit as leaving:
        left = leaving.code
    printed = capsys.readouterr().out
    assert left == code and printed.splitlines()[-1] == last
    for one in results:
        assert one.found in printed and f'-> {one.remedy}\n' in printed or not one.remedy
    with open(path) as file:
        written = json.load(file)
    assert written['ok'] == (not code) and [Result(**one) for one in written['results']] == results
    assert {'icd', 'versions', 'seconds'} <= set(written)


def test_a_file_that_cannot_be_written_ends_it_before_the_checks(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert console.run_command(doctor.main, ['--json', str(tmp_path / 'file/found.json')]) == 2
    assert 'a file or a broken link where a folder is needed' in capsys.readouterr().err


def of_devices(code, gpus='cpu', patience=60.):
    return list(doctor.of_devices('numbers', gpus, {}, code, patience))


FIRST = f'import sys, os, time\nprint({json.dumps(json.dumps(GOOD.as_json()))}, flush=True)\n'


def test_a_process_that_is_killed_is_a_finding():
    first, last = of_devices(FIRST + f'print("what a mess", file=sys.stderr); os.kill(os.getpid(), {signal.SIGSEGV:d})')
    assert first == GOOD and (last.state, last.remedy) == (result.FAILED, result.REPORT)
    assert last.found == 'the process ended with exit code -11: what a mess'


def test_a_process_that_hangs_is_a_finding():
    first, last = of_devices(FIRST + 'time.sleep(60)', patience=1.)
    assert first == GOOD and last.found == 'no answer in 1 s' and '--gpus' in last.remedy


def test_a_device_that_cannot_be_used_is_a_finding():
    *_, last = doctor.of_devices('numbers', '99')
    assert last.state == result.FAILED and 'CPU only' in last.found and '--gpus cpu' in last.remedy


def test_mxnet_that_is_not_installed_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / 'mxnet.py').write_text('raise ModuleNotFoundError("No module named mxnet", name="mxnet")')
    monkeypatch.syspath_prepend(str(tmp_path))
    found, = doctor.of_devices('numbers', None)
    assert found.state == result.FAILED and found.found == 'the package mxnet is not installed'
    assert found.remedy.startswith('pip install')


@pytest.mark.parametrize('code, said, found', [
    (2, 'first\nicd-run: no such file', 'merge_superpixels ended with exit code 2: icd-run: no such file'),
    (-9, '', 'merge_superpixels ended with exit code -9: without a message'),
    (0, 'CUDA: initialization error\ndone', 'merge_superpixels worked, but CUDA was used after a fork')])
def test_a_whole_run_that_fails_is_a_finding(monkeypatch, code, said, found):
    monkeypatch.setattr(doctor.subprocess, 'run', lambda *_, **__: SimpleNamespace(returncode=code, stderr=said))
    with pytest.raises(Failed) as caught:
        doctor.whole_run('cpu')
    assert caught.value.found == found


def test_a_whole_run_that_hangs_is_a_finding(monkeypatch):
    def hang(command, timeout, **_):
        raise doctor.subprocess.TimeoutExpired(command, timeout)
    monkeypatch.setattr(doctor.subprocess, 'run', hang)
    with pytest.raises(Failed, match='merge_superpixels: no answer in 600 s') as caught:
        doctor.whole_run('cpu')
    assert '--gpus' in caught.value.remedy


@pytest.mark.slow
def test_a_whole_run_makes_seeds():
    assert doctor.whole_run('cpu:2').startswith('8 images to seeds in ')
