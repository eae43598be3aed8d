"""The launcher of a distributed training on one machine ends what it started."""
import os
import subprocess
import sys
import time

import pytest

from icd.errors import UserError
from icd.train import launch
from tests.helpers import PROJECT

PATIENT = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'


def start(roles, code):
    return launch.start(roles, [sys.executable, '-c', code], os.environ)


def test_every_process_gets_its_role_and_the_same_address(tmp_path):
    names = ('DMLC_ROLE', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER', 'DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT')
    code = (f'import os; e = os.environ; open({str(tmp_path)!r} + "/%d" % os.getpid(), "w").write('
            f'" ".join(e[n] for n in {names!r}))')
    roles = ['scheduler', 'server', 'server', 'worker']
    processes = start(roles, code)
    assert launch.wait(processes) == 0
    environments = [(tmp_path / str(process.pid)).read_text().split() for process in processes]
    assert [role[:3] for role in environments] == [[role, '1', '2'] for role in roles]
    assert len({tuple(role[3:]) for role in environments}) == 1


@pytest.mark.parametrize('failure, code', [('raise SystemExit(2)', 2), ('import os; os.kill(os.getpid(), 9)', -9)])
def test_a_failing_process_ends_the_others(failure, code):
    processes = start(['scheduler', 'worker', 'server'],
                      f'import os\nif os.environ["DMLC_ROLE"] == "worker": {failure}\n{PATIENT}')
    began = time.monotonic()
    assert launch.wait(processes, patience=.3) == code
    assert all(process.poll() is not None for process in processes) and time.monotonic() - began < 30


def test_processes_may_end_by_themselves_first():
    code = ('import os, time\nif os.environ["DMLC_ROLE"] == "worker": raise SystemExit(2)\n'
            'time.sleep(1); raise SystemExit(5)')
    processes = start(['scheduler', 'worker'], code)
    launch.wait(processes)
    assert [process.returncode for process in processes] == [5, 2]


def test_a_terminated_launcher_ends_what_it_started(tmp_path):
    code = 'import os, time; open({!r}, "a").write("%d " % os.getpid()); time.sleep(60)'.format(str(tmp_path / 'pids'))
    program = (f'import sys; from icd import console; from icd.train import launch; launch.COMMAND = {code!r}; '
               'sys.exit(console.run_command(launch.main))')
    launcher = subprocess.Popen([sys.executable, '-c', program, '--workers', '1', '--', '--only-train'], cwd=PROJECT)
    pids, limit = [], time.monotonic() + 30
    while len(pids) < 3 and time.monotonic() < limit:
        time.sleep(.1)
        pids = (tmp_path / 'pids').read_text().split() if (tmp_path / 'pids').exists() else []
    launcher.terminate()
    assert launcher.wait(30) == 143
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_launch_refuses_invalid_numbers_of_processes():
    with pytest.raises(UserError, match='at least one'):
        launch.main(['--workers', '0'])
