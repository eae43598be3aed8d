"""The page of a run without truth."""
import os

import numpy as np
import pytest

from icd import files
from icd.data import masks
from icd.errors import UserError
from icd.viz import gallery


@pytest.fixture
def made(tmp_path):
    """A run of three images; the first mask is half dog."""
    rng, mask = np.random.RandomState(0), np.zeros((20, 30), np.uint8)
    for i, name in enumerate(('a', 'b', 'c')):
        files.save_image(str(tmp_path / 'images' / f'{name}.png'), rng.randint(0, 255, (20, 30, 3), np.uint8))
        mask[:10] = 2 if i == 0 else 0
        masks.save_mask(str(tmp_path / 'masks' / f'{name}.png'), mask)
    labels = np.array([[0, 1], [1, 0], [1, 1]], np.float32)
    return gallery.Run(('a', 'b', 'c'), ('cat', '<dog>'), labels, str(tmp_path / 'images'),
                       {'seeds': str(tmp_path / 'masks')}, ['icd-run --x "1"'])


def test_every_class_is_shown_as_evenly_as_there_is_room():
    labels = np.zeros((100, 3))
    labels[:90, 0], labels[90:98, 1], labels[[0, 99], 2] = 1, 1, 1
    found = gallery.chosen(labels, 9)
    assert len(found) == 9 and found == sorted(found)
    assert labels[found].sum(axis=0).min() == 2                 # all there are of the rarest
    assert gallery.chosen(labels, 1000) == list(np.flatnonzero(labels.any(axis=1)))


def test_the_page_says_what_masks_hold(made):
    page = gallery.page(made)
    assert page.count('<article>') == 3 and page.count('data:image/jpeg') == 6
    assert '&lt;dog&gt;</th><td>2</td><td>1</td>\n<td>50.0</td>' in page and '<dog>' not in page
    assert 'cat</th><td>2</td><td>0</td>\n<td>0.0</td>' in page
    assert 'icd-run --x &#34;1&#34;' in page


def test_an_image_that_is_gone_does_not_end_the_page(made):
    os.remove(os.path.join(made.image_root, 'b.png'))
    assert gallery.page(made).count('data:image/jpeg') == 4 and 'b.jpg: ' in gallery.page(made)
    os.remove(os.path.join(made.folders['seeds'], 'c.png'))
    with pytest.raises(UserError, match=r'c\.png'):
        gallery.page(made)
