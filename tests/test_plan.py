"""Settings and estimates that suit images and machines."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd import plan

SIZES = st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 8), st.none() | st.floats(1e9, 80e9))
def test_settings_can_be_run(sizes, devices, gpu_bytes):
    chosen = plan.choose(sizes, devices, gpu_bytes)
    assert chosen == plan.choose(sizes[::-1], devices, gpu_bytes)
    assert chosen.infer_size % 8 == chosen.image_size % 8 == 1 and 33 <= chosen.image_size <= 321
    assert chosen.infer_size <= 513 and chosen.raw_size >= 10
    assert chosen.batch_size % devices == 0 and (chosen.batch_size <= len(sizes) or chosen.batch_size == devices)
    assert chosen.epochs >= 5 and chosen.epochs * max(1, len(sizes) // chosen.batch_size) >= 150


def test_settings_for_known_sets():
    voc = plan.choose([(375, 500)] * 10582, 1, 24e9)
    assert (voc.raw_size, voc.infer_size, voc.image_size, voc.batch_size, voc.epochs) == (75, 505, 321, 32, 20)
    few = plan.choose([(213, 320)] * 60, 1)
    assert (few.image_size, few.batch_size, few.infer_size) == (193, 8, 321) and few.epochs * (60 // 8) >= 150
    assert plan.choose([(375, 500)] * 10582, 1, 4e9).batch_size < 32


def test_estimates_follow_the_work():
    sizes = [(213, 320)] * 100
    chosen = plan.choose(sizes, 1)
    once = plan.estimate(chosen, sizes, 1, 1e11, 2, 1.5, False)
    assert list(once.seconds) == ['superpixels', 'merging', 'training', 'scores', 'seeds']
    # 364 GFLOP an image of 321x321, here of 193x193, for 500 epochs of images at 100 GFLOP a second
    assert once.seconds['training'] == pytest.approx(3.64 * (193 / 321) ** 2 * 100 * chosen.epochs)
    twice = plan.estimate(chosen, sizes, .5, 2e11, 2, 1.5, True)
    assert twice.seconds['training'] == pytest.approx(once.seconds['training'] / 8)
    assert twice.seconds['segmentation'] == twice.seconds['training'] and 'predictions' in twice.seconds
    assert plan.estimate(chosen, sizes * 2, 1, 1e11, 2, 1.5, False).disk > once.disk > 8e8


@pytest.mark.parametrize('seconds, text', [(.2, '1 s'), (40, '40 s'), (90, '2 min'), (5000, '83 min'), (5400, '1.5 h')])
def test_durations_are_said_as_one_says_them(seconds, text):
    assert plan.duration(seconds) == text
