"""ICD against CAM on images, from image labels to networks: `python tests/benchmarks/msrc.py DATA WEIGHTS OUT`.

DATA is MSRC v2 as `python -m icd.data.msrc` writes it, or in VOC's (Annotations, SegmentationClassAug, names.txt),
with `train.txt` and `test.txt`; WEIGHTS a VGG16 trained on ImageNet, of any format. Superpixels, merging, training,
scores and seeds of the training images; their evaluation; then the same segmentation network four times, taught by the
truth, by ICD's raw seeds, by its CRF seeds and by CAM's at their best threshold, and compared on the test images. Pixel
truth chooses that threshold, in CAM's favour, and nothing else. The networks' convolutions stay as ImageNet left them:
at the tenth of the rate that they have below drawn layers they would hardly move in so few steps, and a step takes half
the time.

`--seeds 0,1,2` trains ICD three times, and the table has their mean and standard deviation; networks are of the first.
`--ablations` trains it again with one thing changed at a time, a line of `ABLATIONS` each. `--backbone-lr 0` leaves the
convolutions of all of ICD's trainings as they are, which takes a third of the time.

Every stage is a command of its own, printed before it runs; what is done is kept, so the same command goes on after an
interruption. OUT/table.md and OUT/figures.json hold the result, OUT/seeds.jpg shows for every class the first training
image that has it first, OUT/icd-SEED/curves.png how it was learned.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from icd import files  # noqa: E402
from icd.data import images, labels, masks, score_map, voc  # noqa: E402
from icd.superpixels import program  # noqa: E402
from icd.viz import previews  # noqa: E402

TRUTH, CLASS_NAMES = ('SegmentationClass', 'SegmentationClassAug'), ('class_names.txt', 'names.txt')
THRESHOLDS = '0.05', '0.10', '0.20', '0.30'
RAW_SIZE, CROP, INFER_SIZE, BATCH = 40, 193, 321, 8         # 320x213 images
WIDTH = 200                 # of a picture in seeds.jpg
# What is changed: where superpixels come from (raw or merged, method, number), and options of the training.
ABLATIONS = {
    'no superpixels': ('merged', '--no-superpixel'),
    'superpixels as SLIC gives them, not merged': ('raw',),
    'merged from Felzenszwalb and Huttenlocher in place of SLIC': ('merged-graph',),
    '32 superpixels in place of 64': ('merged-32',),
    '128 superpixels in place of 64': ('merged-128',),
    'no sign calibration': ('merged', '--no-sign-calibration'),
    'seeds from the bottom-up score, no top-down branch': ('merged', '--infer-branch', 'bottom-up'),
    'scores at three scales, mirrored images too': ('merged', '--infer-scales', '0.75,1,1.25', '--infer-flip'),
}
GAIN, PART = 4., .88        # points above CAM, and part of the truth's network, that the better ICD network reaches


def script(name):
    """A command of the environment that this runs in."""
    return os.path.join(os.path.dirname(sys.executable), name)


class Benchmark:
    """The stages, their times and their figures.

    Parameters
    ----------
    data, weights, out : str
    epochs, segment_epochs : int
        Of ICD's training and of each network's.
    seeds : sequence of int
        Training seeds of ICD; the first is that of the networks, too.
    gpus : str
    backbone_lr, precision : str
        Of ICD's trainings.
    """

    def __init__(self, data, weights, out, epochs, segment_epochs, seeds, gpus, backbone_lr, precision):
        self.data, self.weights, self.out, self.gpus, self.seeds = data, weights, out, gpus, seeds
        self.epochs, self.segment_epochs = epochs, segment_epochs
        self.backbone_lr, self.precision = backbone_lr, precision
        self._record = os.path.join(out, 'figures.json')
        os.makedirs(out, exist_ok=True)
        self.done = {}
        if os.path.exists(self._record):
            with open(self._record) as file:
                self.done = json.load(file)

    def data_file(self, *names):
        """The first of some files or folders of the data that is there."""
        paths = [os.path.join(self.data, name) for name in names]
        return next(filter(os.path.exists, paths), paths[0])

    def out_file(self, *names):
        return os.path.join(self.out, *names)

    def _save(self):
        with open(self._record, 'w') as file:
            json.dump(self.done, file, indent=1)

    def run(self, stage, *command):
        """Run a stage that has not been run; keep how long it took."""
        if f'seconds {stage}' in self.done:
            return
        print('\n$ ' + ' '.join(command), flush=True)
        start = time.time()
        process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, PYTHONPATH=ROOT))
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f'{stage} failed')
        self.done[f'seconds {stage}'] = time.time() - start
        self.done[f'memory {stage}'] = used.ru_maxrss * 1024            # of its largest process
        self._save()

    def evaluate(self, name, folder, data_list, truth=None, versus=None):
        """What `icd-evaluate` finds of a folder of masks, or of `raw` and `crf` in it; with `versus` paired."""
        if name not in self.done:
            report = self.out_file('report.json')
            subprocess.check_call(
                [script('icd-evaluate'), '--pred', folder, '--truth', truth or self.data_file(*TRUTH), '--list',
                 self.data_file(data_list), '--class-names', self.data_file(*CLASS_NAMES), '--json', report,
                 *(['--versus', versus] if versus else [])], stdout=subprocess.DEVNULL, cwd=ROOT,
                env=dict(os.environ, PYTHONPATH=ROOT))
            with open(report) as file:
                found = json.load(file)
            self.done[name] = {key: found[key] for key in ('mIoU', 'IoU', 'versus') if key in found}
            os.remove(report)
            self._save()
        return self.done[name]

    # -------------------------------------------------------------------------------------------------- the stages
    def superpixels(self, kind):
        """Folder of the superpixels of a kind: raw, merged, merged-graph, merged-32, ..."""
        kind, _, how = kind.partition('-')
        images, names = self.data_file('JPEGImages'), self.data_file('train.txt')
        graph = how == 'graph'
        raw = self.out_file('raw-graph' if graph else 'raw')
        self.run('superpixels' + graph * ' graph', program.find(), names, images, raw, str(RAW_SIZE),
                 *(['--method', 'graph'] if graph else []))
        if kind == 'raw':
            return raw
        merged = self.out_file('-'.join(filter(None, (kind, how))))
        self.run(' '.join(filter(None, ('merging', how))), sys.executable, 'generate_superpixel.py', '--image-root',
                 images, '--data-list', names, '--superpixel-root', raw, '--save-superpixel-root', merged,
                 '--pretrained', self.weights, '--image-size', str(INFER_SIZE), '--gpus', self.gpus,
                 *(['--max-superpixel-num', how] if how.isdigit() else []))
        return merged

    def icd(self, name, seed, superpixels, kinds, *more):
        """Train ICD and make seeds of some kinds; the function that gives the folder of one kind of them."""
        snapshot = self.out_file(name)
        if more and more[0].startswith('--infer') and not os.path.exists(snapshot):
            shutil.copytree(self.out_file(f'icd-{seed}'), snapshot, ignore=shutil.ignore_patterns('results'))
        options = ('run_icd.py', '--image-root', self.data_file('JPEGImages'), '--data-list',
                   self.data_file('train.txt'), '--class-names', self.data_file(*CLASS_NAMES), '--labels',
                   self.data_file('labels.json', 'Annotations'), '--superpixel-root', superpixels, '--pretrained',
                   self.weights, '--snapshot', snapshot, '--gpus', self.gpus, '--seed', str(seed), '--image-size',
                   str(CROP), '--batch-size', str(BATCH), '--num-epoch', str(self.epochs), '--log-frequency', '6',
                   '--num-save', '1', '--backbone-lr', self.backbone_lr, '--precision', self.precision, *more)
        self.run(f'training {name}', sys.executable, *options, '--only-train')
        self.run(f'scores and seeds {name}', sys.executable, *options, '--infer-size', str(INFER_SIZE), '--seeds',
                 kinds, '--cam-threshold', ','.join(THRESHOLDS))
        return lambda kind: os.path.join(snapshot, 'results', 'seeds', kind)

    def raw_cam(self, name):
        """Make seeds of CAM before the CRF, at all thresholds; the function that gives the folder of one."""
        out = self.out_file(name, 'results', 'cam')
        self.run(f'raw seeds of CAM {name}', script('icd-seeds'), '--from-maps',
                 score_map.folder(self.out_file(name), 'cam'), '--image-root', self.data_file('JPEGImages'), '--labels',
                 self.data_file('labels.json', 'Annotations'), '--data-list', self.data_file('train.txt'),
                 '--class-names', self.data_file(*CLASS_NAMES), '--threshold', ','.join(THRESHOLDS), '--seeds', 'raw',
                 '--out', out)
        return lambda threshold: os.path.join(out, 'raw_' + threshold)

    def draw(self, folder, best):
        """Draw OUT/seeds.jpg: of every class the first image, whatever came of it."""
        names = voc.read_list(self.data_file('train.txt'))
        found = labels.read(self.data_file('labels.json', 'Annotations'), names,
                            voc.read_class_names(self.data_file(*CLASS_NAMES)))
        snapshot, rows = os.path.dirname(os.path.dirname(os.path.dirname(folder('crf')))), []
        for index in dict.fromkeys(int(column.argmax()) for column in found.T if column.any()):
            name, count = names[index], int(found[index].sum())
            image = images.read_image(images.image_path(self.data_file('JPEGImages'), name))
            maps = [score_map.at_image_size(score_map.read(score_map.path(snapshot, kind, name), count, INFER_SIZE),
                                            image.shape[:2], INFER_SIZE) for kind in score_map.KINDS]
            seeds = [masks.read_mask(os.path.join(root, name + '.png')) for root in (
                folder(best), folder('raw'), folder('crf'), self.data_file(*TRUTH))]
            rows.append(previews.seed_row(image, maps, seeds, WIDTH))
        headings = 'image', 'CAM', 'ICD score', 'CAM seed', 'ICD raw seed', 'ICD seed', 'truth'
        files.save_image(self.out_file('seeds.jpg'),
                         previews.vstack([previews.headings(rows[0].shape[1], headings), *rows]))

    def compare_seeds(self):
        """Lines of the table of seeds; where the seeds of the first training are, and CAM's best threshold."""
        kinds = ['raw', 'crf'] + ['cam_' + threshold for threshold in THRESHOLDS]
        names = [f'icd-{seed}' for seed in self.seeds]
        folders = {name: self.icd(name, seed, self.superpixels('merged'), 'crf,raw,cam')
                   for name, seed in zip(names, self.seeds)}
        found = {kind: [self.evaluate(f'{name} {kind}', folders[name](kind), 'train.txt')['mIoU'] for name in names]
                 for kind in kinds}
        raw = [self.raw_cam(name) for name in names]
        found.update({f'cam_{threshold}, before the CRF': [
            self.evaluate(f'{name} cam_{threshold} raw', folder(threshold), 'train.txt')['mIoU']
            for name, folder in zip(names, raw)] for threshold in THRESHOLDS})
        best = max(kinds[2:], key=lambda kind: np.mean(found[kind]))
        agreement = [[self.evaluate(f'{name} {kind} against crf', folders[name](kind), 'train.txt',
                                    folders[name]('crf'))['mIoU'] for kind in kinds[2:]] for name in names]
        chosen = [kinds[2 + int(np.argmax(row))] for row in agreement]
        found['CAM, at the threshold that agrees most with ICD: ' + ', '.join(kind[4:] for kind in chosen)] = [
            found[kind][index] for index, kind in enumerate(chosen)]
        lines = ['| seeds of the training images, mIoU | ' + ' | '.join(f'seed {seed}' for seed in self.seeds) +
                 ' | mean ± deviation |', '|---' * (len(self.seeds) + 2) + '|']
        lines += [_row(kind, values) for kind, values in found.items()]
        gains = [self.evaluate(f'{name} paired with {best}', folders[name]('crf'), 'train.txt',
                               versus=folders[name](best))['versus'] for name in names]
        lines.append(_row(f'crf - {best}, paired', [gain['difference'] for gain in gains],
                          [' ({:+.1f} to {:+.1f})'.format(*gain['difference_interval']) for gain in gains]))
        return lines, folders[names[0]], best

    def compare_ablations(self):
        """Lines of the table of what happens without a part of the method; by the first seed."""
        whole = [self.done[f'icd-{self.seeds[0]} {kind}']['mIoU'] for kind in ('raw', 'crf')]
        lines = ['', '| changed | raw | crf |', '|---|---|---|', '| nothing | {:.1f} | {:.1f} |'.format(*whole)]
        for what, (superpixels, *more) in ABLATIONS.items():
            folder = self.icd('-'.join(['changed', superpixels, *(word.strip('-') for word in more)]), self.seeds[0],
                              self.superpixels(superpixels), 'crf,raw', *more)
            values = [self.evaluate(f'{what} {kind}', folder(kind), 'train.txt')['mIoU'] for kind in ('raw', 'crf')]
            lines.append(f"| {what} | {' | '.join(f'{value:.1f}' for value in values)} |")
        return lines

    def network(self, teacher, folder):
        """Train a network on masks, segment the test images; (mIoU without, with the CRF)."""
        images, snapshot = self.data_file('JPEGImages'), self.out_file('networks', teacher)
        self.run(f'network {teacher}', sys.executable, 'run_deeplab.py', '--image-root', images, '--seed-root',
                 folder, '--data-list', self.data_file('train.txt'), '--class-names', self.data_file(*CLASS_NAMES),
                 '--pretrained', self.weights, '--snapshot', snapshot, '--gpus', self.gpus, '--seed',
                 str(self.seeds[0]), '--image-size', str(CROP), '--batch-size', str(BATCH), '--num-epoch',
                 str(self.segment_epochs), '--backbone-lr', '0', '--num-save', '1')
        out = os.path.join(snapshot, 'test')
        self.run(f'prediction {teacher}', script('icd-segment'), 'predict', '--snapshot', snapshot,
                 '--image-root', images, '--data-list', self.data_file('test.txt'), '--out', out, '--infer-size',
                 str(INFER_SIZE), '--scales', '1', '--no-flip', '--gpus', self.gpus)
        return tuple(self.evaluate(f'{teacher} {kind}', os.path.join(out, kind), 'test.txt')['mIoU']
                     for kind in ('raw', 'crf'))

    # ---------------------------------------------------------------------------------------------------- the report
    def report(self, networks=True, ablations=False):
        """Everything; the text of the tables, and whether the networks keep what is promised of them."""
        lines, folder, best = self.compare_seeds()
        self.draw(folder, best)
        kept = True
        if ablations:
            lines += self.compare_ablations()
        if networks:
            teachers = {'truth': self.data_file(*TRUTH), 'ICD raw': folder('raw'), 'ICD CRF': folder('crf'),
                        f'CAM {best[4:]}': folder(best)}
            found = {name: self.network(name.replace(' ', '-'), masks) for name, masks in teachers.items()}
            lines += ['', '| taught by | without CRF | with CRF |', '|---|---|---|']
            lines += [f'| {name} | {raw:.1f} | {crf:.1f} |' for name, (raw, crf) in found.items()]
            truth, raw, crf, cam = (max(found[name]) for name in teachers)
            kept = max(raw, crf) >= cam + GAIN and max(raw, crf) >= PART * truth
            lines += ['', f'better ICD network: {max(raw, crf) - cam:+.1f} points against CAM (at least {GAIN:+.1f}), '
                      f'{max(raw, crf) / truth:.2f} of the network of the truth (at least {PART:.2f})']
        seconds = {key[8:]: value for key, value in self.done.items() if key.startswith('seconds ')}
        lines += ['', '| stage | minutes | memory, GB |', '|---|---|---|']
        lines += [f"| {stage} | {value / 60:.1f} | {self.done['memory ' + stage] / 1e9:.1f} |"
                  for stage, value in seconds.items()]
        return '\n'.join(lines), kept


def _row(name, values, notes=None):
    """A row of the table of seeds."""
    cells = [f'{value:.1f}{note}' for value, note in zip(values, notes or [''] * len(values))]
    deviation = f' ± {np.std(values, ddof=1):.1f}' if len(values) > 1 else ''
    return f"| {name} | {' | '.join(cells)} | {np.mean(values):.1f}{deviation} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data')
    parser.add_argument('weights')
    parser.add_argument('out')
    parser.add_argument('--epochs', type=int, default=5, help='of ICD (default: %(default)s)')
    parser.add_argument('--segment-epochs', type=int, default=3, help='of each network (default: %(default)s)')
    parser.add_argument('--seeds', default='0', help='training seeds of ICD, separated by commas')
    parser.add_argument('--ablations', action='store_true', help='also ICD with a part changed at a time')
    parser.add_argument('--no-networks', action='store_true', help='seeds only')
    parser.add_argument('--backbone-lr', default='1', help="multiplier of the convolutions' rate in ICD's trainings")
    parser.add_argument('--precision', default='float32', help="of ICD's trainings and scores (default: %(default)s)")
    parser.add_argument('--gpus', default='cpu')
    options = parser.parse_args()
    benchmark = Benchmark(*(os.path.abspath(path) for path in (options.data, options.weights, options.out)),
                          options.epochs, options.segment_epochs, [int(seed) for seed in options.seeds.split(',')],
                          options.gpus, options.backbone_lr, options.precision)
    text, kept = benchmark.report(not options.no_networks, options.ablations)
    with open(os.path.join(options.out, 'table.md'), 'w') as file:
        file.write(text + '\n')
    print('\n' + text)
    return int(not kept)


if __name__ == '__main__':
    sys.exit(main())
