"""Superpixels against other libraries: quality, speed and memory, on one core, as one table.

    python tests/benchmarks/superpixels.py [--rounds 15]

Installs fast-slic, OpenCV's contributed modules and scikit-image into `.venv-bench`, which is used for nothing else.
Times are medians of runs that all programs take in turns, without reading and writing, in milliseconds of the
processor, which stay the same while others use the machine. Quality needs the images of BSDS500 with their human
segmentations (`bsds_mini`, see tests/conftest.py); without them a drawn image is timed. Ends with exit code 1 when a
figure misses its bound.
"""
import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile

import cv2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, PROJECT)

from tests.benchmarks import _figures  # noqa: E402

TOOL = os.path.join(PROJECT, 'external', 'superpixel')
PROGRAM = os.path.join(TOOL, 'makeSuperpixel')
PEERS = os.path.join(HERE, '_superpixel_peers.py')
ENVIRONMENT = os.path.join(PROJECT, '.venv-bench')
REQUIREMENTS = ['numpy<2', 'fast-slic==0.4.0', 'opencv-contrib-python-headless<4.12', 'scikit-image<0.26']
BINDING = """
import sys, time, cv2
from icd import superpixels
image, cut = cv2.imread(sys.argv[1])[..., ::-1], getattr(superpixels, sys.argv[2])
for _ in sys.stdin:
    start = time.process_time()
    cut(image, int(sys.argv[3]))
    print('%.4f' % ((time.process_time() - start) * 1e3), flush=True)
"""
ONE_CORE = dict(os.environ, PYTHONPATH=PROJECT, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

SLIC_K = {600: 72, 300: 142}        # gives the 20 images at most so many superpixels on average
QUALITY = {600: {'BR': .84, 'UE': .068, 'ASA': .966}, 300: {'BR': .775, 'UE': .087, 'ASA': .956}}
FASTER = {'fast-slic': 1, 'opencv-slic': 7, 'skimage-slic': 12, 'skimage-felzenszwalb': 4}
MEMORY = 60                         # MB


# ---------------------------------------------------------------------------------------------------- setting up
def peers_python():
    """The Python of an environment with the other libraries; made when missing, which takes a minute."""
    python = os.path.join(ENVIRONMENT, 'bin', 'python')
    stamp = os.path.join(ENVIRONMENT, 'installed.txt')
    if os.path.isfile(stamp) and open(stamp).read().split('\n') == REQUIREMENTS:
        return python
    print('installing {} into {}'.format(', '.join(REQUIREMENTS), ENVIRONMENT), file=sys.stderr)
    pip = [python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check']
    subprocess.check_call([sys.executable, '-m', 'venv', '--clear', ENVIRONMENT])
    subprocess.check_call(pip + ['setuptools<81', 'wheel', 'cython<3', REQUIREMENTS[0]])
    subprocess.check_call(pip + ['--no-build-isolation'] + REQUIREMENTS)      # fast-slic's build needs all of these
    with open(stamp, 'w') as file:
        file.write('\n'.join(REQUIREMENTS))
    return python


def real_images():
    """Folder of BSDS500 images with human segmentations, or None."""
    root = os.environ.get('ICD_PHOTOGRAPHS', os.path.join(os.path.dirname(PROJECT), 'shared'))
    return root if os.path.isdir(os.path.join(root, 'bsds_mini')) else None


def draw(path, width, height):
    """A drawn image: smooth patches, edges and noise."""
    rng = np.random.RandomState(0)
    image = cv2.resize(rng.randint(0, 256, (height // 40, width // 40, 3), np.uint8), (width, height),
                       interpolation=cv2.INTER_CUBIC)
    image[image[..., 0] > 128] //= 2
    cv2.imwrite(path, np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8))


# ---------------------------------------------------------------------------------------------------- speed
def start(command):
    """A process that does one run for every line it is sent."""
    return subprocess.Popen(command, env=ONE_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1,
                            universal_newlines=True)


def time_in_turns(commands, rounds):
    """Median milliseconds {name: float} of `rounds` runs of each command, taken in turns after a first one."""
    taken = {name: [] for name in commands}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(start(command)) for name, command in commands.items()}
        for _ in range(rounds + 1):
            for name, process in running.items():
                process.stdin.write('\n')
                taken[name].append(float(process.stdout.readline()))
        for process in running.values():
            process.stdin.close()
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def speed_rows(python, image, rounds):
    """Table rows of the two methods against the libraries, and whether all bounds hold."""
    benchmark = os.path.join(TOOL, 'build', 'benchmark')
    commands = {'slic': [benchmark, image, 'slic', str(SLIC_K[600])], 'graph': [benchmark, image, 'graph', '75']}
    bindings = {'slic': ('slic', str(SLIC_K[600])), 'graph': ('felzenszwalb', '75')}
    commands.update({'icd.superpixels.' + function: [sys.executable, '-c', BINDING, image, function, k]
                     for function, k in bindings.values()})
    commands.update({name: [python, PEERS, 'time', name, image] for name in FASTER})
    times = time_in_turns(commands, rounds)
    rows, good = [], True
    for own, (function, _) in bindings.items():
        name = 'icd.superpixels.' + function
        _figures.report(f'makeSuperpixel {own}, 481x321', times[own], 'ms')
        rows.append((f'makeSuperpixel {own}, 481x321', f'{times[own]:.1f} ms', '', ''))
        rows.append((name, f'{times[name]:.1f} ms', f'{times[name] / times[own]:.2f} times makeSuperpixel {own}', ''))
    for name, bound in FASTER.items():
        own = 'graph' if name == 'skimage-felzenszwalb' else 'slic'
        ratio = times[name] / times[own]
        good &= ratio >= bound
        _figures.report(f'{own}, as fast as {name}', ratio, _figures.RATIO, f'{name}: {times[name]:.1f} ms',
                        at_least=bound)
        rows.append((name, f'{times[name]:.1f} ms', f'{ratio:.1f} times makeSuperpixel {own}',
                     f'at least {bound}'))
    return rows, good


# ---------------------------------------------------------------------------------------------------- quality
def evaluate(tool, labels, truth):
    """BR, UE, ASA and number of superpixels of a folder of label maps, in which nothing else may be."""
    for record in ('inputs.tsv', 'settings.json'):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(labels, record))
    printed = subprocess.run([sys.executable, tool, labels, truth], stdout=subprocess.PIPE, check=True,
                           text=True).stdout.split()
    return {name: float(printed[printed.index(name) + 1]) for name in ('BR', 'UE', 'ASA', 'n')}


def make_labels(names, images, target, k, method):
    """Run the program on one thread; seconds it took, reading and writing included, and its peak memory in MB."""
    with open(target + '.txt', 'w') as file:
        file.write('\n'.join(names))
    # A small process in between: what a process had before it became another program counts for its peak.
    count = ('import resource, subprocess, sys, time; t = time.time(); '
             'subprocess.check_call(sys.argv[1:], stderr=subprocess.DEVNULL); '
             'print(time.time() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)')
    command = [PROGRAM, file.name, images, target, str(k), '--method', method, '--threads', '1']
    printed = subprocess.run([sys.executable, '-c', count] + command, stdout=subprocess.PIPE, check=True,
                             text=True).stdout
    return tuple(float(number) for number in printed.split())


def quality_rows(python, root, folder):
    """Table rows of SLIC and the libraries on BSDS images, and whether all bounds hold."""
    images, truth = (os.path.join(root, 'bsds_mini', name) for name in ('images', 'ground_truth'))
    tool = os.path.join(root, 'tools', 'superpixel_quality.py')
    names = sorted(os.path.splitext(file)[0] for file in os.listdir(images))
    rows, good = [], True

    def add(title, labels, bound):
        figures = evaluate(tool, labels, truth)
        if bound:
            for name, limit in bound.items():
                side = 'at_most' if name == 'UE' else 'at_least'
                _figures.report(f'{title}, {name}', figures[name], '', **{side: limit})
        rows.append((title, 'BR {BR:.4f}, UE {UE:.4f}, ASA {ASA:.4f}'.format(**figures),
                     f"{figures['n']:.0f} superpixels",
                     'BR {BR:.3f}, UE {UE:.3f}, ASA {ASA:.3f}'.format(**bound) if bound else ''))
        return not bound or (figures['BR'] >= bound['BR'] and figures['UE'] <= bound['UE'] and
                             figures['ASA'] >= bound['ASA'])
    for number, k in SLIC_K.items():
        target = os.path.join(folder, f'slic{number}')
        make_labels(names, images, target, k, 'slic')
        good &= add(f'makeSuperpixel slic, K {k}', target, QUALITY[number])
        for name in ('fast-slic', 'opencv-slic', 'skimage-slic'):
            target = os.path.join(folder, f'{name}{number}')
            os.makedirs(target)
            asked = subprocess.run([python, PEERS, 'labels', name, str(number), images, target], env=ONE_CORE,
                                   stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
            add(f'{name}, asked for {asked}', target, None)
    return rows, good


def whole_program_rows(folder):
    """Table rows of the program's peak memory and of what an image takes with reading and writing."""
    rows, good = [], True
    draw(os.path.join(folder, 'one.jpg'), 500, 375)
    for i in range(40):
        draw(os.path.join(folder, f'n{i}.jpg'), 500, 375)
    for method in ('slic', 'graph'):
        memory = make_labels(['one'], folder, os.path.join(folder, method + '1'), 75, method)[1]
        many = [f'n{i}' for i in range(40)]
        seconds = make_labels(many, folder, os.path.join(folder, method + '40'), 75, method)[0]
        good &= memory < MEMORY
        _figures.report(f'program, {method}, 500x375', 1e3 * seconds / 40, 'ms')
        _figures.report(f'program, {method}, peak memory', memory, 'MB', at_most=MEMORY)
        rows.append((f'program, {method}, 500x375, one thread', f'{1e3 * seconds / 40:.0f} ms an image',
                     f'peak memory {memory:.0f} MB', f'less than {MEMORY} MB'))
    return rows, good


# -------------------------------------------------------------------------------------------------------- table
def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--rounds', type=int, default=15, help='runs of each program (default: 15)')
    rounds = parser.parse_args().rounds
    subprocess.check_call(['make', '-s', '-j2', '-C', TOOL, 'makeSuperpixel', 'benchmark'])
    python, root = peers_python(), real_images()
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(root, 'bsds_mini', 'images', '100075.jpg') if root else os.path.join(folder, 'drawn.png')
        if not root:
            print('no images of BSDS500 (set ICD_PHOTOGRAPHS): a drawn image is timed, quality is left out',
                  file=sys.stderr)
            draw(image, 481, 321)
        tables = [speed_rows(python, image, rounds), whole_program_rows(folder)]
        if root:
            tables.append(quality_rows(python, root, folder))
    print('| what | figure | | bound |\n|---|---|---|---|')
    for rows, _ in tables:
        for row in rows:
            print('| {} | {} | {} | {} |'.format(*row))
    return 0 if all(good for _, good in tables) else 1


if __name__ == '__main__':
    sys.exit(main())
