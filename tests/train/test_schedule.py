"""Steps, learning rates and warm-up are the original's."""
import math

import pytest

from icd import cli
from icd.model.losses import warm_up
from icd.train.schedule import Schedule


def schedule(num_names=10582, **values):
    return Schedule(cli.defaults(cli.RUN, **values), num_names)


def test_the_papers_schedule():
    made = schedule()
    assert (made.batches, made.steps, made.warm_up_steps, made.log_every) == (330, 6600, 661, 16)
    for epoch in range(20):
        for batch in (0, 329):
            assert made.learning_rate(epoch, batch) == pytest.approx(1e-3 * (1 - epoch / 20) ** .9, rel=1e-12)


def test_the_papers_warm_up():
    total = schedule().warm_up_steps
    factors = [warm_up(step, total) for step in range(total + 2)]
    assert factors[0] == pytest.approx(math.exp(-10)) and factors[-3] == pytest.approx(math.exp(-10 / total))
    assert factors[-2:] == [1, 1] and factors == sorted(factors)


def test_what_is_printed():
    lines = str(schedule()).splitlines()
    assert lines[0].startswith('10582 images an epoch in 330 batches of 32, 20 epochs, 6600 steps; warm-up over 661')
    assert len(lines) == 21
    for epoch, line in enumerate(lines[1:]):
        assert line == 'epoch %2d: steps %d to %d, learning rate %.4g' % (
            epoch, 330 * epoch, 330 * epoch + 329, 1e-3 * (1 - epoch / 20) ** .9)


def test_accumulated_batches_make_larger_steps():
    made, whole = schedule(batch_size=8, accumulate=4), schedule()
    assert (made.batch, made.batches, made.warm_up_steps) == (whole.batch, whole.batches, whole.warm_up_steps)


def test_other_numbers_of_images():
    assert schedule(num_sample=100).batches == 3 and schedule(num_sample=100).log_every == 3
    assert schedule(num_sample=320).log_every == 5 and schedule(num_sample=9).log_every == 1
    assert schedule(log_frequency=7).log_every == 7


def test_a_ramp_rises_from_a_tenth_to_the_plain_rate():
    made, plain = schedule(ramp_epochs=1.5), schedule()
    assert made.learning_rate(0, 0) == pytest.approx(1e-4)
    assert made.learning_rate(1, 0) == pytest.approx(plain.learning_rate(1, 0) * (.1 + .9 / 1.5))
    assert made.learning_rate(1, 165) == plain.learning_rate(1, 165)
