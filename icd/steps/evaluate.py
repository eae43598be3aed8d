"""Compare folders of masks: seeds with ground truth, with released seeds, or two sorts of seeds with each other."""
import collections
import functools
import os
import textwrap

import numpy as np

from icd import checks, cli, console, files, parallel
from icd.method import metrics
from icd.data import images, index_png, masks, score_map, voc
from icd.errors import Problems, UserError
from icd.viz import report

_CHUNK = 32                 # names handed to a process at once
_WORTH_A_PROCESS = 100      # images below which another process takes longer to start than it saves
_WIDTH = 96                 # columns of a line of text
_TITLES = {'pred': 'seeds', 'truth': 'truth', 'versus': 'versus'}
_MISSING = {'truth': 'no such truth', 'pred': 'no such seed', 'versus': 'no such seed'}

_Task = collections.namedtuple('_Task', 'folders num_cls scores annotation_root class_names infer_size')
_Counted = collections.namedtuple('_Counted', 'indices matrices counts curve problems')
_Counted.__doc__ = """What is known of some images of the list.

indices : list of int, the images counted
matrices : dict by role ('pred', 'versus') of their summed confusion matrices
counts : dict by role of ndarray (images, 3, classes), their class counts
curve : ndarray (2, 102), their summed certainty counts
problems : list of (index, what, file, remedy), of the images not counted
"""


# --------------------------------------------------------------------------------------------------- one image
def _mask_path(folder, name):
    return os.path.join(folder, name + '.png')


def _read_mask(path):
    """Indices (H, W) uint8 of one mask."""
    mask = index_png.decode(images.read_bytes(path, 'check the folder and the list of names'))
    return masks.read_mask(path) if mask is None else mask


def _read_masks(task, name, problems):
    """Masks by role; what cannot be read goes to `problems`."""
    masks = {}
    for role, folder in task.folders.items():
        path = _mask_path(folder, name)
        try:
            masks[role] = _read_mask(path)
        except UserError as error:
            problems.append(error if os.path.lexists(path) else UserError(
                _MISSING[role], path, f'check --{role} and the list'))
    return masks


def _check_mask(path, mask, shape, num_cls):
    """Raise `UserError` when a mask has another shape than the truth, or an index that is no class."""
    if mask.shape != shape:
        raise UserError('of another size than the truth', '%s (%dx%d, not %dx%d)' % (
            (path,) + mask.shape[::-1] + shape[::-1]), 'make it again at the size of its photograph')
    index = metrics.unknown_index(mask, num_cls)
    if index is not None:
        raise UserError('has an index beyond the %d classes' % num_cls, '%s (index %d)' % (path, index),
                        'name all classes (--class-names or --num-cls), or check the file')


def _certainty_counts(task, name, masks):
    """Certainty counts of one image; raises `UserError`."""
    shape = masks['pred'].shape
    classes = voc.read_annotation(voc.annotation_path(task.annotation_root, name), task.class_names)
    scores = os.path.join(task.scores, name + '.npy')
    maps = score_map.read(scores, len(classes), task.infer_size) if classes else ()
    full = score_map.at_image_size(maps, shape, task.infer_size)
    return metrics.certainty_counts(masks['truth'], masks['pred'], metrics.certainty(masks['pred'], full, classes))


def _count_image(task, name, problems):
    """Confusion matrices by role and certainty counts of one image; with `problems` they are of no use."""
    masks, matrices, curve = _read_masks(task, name, problems), {}, 0
    if problems:
        return matrices, curve
    try:
        for role in set(masks) - {'truth'}:
            matrices[role] = metrics.confusion(masks['truth'], masks[role], task.num_cls)
        if task.scores:
            curve = _certainty_counts(task, name, masks)
    except UserError as error:
        problems.append(error)
    except ValueError:                          # which mask it is, is looked for only when something is wrong
        for role, mask in masks.items():
            try:
                _check_mask(_mask_path(task.folders[role], name), mask, masks['truth'].shape, task.num_cls)
            except UserError as error:
                problems.append(error)
        if not problems:
            raise
    return matrices, curve


def _count_chunk(task, chunk):
    """Count some images; `chunk`: list of (index, name)."""
    indices, matrices, counts, curve, found = [], {}, {}, 0, []
    for index, name in chunk:
        problems = []
        of_image, curve_of_image = _count_image(task, name, problems)
        found += [(index, error.what, error.path, error.remedy) for error in problems]
        if problems:
            continue
        indices.append(index)
        curve = curve + curve_of_image
        for role, matrix in of_image.items():
            matrices[role] = matrices.get(role, 0) + matrix
            counts.setdefault(role, []).append(metrics.class_counts(matrix))
    return _Counted(indices, matrices, {role: np.stack(c) for role, c in counts.items()}, curve, found)


# -------------------------------------------------------------------------------------------------- the folders
def _count(task, names, num_process):
    """Count all images of a list in processes; the same `_Counted`, indices ascending, whatever their number."""
    chunks = [list(enumerate(names))[i:i + _CHUNK] for i in range(0, len(names), _CHUNK)]
    num_process = max(1, min(num_process, len(names) // _WORTH_A_PROCESS))
    indices, matrices, counts, curve, problems = [], {}, collections.defaultdict(list), 0, []
    with console.progress(total=len(names), desc='counting') as bar:
        for done in parallel.process_map(functools.partial(_count_chunk, task), chunks, num_process):
            indices += done.indices
            curve = curve + done.curve
            problems += done.problems
            for role, matrix in done.matrices.items():
                matrices[role] = matrices.get(role, 0) + matrix
                counts[role].append(done.counts[role])
            bar.update(len(done.indices) + len({p[0] for p in done.problems}))
    order = np.argsort(indices)
    return _Counted([indices[i] for i in order], matrices,
                    {role: np.concatenate(c)[order] for role, c in counts.items()}, curve, sorted(problems))


def _extra(folder, names):
    """Names of the PNG files in `folder`, and in the folders names lie in, that the list does not have."""
    listed, found = set(names), []
    for part in sorted({os.path.dirname(name) for name in names}):
        try:
            files = os.listdir(os.path.join(folder, part))
        except (FileNotFoundError, NotADirectoryError):
            continue
        found += [os.path.join(part, f[:-4]) for f in files if f.endswith('.png') and not f.startswith('.')]
    return sorted(set(found) - listed)


def _class_names(options):
    """Names of all classes, background first."""
    names = ('background',) + voc.read_class_names(options.class_names)
    if options.num_cls in (None, len(names)):
        return names
    if options.class_names:
        raise UserError('leave --num-cls out, or complete the file',
                        f'--num-cls {options.num_cls}, but {options.class_names} names {len(names) - 1} classes and '
                        f'the background makes {len(names)}')
    return ('background',) + tuple('class %d' % i for i in range(1, options.num_cls))


def _check(options):
    """Raise a `UserError` with everything that can be told to be wrong before counting."""
    problems = Problems()
    for flag in ('--pred', '--truth', '--versus', '--scores', '--annotation-root', '--image-root'):
        folder = getattr(options, flag.lstrip('-').replace('-', '_'))
        if folder is not None and not os.path.isdir(folder):
            problems.add('no such folder', '%s %s' % (flag, folder), 'check the path')
    for flag, path in (('--json', options.json), ('--html', options.html)):
        if path is not None and os.path.isdir(path):
            problems.add('this is a folder', '%s %s' % (flag, path), 'name a file')
        elif path is not None:
            checks.check_folder(problems, os.path.dirname(path) or '.', 0)
    _check_overwriting(problems, options)
    if options.json and options.html and os.path.realpath(options.json) == os.path.realpath(options.html):
        problems.add('one file for two purposes', '--json and --html %s' % options.html, 'give them different names')
    if options.scores and not options.annotation_root:
        problems.add('does not say which classes the scores are of', '--scores %s' % options.scores,
                     'give --annotation-root, too')
    problems.raise_if_any()


def _check_overwriting(problems, options):
    """Note when an output is one of the inputs."""
    files = [os.path.realpath(path) for path in (options.list, options.class_names) if path]
    folders = [(os.path.join(os.path.realpath(folder), ''), ending) for folder, ending in (
        (options.pred, '.png'), (options.truth, '.png'), (options.versus, '.png'), (options.scores, '.npy'),
        (options.annotation_root, '.xml'), (options.image_root, '.jpg')) if folder]
    for flag, path in (('--json', options.json), ('--html', options.html)):
        real = path and os.path.realpath(path)
        if real and (real in files or any(real.startswith(folder) and real.endswith(ending)
                                          for folder, ending in folders)):
            problems.add('would be written over what the command reads', '%s %s' % (flag, path), 'name another file')


# ------------------------------------------------------------------------------------------------------ figures
def _worst(names, counted, number):
    """The images that differ most: dicts of `name`, `differing` and `mIoU`, in percent, worst first."""
    counts = counted.counts['pred']
    known = counts[:, 1].sum(1)
    differing = 100 * (1 - counts[:, 0].sum(1) / np.maximum(known, 1)) * (known > 0)
    of_image = metrics.mean_iou(counts)
    order = [i for i in np.argsort(-differing, kind='stable')[:number] if differing[i] > 0]
    return [{'name': names[counted.indices[i]], 'differing': float(differing[i]), 'mIoU': float(of_image[i])}
            for i in order]


def _versus(options, counted, class_names):
    """Figures of the other seeds, and how much better those of `--pred` are."""
    result = metrics.figures(counted.matrices['versus'], class_names)
    drawn = metrics.paired_bootstrap(counted.counts['pred'], counted.counts['versus'], options.resamples,
                                       options.seed)
    difference = drawn[0] - drawn[1]
    mean = metrics.mean_iou(sum(counted.counts['pred'])) - result['mIoU']
    result.update(folder=options.versus, difference=float(mean), difference_interval=metrics.interval(difference),
                  mIoU_interval=metrics.interval(drawn[1]), mIoU_interval_pred=metrics.interval(drawn[0]),
                  level=95, resamples=options.resamples, seed=options.seed)
    return result


def _result(options, names, counted, class_names):
    """Everything the command finds out, ready for JSON."""
    matrix = counted.matrices['pred']
    result = {'unit': 'percent', 'pred': options.pred, 'truth': options.truth, 'list': options.list,
              'images': len(counted.indices), 'num_cls': len(class_names)}
    result.update(metrics.figures(matrix, class_names))
    exchanged = metrics.figures(matrix.T, class_names)
    result['exchanged'] = {key: exchanged[key] for key in ('mIoU', 'IoU', 'pixel_accuracy')}
    left_out = sorted({problem[0] for problem in counted.problems})
    result['left_out'] = [names[i] for i in left_out]
    result['problems'] = {}
    for _, what, item, _ in counted.problems:
        result['problems'].setdefault(what, []).append(item)
    result['extra'] = {role: _extra(getattr(options, role), names) for role in ('pred', 'truth')}
    if options.versus:
        result['versus'] = _versus(options, counted, class_names)
        result['extra']['versus'] = _extra(options.versus, names)
    if options.scores:
        result['curve'] = dict(metrics.threshold_curve(counted.curve), scores=options.scores)
    result['worst'] = _worst(names, counted, options.worst)
    result['confusion'] = matrix.tolist()
    return result


def _settle(counted, names, skip):
    """End the command for what could not be counted or, to `skip` it, say what that is."""
    problems = Problems()
    for _, what, item, remedy in counted.problems:
        problems.add(what, item, remedy + ('' if skip else ', or leave such names out with --skip-bad'))
    if not skip or not counted.indices:
        problems.raise_if_any()
    if problems:
        console.log('%d of %d names are left out' % (len(names) - len(counted.indices), len(names)))
        console.log(str(problems))


# --------------------------------------------------------------------------------------------------------- text
def _cell(value, width):
    return '%*s' % (width, '-' if value is None else '%.2f' % value)


def table(result):
    """The figures as text.

    Parameters
    ----------
    result : dict
        Of `run`.

    Returns
    -------
    str
    """
    columns = [('IoU', result['IoU']), ('defined', result['IoU_defined']), ('precision', result['precision']),
               ('recall', result['recall']), ('exchanged', result['exchanged']['IoU'])]
    mean = [result['mIoU'], result['mIoU_defined'], None, None, result['exchanged']['mIoU']]
    versus = result.get('versus')
    if versus:
        columns.append(('versus', versus['IoU']))
        mean.append(versus['mIoU'])
    width = max(len(name) for name in list(result['IoU']) + ['background'])
    lines = ['%-10s%s' % (_TITLES[role], folder) for role, folder in report.folders(result).items()]
    lines += ['', '%-*s' % (width, 'percent') + ''.join('%10s' % title for title, _ in columns)]
    lines += ['%-*s' % (width, name) + ''.join(_cell(values[name], 10) for _, values in columns)
              for name in result['IoU']]
    lines += ['%-*s' % (width, 'mean') + ''.join(_cell(value, 10) for value in mean), '']
    for sentence in _sentences(result):
        lines += textwrap.wrap(sentence, _WIDTH, subsequent_indent='  ', break_long_words=False,
                               break_on_hyphens=False)
    return '\n'.join(lines)


def _sentences(result):
    """What the table has no column for, and what its columns are."""
    show, versus = functools.partial(_cell, width=0), result.get('versus')
    say = ['IoU: pixels the seeds ignore are missed; defined: IoU over the pixels both define; exchanged: IoU with '
           'seeds and truth exchanged' + ('; versus: IoU of the other seeds' if versus else ''),
           'images: %d, pixel accuracy %s, ignored %s of the seeds, %s of the truth' % (
               result['images'], show(result['pixel_accuracy']), show(result['ignored']),
               show(result['ignored_truth'])),
           'agreement: %s over all pixels, %s over those both define' % (
               show(result['agreement']), show(result['agreement_defined']))]
    if versus:
        say.append('mIoU minus that of versus: %+.2f, %d%% interval %+.2f to %+.2f (%d draws of the images)' % (
            (versus['difference'], versus['level']) + tuple(versus['difference_interval']) + (versus['resamples'],)))
    if result['absent']:
        say.append('in neither folder, so not in the mean: %s (counted as 0, mIoU is %s)' % (
            ', '.join(result['absent']), show(result['mIoU_absent_as_zero'])))
    extra = ['%s %d' % (_TITLES[role], len(names)) for role, names in result['extra'].items() if names]
    if extra:
        say.append('masks that are not in the list: ' + ', '.join(extra))
    if result['left_out']:
        say.append('names left out: %d (files: %s)' % (len(result['left_out']), ', '.join(
            '%d %s' % (len(files), what) for what, files in result['problems'].items())))
    return say


# ----------------------------------------------------------------------------------------------------- the step
def run(options):
    """Compare two or three folders of masks over a list of names.

    Parameters
    ----------
    options : Options
        `icd.cli.EVALUATE`.

    Returns
    -------
    dict
        In percent: all of `icd.method.metrics.figures`; `exchanged`, some of them with truth and seeds exchanged;
        `worst`, the images that differ most; `confusion`, the summed matrix; `left_out` and `extra` names; `problems`,
        the files that names are left out for, by what is wrong with them; with `--versus` a dict `versus` with the
        other seeds' figures and the difference; with `--scores` a dict `curve`. The same goes to `--json`, and to
        `--html` as a page.

    Raises
    ------
    UserError
        When a mask is missing, damaged, wrongly sized, a colour picture or holds unknown indices: every kind of
        problem in one line, counted, ten files named. With `--skip-bad`, when no image is left.
    """
    _check(options)
    class_names = _class_names(options)
    names = voc.read_list(options.list)
    folders = {role: getattr(options, role) for role in ('truth', 'pred', 'versus') if getattr(options, role)}
    task = _Task(folders, len(class_names), options.scores, options.annotation_root, class_names[1:],
                 options.infer_size)
    counted = _count(task, names, options.num_process or parallel.number_of_cores())
    _settle(counted, names, options.skip_bad)
    if not counted.counts['pred'][:, 1].any():
        raise UserError('ignores every pixel of every image (index 255): nothing can be compared with it',
                        options.truth, 'check --truth')
    result = _result(options, names, counted, class_names)
    if options.json:
        files.save_json(options.json, result)
    if options.html:
        report.write(options.html, result, options.image_root)
    return result


def main(arguments):
    """Run the command with a list of command-line arguments."""
    options = cli.parse(cli.EVALUATE, 'icd-evaluate', __doc__.strip(), arguments)
    print(table(run(options)))
    for path in (options.json, options.html):
        if path:
            print('written: %s' % path)


def command():
    """Console script `icd-evaluate`: returns the exit code."""
    return console.run_command(main)


if __name__ == '__main__':
    raise SystemExit(command())
