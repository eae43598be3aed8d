"""What `icd-doctor` says of a machine: of one in order, and of others that are made for the purpose."""
import os
import sys

import pytest

from icd.doctor import build, machine, result
from icd.doctor.result import Failed, Note


def system(root, **texts):
    """A folder with some of the system's files; two underscores stand for a slash."""
    for name, text in texts.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def meminfo(gigabytes):
    return f'MemTotal:  99999999 kB\nMemAvailable:  {round(gigabytes * 1e9 / 1024)} kB\n'


def test_free_memory_is_compared_with_what_a_training_takes(tmp_path):
    assert machine.memory(system(tmp_path / 'a', proc__meminfo=meminfo(8))) == '8.0 GB are free'
    little = machine.memory(system(tmp_path / 'b', proc__meminfo=meminfo(3)))
    assert isinstance(little, Note) and '--accumulate 8' in little.remedy
    with pytest.raises(Failed, match='1.0 GB are free'):
        machine.memory(system(tmp_path / 'c', proc__meminfo=meminfo(1)))


@pytest.mark.parametrize('name, text', [('memory.max', '3000000000\n'), ('memory/memory.limit_in_bytes', '3000000000')])
def test_a_container_limits_memory(tmp_path, name, text):
    root = system(tmp_path, proc__meminfo=meminfo(64), **{'sys/fs/cgroup/' + name: text})
    assert machine.memory(root).found == '3.0 GB are free, of the 3.0 GB of a container'
    for unlimited in ('max', '9223372036854771712'):
        assert machine.memory(system(tmp_path, **{'sys/fs/cgroup/' + name: unlimited})) == '64.0 GB are free'


def test_the_arithmetic_limit_is_that_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.parallel, 'physical_cores', lambda root: 4)
    for flags, flop in (('fpu sse2', 8), ('sse2 avx', 16), ('avx avx2 fma', 32), ('avx2 avx512f', 64)):
        root = system(tmp_path, proc__cpuinfo=f'model name : X\ncpu MHz\t: 2500.0\nflags : {flags}\n\nflags : none\n')
        assert machine.flop_per_second(root) == 4 * 2.5e9 * flop
    assert machine.processors(root).startswith('X: ')


def test_a_disk_that_cannot_be_written_is_found(tmp_path):
    assert 'GB are free' in str(machine.disk(str(tmp_path / 'new')))
    (tmp_path / 'file').write_text('')
    with pytest.raises(Failed, match='file: .*') as caught:
        machine.disk(str(tmp_path / 'file'))
    assert '--folder' in caught.value.remedy


def test_compiled_parts_that_are_missing_or_wrong_are_found(monkeypatch):
    assert 'superpixels' in str(machine.compiled_parts())
    monkeypatch.setattr('icd.superpixels.slic', lambda image, min_size: image[..., 0] * 0)
    with pytest.raises(Failed, match='superpixels cross the edge'):
        machine.compiled_parts()
    monkeypatch.undo()
    monkeypatch.setattr('icd.method.crf.dense_crf', lambda image, unary: unary)
    with pytest.raises(Failed, match='CRF crosses the edge'):
        machine.compiled_parts()
    monkeypatch.undo()
    monkeypatch.setattr(machine.program, 'find', lambda: 'no such program')
    assert 'make -C external/superpixel' in machine.compiled_parts().remedy
    monkeypatch.setitem(sys.modules, 'icd.method._mean_field', None)
    with pytest.raises(Failed, match='icd.method._mean_field not compiled'):
        machine.compiled_parts()


def test_gpus_that_mxnet_cannot_use_are_named(tmp_path):
    assert machine.unused_gpus(False, str(tmp_path)) == 'none of NVIDIA'
    os.makedirs(tmp_path / 'proc/driver/nvidia/gpus/0000:01:00.0')
    assert machine.unused_gpus(True, str(tmp_path)) == '1 of NVIDIA'
    assert '[cu117]' in machine.unused_gpus(False, str(tmp_path)).remedy


@pytest.mark.parametrize('features, state, remedy', [
    ({'MKLDNN'}, result.OK, ''), ({'CUDA', 'CUDNN', 'NCCL'}, result.OK, ''), (set(), result.NOTE, 'wheel mxnet'),
    ({'CUDA', 'CUDNN'}, result.NOTE, '--kvstore device'), ({'CUDA', 'NCCL'}, result.FAILED, 'with cuDNN')])
def test_builds_are_known_by_their_features(features, state, remedy):
    found = result.run('machine', 'MXNet', lambda: build.features(features))
    assert found.state == state and remedy in found.remedy


def test_versions_are_those_that_a_bug_report_needs():
    assert {'python', 'system', 'mxnet', 'numpy'} <= set(machine.versions())
