"""The name lists of VOC 2012: `python -m icd.data.voc_lists --help`."""
from __future__ import annotations

import hashlib
import os
import sys

from icd import console, files
from icd.data import voc
from icd.errors import UserError

TRAIN_AUG_SHA256 = 'd1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24'
COUNTS = {'train_aug': 10582, 'val': 1449, 'test': 1456}


def _sbd_names(folder):
    """Names of the Semantic Boundaries Dataset: `train.txt` and `val.txt`, in the folder or its `dataset`."""
    inner = os.path.join(folder, 'dataset')
    folder = inner if os.path.isdir(inner) else folder
    return {name for part in ('train', 'val') for name in voc.read_list(
        os.path.join(folder, part + '.txt'), 'give the folder of SBD, benchmark_RELEASE')}


def _mask_names(folder):
    """Names of the PNG files in a folder."""
    try:
        found = os.listdir(folder)
    except OSError as error:
        raise UserError(error.strerror, folder, 'give the folder of SegmentationClassAug') from None
    return {os.path.splitext(name)[0] for name in found if name.lower().endswith('.png') and name[0] != '.'}


def devkit_lists(devkit: str, sbd: str | None = None, class_aug: str | None = None) -> dict:
    """Names for training with more annotations than VOC's own, for validation and for testing.

    Parameters
    ----------
    devkit : str
        Folder of VOC2012.
    sbd : str, optional
        Folder of the Semantic Boundaries Dataset. Its names and VOC's segmentation train names, without VOC's
        val names, make `train_aug`.
    class_aug : str, optional
        Folder `SegmentationClassAug`. The names of its masks, without VOC's val names, make the same list.

    Returns
    -------
    dict of str to list of str
        `train_aug`, `val`, and `test` where the devkit has it; sorted.

    Raises
    ------
    UserError
        When something is missing.
    """
    def voc_names(part):
        return set(voc.read_list(os.path.join(devkit, 'ImageSets', 'Segmentation', part + '.txt'),
                             'give the folder VOCdevkit/VOC2012'))
    val = voc_names('val')
    train = _mask_names(class_aug) if sbd is None else _sbd_names(sbd) | voc_names('train')
    lists = {'train_aug': sorted(train - val), 'val': sorted(val)}
    if os.path.exists(os.path.join(devkit, 'ImageSets', 'Segmentation', 'test.txt')):
        lists['test'] = sorted(voc_names('test'))
    return lists


def _list_text(names):
    """Content of a list's file."""
    return ''.join(name + '\n' for name in names).encode()


def check_lists(lists: dict) -> list:
    """What differs from the lists the field uses.

    Parameters
    ----------
    lists : dict
        Of `devkit_lists`.

    Returns
    -------
    list of str
        A sentence for each list that differs.
    """
    wrong = [f'{part} has {len(names)} names, not {COUNTS[part]}'
             for part, names in lists.items() if len(names) != COUNTS[part]]
    digest = hashlib.sha256(_list_text(lists['train_aug'])).hexdigest()
    if not wrong and digest != TRAIN_AUG_SHA256:
        wrong.append(f'train_aug has the right number of names, but not the right ones (sha256 {digest[:12]}...)')
    return wrong


def parse(arguments: list):
    """Read the command line: `devkit`, `sbd` or `segmentation_class_aug`, `out` and `any`."""
    parser = console.ArgumentParser('python -m icd.data.voc_lists', description='Write the name lists of VOC 2012.')
    parser.add_argument('--devkit', required=True, help='folder VOCdevkit/VOC2012')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--sbd', help='folder of the Semantic Boundaries Dataset (benchmark_RELEASE)')
    source.add_argument('--segmentation-class-aug', help='folder SegmentationClassAug')
    parser.add_argument('--out', default='data/VOC2012', help='folder to write to (default: %(default)s)')
    parser.add_argument('--any', action='store_true', help='write lists that are not the ones the field uses, too')
    return parser.parse_args(arguments)


def main(arguments: list):
    """Write the lists that the command line asks for."""
    options = parse(arguments)
    lists = devkit_lists(options.devkit, options.sbd, options.segmentation_class_aug)
    wrong = check_lists(lists)
    if wrong and not options.any:
        raise UserError('; '.join(wrong), options.devkit,
                        'complete the folders, or write these lists all the same with --any')
    for part, names in lists.items():
        path = os.path.join(options.out, part + '.txt')
        files.save_bytes(path, _list_text(names))
        print(f'{path}: {len(names)} names')
    if 'test' not in lists:
        print('test.txt was not written: it comes with the test devkit (ImageSets/Segmentation/test.txt)')
    print('; '.join(wrong) if wrong else f"OK: train_aug is the list of {COUNTS['train_aug']} names the field uses")


if __name__ == '__main__':
    sys.exit(console.run_command(main))
