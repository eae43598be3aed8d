"""What the label maps of `makeSuperpixel` are: the recorded ones, and what SLIC promises."""
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy import ndimage

from icd.data import superpixel_map
from tests.helpers import load_recording, parity_files
from tests.superpixel.superpixel_program import build, draw, labels_of

TIES = 1e-4         # fraction of pixels that may differ where edges of equal weight have no defined order


@pytest.fixture(scope='module', autouse=True)
def built():
    build()


def differing(labels, expected):
    """Fraction of pixels in which two label maps differ."""
    assert labels.shape == expected.shape
    return (labels != expected).mean()


@pytest.mark.parity
@pytest.mark.parametrize('path', parity_files('graph_*_k*.npz'), ids=os.path.basename)
def test_graph_labels_are_the_recorded_ones(path, tmp_path):
    recorded = load_recording(path)
    cv2.imwrite(str(tmp_path / 'decoded.png'), recorded['image'])
    (tmp_path / 'encoded.jpg').write_bytes(recorded['image_jpeg'].tobytes())
    labels = labels_of(tmp_path, ['decoded', 'encoded'], tmp_path, '--method', 'graph', min_size=int(recorded['k']))
    for name in labels:
        assert differing(labels[name], recorded['labels']) <= TIES, name


@pytest.mark.parity
def test_graph_labels_of_real_images_are_the_recorded_ones(real_images, tmp_path):
    recorded = os.path.join(real_images, 'parity_voc', 'superpixels_graph_k75')
    names = sorted(file[:-4] for file in os.listdir(recorded))
    made = labels_of(tmp_path, names, os.path.join(real_images, 'voc_mini', 'JPEGImages'), '--method', 'graph')
    wrong = sum((made[name] != superpixel_map.read(os.path.join(recorded, name + '.png'))).sum() for name in names)
    assert wrong <= TIES * sum(labels.size for labels in made.values())


@pytest.mark.parametrize('height, width, min_size', [(200, 300, 75), (33, 1000, 20), (5, 7, 75), (64, 64, 1)])
def test_slic_superpixels_are_connected_and_none_is_small(height, width, min_size, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), draw(height, width))
    labels = labels_of(tmp_path, ['a'], tmp_path, min_size=min_size)['a']
    found, first, size = np.unique(labels, return_index=True, return_counts=True)
    assert (found == np.arange(len(found))).all() and (np.diff(first) > 0).all()        # in raster order, no gaps
    assert all(ndimage.label(labels == label)[1] == 1 for label in found[:400])
    assert size.min() >= min_size or len(found) == 1
    assert len(found) <= height * width / min_size or len(found) == 1


def test_smallest_size_sets_the_number(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), draw(240, 320))
    numbers = [labels_of(tmp_path, ['a'], tmp_path, min_size=k)['a'].max() + 1 for k in (25, 50, 100, 200, 400)]
    for k, number in zip((25, 50, 100, 200, 400), numbers):
        assert .6 < number / (240 * 320 / (4 * k)) < 1.7


def test_compactness_evens_out(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), draw(240, 320))

    def border(compactness):
        labels = labels_of(tmp_path, ['a'], tmp_path, '--compactness', compactness)['a']
        return ((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum()) / (labels.max() + 1) ** .5
    assert border('2') > border('10') > border('60')


@pytest.mark.parametrize('method', ['slic', 'graph'])
def test_labels_do_not_depend_on_threads(method, tmp_path):
    names = [str(i) for i in range(12)]
    for i, name in enumerate(names):
        cv2.imwrite(str(tmp_path / (name + '.png')), draw(90 + 7 * i, 150 - 5 * i, i))
    one, four = (labels_of(tmp_path, names, tmp_path, '--method', method, '--threads', n) for n in ('1', '4'))
    assert all((one[name] == four[name]).all() for name in names)


def test_cpp_tests_of_the_core_pass(tmp_path):
    """The C++ tests of the core: any image up to 64 x 64, all instruction sets, plain and with sanitizers."""
    output = build('test')
    assert output.count('passed:') == 2, output


@pytest.mark.slow
def test_quality_on_real_images(real_images, tmp_path):
    """Boundary recall, undersegmentation error and achievable accuracy against people, at 600 superpixels."""
    root = os.path.join(real_images, 'bsds_mini')
    names = sorted(file[:-4] for file in os.listdir(os.path.join(root, 'images')))
    labels_of(tmp_path, names, os.path.join(root, 'images'), min_size=72)
    for record in ('inputs.tsv', 'settings.json'):
        os.remove(str(tmp_path / 'labels' / record))         # the tool reads every file of the folder
    tool = os.path.join(real_images, 'tools', 'superpixel_quality.py')
    printed = subprocess.run([sys.executable, tool, str(tmp_path / 'labels'), os.path.join(root, 'ground_truth')],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    figures = {name: float(printed[printed.index(name) + 1]) for name in ('BR', 'UE', 'ASA', 'n')}
    assert figures['n'] <= 600 and figures['BR'] >= .84 and figures['UE'] <= .068 and figures['ASA'] >= .966, figures
