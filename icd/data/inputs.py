"""What a run reads first: names, class names, image labels and image sizes."""
from __future__ import annotations

import os
from dataclasses import dataclass

from icd import checks, console
from icd.data import images, labels, superpixel_map, voc
from icd.data.image_labels import ImageLabels
from icd.data.labels import folders
from icd.errors import Problems, UserError
from icd.shards import Shard, own


@dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Attributes
    ----------
    names : list of str
    class_names : tuple of str
    labels : ImageLabels (names, classes)
        1 where the image shows the class, else 0.
    sizes : list of (int, int)
        Height and width of the images, pixels; None where anything of an image is missing.
    notes : tuple of str
        What the user is told of the labels: images that are left out, classes without any image.
    """

    names: list
    class_names: tuple
    labels: ImageLabels
    sizes: list
    notes: tuple = ()

    @property
    def num_classes(self) -> int:
        """Number of classes, background not counted."""
        return len(self.class_names)


def read_inputs(data_list: str, image_root: str, annotation_root: str, class_names: str | None, num_cls: int | None,
                problems: Problems, source: str | None = None, unlabelled: str = 'refuse',
                shard: Shard | None = None) -> Inputs:
    """Read the images of a run; files that are missing or wrong go to `problems`.

    Parameters
    ----------
    data_list : str
        File with a name a line.
    image_root, annotation_root : str
        Folders of images and of NAME.xml.
    class_names : str, optional
        File with a class name a line; by default the classes of VOC.
    num_cls : int, optional
        Number of classes expected; by default as many as there are class names.
    problems : Problems
    source : str, optional
        Image labels of any format (`icd.data.labels`), in place of `annotation_root`.
    unlabelled : {'refuse', 'skip', 'keep'}
        What becomes of images without any class: they are problems, they are left out, or they are all background.
    shard : Shard, optional
        Of all images only these; the labels of the others are read and checked, the images are not.

    Raises
    ------
    UserError
        When the list or the class names cannot be read: nothing else can be checked then.
    """
    known = voc.read_class_names(class_names)
    if num_cls not in (None, len(known)):
        described = 'VOC has 20 classes' if class_names is None else f'{class_names} names {len(known)} classes'
        raise UserError(described, f'--num-cls {num_cls}', 'give the names of all classes with --class-names FILE')
    there = checks.check_input_folder(problems, '--image-root', image_root)
    table = _read_table(annotation_root, source, problems)
    try:
        names = voc.read_list(data_list)
        found = labels.classes_of(table, names, known) if table else [()] * len(names)
    except UserError as error:
        problems.add_error(error)
        problems.raise_if_any()
    notes, kept = _check_labels(table, names, found, unlabelled, problems) if table else ((), range(len(names)))
    answers = [one if isinstance(one, tuple) else () for one in found]
    notes += _absent(known, {c for i in kept for c in answers[i]})
    kept = own(kept, shard)
    sizes = _sizes(image_root, [names[i] for i in kept], problems) if there else [None] * len(kept)
    sizes = [size if table and isinstance(found[i], tuple) else None for i, size in zip(kept, sizes)]
    return Inputs([names[i] for i in kept], known, ImageLabels.of([answers[i] for i in kept], len(known)), sizes, notes)


def _read_table(annotation_root, source, problems):
    """The labels of `source`, by default of a folder of VOC XML; None, and a problem, when there are none."""
    try:
        if source is not None:
            return labels.read_source(source)
        if os.path.isfile(annotation_root):
            raise UserError('a file, not a folder of XML', f'--annotation-root {annotation_root}',
                            'give it to --labels')
        if checks.check_input_folder(problems, '--annotation-root', annotation_root):
            return folders.annotations(annotation_root)
    except UserError as error:
        problems.add_error(error)
    return None


def _check_labels(table, names, found, unlabelled, problems):
    """What is to be said of images without classes, and the indices of the names that are used; what is wrong goes to
    `problems`."""
    kept, without = [], 0
    answers = [one for one in found if not isinstance(one, labels.Missing)]
    nothing = bool(answers) and not any(answers)        # an error is none, but an answer
    for i, (name, one) in enumerate(zip(names, found)):
        if one == () or unlabelled == 'skip' and isinstance(one, labels.Missing):
            without += 1
            if unlabelled == 'skip':
                continue
        kept.append(i)
        if isinstance(one, UserError):
            problems.add_error(one)
        elif not one and unlabelled == 'refuse' and not nothing:
            problems.add('has no class', table.expected(name), 'label the image, leave such images out with '
                         '--unlabelled skip, or take them for background with --unlabelled keep')
    if nothing or not kept:
        problems.add(f'none of the {len(names)} images has a class', table.path,
                     f'check that it is a {table.kind} as docs/data.md describes it')
    notes = ()
    if without:
        done = 'left out' if unlabelled == 'skip' else 'taken for background'
        notes += (f'{table.path}: {without} of {len(names)} images have no class and are {done}',)
    if table.truth:
        notes += (f'{table.path}: the image labels are the classes of the masks it names: pixel truth that somebody '
                  'drew decides which classes an image has (and nothing else)',)
    return notes, kept


def _absent(class_names, held):
    """A sentence on classes that no image has; `held` are the indices of the others."""
    absent = [name for c, name in enumerate(class_names) if c not in held]
    if not absent or not held:
        return ()
    shown = ', '.join(absent[:10]) + (', ...' if len(absent) > 10 else '')
    return (f'{len(absent)} of {len(class_names)} classes are in no image of the list: {shown}',)


def _sizes(image_root, names, problems):
    """Heights and widths of images; None, and a problem, for one that is not there once and readable."""
    known = {}                                      # images of one size share one object

    def one(name):
        try:
            path = images.single_path(image_root, name)
        except UserError as error:
            problems.add_error(error)
            return None
        size = checks.check_size(problems, path, None, 'image', 'check --image-root and the list of names')
        return size and known.setdefault(size, size)
    return [one(name) for name in console.patient_progress(names, 'image sizes')]


def check_superpixels(superpixel_root: str, inputs: Inputs, problems: Problems):
    """Record superpixel maps NAME.png that are missing, damaged or not of the size of their image."""
    if checks.check_input_folder(problems, '--superpixel-root', superpixel_root):
        for name, size in zip(console.patient_progress(inputs.names, 'superpixel sizes'), inputs.sizes):
            checks.check_size(problems, superpixel_map.path(superpixel_root, name), size, 'superpixel map',
                              'make them with makeSuperpixel and generate_superpixel.py, or check --superpixel-root')
