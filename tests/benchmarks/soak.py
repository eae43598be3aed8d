"""The stages under random kills, full disks and lost files: `python -m tests.benchmarks.soak --runs 200 --minutes 20`.

Each run is one stage on a small data set, started as a user does and disturbed at a random moment. Every one has to end
in time and leave no process; at the end, after an undisturbed run of every stage, all files are those of a folder that
was never disturbed, byte by byte, and nothing half-written is left.
"""
import argparse
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from tests.faults import injection
from tests.faults.driver import results
from tests.helpers import PROJECT
from tests.superpixel.superpixel_program import PROGRAM

LIMIT, PATIENCE = 300, 10       # seconds that a command may take; that its processes may need to end after it
SHARED = ('--image-root images --data-list list.txt --pretrained pretrained.params --width 0.03125 --gpus cpu '
          '--num-process 2').split()
RUN = [*SHARED, *'--annotation-root annotations --superpixel-root merged --snapshot new --num-epoch 2 '
       '--checkpoint-every 1 --batch-size 2 --image-size 33 --infer-size 49 --num-workers 1'.split()]
STAGES = {
    'superpixels': [PROGRAM, 'list.txt', 'images', 'maps', '5'],
    'merge': [sys.executable, os.path.join(PROJECT, 'generate_superpixel.py'), *SHARED, '--superpixel-root', 'maps',
              *'--save-superpixel-root merged --image-size 49 --max-superpixel-num 4'.split()],
    'train': [sys.executable, os.path.join(PROJECT, 'run_icd.py'), *RUN, '--only-train'],
    'infer': [sys.executable, os.path.join(PROJECT, 'run_icd.py'), *RUN, '--only-infer'],
    'seeds': [sys.executable, os.path.join(PROJECT, 'run_icd.py'), *RUN, '--only-gen-seeds', '--seeds', 'crf,raw'],
    'evaluate': [sys.executable, '-m', 'icd.commands', 'evaluate', '--truth', 'truth', '--pred',
                 'new/results/seeds/raw', '--list', 'list.txt', '--json', 'new/figures.json'],
}
FOLDERS = 'maps', 'merged', 'new'


def processes_of(session):
    """Processes of a session that still run."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/stat') as file:
                fields = file.read().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != 'Z':
            found.append(int(name))
    return found


class Lost:
    """An input that is gone for a while."""

    def __init__(self, rng):
        self._path = rng.choice([os.path.join(folder, name) for top in ('images', 'annotations', 'truth')
                                 for folder, _, names in sorted(os.walk(top)) for name in sorted(names)])

    def take(self):
        os.rename(self._path, self._path + '.lost')

    def give_back(self):
        if os.path.exists(self._path + '.lost'):
            os.rename(self._path + '.lost', self._path)


def disturbed(stage, rng, library, usual):
    """Run a stage with some disturbance; what it was, and what is wrong."""
    kind = rng.choice(['none', 'KILL', 'KILL', 'TERM', 'TERM', 'INT', 'full disk', 'lost file'])
    environment, moment = dict(os.environ, PYTHONPATH=PROJECT, OMP_NUM_THREADS='1'), rng.random() * 1.2 * usual
    if kind == 'full disk':
        environment.update(LD_PRELOAD=library, FAIL_CALL=f'write:{rng.randint(1, 40)}:{errno.ENOSPC}')
    lost = Lost(rng)
    process = subprocess.Popen(STAGES[stage], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        if kind in ('KILL', 'TERM', 'INT', 'lost file'):
            time.sleep(moment)
            if kind == 'lost file':
                lost.take()
            elif process.poll() is None:
                os.kill(process.pid, getattr(signal, 'SIG' + kind))
        printed = process.communicate(timeout=LIMIT)[1].decode(errors='replace')
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return kind, 'it hung'
    finally:
        lost.give_back()
    end = time.monotonic() + PATIENCE
    while processes_of(process.pid) and time.monotonic() < end:
        time.sleep(.1)
    left = processes_of(process.pid)
    if left:
        os.killpg(process.pid, signal.SIGKILL)
        return kind, f'processes are left: {left}'
    if 'Traceback' in printed or process.returncode not in (0, 1, 2, 130, 143, -9, -15, -2):
        return kind, f'exit code {process.returncode}: {printed[-1500:]}'
    return kind, None


def undisturbed():
    """Run every stage; seconds each took."""
    seconds = {}
    for stage, command in STAGES.items():
        begin = time.monotonic()
        done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=PROJECT, OMP_NUM_THREADS='1'),
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=LIMIT)
        seconds[stage] = time.monotonic() - begin
        if done.returncode:
            sys.exit(f'{stage} alone: exit code {done.returncode}: {done.stderr[-2000:]}')
    return seconds


def outcome():
    """Contents of all files that count, and names of what nobody should find."""
    whole, left = {}, []
    for folder in FOLDERS:
        found, partial = results(folder)
        whole.update(found)
        left += partial
    return whole, left


def main():
    """Report each run that went wrong; the exit code is 1 when there is one."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--runs', type=int, default=200)
    parser.add_argument('--minutes', type=float, default=20)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    import icd.mxnet_setup  # noqa: F401  (before anything imports MXNet)
    from tests.helpers import small_data
    rng, wrong, counts = random.Random(options.seed), 0, {}
    with tempfile.TemporaryDirectory() as root:
        library = injection.build(root)
        small_data.make(os.path.join(root, 'calm'))
        shutil.rmtree(os.path.join(root, 'calm', 'snap'))
        shutil.copytree(os.path.join(root, 'calm'), os.path.join(root, 'rough'))
        os.chdir(os.path.join(root, 'calm'))
        usual, (wanted, _) = undisturbed(), outcome()
        os.chdir(os.path.join(root, 'rough'))
        end, done = time.monotonic() + 60 * options.minutes, 0
        while done < options.runs and time.monotonic() < end:
            stage = rng.choice(list(STAGES))
            kind, found = disturbed(stage, rng, library, usual[stage])
            counts[kind], done = counts.get(kind, 0) + 1, done + 1
            if found:
                wrong += 1
                print(f'{done}: {stage}, {kind}: {found}', flush=True)
        undisturbed()
        reached, left = outcome()
        differing = sorted(name for name in {*wanted, *reached} if wanted.get(name) != reached.get(name))
        os.chdir(PROJECT)
    print(f'{done} runs, {wrong} of them wrong, {counts}')
    print(f'{len(wanted)} files, differing: {differing}, half-written: {left}')
    return int(bool(wrong or differing or left))


if __name__ == '__main__':
    sys.exit(main())
