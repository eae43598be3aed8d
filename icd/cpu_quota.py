"""Processors that the limits of a container leave to this process, which the system does not count among those it has.

Linux control groups limit CPU time, not which processors are used: in a container started with `--cpus 2` on a machine
of 64, `os.cpu_count()` and the affinity still report 64. Threads for 64 then wait for each other most of the time.
"""
from __future__ import annotations

import os
import re


def cpu_quota(root: str = '/') -> int | None:
    """Processors that the CPU time of this process's control groups amounts to.

    Parameters
    ----------
    root : str, optional
        Folder below which `proc` and the control groups are found.

    Returns
    -------
    int or None
        The tightest limit between the process's group and the topmost that can be seen, of version 1
        (`cpu.cfs_quota_us`) and version 2 (`cpu.max`), rounded up; None without a limit. Files that are missing or make
        no sense limit nothing.

    References
    ----------
    https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/scheduler/sched-bwc.html
    """
    return min(filter(None, (read(folder) for folder, read in _groups(root))), default=None)


def _groups(root):
    """Folder of every control group that this process is in, and the function that reads its limit."""
    mounts = list(_mounts(root))
    for line in _lines(root, 'proc/self/cgroup'):
        _, controllers, group = (line.split(':', 2) + ['', ''])[:3]
        if controllers and 'cpu' not in controllers.split(','):
            continue
        wanted, read = ('cgroup', _quota_v1) if controllers else ('cgroup2', _quota_v2)
        found = [(top, point) for kind, top, point in mounts if kind == wanted]
        # A group that no mount shows (the container sees its own group only, under another name) leaves their tops.
        inside = [(top, point) for top, point in found if _is_below(group, top)]
        for top, point in inside or found:
            parts = [part for part in group[len(top):].split('/') if part] if inside else []
            for depth in range(len(parts) + 1):
                yield os.path.join(root, point.lstrip('/'), *parts[:depth]), read


def _is_below(group, top):
    return '..' not in group.split('/') and (group + '/').startswith(top.rstrip('/') + '/')


def _mounts(root):
    """Control groups that are mounted, with the CPU among them: kind, topmost group, folder."""
    for line in _lines(root, 'proc/self/mountinfo'):
        before, _, after = line.partition(' - ')
        fields, (kind, _, features) = before.split(), (after.split() + [''] * 3)[:3]
        if len(fields) > 4 and (kind == 'cgroup2' or kind == 'cgroup' and 'cpu' in features.split(',')):
            yield (kind, *(re.sub(r'\\([0-7]{3})', lambda code: chr(int(code.group(1), 8)), field)
                           for field in fields[3:5]))


def _lines(*path):
    try:
        with open(os.path.join(*path), encoding='utf-8', errors='surrogateescape') as file:
            return file.read().splitlines()
    except (OSError, ValueError):
        return []


def _quota_v1(folder):
    return _processors(_lines(folder, 'cpu.cfs_quota_us') + _lines(folder, 'cpu.cfs_period_us'))


def _quota_v2(folder):
    return _processors(' '.join(_lines(folder, 'cpu.max')).split())


def _processors(fields):
    """Of two fields: microseconds of CPU time in a period of so many microseconds."""
    if len(fields) == 2 and all(re.fullmatch('[1-9][0-9]{,17}', field) for field in fields):
        return -(-int(fields[0]) // int(fields[1]))
    return None
