"""icd-masks writes the class indices that colours mean, and icd-evaluate says where it is needed."""
import os

import numpy as np
import pytest
from PIL import Image

from icd import cli, console
from icd.data import masks
from icd.evaluate_options import EVALUATE
from icd.steps import evaluate
from icd.steps import masks as command

NAMES = ['a', 'sub/b', 'c']


def save(folder, name, image):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    image.save(os.path.join(folder, name + '.png'))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Folders index, reordered and rgb with masks of the same colours, and their list."""
    monkeypatch.chdir(tmp_path)
    rng, palette, found = np.random.default_rng(0), masks.palette(), {}
    for name in NAMES:
        found[name] = mask = rng.choice([0, 5, 12, 255], (9, 14)).astype(np.uint8)
        used, inverse = np.unique(mask, return_inverse=True)
        other = Image.fromarray((len(used) - 1 - inverse).reshape(mask.shape).astype(np.uint8), 'P')
        other.putpalette(palette[used[::-1]].tobytes())
        save('reordered', name, other)
        save('rgb', name, Image.fromarray(palette[mask]))
        save('index', name, Image.fromarray(mask, 'L'))
    (tmp_path / 'list.txt').write_text('\n'.join(NAMES))
    return found


@pytest.mark.parametrize('source', ['reordered', 'rgb'])
def test_colours_become_indices(source, data):
    assert console.run_command(command.main, ['convert', source, 'out', '--num-process', '1']) == 0
    for name, mask in data.items():
        assert (masks.read_mask(f'out/{name}.png') == mask).all()
        with Image.open(f'out/{name}.png') as image:
            assert image.mode == 'L'


def test_colours_of_another_data_set(data):
    colours = np.array([[0, 0, 0], [10, 20, 30], [9, 9, 9]], np.uint8)
    mask = np.random.default_rng(1).integers(3, size=(6, 8))
    save('mine', 'a', Image.fromarray(colours[mask]))
    for text in ('0 0 0\n10 20 30 cat\n9,9,9\n', '9 9 9 2\n0\t0\t0\t0\n10 20 30 1 cat\n'):
        with open('colours.txt', 'w') as file:
            file.write(text)
        assert console.run_command(command.main, ['convert', 'mine', 'out', '--colours', 'colours.txt',
                                                  '--num-process', '1']) == 0
        assert (masks.read_mask('out/a.png') == mask).all()


@pytest.mark.parametrize('arguments, message', [
    (['index', 'out'], 'index/a.png, index/c.png, index/sub/b.png: has no colours (mode L) (3 files): its values are'),
    (['mine', 'out'], 'mine/a.png (1 2 3): has 1 colours that mean no class: name them with --colours'),
    (['rgb', 'rgb/.'], 'rgb/.: would overwrite the masks: give another folder'),
    (['none', 'out'], 'SOURCE none: no such folder: check the path'),
    (['.git', 'out'], '.git: no NAME.png in it: check the path'),
    (['rgb', 'out', '--colours', 'list.txt'], "list.txt: line 1 is no colour: 'a': write"),
    (['rgb', 'out', '--colours', 'twice.txt'], 'twice.txt: line 2: the colour (1, 1, 1) has another index before')])
def test_what_cannot_be_converted_is_one_line(arguments, message, data, capsys):
    os.mkdir('.git')
    save('mine', 'a', Image.new('RGB', (4, 4), (1, 2, 3)))
    with open('twice.txt', 'w') as file:
        file.write('1 1 1\n1 1 1\n')
    assert console.run_command(command.main, ['convert', *arguments, '--num-process', '1']) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and '%|' not in line]
    assert len(lines) == 1 and message in lines[0], lines


@pytest.mark.parametrize('truth, said', [
    ('index', 0), ('reordered', 'reordered: 3 masks have the colours of VOC at other indices (reordered/a.png: index')])
def test_a_palette_in_another_order_is_told_of(truth, said, data, capsys):
    options = cli.defaults(EVALUATE, pred='index', truth=truth, list='list.txt', num_process=1)
    mean = evaluate.run(options)['mIoU']
    printed = capsys.readouterr().err
    assert ('icd-masks convert' in printed) == bool(said) and (not said or said in printed)
    assert (mean == 100) == (truth == 'index')


def test_masks_of_one_value_are_told_of(data, capsys):
    for name in NAMES:
        save('same', name, Image.fromarray(np.full((9, 14), 5, np.uint8)))
    evaluate.run(cli.defaults(EVALUATE, pred='same', truth='index', list='list.txt', num_process=1))
    assert 'same: all masks hold nothing but bottle' in capsys.readouterr().err
    evaluate.run(cli.defaults(EVALUATE, pred='index', truth='same', list='list.txt', num_process=1))
    assert 'same: all masks hold nothing but bottle' in capsys.readouterr().err
    evaluate.run(cli.defaults(EVALUATE, pred='index', truth='index', list='list.txt', num_process=1))
    assert 'nothing but' not in capsys.readouterr().err
