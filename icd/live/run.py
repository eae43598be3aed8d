"""All that a page shows of a run: its stages, its trainings, its previews."""
from __future__ import annotations

import functools
import glob
import json
import os
import shlex
import time

from icd import files, outputs, records, system_errors
from icd.data import voc
from icd.errors import UserError
from icd.live import previews, training

PLAN = 'plan.json'          # of `icd-pipeline`
# Folders of outputs that a run, and each training in it, may have; others are not looked for.
_OUTPUTS = 'raw', 'merged', 'results', 'results/seeds/*', '*/raw', '*/crf'
_OF_LIST = 'scores', 'seeds', 'drawn seeds'     # are made of the names that the training beside them had
_MOST_TRAININGS = 12        # of a folder of trainings
_KEPT = 64                  # records that are read once, until they change


def state(root: str) -> dict:
    """What is to be seen of a run.

    Parameters
    ----------
    root : str
        Folder of a training, of several, or of `icd-pipeline`; it need not exist.

    Returns
    -------
    dict
        JSON values: `folder`; `now`, seconds since 1970; `problem`: why nothing can be seen, or empty; `held`: whether
        a run holds one of the folders; `wrote`: when anything was last written, None before; `seconds_left`: of all
        stages of a plan, or of what runs, None where unknown; `plan`: text; `stages`: see `_stages`; `trainings`: dicts
        of `folder`, `previews` and what `icd.live.training.state` has; `previews`: those of no training. A preview is a
        dict of `title`, `url` and `wrote`.
    """
    found, _ = look(root)
    return found


def look(root: str) -> tuple:
    """The `state` of a run, and its previews: dict of `icd.live.previews.Preview` by `url`."""
    now, (below, problem) = time.time(), _below(root)
    plan = {} if problem else _plan(root)
    folders = [] if problem else _trainings(root, below, plan)
    trainings = [dict(training.state(os.path.join(root, folder), now), folder=folder) for folder in folders]
    shown = {}
    for each in trainings:
        each['previews'] = _listed(previews.of_training(root, each['folder']), shown)
    names = _lines(os.path.join(root, 'class_names.txt'))
    rest = [] if problem else [preview for folder in dict.fromkeys(['', *folders])
                               for preview in previews.others(root, folder, names)]
    rest = _listed(rest, shown)
    stages = _stages(root, plan, trainings)
    wrote = [each['wrote'] for each in (*trainings, *stages)] + [preview.wrote for preview in shown.values()]
    held = files.is_held(root) or any(each['held'] for each in stages)
    return {'folder': root, 'now': now, 'problem': problem, 'plan': plan.get('text', ''), 'held': held,
            'wrote': max(filter(None, wrote), default=None), 'stages': stages, 'trainings': trainings, 'previews': rest,
            'seconds_left': _seconds_left(plan, stages) if held else None}, shown


def _below(root):
    """Names of the folders in a run's, and why there is nothing to be seen, or ''."""
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)], ''
    except FileNotFoundError:
        return [], 'this folder does not exist yet'
    except OSError as error:
        return [], system_errors.line(error)


def _listed(found, shown):
    """Previews as JSON; they are added to `shown`."""
    shown.update((preview.url, preview) for preview in found)
    return [{'title': preview.title, 'url': preview.url, 'wrote': preview.wrote} for preview in found]


# ------------------------------------------------------------------------------------------------------- what is there
def _plan(root):
    """The plan of `icd-pipeline`; empty when there is none, or none that can be read."""
    try:
        with open(os.path.join(root, PLAN), encoding='utf-8') as file:
            plan = json.load(file)
        stages = [{'name': str(each['name']), 'folder': str(each['folder']), 'command': str(each['command']),
                   'seconds': float(each['seconds'])} for each in plan['stages']]
        return {'text': str(plan['text']), 'images': int(plan['images']), 'stages': stages}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _trainings(root, below, plan):
    """Folders of trainings, relative to the run's, in the order of its plan or of their names."""
    planned = [stage['folder'] for stage in plan.get('stages', ())]
    found = [folder for folder in ('', *below)
             if any(os.path.isfile(os.path.join(root, folder, name)) for name in ('log.txt', 'log.csv'))]
    return sorted(found, key=lambda each: (planned.index(each) if each in planned else -1, each))[:_MOST_TRAININGS]


def _stages(root, plan, trainings):
    """The stages of a run: those of its plan, else those that have begun.

    Returns
    -------
    list of dict
        `name`; `folder`, relative to the run's; `command`, or empty; `unit`, 'steps' or 'images'; `done`, and `total`,
        None where unknown; `held`: whether it runs; `wrote`: when it last recorded something, or None; `seconds`: what
        it was expected to take, or None; `seconds_left`: None where unknown.
    """
    by_folder = {each['folder']: each for each in trainings}
    if plan:
        return [_of_training(by_folder[stage['folder']], stage) if stage['folder'] in by_folder else
                _of_outputs(root, plan['images'], stage) for stage in plan['stages']]
    found = [_of_training(each, {'name': 'training', 'folder': folder}) for folder, each in by_folder.items()]
    for folder in _records(root, by_folder):
        base = folder.split('/')[0]
        near = by_folder.get(base) or by_folder.get('')
        found.append(_of_outputs(root, near and _names(near['command']), {'folder': folder}))
    return found


def _of_training(found, stage):
    return _stage(stage, 'steps', found['step'] or 0, found['steps'], held=found['held'], wrote=found['wrote'],
                  left=found['seconds_left'])


def _stage(stage, unit, done, total, held, wrote, left=None):
    """A stage as `_stages` has it, from what the plan knows of it."""
    seconds = stage.get('seconds')
    if left is None and seconds is not None and total:
        left = seconds * (1 - done / total)
    return {'name': stage['name'], 'folder': stage['folder'], 'command': stage.get('command', ''), 'unit': unit,
            'done': done, 'total': total, 'held': held, 'wrote': wrote, 'seconds': seconds, 'seconds_left': left}


def _seconds_left(plan, stages):
    """Of all stages of a plan that are not finished, else of those that run; None where one of them is unknown."""
    left = [each['seconds_left'] for each in stages
            if (plan or each['held']) and (each['total'] is None or each['done'] < each['total'])]
    return sum(left) if left and None not in left else None


def _of_outputs(root, total, stage):
    path = os.path.join(root, stage['folder'])
    stamps = [training.changed(each) for each in sorted(glob.glob(os.path.join(glob.escape(path), records.ANY_INPUTS)))]
    made_by, done = _progress(path, tuple(stamps))
    if 'name' not in stage and made_by not in _OF_LIST:
        total = None
    # The superpixels' preview is recorded beside the images, and a list may have become shorter.
    return _stage(dict({'name': made_by or stage['folder']}, **stage), 'images', min(done, total or done), total,
                  held=files.is_held(path), wrote=max((when for when, _ in stamps), default=0) / 1e9 or None)


def _records(root, trainings):
    """Folders of outputs below a run's, relative to it, the one that was begun first before the others."""
    found = {}
    for base in dict.fromkeys(['', 'superpixels', *trainings]):
        for pattern in _OUTPUTS:
            for path in glob.glob(os.path.join(glob.escape(os.path.join(root, base)), pattern, records.SETTINGS)):
                found[os.path.relpath(os.path.dirname(path), root)] = training.changed(path)
    return sorted(found, key=found.get)


@functools.lru_cache(maxsize=_KEPT)
def _progress(folder, _):
    return outputs.progress(folder)


# --------------------------------------------------------------------------------------------------- lists of names
def _names(command):
    """How many names the list of a command has; None unless it is found from here."""
    try:
        words = shlex.split(command)
        path = os.path.expanduser(words[words.index('--data-list') + 1])
    except (ValueError, IndexError):
        return None
    return _count(path, training.changed(path))


@functools.lru_cache(maxsize=_KEPT)
def _count(path, _):
    try:
        return len(voc.read_list(path))
    except (UserError, OSError):
        return None


def _lines(path):
    """Lines of a small text file; none when there is no such file."""
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read().splitlines()
    except OSError:
        return []
