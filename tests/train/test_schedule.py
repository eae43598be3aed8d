"""Steps and learning rates are the original's, and ICD's warm-up."""
import math

import pytest

from icd.model.losses import warm_up
from icd.train.icd_task import warm_up_steps
from icd.train.schedule import Schedule


def schedule(images=10582, batch=32, epochs=20, rate=1e-3, **more):
    return Schedule(images, batch, epochs, rate, **more)


def test_learning_rates_are_those_of_the_paper():
    made = schedule()
    assert (made.batches, made.steps, made.log_every) == (330, 6600, 16)
    for epoch in range(20):
        for batch in (0, 329):
            assert made.learning_rate(epoch, batch) == pytest.approx(1e-3 * (1 - epoch / 20) ** .9, rel=1e-12)


def test_warm_up_is_that_of_the_paper():
    total = warm_up_steps(10582, 32)
    assert total == 661
    factors = [warm_up(step, total) for step in range(total + 2)]
    assert factors[0] == pytest.approx(math.exp(-10)) and factors[-3] == pytest.approx(math.exp(-10 / total))
    assert factors[-2:] == [1, 1] and factors == sorted(factors)


def test_printed_schedule_has_a_line_an_epoch():
    lines = str(schedule()).splitlines()
    assert lines[0].startswith('10582 images an epoch in 330 batches of 32, 20 epochs, 6600 steps; a log line')
    assert len(lines) == 21
    for epoch, line in enumerate(lines[1:]):
        assert line == (f'epoch {epoch:2d}: steps {330 * epoch} to {330 * epoch + 329}, '
                        f'learning rate {1e-3 * (1 - epoch / 20) ** .9:.4g}')


def test_schedule_follows_the_number_of_images():
    assert schedule(images=100).batches == 3 and schedule(images=100).log_every == 3
    assert schedule(images=320).log_every == 5 and schedule(images=9).log_every == 1
    assert schedule(log_frequency=7).log_every == 7


def test_a_ramp_rises_from_a_tenth_to_the_plain_rate():
    made, plain = schedule(ramp_epochs=1.5), schedule()
    assert made.learning_rate(0, 0) == pytest.approx(1e-4)
    assert made.learning_rate(1, 0) == pytest.approx(plain.learning_rate(1, 0) * (.1 + .9 / 1.5))
    assert made.learning_rate(1, 165) == plain.learning_rate(1, 165)
