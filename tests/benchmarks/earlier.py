"""What the code takes next to that of an earlier commit, both in turns in one run.

    python tests/benchmarks/earlier.py [--commit 1551c16] [--images DATA --weights FILE]

The earlier code is taken from Git and built in `.bench-earlier/`, once. Superpixels, merging, CRF and makeSuperpixel
run on one thread, and figures are medians of the processor's time. Where there are MSRC's images (docs/msrc.md) and
ImageNet's VGG16 also all stages but training, as commands, on both codes and the same checkpoint; their time is that of
all their processes, starts included. Ends with exit code 1 when a figure misses its limit.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, PROJECT)

import numpy as np  # noqa: E402

ENVIRONMENT = dict(os.environ)      # before the other benchmarks limit it to one thread
from tests.benchmarks import _figures, merging, superpixels  # noqa: E402
from tests.method.test_crf import drawing  # noqa: E402

CODES = 'earlier', 'now'
LIMITS = {'slic': .8, 'graph': .7, 'merging': .63, 'merging 2000': .6, 'CRF': .8, 'program slic': .64,
          'all stages but training': .5}
FILES = 110                 # of the program's runs
INFER_SIZE = '321'
# Runs once for every line it is sent, and prints what it took. Modules have moved since the earlier commits.
ONCE = """
import importlib, sys, time
del sys.path[0]             # the working directory, which may hold the other code
import numpy as np

def module(*names):
    for name in names:
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        if found.__file__.startswith(root + '/icd/'):           # an installed package lends what is missing here
            return found
    raise ImportError(names)

root, what, path = sys.argv[1:]
with np.load(path) as file:
    given = dict(file)
module('icd.parallel', 'icd.runtime').keep_freed_memory()
if what == 'CRF':
    crf = module('icd.method.crf', 'icd.crf')
    refine = getattr(crf, 'refine_seed', None) or crf.dense_crf
    def run():
        refine(given['image'], given['seed'], 21)
else:
    merging = module('icd.method.merging', 'icd.data.merging')
    def run():
        feature = given['feature']
        merging.merge(merging.pool(given['labels'], feature) if feature.ndim == 3 else feature, given['pixels'], 64)
for _ in sys.stdin:
    start = time.process_time()
    run()
    print('%.4f' % (1e3 * (time.process_time() - start)), flush=True)
"""


def earlier_code(commit):
    """Folder of a commit's code, built; None where there is no such commit."""
    folder = os.path.join(PROJECT, '.bench-earlier', commit)
    if not os.path.isdir(folder):
        with tempfile.TemporaryDirectory() as making:
            archive = os.path.join(making, 'code.tar')
            if subprocess.call(['git', 'archive', '--output', archive, commit], cwd=PROJECT):
                return None
            shutil.unpack_archive(archive, folder)
    for root in (folder, PROJECT):
        subprocess.check_call([sys.executable, 'setup.py', '-q', 'build_ext', '--inplace'], cwd=root)
        subprocess.check_call(['make', '-s', '-C', os.path.join(root, 'external', 'superpixel'), 'makeSuperpixel',
                               'benchmark'])
    return folder


def ratio(title, limit, taken, unit):
    """Print and report a figure of the code of now and its ratio to that of before; whether it keeps the limit."""
    before, now = (statistics.median(taken[code]) for code in CODES)
    print(f'{title:<36} {before:9.3f} {now:9.3f} {unit}  {now / before:6.3f}'
          + (f' (at most {limit})' if limit else ''), flush=True)
    _figures.report(title, now, unit)
    _figures.report(f'{title}, of the time before', now / before, _figures.RATIO, f'earlier: {before:.3f} {unit}',
                    at_most=limit)
    return limit is None or now / before <= limit


# --------------------------------------------------------------------------------------------- arrays in memory
def arrays(folder):
    """Files with what merging and the CRF are given: {name: path}."""
    labels, feature = merging.draw(np.random.default_rng(0))
    many, pixels = merging.draw_many(np.random.default_rng(1))
    image, seed = drawing(0, 375, 500, num_present=2)
    given = {'merging': {'labels': labels, 'feature': feature, 'pixels': np.bincount(labels.ravel())},
             'merging 2000': {'labels': [], 'feature': many, 'pixels': pixels},
             'CRF': {'image': image, 'seed': seed}}
    paths = {name: os.path.join(folder, name + '.npz') for name in given}
    for name, values in given.items():
        np.savez(paths[name], **values)
    return paths


def compare_functions(roots, folder, rounds):
    """Superpixels, merging and CRF."""
    image = os.path.join(folder, 'drawn.png')
    real = superpixels.real_images()
    if real:
        image = os.path.join(real, 'bsds_mini', 'images', '100075.jpg')
    else:
        superpixels.draw(image, 481, 321)
    commands = {(method, code): [os.path.join(root, 'external', 'superpixel', 'build', 'benchmark'), image, method, k]
                for method, k in (('slic', str(superpixels.SLIC_K[600])), ('graph', '75'))
                for code, root in roots.items()}
    commands.update({(name, code): ['env', 'PYTHONPATH=' + root, sys.executable, '-c', ONCE, root, name, path]
                     for name, path in arrays(folder).items() for code, root in roots.items()})
    kept = True
    for name in dict.fromkeys(name for name, _ in commands):
        own = {code: command for (what, code), command in commands.items() if what == name}
        medians = superpixels.time_in_turns(own, 5 if name == 'merging 2000' else rounds)
        kept &= ratio(name, LIMITS.get(name), {code: [value] for code, value in medians.items()}, 'ms')
    return kept


# --------------------------------------------------------------------------------------------------- commands
def processor_seconds(command, root, one_core=False):
    """What a command and its processes take; its output is shown when it fails."""
    env = dict(superpixels.ONE_CORE if one_core else ENVIRONMENT, PYTHONPATH=root)
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(command, cwd=root, env=env, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read()[-2000:]}")
    return used.ru_utime + used.ru_stime


def compare_program(roots, folder, rounds):
    """makeSuperpixel over files of VOC, or drawn ones of 500x375, on one thread."""
    names, real = [f'n{i}' for i in range(FILES)], superpixels.real_images()
    if real:
        voc = os.path.join(real, 'voc_mini', 'JPEGImages')
        sources = [os.path.join(voc, name) for name in sorted(os.listdir(voc))]
    else:
        sources = [os.path.join(folder, 'drawn.jpg')]
        superpixels.draw(sources[0], 500, 375)
    for i, name in enumerate(names):
        shutil.copy(sources[i % len(sources)], os.path.join(folder, name + '.jpg'))
    with open(os.path.join(folder, 'names.txt'), 'w') as file:
        file.write('\n'.join(names))
    kept = True
    for method in ('slic', 'graph'):
        taken = {code: [] for code in CODES}
        for _ in range(rounds):
            for code, root in roots.items():
                out = os.path.join(folder, 'out')
                shutil.rmtree(out, ignore_errors=True)
                command = [os.path.join(root, 'external', 'superpixel', 'makeSuperpixel'), file.name, folder, out,
                           '75', '--method', method, '--threads', '1']
                taken[code].append(1e3 * processor_seconds(command, root, one_core=True) / FILES)
        name = 'program ' + method
        kept &= ratio(f'{name}, a file', LIMITS.get(name), taken, 'ms')
    return kept


def stages(root, data, weights, names, out):
    """Commands of all stages but training, {name: command}; and that of training."""
    images, raw, merged = os.path.join(data, 'JPEGImages'), os.path.join(out, 'raw'), os.path.join(out, 'merged')
    icd = [sys.executable, 'run_icd.py', '--image-root', images, '--data-list', names, '--annotation-root',
           os.path.join(data, 'Annotations'), '--class-names', os.path.join(data, 'names.txt'), '--superpixel-root',
           merged, '--pretrained', weights, '--snapshot', os.path.join(out, 'snapshot'), '--gpus', 'cpu', '--num-epoch',
           '1', '--image-size', '193', '--batch-size', '8']
    return {
        'superpixels': [os.path.join(root, 'external', 'superpixel', 'makeSuperpixel'), names, images, raw, '50'],
        'merging': [sys.executable, 'generate_superpixel.py', '--image-root', images, '--data-list', names,
                    '--superpixel-root', raw, '--save-superpixel-root', merged, '--pretrained', weights,
                    '--image-size', INFER_SIZE, '--gpus', 'cpu'],
        'scores and previews': [*icd, '--infer-size', INFER_SIZE, '--only-infer'],
        'seeds': [*icd, '--infer-size', INFER_SIZE, '--seeds', 'crf,raw,cam', '--only-gen-seeds'],
    }, [*icd, '--backbone-lr', '0', '--only-train']


def keep_checkpoint(snapshot, folder):
    """Move what a training learned to a folder of its own, without its log and previews, which others write, too."""
    os.makedirs(folder)
    for name in os.listdir(snapshot):
        if name.endswith(('.params', '.states')):
            shutil.move(os.path.join(snapshot, name), folder)
    shutil.rmtree(snapshot)


def compare_stages(roots, data, weights, count, folder, rounds):
    """All stages but training, on the first images of the list."""
    params, names = os.path.join(folder, 'vgg16.params'), os.path.join(folder, 'stages.txt')
    subprocess.check_call([sys.executable, '-m', 'icd.commands', 'weights', 'convert', weights, params], cwd=PROJECT)
    with open(os.path.join(data, 'train.txt')) as file, open(names, 'w') as out:
        out.write('\n'.join(file.read().split('\n')[:count]))
    checkpoint, taken = os.path.join(folder, 'checkpoint'), {}
    for _turn in range(rounds):
        for code in reversed(CODES):                    # the code of now trains the network of both
            root, out = roots[code], os.path.join(folder, 'run')
            shutil.rmtree(out, ignore_errors=True)
            commands, training = stages(root, data, params, names, out)
            for name, command in commands.items():
                if name.startswith('scores'):
                    if not os.path.isdir(checkpoint):
                        processor_seconds(training, root)
                        keep_checkpoint(os.path.join(out, 'snapshot'), checkpoint)
                    shutil.copytree(checkpoint, os.path.join(out, 'snapshot'))
                start = time.time()
                seconds = processor_seconds(command, root)
                taken.setdefault(name, {}).setdefault(code, []).append(seconds)
                print(f'{code}, {name}: {seconds:.1f} s, {time.time() - start:.1f} s by the clock', flush=True)
    for name, times in taken.items():
        ratio(f'{name}, {count} images', None, times, 's')
    whole = {code: [sum(values) for values in zip(*(times[code] for times in taken.values()))] for code in CODES}
    name = 'all stages but training'
    return ratio(f'{name}, {count} images', LIMITS[name], whole, 's')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--commit', default='1551c16', help='what to compare with (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=41, help='runs of each function (default: %(default)s)')
    real = superpixels.real_images()
    parser.add_argument('--images', metavar='DATA', default=os.path.join(real, 'msrc') if real else
                        'data/MSRC', help='data set of the stages (default: %(default)s)')
    parser.add_argument('--weights', metavar='FILE', default='data/pretrained/vgg16_20M.params',
                        help="ImageNet's VGG16, for the stages (default: %(default)s)")
    parser.add_argument('--count', type=int, default=38, help='images of the stages (default: %(default)s)')
    options = parser.parse_args()
    earlier = earlier_code(options.commit)
    if not earlier:
        print(f'no commit {options.commit} in the Git history of {PROJECT}: nothing is compared')
        return 0
    roots = dict(zip(CODES, (earlier, PROJECT)))
    print(f'medians of the processor\'s time: {options.commit}, now, ratio')
    with tempfile.TemporaryDirectory() as folder:
        kept = [compare_functions(roots, folder, options.rounds), compare_program(roots, folder, 5)]
        if os.path.isdir(options.images) and os.path.isfile(options.weights):
            kept.append(compare_stages(roots, os.path.abspath(options.images), os.path.abspath(options.weights),
                                       options.count, folder, 2))
        else:
            print(f'no {options.images} or no {options.weights}: the stages are left out')
    return 0 if all(kept) else 1


if __name__ == '__main__':
    sys.exit(main())
