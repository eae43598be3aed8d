"""Whatever call of the system fails: one line or success, nothing half-written, and the next run repairs it.

`ICD_FAULTS=1500` takes so many faults of all stages instead of some of the quick ones.
"""
import errno
import os
import shutil
import subprocess

import cv2
import pytest

from icd import checks, system_errors
from icd.errors import Problems
from tests.faults import injection
from tests.superpixel.superpixel_program import FOLDER, PROGRAM, build, draw, make

# Faults of each stage; those of the others take seconds.
QUICK = {'seeds': 50, 'evaluate': 38, 'superpixels': 10, 'train': 2}


def test_every_fault_ends_with_one_line_or_success(valid, tmp_path):
    build()
    root = shutil.copytree(valid, str(tmp_path / 'data'))
    wanted = os.environ.get('ICD_FAULTS')
    faults = injection.sample(int(wanted), 0) if wanted else [
        fault for stage, count in QUICK.items() for fault in injection.sample(count, 0, (stage,))]
    outcomes = list(injection.inject(root, faults, injection.build(tmp_path), PROGRAM))
    assert [(fault, found) for fault, outcome in outcomes for found in [injection.wrong(fault, outcome)] if found] == []
    assert len(outcomes) == len(faults)
    failed = sum(outcome['code'] != 0 for _, outcome in outcomes)
    assert failed > len(faults) / 2                             # the faults do hit


SAY_ALL = '''
#include "system_errors.h"
#include <cstdio>
int main() {
    for (int i = 1; i < 140; ++i)
        std::printf("%d%s\\t%s\\n", i, means_no_sync(i) ? "*" : "", reason(i).c_str());
}
'''


def test_both_programs_say_the_same_of_every_error(tmp_path):
    (tmp_path / 'say.cpp').write_text(SAY_ALL)
    app = os.path.join(FOLDER, 'app')
    subprocess.run(['g++', '-std=c++17', '-O0', '-I', app, str(tmp_path / 'say.cpp'),
                    os.path.join(app, 'system_errors.cpp'), '-o', str(tmp_path / 'say')], check=True)
    said = subprocess.run([str(tmp_path / 'say')], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f'{code}{"*" * (code in system_errors.NO_SYNC)}\t{system_errors.text(code)}'
                    for code in range(1, 140)]


def test_every_meaning_says_what_is_wrong_and_what_to_do():
    for code in errno.errorcode:
        what, _, remedy = system_errors.text(code).partition(': ')
        assert what and remedy


def test_a_limit_of_the_size_of_files_is_reported(tmp_path):
    os.mkdir(str(tmp_path / 'images'))
    cv2.imwrite(str(tmp_path / 'images/a.png'), draw(200, 200))
    (tmp_path / 'list.txt').write_text('a\n')
    build()
    done = subprocess.run(['bash', '-c', f'ulimit -f 1; exec {PROGRAM} list.txt images out 1'], cwd=str(tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines() == [
        'makeSuperpixel: out/a.png: ' + system_errors.text(errno.EFBIG)]
    assert not [name for name in os.listdir(str(tmp_path / 'out')) if name.endswith('.part')]
    assert make(tmp_path)[0] == 0


@pytest.mark.parametrize('usage', [OSError(errno.ENOSYS, 'no'), shutil._ntuple_diskusage(0, 0, 0)])
def test_a_file_system_may_not_tell_its_free_space(usage, tmp_path, monkeypatch):
    def disk_usage(_):
        if isinstance(usage, OSError):
            raise usage
        return usage
    problems = Problems()
    monkeypatch.setattr(shutil, 'disk_usage', disk_usage)
    checks.check_folder(problems, str(tmp_path), 1 << 60)
    assert not problems
