"""Processor time and memory by the number of names: folders of up to a million files, made of hard links.

    python tests/benchmarks/million.py [--names 10000,100000,1000000] [--two-level] [--folder DIR] [--only NAME,...]

Eight small images go through the real commands. Their files are then linked under as many names as asked for, and
recorded as outputs of these names, so that everything is up to date. Ends with exit code 1 when a process takes more
than 2 GB, or time grows faster than the number of names to the power of 1.2.
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from icd import files, records
from icd.data import masks, voc
from icd.outputs import Input
from icd.superpixels import program

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOST_MEMORY, STEEPEST = 2e9, 1.2
ENOUGH = 10000              # names from which on growth counts: below it is that of starting Python
LINKS = 10000               # names of a file; file systems allow 65,000
DRAWN = 8
WIDTH, SIDE = 1 / 32, 33
# Folders, with the ending of what lies in them; and what is recorded in which.
LINKED = {'images': '.jpg', 'raw': '.png', 'merged': '.png', 'truth': '.png', 'snap/results/scores_cam': '.npy',
          'snap/results/scores_icd': '.npy', 'snap/results/seeds/crf': '.png'}
MADE_FROM = {'raw': ['images'], 'merged': ['images', 'raw'], 'snap/results': ['=', 'images'],
             'snap/results/seeds/crf': ['=', 'images', 'snap/results/scores_icd', 'snap/results/scores_cam']}
RUN = (f'run_icd.py --image-root images --superpixel-root merged --data-list list.txt --pretrained start.params '
       f'--snapshot snap --num-epoch 1 --batch-size 2 --image-size {SIDE} --infer-size {SIDE} --width {WIDTH} '
       '--gpus cpu --num-workers 0 --num-process 1 --labels').split()
EVALUATE = ('-m icd.commands evaluate --pred snap/results/seeds/crf --truth truth --list list.txt --num-process 1 '
            '--json figures.json').split()
MEASURED = {
    'makeSuperpixel, nothing to do': [program.find(), 'list.txt', 'images', 'raw', '5', '--threads', '1'],
    'merging, nothing to do': (
        'generate_superpixel.py --image-root images --superpixel-root raw --save-superpixel-root merged --data-list '
        f'list.txt --pretrained start.params --width {WIDTH} --image-size {SIDE} --gpus cpu --num-process 1 '
        '--max-superpixel-num 4').split(),
    'dry run, labels in JSON': RUN + ['labels.json', '--dry-run', '--resume', 'no'],
    'dry run, labels in CSV': RUN + ['labels.csv', '--dry-run', '--resume', 'no'],
    'inference, nothing to do': RUN + ['labels.json', '--only-infer'],
    'seeds, nothing to do': RUN + ['labels.json', '--only-gen-seeds'],
    'seeds, shard 1 of 4, nothing to do': RUN + ['labels.json', '--only-gen-seeds', '--shard', '1/4'],
    'first batch of a training': ['tests/benchmarks/million.py', '--first-batch'],
    'evaluation': EVALUATE,
    'evaluation, shard 1 of 4': EVALUATE + ['--shard', '1/4'],
    'evaluation against other seeds, 1,000 draws': EVALUATE + ['--versus', 'truth', '--html', 'page.html'],
}

# A process begins with the memory of the one that starts it, so a small one does.
_OBSERVER = """
import json, os, sys, time
begin, process = time.perf_counter(), os.fork()
if not process:
    os.dup2(2, 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(process, 0)
print(json.dumps((used.ru_utime + used.ru_stime, time.perf_counter() - begin, 1024 * used.ru_maxrss)))
sys.exit(status and 1)
"""


def draw(root):
    """Eight images, their labels and true masks, and weights."""
    from icd.model.icd_net import ICDNet
    from icd.model.initial import initialize_missing, set_values
    from icd.mxnet_setup import mx
    from icd.weights import load
    rng, net = np.random.default_rng(0), ICDNet(len(voc.CATEGORIES), WIDTH)
    for i in range(DRAWN):
        image = cv2.resize(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8), (28 + i // 2, 20 + i % 2))
        files.save_image(os.path.join(root, 'images', f'{i}.jpg'), image)
        truth = np.kron(rng.choice(np.uint8([0, *(c + 1 for c in classes(i)), 255]), (4, 4)), np.ones((9, 9), np.uint8))
        masks.save_mask(os.path.join(root, 'truth', f'{i}.png'), truth[:image.shape[0], :image.shape[1]])
    set_values(net, initialize_missing(net, {}, 0, he=True), mx.cpu())
    load.save(os.path.join(root, 'start.params'), net)


def classes(i):
    """Classes of the `i`-th name: one or two of VOC's."""
    return sorted({i % DRAWN, i % DRAWN // 2 + 9})


def name_of(i, two_level):
    """The `i`-th name: `00ab12`, or `ab/00ab12`."""
    name = f'{i:07x}'
    return f'{name[-2:]}/{name}' if two_level else name


def write_lists(root, names):
    """The list of names, and their labels in two formats."""
    labels = [[voc.CATEGORIES[c] for c in classes(i)] for i in range(len(names))]
    files.save_bytes(os.path.join(root, 'list.txt'), '\n'.join(names).encode())
    files.save_json(os.path.join(root, 'labels.json'), dict(zip(names, labels)))
    rows = ''.join(f"{name},{';'.join(found)}\n" for name, found in zip(names, labels))
    files.save_bytes(os.path.join(root, 'labels.csv'), ('name,classes\n' + rows).encode())


def copied(first, last):
    """Of the names from the `first` to before the `last` one, by their numbers, those whose files they are links to."""
    return [i - (i - first) % (DRAWN * LINKS) + (i - first) % DRAWN for i in range(first, last)]


def link(drawn, root, names, copies, first):
    """Make the files of all names from the `first` on: copies of what was drawn, and links to the copies."""
    for folder, ending in LINKED.items():
        for part in files.sub_folders(names[first:]):
            os.makedirs(os.path.join(root, folder, part), exist_ok=True)
        paths = [os.path.join(root, folder, name + ending) for name in names]
        for i in range(first, len(names)):
            if copies[i] == i:
                shutil.copyfile(os.path.join(drawn, folder, f'{i % DRAWN}{ending}'), paths[i])
            else:
                os.link(paths[copies[i]], paths[i])


def record(drawn, root, names, copies):
    """Record all names as made from the files that are linked to them now."""
    for folder, sources in MADE_FROM.items():
        shutil.copyfile(os.path.join(drawn, folder, records.SETTINGS), os.path.join(root, folder, records.SETTINGS))
        with open(os.path.join(drawn, folder, records.INPUTS), encoding='ascii') as file:
            before = {name: identities for name, *identities in (line.split() for line in file)}
        ends = {i: '\t'.join(old if source == '=' else Input(
            os.path.join(root, source, names[i] + LINKED[source])).recorded_as(old)
            for source, old in zip(sources, before[str(i % DRAWN)])) for i in set(copies)}
        with open(os.path.join(root, folder, records.INPUTS), 'wb') as file:
            file.writelines(records.line(names[i], [ends[copies[i]]])
                            for i in sorted(range(len(names)), key=names.__getitem__))


def run(command, root):
    """Run a command; its processor seconds, seconds, and largest memory of a process in bytes."""
    if command[0].endswith('.py'):
        command = [os.path.join(PROJECT, command[0]), *command[1:]]
    command = command if os.access(command[0], os.X_OK) else [sys.executable, *command]
    environment = dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', PYTHONPATH=PROJECT)
    found = subprocess.run([sys.executable, '-S', '-c', _OBSERVER, *command], cwd=root, env=environment,
                           capture_output=True)
    if found.returncode:
        sys.exit(f"{' '.join(command)}\n{found.stderr.decode(errors='replace')[-2000:]}")
    return json.loads(found.stdout)


def first_batch():
    """What a training does before its first step: the data set, the loader, and the keys of the first batch."""
    from icd.data.datasets import IcdTrainingSet
    from icd.data.inputs import read_inputs
    from icd.data.loader import BatchLoader, EpochSampler
    from icd.errors import Problems
    problems = Problems()
    inputs = read_inputs('list.txt', 'images', None, None, None, problems, 'labels.json')
    problems.raise_if_any()
    dataset = IcdTrainingSet(inputs.names, inputs.labels, 'images', 'merged', SIDE, 0)
    next(BatchLoader(dataset, EpochSampler(len(dataset), 4, 0)).epoch(0))


def measure(options, root):
    """Rows of (what, names, processor seconds, seconds, bytes)."""
    drawn, rows, copies = os.path.join(root, 'drawn'), [], []
    draw(drawn)
    write_lists(drawn, [str(i) for i in range(DRAWN)])
    for command in (*list(MEASURED.values())[:2], RUN + ['labels.json']):
        run(command, drawn)
    shutil.copy(os.path.join(drawn, 'start.params'), root)
    os.makedirs(os.path.join(root, 'snap'))
    shutil.copy(os.path.join(drawn, 'snap', 'vgg16_icd-0000.params'), os.path.join(root, 'snap'))
    rows += run_all(options, drawn, DRAWN)
    for count in options.names:
        names = [name_of(i, options.two_level) for i in range(count)]
        write_lists(root, names)
        done = len(copies)
        copies += copied(done, count)
        link(drawn, root, names, copies, done)
        record(drawn, root, names, copies)
        rows += run_all(options, root, count)
    return rows


def run_all(options, root, count):
    """Rows of all commands, which are run once before where something for the eye is to be drawn."""
    rows = []
    for what, command in MEASURED.items():
        if options.only and not any(part in what for part in options.only):
            continue
        if 'nothing to do' in what and count <= options.names[0]:
            run(command, root)
        rows.append((what, count, *run(command, root)))
        print('{:44} {:9,} {:8.1f} s {:8.1f} s by the clock {:6,.0f} MB'.format(*rows[-1][:4], rows[-1][4] / 1e6),
              flush=True)
    return rows


def slopes(rows):
    """Exponent of the growth of processor time by what, from `ENOUGH` names on; the start of programs is left out."""
    found = {}
    for what in dict.fromkeys(row[0] for row in rows):
        start, *own = [row for row in rows if row[0] == what and (row[1] == DRAWN or row[1] >= ENOUGH)]
        if len(own) > 1:
            (_, few, before, *_), (_, many, after, *_) = own[-2:]
            found[what] = math.log((after - start[2]) / (before - start[2])) / math.log(many / few)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--names', default='10000,100000,1000000')
    parser.add_argument('--two-level', action='store_true', help='names like ab/00000ab')
    parser.add_argument('--folder', help='where to link (default: the folder for temporary files)')
    parser.add_argument('--only', help='only what has one of these words in its name')
    parser.add_argument('--first-batch', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_batch:
        return first_batch()
    options.names = sorted(int(number) for number in options.names.split(','))
    options.only = options.only and options.only.split(',')
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        rows = measure(options, root)
    steepest, largest = slopes(rows), max(row[4] for row in rows)
    print(json.dumps({'rows': rows, 'slopes': {what: round(slope, 2) for what, slope in steepest.items()},
                      'largest_memory': largest}))
    return int(largest > MOST_MEMORY or max(steepest.values(), default=0) > STEEPEST)


if __name__ == '__main__':
    sys.exit(main())
