"""The files of a run as training and stages leave them, made without either."""
import json
import os

import cv2
import numpy as np

from icd import files

COLUMNS = ('epoch,batch,step,learning_rate,warm_up,loss,ranking,score_min,score_max,state_min,state_max,flipped,'
           'images_per_second,seconds_left,input_s,compute_s,update_s')
FROM = 'from epoch 0, batch 0, of 3 epochs of 4 batches'


def row(step, batches=4, left=100.):
    """A line of a table of ICD, of the step from 1."""
    epoch, batch = divmod(step - 1, batches)
    rate, loss = .001 - 1e-5 * step, 1 / step
    return (f'{epoch},{batch},{step},{rate:.7g},1,{loss:.7g},0.9,-1,{step},0,1,0.5,2.5,{left:g},'
            '0.1,0.2,0.3\n')


def write(path, content):
    files.save_bytes(str(path), content if isinstance(content, bytes) else content.encode())


def training(folder, steps=6, command='--num-epoch 3', left=100.):
    """A training of 3 epochs of 4 steps, of which so many are done."""
    rows = [row(step, left=left) for step in range(1, steps + 1)]
    write(os.path.join(folder, 'log.csv'), ''.join([COLUMNS + '\n', *rows]))
    lines = [command, FROM, *(f'epoch {(step - 1) // 4} batch {(step - 1) % 4}: loss' for step in range(1, steps + 1))]
    write(os.path.join(folder, 'log.txt'), ''.join(f'2026-01-02 03:04:05 {line}\n' for line in lines))


def preview(path, shade=90):
    """A preview of 40 x 24 pixels."""
    write(path, cv2.imencode('.jpg', np.full((24, 40, 3), shade, np.uint8))[1].tobytes())


def outputs(folder, names, made_by='scores'):
    """The records of a folder of outputs."""
    write(os.path.join(folder, 'settings.json'), json.dumps({'made_by': made_by, 'settings': {}}))
    write(os.path.join(folder, 'inputs.tsv'), ''.join(f'{name}\t=1\t3,4,5,6\n' for name in names))


def plan(folder, stages, images=4):
    """The plan of `icd-pipeline`: stages are (name, folder, seconds)."""
    rows = [{'name': name, 'folder': part, 'command': f'icd-{name} --out x', 'seconds': seconds}
            for name, part, seconds in stages]
    write(os.path.join(folder, 'plan.json'), json.dumps(
        {'text': 'four images\nabout 3 min', 'images': images, 'stages': rows}))
