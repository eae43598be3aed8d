"""Everything a run will need, checked before anything is computed.

The rules all stages share:

- A user's mistake is a `UserError`: one line a kind of problem, with the file, what is wrong and what to do; exit
  code 2. All problems are found and counted, ten of each kind are named. A traceback is a bug of ours.
- Headers are read here, not whole files. What only the content tells (a truncated JPEG) ends the run when it is met,
  in one line; what was finished stays.
- Files are written by `icd.runtime.whole_file` only, so none is ever half there.
- Names of a list never leave the given folders: `..`, absolute paths and links that lead outside are refused.
- `.npy` files load without pickles, XML without entities, parameter files after a check of their structure.
"""
import collections
import contextlib
import os
import shutil

from icd import runtime
from icd.data import score_map, superpixel_map, voc
from icd.errors import UserError
from icd.steps.schedule import Schedule

Inputs = collections.namedtuple('Inputs', 'names class_names labels sizes')
Inputs.__doc__ = """What a run reads first.

names : list of str
class_names : tuple of str
labels : ndarray (names, classes) float32, 0 or 1
sizes : list of (int, int), height and width of the photographs; None where anything of an image is missing
"""
_NAMED = 10             # problems of a kind that are named
_SPARE = 64 << 20       # bytes that stay free on the disk


class Problems:
    """Problems by kind, in the order the kinds appear."""

    def __init__(self):
        self._kinds = {}

    def add(self, what, item, remedy):
        """Note that `item` (a file, mostly) has the problem `what`."""
        self._kinds.setdefault((what, remedy), {})[item] = None        # stages may share a file

    def note(self, error, path=None):
        """Note a `UserError` of another module: as a problem of its own, or as one that the file `path` has."""
        if path is None:
            self._kinds.setdefault((str(error), None), {})
        else:
            what, remedy = error.parts(path)
            self.add(what, path, remedy)

    def __bool__(self):
        return bool(self._kinds)

    def __str__(self):
        lines = []
        for (what, remedy), items in self._kinds.items():
            if remedy is None:
                lines.append(what)
                continue
            named = ', '.join(list(items)[:_NAMED]) + (', ...' if len(items) > _NAMED else '')
            count = ' (%d files)' % len(items) if len(items) > 1 else ''
            lines.append('%s: %s%s: %s' % (named, what, count, remedy))
        return '\n'.join(lines)

    def settle(self):
        """Raise a `UserError` with all problems, a line each kind, if there are any."""
        if self:
            raise UserError(str(self))


# ------------------------------------------------------------------------------------------------------- headers
def check_size(problems, path, wanted, what, remedy):
    """Note when the image file `path` is missing, no image, or not of the size `wanted` (None: any)."""
    if not os.path.exists(path):
        problems.add('no such %s' % what, path, remedy)
        return None
    try:
        size = voc.image_size(path, 'copy or make it again')
    except UserError as error:
        problems.note(error, path)
        return None
    if wanted is not None and tuple(size) != tuple(wanted):
        problems.add('%s of another size than its photograph' % what, '%s (%dx%d, not %dx%d)' % (
            (path,) + tuple(size[::-1]) + tuple(wanted[::-1])), 'make it again from this photograph')
    return size


def check_folder(problems, folder, needed):
    """Note when `folder` cannot be written or its disk lacks `needed` bytes."""
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        problems.add('a file or a broken link, where a folder is needed', place, 'choose another folder')
        return
    if not os.access(place, os.W_OK | os.X_OK):
        problems.add('cannot be written', place, 'choose another folder or change its permissions')
        return
    free = shutil.disk_usage(place).free
    if free < needed + _SPARE:
        problems.add('%.1f GB are free, about %.1f GB are needed' % (free / 1e9, (needed + _SPARE) / 1e9), folder,
                     'free some space or choose another folder')


def check_links(problems, folder, names):
    """Note when the place of a name in `folder` is outside of it: a link in it leads elsewhere."""
    real = os.path.realpath(folder)
    for sub in sorted({os.path.dirname(name) for name in names} - {''}):
        if os.path.commonpath([real, os.path.realpath(os.path.join(folder, sub))]) != real:
            problems.add('a link leads outside of the folder', os.path.join(folder, sub), 'remove the link')


def check_scores(problems, options, name, num_classes, kinds):
    """Note what is wrong with the headers of the score files of an image; without classes it needs none."""
    for kind in kinds:
        path = score_map.path(options.snapshot, kind, name)
        found = score_map.problem(path, num_classes, options.infer_size)
        if found and (num_classes or os.path.exists(path)):
            problems.add(found[0], path, found[1])


# ------------------------------------------------------------------------------------------------------ the check
def read_inputs(options, problems):
    """Names, class names, labels and image sizes of a run; files that are missing or wrong go to `problems`.

    With `--class-names`, `options.num_cls` becomes their number.

    Raises
    ------
    UserError
        When the list or the class names cannot be read: nothing else can be checked then.
    """
    class_names = voc.read_class_names(options.class_names)
    if options.class_names and options.num_cls == 20:
        options.num_cls = len(class_names)      # 20 is the default, not somebody's word
    if options.num_cls != len(class_names):
        raise UserError('--num-cls %d, but %s: give the names of all classes with --class-names FILE' % (
            options.num_cls, 'VOC has 20 classes' if options.class_names is None else
            '%s names %d classes' % (options.class_names, len(class_names))))
    images, annotations = (check_input_folder(problems, options, word) for word in ('image_root', 'annotation_root'))
    try:
        names = voc.read_list(options.data_list)
    except UserError as error:
        problems.note(error)
        problems.settle()
    labels, sizes = voc.no_labels(names, class_names), []
    for row, name in zip(labels, names):
        known = annotations and _read_labels(problems, options, name, row, class_names)
        size = images and check_size(problems, voc.image_path(options.image_root, name), None, 'photograph',
                                     'check --image-root and the list of names')
        sizes.append(size if known and size else None)
    return Inputs(names, class_names, labels, sizes)


def check_input_folder(problems, options, word, remedy='check the path'):
    """Note when the option `word` names no folder that can be read: in one line, not one a file in it. True if it does."""
    folder, flag = getattr(options, word), '--' + word.replace('_', '-')
    if not os.path.isdir(folder):
        problems.add('no such folder', '%s %s' % (flag, folder), remedy)
        return False
    if not os.access(folder, os.R_OK | os.X_OK):
        problems.add('may not be read', '%s %s' % (flag, folder), 'change its permissions')
        return False
    return True


def _read_labels(problems, options, name, row, class_names):
    """Read the classes of an image into its row of labels; whether they are known."""
    path = os.path.join(options.annotation_root, name + '.xml')
    if not os.path.isfile(path):
        problems.add('no such annotation', path, 'check --annotation-root and the list of names')
        return False
    try:
        row[list(voc.read_annotation(path, class_names))] = 1
    except UserError as error:
        problems.note(error, path)
        return False
    return True


def check(options, stages):
    """Check all that the stages of a run will need.

    Parameters
    ----------
    options : Options
        `icd.options.RUN`.
    stages : sequence of str
        Some of 'train', 'infer' and 'seeds'.

    Returns
    -------
    Inputs

    Raises
    ------
    UserError
        With every problem: a line each kind.
    """
    problems = Problems()
    inputs = read_inputs(options, problems)
    superpixels = not options.no_superpixel and ('train' in stages or 'infer' in stages)
    if superpixels and check_input_folder(problems, options, 'superpixel_root'):
        for name, size in zip(inputs.names, inputs.sizes):
            check_size(problems, superpixel_map.path(options.superpixel_root, name), size, 'superpixel map',
                       'make them with makeSuperpixel and generate_superpixel.py, or check --superpixel-root')
    if 'train' in stages or 'infer' in stages:
        _check_network(problems, options, stages, inputs)
    _check_outputs(problems, options, stages, inputs)
    check_folder(problems, options.snapshot, bytes_to_write(options, stages, inputs))
    for folder in _output_folders(options, stages):
        check_folder(problems, folder, 0)
        check_links(problems, folder, inputs.names)
    problems.settle()
    return inputs


def _check_network(problems, options, stages, inputs):
    """Devices, how they share a batch, and the parameter file: names and shapes."""
    from icd.steps import checkpoint        # with MXNet, which making seeds alone does not need
    for look in (lambda: _check_batch(problems, options, inputs, len(runtime.devices(options.gpus)), stages),
                 lambda: checkpoint.check_parameters(options, 'train' in stages)):
        try:
            look()
        except UserError as error:
            problems.note(error)


def _check_batch(problems, options, inputs, devices, stages):
    if 'train' not in stages:
        return
    if options.batch_size % devices:
        problems.add('cannot be dealt out evenly to %d devices' % devices, '--batch-size %d' % options.batch_size,
                     'take a multiple of %d' % devices)
    schedule = Schedule(options, len(inputs.names))
    if not schedule.batches:
        problems.add('an epoch has only %d images, a step takes %d' % (schedule.images, schedule.batch),
                     '--batch-size %d' % options.batch_size, 'take a smaller batch')


def _check_outputs(problems, options, stages, inputs):
    """What seeds and exported scores are made from, and where they go."""
    from icd.steps import export, seeds
    scores_come = 'infer' in stages
    if 'seeds' in stages:
        seeds.find_jobs(options, inputs, problems, scores_come)
    if options.export_full_size and not options.export_scores:
        problems.add('nothing is exported', '--export-full-size', 'give --export-scores, too')
    if options.export_scores and list(stages) != ['train']:
        export.find_jobs(options, inputs, problems, scores_come)


def _output_folders(options, stages):
    """Folders in which a run writes a file for every name."""
    return [folder for folder, _, _ in _outputs(options, stages)]


def _outputs(options, stages):
    """Folder, ending of the files, bytes of a file for each class of its image and for each of its pixels."""
    from icd.steps import pictures, seeds
    found = []
    if 'infer' in stages:
        side = options.infer_size // superpixel_map.STRIDE + 1
        found += [(os.path.dirname(score_map.path(options.snapshot, kind, '')), '.npy', (4 * side * side, 0))
                  for kind in ('cam', 'icd')]
    if 'seeds' in stages:
        folders = list(seeds.seed_folders(options).values())
        found += [(folder, '.png', (0, 1 / 16)) for folder in folders]
        if options.colour:
            found += [(drawn, ending, (0, 1 / 16 if ending == '.png' else 1 / 3))
                      for folder in folders for drawn, ending in pictures.beside(folder)]
    return found


def bytes_to_write(options, stages, inputs):
    """About how much a run adds to what is there, generously."""
    total = 0
    if 'train' in stages:
        parameters = 40e6 * options.width ** 2 + 1e5            # float32 values of a VGG16 with all branches
        total += max(0, 2 * 4 * parameters * (options.num_save + 2) - _size_of_checkpoints(options))
    for folder, ending, (of_class, of_pixel) in _outputs(options, stages):
        for name, labels, size in zip(inputs.names, inputs.labels, inputs.sizes):
            if size and not os.path.exists(os.path.join(folder, name + ending)):
                total += 4096 + of_class * float(labels.sum()) + of_pixel * size[0] * size[1]
    return int(total)


def _size_of_checkpoints(options):
    """Bytes of this model's checkpoints, which newer ones replace."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        with os.scandir(options.snapshot) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.startswith(options.model + '-') and
                       entry.name.endswith(('.params', '.states')))
    return 0
