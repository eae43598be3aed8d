"""Compare folders of masks: seeds with ground truth, with released seeds, or two sorts of seeds with each other."""
from __future__ import annotations

import contextlib
import os
from collections import Counter

import numpy as np

from icd import checks, cli, console, counting, files, parallel, shards
from icd.data import images, labels, voc
from icd.data.labels import folders
from icd.errors import Problems, UserError
from icd.evaluate_options import EVALUATE
from icd.method import bootstrap, metrics
from icd.shards import Shard
from icd.steps import calibration
from icd.viz import report, table


def _extra(folder, names):
    """Names of the PNG files in `folder`, and in the folders names lie in, that the list does not have."""
    found, known = [], set(names)
    for part in files.sub_folders(names):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), \
                os.scandir(os.path.join(folder, part)) as entries:
            listed = (os.path.join(part, entry.name[:-len('.png')]) for entry in entries
                      if entry.name.endswith('.png') and not entry.name.startswith('.'))
            found += [name for name in listed if name not in known]
    return sorted(found)


def _class_names(options):
    """Names of all classes, background first."""
    names = ('background',) + voc.read_class_names(options.class_names)
    if options.num_cls in (None, len(names)):
        return names
    if options.class_names:
        raise UserError(f'{options.class_names} names {len(names) - 1} classes, which with the background makes '
                        f'{len(names)}', f'--num-cls {options.num_cls}', 'leave it out, or complete the file')
    return ('background',) + tuple(f'class {i}' for i in range(1, options.num_cls))


def _with_crf(options):
    """The options, with --pred a folder of icd-segment predict that holds both turned into its two folders."""
    folders = [os.path.join(options.pred, kind) for kind in ('crf', 'raw')]
    if options.versus or not all(map(os.path.isdir, folders)):
        return options
    return cli.Options(**dict(vars(options), pred=folders[0], versus=folders[1]))


def check(options: cli.Options, problems: Problems):
    """Add to `problems` what can be known to be wrong before anything is counted."""
    for flag in ('--pred', '--truth', '--versus', '--scores', '--snapshot', '--annotation-root', '--image-root'):
        folder = getattr(options, flag.lstrip('-').replace('-', '_'))
        if folder is not None and not os.path.isdir(folder):
            problems.add('no such folder', f'{flag} {folder}', 'check the path')
    checks.check_written_files(
        problems, {'--json': options.json, '--html': options.html},
        (options.list, options.class_names, options.labels),
        [(options.pred, '.png'), (options.truth, '.png'), (options.versus, '.png'), (options.scores, '.npy'),
         (options.annotation_root, '.xml'), *((options.image_root, ending) for ending in images.ENDINGS)])
    for flag, folder in (('--scores', options.scores), ('--snapshot', options.snapshot)):
        if folder and not (options.annotation_root or options.labels):
            problems.add('needs to know which classes the scores are of', f'{flag} {folder}',
                         'give --labels or --annotation-root, too')
    if options.shard and not options.json:
        problems.add('its sums are written beside the file of the figures', f'--shard {options.shard}',
                     'give --json, too')


def _classes(options, names, class_names):
    """Classes of the scores by name, or the error that hides them; see `icd.counting.Masks`."""
    if not (options.scores or options.snapshot):
        return {}
    table = labels.read_source(options.labels) if options.labels else folders.annotations(options.annotation_root)
    return dict(zip(names, labels.classes_of(table, names, class_names[1:])))


def _worst(names, counts, number):
    """The images that differ most: dicts of `name`, `differing` and `mIoU`, in percent, worst first."""
    blocks = [(metrics.differing(block), metrics.mean_iou(block)) for block in counts.by_image['pred'].blocks()]
    differing, of_image = map(np.concatenate, zip(*blocks))
    order = [i for i in np.argsort(-differing, kind='stable')[:number] if differing[i] > 0]
    return [{'name': names[counts.indices[i]], 'differing': float(differing[i]), 'mIoU': float(of_image[i])}
            for i in order]


def _versus(options, counts, class_names):
    """Figures of the other seeds, and how much better those of `--pred` are."""
    result = metrics.figures(counts.matrices['versus'], class_names)
    with console.patient_progress((), 'draws', options.resamples, 'draw') as bar:
        pred, versus = bootstrap.paired_bootstrap(counts.by_image['pred'], counts.by_image['versus'],
                                                  options.resamples, options.seed, bar.update)
    mean = metrics.mean_iou(counts.by_image['pred'].sum()) - result['mIoU']
    result.update(folder=options.versus, difference=float(mean), difference_interval=bootstrap.interval(pred - versus),
                  mIoU_interval=bootstrap.interval(versus), mIoU_interval_pred=bootstrap.interval(pred),
                  level=95, resamples=options.resamples, seed=options.seed)
    return result


def _calibration(options, names, classes, class_names):
    """How well each class's sign is decided, and how its score agrees with CAM, in percent; background has none."""
    problems, known = Problems(), {}
    for name in names:
        if not isinstance(classes[name], UserError):
            known[name] = classes[name]
        elif not options.skip_bad:
            problems.add_error(classes[name])
    problems.raise_if_any()
    count = len(class_names) - 1
    found = {'margin': calibration.margins(options.snapshot, count),
             'agreement': calibration.agreement(options.snapshot, known, count, options.infer_size, options.skip_bad)}
    return {'snapshot': options.snapshot, **{
        key: dict(zip(class_names, [None, *(None if np.isnan(value) else 100 * float(value) for value in values)]))
        for key, values in found.items()}}


def _result(options, names, counts, class_names, calibrated):
    """Everything the command finds out, ready for JSON."""
    matrix = counts.matrices['pred']
    swapped = metrics.figures(matrix.T, class_names)
    result = {'unit': 'percent', 'pred': options.pred, 'truth': options.truth, 'list': options.list,
              'images': len(counts.indices), 'num_cls': len(class_names), **metrics.figures(matrix, class_names),
              'exchanged': {key: swapped[key] for key in ('mIoU', 'IoU', 'pixel_accuracy')},
              'left_out': [names[i] for i in sorted({problem[0] for problem in counts.problems})], 'problems': {},
              'extra': {role: _extra(getattr(options, role), names) for role in ('pred', 'truth', 'versus')
                        if getattr(options, role)}}
    for _, what, path, _ in counts.problems:
        result['problems'].setdefault(what, []).append(path)
    if options.versus:
        result['versus'] = _versus(options, counts, class_names)
    if options.scores:
        result['curve'] = dict(metrics.precision_coverage_curve(counts.confidence), scores=options.scores)
    if calibrated:
        result['calibration'] = calibrated
    result['worst'] = _worst(names, counts, options.worst)
    result['confusion'] = matrix.tolist()
    return result


def _report_problems(counts, names, skip):
    """End the command because of what could not be counted or, to `skip` it, log it."""
    problems = Problems()
    for _, what, path, remedy in counts.problems:
        problems.add(what, path, remedy if skip else f'{remedy}, or leave such names out with --skip-bad')
    if not skip or not counts.indices:
        problems.raise_if_any()
    if problems:
        console.log(f'{len(names) - len(counts.indices)} of {len(names)} names are left out')
        console.log(str(problems))


def _suspicious(compared, counts, class_names):
    """Lines on what is no error, but mostly a mistake: palettes in another order, masks that hold one class only."""
    for role, found in counts.confused.items():
        path, index, other = min(found)
        yield (f'{compared[role]}: {len(found)} masks have the colours of VOC at other indices ({path}: index {index} '
               f'has the colour of {other}), and indices count here: icd-masks convert writes the indices that the '
               'colours mean')
    for role in counts.by_image:
        total = counts.by_image[role].sum()
        for folder, pixels in ((compared[role], total[2]), (compared['truth'], total[1])):
            present = np.flatnonzero(pixels)
            if len(present) == 1 and len(counts.indices) > 1:
                yield f'{folder}: all masks hold nothing but {class_names[present[0]]}'


# ----------------------------------------------------------------------------------------------------- counting
def _prepared(options):
    """Options, names of the classes, names of the images, and what there is to count, all of it checked."""
    options, problems = _with_crf(options), Problems()
    check(options, problems)
    problems.raise_if_any()
    class_names, names = _class_names(options), voc.read_list(options.list)
    compared = {role: getattr(options, role) for role in ('truth', 'pred', 'versus') if getattr(options, role)}
    return options, class_names, names, counting.Masks(
        compared, class_names, options.scores, _classes(options, names, class_names), options.infer_size)


def _processes(options):
    return options.num_process or parallel.number_of_cores()


def _sums(options):
    """Beginning and end of the files of sums of shards."""
    return options.json + '.shard-', '.npz'


def run_shard(options: cli.Options) -> str:
    """Count the masks of a shard; what is wrong with them is reported by the run over all.

    Parameters
    ----------
    options : Options
        `icd.evaluate_options.EVALUATE`, with `--shard`.

    Returns
    -------
    str
        The file beside `--json` that holds the sums.
    """
    options, _, names, given = _prepared(options)
    items, (start, end) = options.shard.of(list(enumerate(names))), _sums(options)
    source = counting.made_from(given, items)
    path = start + options.shard.in_names + end
    counting.save(path, counting.count(given, items, _processes(options)), source)
    return path


def _count(options, given, names, found):
    """Counts of all names: the sums of shards whose masks are still the same, and the other names, counted now.

    Parameters
    ----------
    found : dict
        Files of sums by shard.
    """
    items, counts = list(enumerate(names)), counting.Counts()
    left = dict(items)
    for shard, path in found.items():
        own = shard.of(items)
        summed = counting.load(path, counting.made_from(given, own)) if all(i in left for i, _ in own) else None
        if summed:
            counts.add(summed)
            for i, _ in own:
                del left[i]
    of_most = Counter(shard.count for shard in found).most_common(1)
    for shard in (Shard(number + 1, count) for count, _ in of_most for number in range(count)):
        own = shard.of(items)
        missing = sum(i in left for i, _ in own)
        if missing:
            console.log(f'{options.json}: {shard.title} has not counted {missing} of its {len(own)} images as they '
                        'are: they are counted now')
    if left:
        counts.add(counting.count(given, list(left.items()), _processes(options)))
    counts.sort()
    return counts


# ------------------------------------------------------------------------------------------------------ the step
def run(options: cli.Options) -> dict:
    """Compare two or three folders of masks over a list of names, and remove the sums of shards.

    Parameters
    ----------
    options : Options
        `icd.evaluate_options.EVALUATE`.

    Returns
    -------
    dict
        In percent: all of `icd.method.metrics.figures`; `exchanged`, some of them with truth and seeds swapped;
        `worst`, the images that differ most; `confusion`, the summed matrix; `left_out` and `extra` names; `problems`,
        the files that names are left out for, by what is wrong with them; with `--versus` a dict `versus` with the
        other seeds' figures and the difference; with `--scores` a dict `curve`; with `--snapshot` a dict `calibration`.
        The same goes to `--json`, and to `--html` as a page.

    Raises
    ------
    UserError
        When a mask is missing, damaged, wrongly sized, a colour image or holds unknown indices: every kind of problem
        in one line, counted, ten files named. With `--skip-bad`, when no image is left.
    """
    options, class_names, names, given = _prepared(options)
    calibrated = _calibration(options, names, given.classes, class_names) if options.snapshot else None
    found = shards.files(*_sums(options)) if options.json else {}
    counts = _count(options, given, names, found)
    _report_problems(counts, names, options.skip_bad)
    if not counts.by_image['pred'].sum()[1].any():
        raise UserError('ignores every pixel of every image (index 255): nothing can be compared with it',
                        options.truth, 'check --truth')
    for line in _suspicious(given.folders, counts, class_names):
        console.log(line)
    result = _result(options, names, counts, class_names, calibrated)
    if options.json:
        files.save_json(options.json, result)
    if options.html:
        report.write(options.html, result, options.image_root)
    for path in found.values():
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    return result


def main(arguments: list):
    """Run the command with a list of command-line arguments."""
    options = cli.parse(EVALUATE, 'icd-evaluate', (__doc__ or '').strip(), arguments)
    if options.shard:
        console.say_written(run_shard(options))
        return
    print(table.as_text(run(options)))
    console.say_written(options.json, options.html)
