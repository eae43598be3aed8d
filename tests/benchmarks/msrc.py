"""ICD against CAM on images, from image labels to networks: `python tests/benchmarks/msrc.py DATA WEIGHTS OUT`.

DATA is MSRC v2 as `python -m icd.data.msrc` writes it, or in VOC's (Annotations, SegmentationClassAug, names.txt),
with `train.txt` and `test.txt`; WEIGHTS a VGG16 trained on ImageNet, of any format. Superpixels, merging, training,
scores and seeds of the training images; their evaluation; then the same segmentation network four times, taught by the
truth, by ICD's raw seeds, by its CRF seeds and by CAM's at their best threshold, and compared on the test images. Pixel
truth chooses that threshold, in CAM's favour, and nothing else. The networks' convolutions stay as ImageNet left them:
at the tenth of the rate that they have below drawn layers they would hardly move in so few steps, and a step takes half
the time.

Every stage is a command of its own, printed before it runs; what is done is kept, so the same command goes on after an
interruption. OUT/table.md and OUT/figures.json hold the result.
"""
import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from icd.superpixels import program  # noqa: E402

TRUTH, CLASS_NAMES = ('SegmentationClass', 'SegmentationClassAug'), ('class_names.txt', 'names.txt')
THRESHOLDS = '0.05', '0.10', '0.20', '0.30'
RAW_SIZE, CROP, INFER_SIZE, BATCH = 40, 193, 321, 8         # 320x213 images
GAIN, PART = 4., .88        # points above CAM, and part of the truth's network, that the better ICD network reaches


def _script(name):
    """A command of the environment that this runs in."""
    return os.path.join(os.path.dirname(sys.executable), name)


class Benchmark:
    """The stages, their times and their figures.

    Parameters
    ----------
    data, weights, out : str
    epochs, segment_epochs : int
        Of ICD's training and of each network's.
    seed : int
    gpus : str
    """

    def __init__(self, data, weights, out, epochs, segment_epochs, seed, gpus):
        self.data, self.weights, self.out, self.gpus, self.seed = data, weights, out, gpus, seed
        self.epochs, self.segment_epochs = epochs, segment_epochs
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
        if subprocess.call(command, cwd=ROOT, env=dict(os.environ, PYTHONPATH=ROOT)):
            sys.exit(f'{stage} failed')
        self.done[f'seconds {stage}'] = time.time() - start
        self._save()

    def evaluate(self, name, folder, data_list):
        """mIoU of a folder of masks, of `raw` and `crf` in it where they are."""
        if name not in self.done:
            report = self.out_file('report.json')
            subprocess.check_call(
                [_script('icd-evaluate'), '--pred', folder, '--truth',
                 self.data_file(*TRUTH), '--list', self.data_file(data_list), '--class-names',
                 self.data_file(*CLASS_NAMES), '--json', report], stdout=subprocess.DEVNULL, cwd=ROOT,
                env=dict(os.environ, PYTHONPATH=ROOT))
            with open(report) as file:
                found = json.load(file)
            self.done[name] = {key: found[key] for key in ('mIoU', 'IoU')}
            os.remove(report)
            self._save()
        return self.done[name]['mIoU']

    # -------------------------------------------------------------------------------------------------- the stages
    def seeds(self):
        """From image labels to seeds; mIoU by the folder's name."""
        images, names = self.data_file('JPEGImages'), self.data_file('train.txt')
        self.run('superpixels', program.find(), names, images, self.out_file('raw'),
                 str(RAW_SIZE))
        self.run('merging', sys.executable, 'generate_superpixel.py', '--image-root', images, '--data-list', names,
                 '--superpixel-root', self.out_file('raw'), '--save-superpixel-root', self.out_file('merged'),
                 '--pretrained', self.weights, '--image-size', str(INFER_SIZE), '--gpus', self.gpus)
        options = ('run_icd.py', '--image-root', images, '--data-list', names, '--class-names',
                   self.data_file(*CLASS_NAMES), '--labels', self.data_file('labels.json', 'Annotations'),
                   '--superpixel-root', self.out_file('merged'), '--pretrained', self.weights,
                   '--snapshot', self.out_file('icd'), '--gpus', self.gpus, '--seed', str(self.seed),
                   '--image-size', str(CROP), '--batch-size', str(BATCH), '--num-epoch', str(self.epochs))
        self.run('training', sys.executable, *options, '--log-frequency', '6', '--only-train')
        self.run('scores and seeds', sys.executable, *options, '--log-frequency', '6', '--infer-size', str(INFER_SIZE),
                 '--seeds', 'crf,raw,cam', '--cam-threshold', ','.join(THRESHOLDS), '--colour')
        folders = ['raw', 'crf'] + ['cam_' + threshold for threshold in THRESHOLDS]
        return {folder: self.evaluate('seeds ' + folder, self._seeds(folder), 'train.txt') for folder in folders}

    def _seeds(self, folder):
        return self.out_file('icd', 'results', 'seeds', folder)

    def network(self, teacher, folder):
        """Train a network on masks, segment the test images; (mIoU without, with the CRF)."""
        images, snapshot = self.data_file('JPEGImages'), self.out_file('networks', teacher)
        self.run(f'network {teacher}', sys.executable, 'run_deeplab.py', '--image-root', images, '--seed-root',
                 folder, '--data-list', self.data_file('train.txt'), '--class-names', self.data_file(*CLASS_NAMES),
                 '--pretrained', self.weights, '--snapshot', snapshot, '--gpus', self.gpus, '--seed', str(self.seed),
                 '--image-size', str(CROP), '--batch-size', str(BATCH), '--num-epoch', str(self.segment_epochs),
                 '--backbone-lr', '0', '--num-save', '1')
        out = os.path.join(snapshot, 'test')
        self.run(f'prediction {teacher}', _script('icd-segment'), 'predict', '--snapshot', snapshot,
                 '--image-root', images, '--data-list', self.data_file('test.txt'), '--out', out, '--infer-size',
                 str(INFER_SIZE), '--scales', '1', '--no-flip', '--gpus', self.gpus)
        return tuple(self.evaluate(f'{teacher} {kind}', os.path.join(out, kind), 'test.txt') for kind in ('raw', 'crf'))

    # ---------------------------------------------------------------------------------------------------- the report
    def report(self):
        """Everything; the text of the tables, and whether the networks keep what is promised of them."""
        seeds = self.seeds()
        best = max((folder for folder in seeds if folder.startswith('cam')), key=seeds.get)
        lines = ['| seeds of the 300 training images | mIoU |', '|---|---|']
        lines += [f'| {folder} | {value:.1f} |' for folder, value in seeds.items()]
        teachers = {'truth': self.data_file(*TRUTH), 'ICD raw': self._seeds('raw'),
                    'ICD CRF': self._seeds('crf'), f'CAM {best[4:]}': self._seeds(best)}
        found = {name: self.network(name.replace(' ', '-'), folder) for name, folder in teachers.items()}
        lines += ['', '| taught by | without CRF | with CRF |', '|---|---|---|']
        lines += [f'| {name} | {raw:.1f} | {crf:.1f} |' for name, (raw, crf) in found.items()]
        seconds = {key[8:]: value for key, value in self.done.items() if key.startswith('seconds ')}
        lines += ['', '| stage | minutes |', '|---|---|']
        lines += [f'| {stage} | {value / 60:.1f} |' for stage, value in seconds.items()]
        truth, raw, crf, cam = (max(found[name]) for name in teachers)
        kept = max(raw, crf) >= cam + GAIN and max(raw, crf) >= PART * truth
        lines += ['', f'better ICD network: {max(raw, crf) - cam:+.1f} points against CAM (at least {GAIN:+.1f}), '
                  f'{max(raw, crf) / truth:.2f} of the network of the truth (at least {PART:.2f})']
        return '\n'.join(lines), kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data')
    parser.add_argument('weights')
    parser.add_argument('out')
    parser.add_argument('--epochs', type=int, default=5, help='of ICD (default: %(default)s)')
    parser.add_argument('--segment-epochs', type=int, default=3, help='of each network (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--gpus', default='cpu')
    options = parser.parse_args()
    text, kept = Benchmark(*(os.path.abspath(path) for path in (options.data, options.weights, options.out)),
                           options.epochs, options.segment_epochs, options.seed, options.gpus).report()
    with open(os.path.join(options.out, 'table.md'), 'w') as file:
        file.write(text + '\n')
    print('\n' + text)
    return int(not kept)


if __name__ == '__main__':
    sys.exit(main())
