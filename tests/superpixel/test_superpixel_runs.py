"""Runs of `makeSuperpixel` that end early, or meet another in the same folder."""
import fcntl
import os
import signal
import subprocess
import threading
import time

import cv2
import pytest

from icd.data import superpixel_map
from icd.superpixels import slic
from tests.superpixel.superpixel_program import PATHS, PROGRAM, call, draw, files, make, maps, summary, write


def preloaded(root, source):
    """An environment in which the program calls functions of this C source in place of the system's."""
    (root / 'preloaded.c').write_text(source)
    subprocess.run(['g++', '-x', 'c', '-shared', '-fPIC', str(root / 'preloaded.c'), '-o', str(root / 'preloaded.so')],
                   check=True)
    return dict(os.environ, LD_PRELOAD=str(root / 'preloaded.so'))


# ------------------------------------------------------------------------------------------- runs that end early
def start(root, target, *options):
    """A run over 24 images, once it has made some maps."""
    names = [f'n{i}' for i in range(24)]
    content = cv2.imencode('.jpg', draw(450, 600))[1].tobytes()
    for name in names:
        (root / 'images' / (name + '.jpg')).write_bytes(content)
    (root / 'list.txt').write_text('\n'.join(names))
    running = subprocess.Popen([PROGRAM, 'list.txt', 'images', target, '75', '--method', 'graph', '--threads', '2',
                                *options], cwd=str(root), stderr=subprocess.PIPE, universal_newlines=True)
    lines = root / target / 'inputs.tsv'
    while not lines.exists() or lines.read_bytes().count(b'\nn') < 2:
        assert running.poll() is None
        time.sleep(.01)
    return names, running


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_run_is_continued(number, code, root):
    names, running = start(root, 'killed')
    running.send_signal(number)
    message = running.communicate(timeout=20)[1]
    assert running.returncode == code
    done = {name: content for name, content in maps(root / 'killed').items() if not name.startswith('.')}
    assert 0 < len(done) < len(names)
    assert all(superpixel_map.read(str(root / 'killed' / name)).shape == (450, 600) for name in done)
    if code > 0:
        assert 'run the same command again' in message and len(message.splitlines()) == 1
        assert len(maps(root / 'killed')) == len(done)
    code, lines = call('list.txt', 'images', 'killed', '75', '--method', 'graph', cwd=str(root))
    kept = int(lines[-1].split()[3])
    assert code == 0 and len(done) - 2 <= kept <= len(done)      # 2 threads may have had no time for their lines
    found = maps(root / 'killed')
    assert sorted(found) == sorted(name + '.png' for name in names) and len(set(found.values())) == 1


def test_map_without_its_line_is_made_again(root):
    """The map of another image that was there for a moment is not taken for that of the image before."""
    before = (root / PATHS['a']).read_bytes()
    write(root / PATHS['a'], 7)
    environment = preloaded(root, """
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
int rename(const char *from, const char *to) {
    int result = renameat(AT_FDCWD, from, AT_FDCWD, to);
    if (strstr(to, "a.png")) kill(getpid(), SIGKILL);
    return result;
}
""")
    assert make(root, '--threads', '1', env=environment) == (-signal.SIGKILL, [])
    (root / PATHS['a']).write_bytes(before)
    assert make(root) == (0, [summary(1, 2)])
    labels = superpixel_map.read(str(root / 'out/a.png'))
    assert (labels == slic(cv2.imread(str(root / PATHS['a']))[..., ::-1])).all()


def test_left_over_files_of_killed_runs_are_removed(root):
    ours = ['.a.png.part', '.long gone.png.part', '.inputs.tsv.part', '.settings.json.part', 'sub/.x.png.part']
    theirs = ['.download.part', 'a.png.part', 'sub/.download.part']
    for name in ours + theirs:
        (root / 'out' / name).write_bytes(b'half')
    assert make(root) == (0, [summary(0, 3)])
    assert set(files(root / 'out')) & set(ours + theirs) == set(theirs)


# ------------------------------------------------------------------------------------------------ one run a folder
def test_second_run_into_a_folder_ends_with_one_line(root):
    running = start(root, 'out', '--force')[1]
    running.send_signal(signal.SIGSTOP)
    os.waitpid(running.pid, os.WUNTRACED)       # until all its threads stand
    before = files(root / 'out')
    code, lines = make(root)
    assert code == 2 and lines == ['makeSuperpixel: out: another run is writing to this folder: wait for it, then run '
                                   'the same command again']
    assert files(root / 'out') == before
    (root / 'list.txt').write_text('n0\n')
    assert call('list.txt', 'images', 'elsewhere', '75', cwd=str(root)) == (0, [summary(1, 0)])
    running.kill()
    running.communicate(timeout=60)
    assert make(root)[0] == 0


def test_run_waits_for_one_that_is_about_to_end(root):
    folder = os.open(str(root / 'out'), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    began = time.monotonic()
    threading.Timer(1, os.close, [folder]).start()
    assert make(root) == (0, [summary(0, 3)])
    assert time.monotonic() - began >= 1


def test_file_system_without_locks_is_tolerated(root):
    environment = preloaded(root, '#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n')
    assert make(root, '--force', env=environment) == (0, [summary(3, 0)])
