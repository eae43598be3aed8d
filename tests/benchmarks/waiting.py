"""What threads that wait for each other cost, idle and beside busy programs: `python tests/benchmarks/waiting.py`.

GNU's OpenMP threads, which MXNet computes with, spin for a while before they sleep. How long is fixed when MXNet is
loaded, so every policy is a process of its own. The processes of all policies live at once and take turns: in each
round every one of them takes a few training steps while the others are stopped, in an order that is drawn anew.
Whatever else happens on the machine meets all of them alike, and what is compared is the median over the rounds of a
policy's time against that of the best, round by round.

First with nothing else running, then beside two programs that never sleep.
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from tests.benchmarks import _figures  # noqa: E402

POLICIES = {'ours': {}, 'as MXNet comes': {'GOMP_SPINCOUNT': '300000'},
            'spins for ever': {'OMP_WAIT_POLICY': 'active', 'GOMP_SPINCOUNT': 'infinite'},
            'sleeps at once': {'OMP_WAIT_POLICY': 'passive'}}
LEAST_IDLE, MOST_BUSY = .97, 1.3        # of the fastest policy's speed; of the best policy's time


def serve(width, size, count, steps):
    """Take training steps whenever a line comes; answer with the seconds they took."""
    from icd.data.datasets import IcdBatch
    from icd.mxnet_setup import mx
    from icd.train.icd_task import IcdTask
    from icd.train.trainer import Trainer
    from tests.benchmarks.training import batch, network
    images = IcdBatch(*batch(count, size), [], 64)
    trainer = Trainer(IcdTask(network(width)), [mx.cpu()])
    number = 0
    for _line in sys.stdin:
        start = time.perf_counter()
        for _ in range(steps):
            trainer.step(images, 1e-5, number).update.wait_to_read()
            mx.nd.waitall()
            number += 1
        print(time.perf_counter() - start, flush=True)


def measure(workers, rounds, rng):
    """Seconds of each policy in each round, the first left out."""
    found = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name in rng.permutation(list(workers)):
            worker = workers[name]
            worker.send_signal(signal.SIGCONT)
            worker.stdin.write('\n')
            worker.stdin.flush()
            seconds = float(worker.stdout.readline())
            worker.send_signal(signal.SIGSTOP)      # who spins for ever would do so in the others' turns
            if number:
                found[name].append(seconds)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--width', type=float, default=.25)
    parser.add_argument('--size', type=int, default=161)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=2, help='in a round')
    parser.add_argument('--spin', default='', help='further numbers of spins to try, separated by commas')
    parser.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.width, options.size, options.batch, options.steps)
    policies = dict(POLICIES, **{f'active, {spin} spins': {'OMP_WAIT_POLICY': 'active', 'GOMP_SPINCOUNT': spin}
                                 for spin in filter(None, options.spin.split(','))})
    same = ['--width', str(options.width), '--size', str(options.size), '--batch', str(options.batch), '--steps',
            str(options.steps)]
    environment = {key: value for key, value in os.environ.items()
                   if key not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')}
    workers = {name: subprocess.Popen([sys.executable, os.path.abspath(__file__), '--serve', *same], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
                                      env=dict(environment, PYTHONPATH=ROOT, **policy))
               for name, policy in policies.items()}
    rng, kept = np.random.default_rng(0), True
    busy = []
    print(f'width {options.width:g}, {options.size}x{options.size}, batch {options.batch}, {options.rounds} rounds')
    try:
        for number in (0, 2):
            busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(number)]
            found = measure(workers, options.rounds, rng)
            print(f'\nbeside {number} busy programs')
            print('| policy | images a second | time against the best |\n|---|---|---|')
            medians = {name: statistics.median(seconds) for name, seconds in found.items()}
            best = min(medians, key=medians.get)
            for name, seconds in found.items():
                ratio = statistics.median(a / b for a, b in zip(seconds, found[best]))
                print(f'| {name} | {options.batch * options.steps / medians[name]:.1f} | {ratio:.3f} |', flush=True)
                if name == 'ours':
                    limit = MOST_BUSY if number else 1 / LEAST_IDLE
                    kept &= ratio <= limit
                    _figures.report(f'steps beside {number} busy programs, time', ratio, _figures.RATIO,
                                    f'best policy of waiting: {best}', at_most=limit)
    finally:
        for process in [*busy, *workers.values()]:
            process.kill()
    return int(not kept)


if __name__ == '__main__':
    sys.exit(main())
