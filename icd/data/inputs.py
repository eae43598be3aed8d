"""What a run reads first: names, class names, image labels and image sizes."""
from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from icd import checks
from icd.data import images, superpixel_map, voc
from icd.errors import Problems, UserError


@dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Attributes
    ----------
    names : list of str
    class_names : tuple of str
    labels : ndarray (names, classes) float32
        1 where the image shows the class, else 0.
    sizes : list of (int, int)
        Height and width of the images, pixels; None where anything of an image is missing.
    """

    names: list
    class_names: tuple
    labels: np.ndarray
    sizes: list

    @property
    def num_classes(self) -> int:
        """Number of classes, background not counted."""
        return len(self.class_names)


def read_inputs(data_list: str, image_root: str, annotation_root: str, class_names: str | None, num_cls: int | None,
                problems: Problems) -> Inputs:
    """Read the images of a run; files that are missing or wrong go to `problems`.

    Parameters
    ----------
    data_list : str
        File with a name a line.
    image_root, annotation_root : str
        Folders of NAME.jpg and NAME.xml.
    class_names : str, optional
        File with a class name a line; by default the classes of VOC.
    num_cls : int, optional
        Number of classes expected; by default as many as there are class names.
    problems : Problems

    Raises
    ------
    UserError
        When the list or the class names cannot be read: nothing else can be checked then.
    """
    known = voc.read_class_names(class_names)
    if num_cls not in (None, len(known)):
        source = 'VOC has 20 classes' if class_names is None else f'{class_names} names {len(known)} classes'
        raise UserError(source, f'--num-cls {num_cls}', 'give the names of all classes with --class-names FILE')
    there = (checks.check_input_folder(problems, '--image-root', image_root),
             checks.check_input_folder(problems, '--annotation-root', annotation_root))
    try:
        names = voc.read_list(data_list)
    except UserError as error:
        problems.add_error(error)
        problems.raise_if_any()
    labels, sizes = voc.no_labels(names, known), []
    for row, name in zip(labels, names):
        labelled = there[1] and _read_labels(problems, voc.annotation_path(annotation_root, name), row, known)
        size = there[0] and checks.check_size(problems, images.image_path(image_root, name), None, 'image',
                                              'check --image-root and the list of names')
        sizes.append(size if labelled and size else None)
    return Inputs(names, known, labels, sizes)


def _read_labels(problems, path, row, class_names):
    """Read the classes of an image into its row of labels; whether they are known."""
    if not os.path.isfile(path):
        problems.add('no such annotation', path, 'check --annotation-root and the list of names')
        return False
    try:
        row[list(voc.read_annotation(path, class_names))] = 1
    except UserError as error:
        problems.add_error(error)
        return False
    return True


def check_superpixels(superpixel_root: str, inputs: Inputs, problems: Problems):
    """Record superpixel maps NAME.png that are missing, damaged or not of the size of their image."""
    if checks.check_input_folder(problems, '--superpixel-root', superpixel_root):
        for name, size in zip(inputs.names, inputs.sizes):
            checks.check_size(problems, superpixel_map.path(superpixel_root, name), size, 'superpixel map',
                              'make them with makeSuperpixel and generate_superpixel.py, or check --superpixel-root')
