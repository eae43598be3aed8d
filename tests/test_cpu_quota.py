"""The processors of a container: limits of CPU time as the kernel shows them, in all shapes they come in."""
import os
import subprocess

import pytest

from icd import parallel
from icd.cpu_quota import cpu_quota

V1 = '31 23 0:29 {top} {point} rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct'
V2 = '41 31 0:38 {top} {point} rw,relatime - cgroup2 cgroup2 rw,nsdelegate'
MEMORY = '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory'
ROOT = '23 1 0:20 / / rw,relatime - overlay overlay rw'
APP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'external', 'superpixel', 'app')
QUOTAS = '''
#include <cstdio>
#include "cpu_quota.h"
int main(int count, char **roots) {
    for (int i = 1; i < count; ++i) std::printf("%lld\\n", cpu_quota(roots[i]));
}
'''
CPU, UNIFIED = '/sys/fs/cgroup/cpu,cpuacct', '/sys/fs/cgroup'


def v1(quota, period=100000):
    return {'cpu.cfs_quota_us': f'{quota}\n', 'cpu.cfs_period_us': f'{period}\n'}


def v2(text):
    return {'cpu.max': text + '\n'}


def mount(line, point, top='/'):
    return line.format(top=top, point=point)


# id: (lines of /proc/self/cgroup, lines of /proc/self/mountinfo, files of folders below the root, processors)
CASES = {
    'no control groups': ([], [ROOT], {}, None),
    'v1 without a limit': (['4:cpu,cpuacct:/'], [mount(V1, CPU)], {CPU: v1(-1)}, None),
    'v1': (['4:cpu,cpuacct:/'], [ROOT, MEMORY, mount(V1, CPU)], {CPU: v1(200000)}, 2),
    'v1, another period': (['4:cpu:/'], [mount(V1, CPU)], {CPU: v1(150000, 50000)}, 3),
    'v1, rounded up': (['4:cpu:/'], [mount(V1, CPU)], {CPU: v1(150000)}, 2),
    'v1, less than one': (['4:cpu:/'], [mount(V1, CPU)], {CPU: v1(20000)}, 1),
    'v1, in a group': (['4:cpu:/a/b'], [mount(V1, CPU)],
                       {CPU: v1(-1), CPU + '/a': v1(-1), CPU + '/a/b': v1(300000)}, 3),
    'v1, the group above is tighter': (['4:cpu:/a/b'], [mount(V1, CPU)],
                                       {CPU + '/a': v1(200000), CPU + '/a/b': v1(300000)}, 2),
    'v1, the group itself is tighter': (['4:cpu:/a/b'], [mount(V1, CPU)],
                                        {CPU + '/a': v1(500000), CPU + '/a/b': v1(300000)}, 3),
    'v1, the limit of a sibling': (['4:cpu:/a/b'], [mount(V1, CPU)], {CPU + '/a/c': v1(100000)}, None),
    'v1, docker: the mount shows a part': (['4:cpu:/docker/f00/x'], [mount(V1, CPU, '/docker/f00')],
                                           {CPU: v1(400000), CPU + '/x': v1(200000)}, 2),
    'v1, the mount shows another part': (['4:cpu:/system.slice/x'], [mount(V1, CPU, '/docker/f00')],
                                         {CPU: v1(400000)}, 4),
    'v1, names that begin alike': (['4:cpu:/docker/f000'], [mount(V1, CPU, '/docker/f00')],
                                   {CPU: v1(400000), CPU + '/0': v1(100000)}, 4),
    'v1, limits of memory only': (['5:memory:/a'], [MEMORY], {'/sys/fs/cgroup/memory/a': v1(100000)}, None),
    'v1, cpuset is not cpu': (['3:cpuset:/'], [mount(V1, CPU).replace('cpu,cpuacct', 'cpuset')],
                              {CPU: v1(100000)}, None),
    'v2 without a limit': (['0::/'], [mount(V2, UNIFIED)], {UNIFIED: v2('max 100000')}, None),
    'v2, the root has no file': (['0::/'], [mount(V2, UNIFIED)], {UNIFIED: {}}, None),
    'v2': (['0::/a'], [mount(V2, UNIFIED)], {UNIFIED + '/a': v2('250000 100000')}, 3),
    'v2, kubernetes': (['0::/kubepods.slice/pod1.slice/c:1.scope'], [mount(V2, UNIFIED)],
                       {UNIFIED + '/kubepods.slice': v2('6400000 100000'),
                        UNIFIED + '/kubepods.slice/pod1.slice': v2('400000 100000'),
                        UNIFIED + '/kubepods.slice/pod1.slice/c:1.scope': v2('max 100000')}, 4),
    'v2, a group of its own': (['0::/'], [mount(V2, UNIFIED)], {UNIFIED: v2('200000 100000')}, 2),
    'v2, outside of what is seen': (['0::/../x'], [mount(V2, UNIFIED)],
                                    {UNIFIED: v2('200000 100000'), '/sys/fs/x': v2('100000 100000')}, 2),
    'v2, a removed group': (['0::/a/b (deleted)'], [mount(V2, UNIFIED)], {UNIFIED + '/a': v2('300000 100000')}, 3),
    'v2, a folder with a blank': (['0::/a b'], [mount(V2, '/mnt/c\\040g')], {'/mnt/c g/a b': v2('100000 100000')}, 1),
    'hybrid, limited by v1': (['4:cpu,cpuacct:/a', '0::/a'], [mount(V1, CPU), mount(V2, '/sys/fs/cgroup/unified')],
                              {CPU + '/a': v1(200000), '/sys/fs/cgroup/unified/a': {}}, 2),
    'hybrid, limited by both': (['4:cpu,cpuacct:/a', '0::/b'], [mount(V1, CPU), mount(V2, '/sys/fs/cgroup/unified')],
                                {CPU + '/a': v1(500000), '/sys/fs/cgroup/unified/b': v2('300000 100000')}, 3),
    'mounted twice': (['0::/'], [mount(V2, '/one'), mount(V2, '/two')], {'/two': v2('300000 100000')}, 3),
    'not mounted': (['0::/a', '4:cpu:/a'], [ROOT], {UNIFIED + '/a': v2('100000 100000')}, None),
    'more than there are': (['0::/'], [mount(V2, UNIFIED)], {UNIFIED: v2('9900000 100000')}, 99),
    'files of garbage': (['0::/', '4:cpu:/'], [mount(V2, UNIFIED), mount(V1, CPU)],
                         {UNIFIED: v2('much'), CPU: v1('x\udcff', 'y')}, None),
    'empty files': (['0::/', '4:cpu:/'], [mount(V2, UNIFIED), mount(V1, CPU)],
                    {UNIFIED: v2(''), CPU: {'cpu.cfs_quota_us': '', 'cpu.cfs_period_us': ''}}, None),
    'a period of nothing': (['0::/', '4:cpu:/'], [mount(V2, UNIFIED), mount(V1, CPU)],
                            {UNIFIED: v2('100000 0'), CPU: v1(100000, 0)}, None),
    'negative, and too long to be a number': (['0::/', '4:cpu:/'], [mount(V2, UNIFIED), mount(V1, CPU)],
                                              {UNIFIED: v2('-100000 100000'), CPU: v1('9' * 5000)}, None),
    'v1 without a period': (['4:cpu:/'], [mount(V1, CPU)], {CPU: {'cpu.cfs_quota_us': '100000\n'}}, None),
    'garbage in proc': (['', ':', '4', '::::', '0::relative', 'x:cpu', '4:cpu:/a\udcff', '0::/\0'],
                        ['', '-', ' - ', '1 2 3', '1 2 3 4 5 - cgroup2', mount(V2, '/sys/fs/cgroup/x')], {}, None),
}


def tree(root, cgroup, mountinfo, folders):
    """Lay out files as the kernel shows them, below `root`."""
    for path, text in [('proc/self/cgroup', '\n'.join(cgroup) + '\n'),
                       ('proc/self/mountinfo', '\n'.join(mountinfo))] + [
            (os.path.join(folder.lstrip('/'), name), text) for folder, found in folders.items()
            for name, text in found.items()]:
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8', errors='surrogateescape') as file:
            file.write(text)
    return str(root)


@pytest.mark.parametrize('case', CASES)
def test_quota_is_that_of_the_control_group(case, tmp_path):
    *files, expected = CASES[case]
    assert cpu_quota(tree(tmp_path, *files)) == expected


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """What makeSuperpixel finds below each of the folders that it is given, as a program."""
    folder = tmp_path_factory.mktemp('quota')
    (folder / 'quota.cpp').write_text(QUOTAS)
    subprocess.run(['g++', '-std=c++17', '-O0', '-I', APP, str(folder / 'quota.cpp'),
                    os.path.join(APP, 'cpu_quota.cpp'), '-o', str(folder / 'quota')], check=True)
    return str(folder / 'quota')


def test_the_superpixel_program_finds_the_same(program, tmp_path):
    roots = [tree(tmp_path / str(i), *files) for i, (*files, _) in enumerate(CASES.values())]
    found = subprocess.run([program, *roots, str(tmp_path / 'nowhere')], capture_output=True, check=True).stdout.split()
    assert dict(zip(CASES, map(int, found))) == {case: expected or 0 for case, (*_, expected) in CASES.items()}
    assert int(found[-1]) == 0


@pytest.mark.parametrize('name', ['proc/self/cgroup', 'proc/self/mountinfo', 'sys/fs/cgroup/cpu.max'])
def test_files_that_cannot_be_read_limit_nothing(tmp_path, name):
    root = tree(tmp_path, ['0::/'], [mount(V2, UNIFIED)], {UNIFIED: v2('100000 100000')})
    assert cpu_quota(root) == 1
    os.remove(os.path.join(root, name))
    assert cpu_quota(root) is None
    os.mkdir(os.path.join(root, name))
    assert cpu_quota(root) is None


@pytest.mark.parametrize('count', [parallel.number_of_cores, parallel.physical_cores])
@pytest.mark.parametrize('quota, expected', [('100000', 1), ('150000', 2), ('300000', 3), ('400000', 4), ('9900000', 4),
                                             ('max', 4)])
def test_processes_and_threads_keep_to_the_quota(count, quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 2, 4, 6}, raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    root = tree(tmp_path, ['0::/'], [mount(V2, UNIFIED)], {UNIFIED: v2(quota + ' 100000')})
    assert count(root) == expected


@pytest.mark.parametrize('count', [parallel.number_of_cores, parallel.physical_cores])
def test_a_mask_of_more_processors_than_run_counts_for_no_more(count, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 3)
    assert count(str(tmp_path)) == 3


def test_hyper_threads_of_a_core_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1, 2, 3, 5}, raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    topology = {f'/sys/devices/system/cpu/cpu{cpu}/topology': {'thread_siblings_list': siblings}
                for cpu, siblings in enumerate(['0,2', '1,3', '0,2', '1,3'])}
    root = tree(tmp_path, [], [], topology)                         # of processor 5 nothing is known
    assert parallel.physical_cores(root) == 3 and parallel.number_of_cores(root) == 5


def test_numbers_of_cores_of_this_system_are_consistent():
    assert 1 <= parallel.physical_cores() <= parallel.number_of_cores('/') <= os.cpu_count()
