"""MXNet is imported with what it needs, by those only who compute with it."""
import os
import subprocess
import sys

import pytest

from icd import mxnet_setup
from icd.errors import UserError
from tests.helpers import PROJECT
from tests.helpers.small_data import COMMANDS


@pytest.mark.parametrize('spec, count', [('cpu', 1), ('cpu:3', 3)])
def test_devices_on_the_cpu(spec, count):
    assert [str(device) for device in mxnet_setup.devices(spec)] == [f'cpu({i})' for i in range(count)]


@pytest.mark.parametrize('spec', ['cpu:0', 'cpu:', '0,0', '0,', 'gpu', '99', ''])
def test_devices_that_do_not_exist(spec):
    with pytest.raises(UserError, match='--gpus'):
        mxnet_setup.devices(spec)


def run_python(code, *arguments, unset=(), timeout=None, **environment):
    environment = dict({name: value for name, value in os.environ.items() if name not in unset}, **environment)
    environment['PYTHONPATH'] = os.pathsep.join([environment.get('PYTHONPATH', ''), PROJECT]).strip(os.pathsep)
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *arguments], env=environment,
                          capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_mxnet_setup_makes_mxnet_importable_and_no_server_of_a_left_over_role_and_logs_its_device_once():
    code = ('from icd.mxnet_setup import mx; import mxnet, os; '
            'print(mxnet.nd.ones(2).sum().asscalar(), mx is mxnet, os.environ["DMLC_ROLE"])\n'
            'from icd import mxnet_setup\nfor _ in range(2): found = mxnet_setup.devices(None)\n'
            'print(found[0].device_type)')
    server = dict(DMLC_ROLE='server', DMLC_PS_ROOT_URI='127.0.0.1', DMLC_PS_ROOT_PORT='9123', DMLC_NUM_WORKER='1',
                  DMLC_NUM_SERVER='1')
    printed, log = run_python(code, timeout=60, **server)
    found, device = printed.splitlines()
    assert found == '2.0 True server'
    assert log.count('computing on') == 1 and ('the CPU' in log) == (device == 'cpu')


# Asks the OpenMP library that MXNet brought along.
THREADS = '''
import ctypes, os, re
from icd.mxnet_setup import mx
mx.nd.ones(2).wait_to_read()
with open('/proc/self/maps') as file:
    library = re.search('/.*lib[gi]?omp[.].*', file.read()).group()
print(ctypes.CDLL(library).omp_get_max_threads(), os.environ.get('OMP_NUM_THREADS'))
'''


@pytest.mark.skipif(not os.path.isfile('/proc/self/maps'), reason='reads /proc/self/maps')
def test_openmp_keeps_to_its_cores_and_no_variable_stays_set():
    assert run_python(THREADS, OMP_NUM_THREADS='5')[0].split() == ['5', '5']
    four_cores = 'from icd import parallel\nparallel.physical_cores = lambda: 4\n' + THREADS
    assert run_python(four_cores, unset=['OMP_NUM_THREADS'])[0].split() == ['4', 'None']


@pytest.mark.skipif(not os.path.isfile('/proc/self/maps'), reason="GNU's OpenMP says what it was given")
def test_threads_that_wait_spin_a_little_unless_the_user_says_otherwise():
    code = 'import os\nfrom icd.mxnet_setup import mx\nprint("OMP_WAIT_POLICY" in os.environ)'
    unset = ['OMP_WAIT_POLICY', 'GOMP_SPINCOUNT']
    still_set, said = run_python(code, unset=unset, OMP_DISPLAY_ENV='VERBOSE')
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in said and "GOMP_SPINCOUNT = '1000'" in said and still_set.strip() == 'False'
    _, said = run_python(code, unset=unset, OMP_DISPLAY_ENV='VERBOSE', OMP_WAIT_POLICY='passive')
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said and "GOMP_SPINCOUNT = '1000'" not in said


@pytest.mark.parametrize('command, arguments', [
    ('seeds', ['--seeds', 'crf,sal,raw', '--force', '--num-process', '2']),
    ('evaluate', []),
    ('merge', ['--max-superpixel-num', '64', '--num-process', '2'])])
def test_commands_that_need_no_mxnet_run_without_it(valid, tmp_path, command, arguments):
    blocked = tmp_path / 'blocked'
    blocked.mkdir()
    (blocked / 'mxnet.py').write_text('raise ImportError("blocked")')
    module, common = COMMANDS[command]
    code = (f'import os, sys, shutil, {module} as m; shutil.copytree({valid!r}, "data"); os.chdir("data"); '
            'm.main(sys.argv[1:])')
    code = f'import os; os.chdir({str(tmp_path)!r}); {code}'
    run_python(code, *common, *arguments, PYTHONPATH=str(blocked))
