"""What the stages of a run read first: the names, and the image labels."""
import collections

from icd.data import voc
from icd.errors import UserError

Inputs = collections.namedtuple('Inputs', 'names class_names labels')
Inputs.__doc__ = """Names (list of str), class names (tuple of str), image labels (ndarray (names, classes) float32)."""


def read_inputs(options):
    """Read the list, the class names and the annotations of a run.

    With `--class-names`, `options.num_cls` becomes their number.

    Raises
    ------
    UserError
        When one is missing or wrong.
    """
    class_names = voc.read_class_names(options.class_names)
    if options.class_names and options.num_cls == 20:
        options.num_cls = len(class_names)      # 20 is the default, not somebody's word
    if options.num_cls != len(class_names):
        raise UserError('--num-cls %d, but %s: give the names of all classes with --class-names FILE' % (
            options.num_cls, 'VOC has 20 classes' if options.class_names is None else
            '%s names %d classes' % (options.class_names, len(class_names))))
    names = voc.read_list(options.data_list)
    return Inputs(names, class_names, voc.read_labels(names, options.annotation_root, class_names))
