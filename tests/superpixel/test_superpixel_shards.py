"""`makeSuperpixel --shard`: the folder of one run to the byte, whatever happens to shards."""
import fcntl
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.superpixel.superpixel_program import NAMES, PATHS, PROGRAM, files, make, summary, write

REPORTED = 'makeSuperpixel: out: made with other settings before: all maps are made again'


@pytest.fixture
def fresh(root):
    """The folder without maps, and what one run makes there."""
    expected = files(root / 'out')
    shutil.rmtree(str(root / 'out'))
    return root, expected


def test_shards_make_what_one_run_makes(fresh):
    root, expected = fresh
    assert make(root, '--shard', '2/2') == (0, [summary(1, 0)])
    assert make(root, '--shard=1/2') == (0, [summary(2, 0)])
    assert make(root, '--shard=1/2') == (0, [summary(0, 2)])
    assert set(files(root / 'out')) == {name + '.png' for name in NAMES} | {'inputs-1-of-2.tsv', 'inputs-2-of-2.tsv'}
    assert make(root) == (0, [summary(0, 3)])
    assert files(root / 'out') == expected


def test_killed_and_missing_shards_are_made_up_for(fresh):
    root, expected = fresh
    assert make(root, '--shard', '1/4') == (0, [summary(1, 0)])
    assert make(root, '--shard', '4/4') == (0, [summary(0, 0)])
    (root / 'out/.a.png.part').write_bytes(b'half')
    (root / 'out/.b.png.part').write_bytes(b'of another shard')
    with open(str(root / 'out/inputs-1-of-4.tsv'), 'ab') as record:
        record.write(b'a\n1')                          # a killed run forgot its map and tore a line
    assert make(root, '--shard', '1/4') == (0, [summary(1, 0)])
    assert not (root / 'out/.a.png.part').exists() and (root / 'out/.b.png.part').exists()
    assert make(root) == (0, [summary(2, 1)])
    assert files(root / 'out') == expected


def test_the_newest_shards_count_whatever_their_number(fresh):
    root, expected = fresh
    for size, parts in (('50', ('1/2', '2/2')), ('60', ('3/3', '1/3', '2/3')), ('75', ('2/2', '1/2'))):
        for part in parts:
            assert make(root, '--shard', part, min_size=size)[1][-1].endswith(' made, 0 already there, 0 bad')
            with open(str(root / f"out/inputs-{part.replace('/', '-of-')}.tsv"), 'ab') as record:
                record.write(b'a')                      # torn
    assert make(root) == (0, [summary(0, 3)])
    assert files(root / 'out') == expected


def test_changed_settings_are_reported_by_the_first_shard(root):
    assert make(root, '--shard', '1/2', min_size='50') == (0, [REPORTED, summary(2, 0)])
    assert make(root, '--shard', '2/2', min_size='50') == (0, [summary(1, 0)])
    assert make(root, min_size='50') == (0, [summary(0, 3)])


def test_a_map_of_a_killed_shard_with_other_settings_is_made_again(root):
    environment = renaming(root, 'renameat(AT_FDCWD, from, AT_FDCWD, to); kill(getpid(), SIGKILL);')
    assert make(root, '--shard', '1/2', '--threads', '1', min_size='50', env=environment)[0] == -signal.SIGKILL
    assert make(root) == (0, [summary(1, 2)])


def test_a_shard_keeps_what_is_made(root):
    write(root / PATHS['b'], 7)
    assert make(root, '--shard', '1/2') == (0, [summary(0, 2)])
    assert make(root, '--shard', '2/2') == (0, [summary(1, 0)])
    assert make(root) == (0, [summary(0, 3)])


def test_only_shards_of_the_same_work_share_a_folder(root):
    running = subprocess.Popen([PROGRAM, 'list.txt', 'images', 'out', '75', '--shard', '1/2', '--force', '--threads',
                                '1'], cwd=str(root), env=renaming(root, 'pause();'), stderr=subprocess.DEVNULL)
    while not (root / 'out/.a.png.part').exists():
        time.sleep(.01)
    assert make(root, '--shard', '2/2') == (0, [summary(0, 1)])
    began = [subprocess.Popen([PROGRAM, 'list.txt', 'images', 'out', *arguments], cwd=str(root),
                              stderr=subprocess.PIPE, text=True)
             for arguments in (['75', '--shard', '1/2'], ['50', '--shard', '2/2'], ['75', '--shard', '2/3'], ['75'])]
    lines = [(process.communicate()[1], process.returncode) for process in began]
    running.send_signal(signal.SIGKILL)
    running.wait()
    another = 'makeSuperpixel: out: shard 1 of 2 is being made here: wait for it, then run the same command again\n'
    assert lines == [
        ('makeSuperpixel: out: another run makes the same shard: wait for it, or give another --shard\n', 2),
        (another, 2), (another, 2),
        ('makeSuperpixel: out: another run is writing to this folder: wait for it, then run the same command again\n',
         2)]
    assert make(root) == (0, [summary(1, 2)])


def test_a_shard_that_is_about_to_begin_stops_no_other(root):
    with open(str(root / 'out/inputs-1-of-2.tsv'), 'wb') as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        assert make(root, '--shard', '2/2') == (0, [summary(0, 1)])


def renaming(root, statements):
    """An environment in which these C statements are what the program does to give a file its name."""
    (root / 'rename.c').write_text('#define _GNU_SOURCE\n#include <fcntl.h>\n#include <signal.h>\n#include <stdio.h>\n'
                                   '#include <unistd.h>\nint rename(const char *from, const char *to) '
                                   f'{{ {statements} return 0; }}\n')
    subprocess.run(['gcc', '-shared', '-fPIC', str(root / 'rename.c'), '-o', str(root / 'rename.so')], check=True)
    return dict(os.environ, LD_PRELOAD=str(root / 'rename.so'))


@pytest.mark.parametrize('value', ['0/2', '3/2', 'x', '1/0', '2', '', '-1/2', '1/2/3', '1 /2', '1/99999999999'])
def test_a_wrong_shard_is_one_line(root, value):
    assert make(root, '--shard', value) == (2, [f"makeSuperpixel: --shard '{value}': not I/N, the I-th of N shards: "
                                                '1/4, 2/4, 3/4, 4/4, say'])


def test_shards_of_another_program_are_not_mixed_in(fresh):
    root, _ = fresh
    os.makedirs(str(root / 'out'))
    (root / 'out/inputs-1-of-2.tsv').write_text('\t1\t{"made_by": "merged superpixels", "settings": {}}\n')
    assert make(root) == (2, ['makeSuperpixel: out/inputs-1-of-2.tsv: not written by makeSuperpixel: choose another '
                              'TARGET_DIR'])
