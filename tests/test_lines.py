"""Lines by key hold what a dictionary of them would."""
import tracemalloc

import numpy as np
import pytest

from icd.lines import Lines


def expected(text):
    """Lines by key, of the last of each, as a dictionary has them."""
    found = {}
    for line in text.split(b'\n')[:-1]:
        key, _, rest = line.partition(b'\t')
        found.pop(key, None)
        found[key] = rest, line + b'\n'
    return found


@pytest.mark.parametrize('keys', [1, 3, 50, 400])
def test_lines_are_those_of_a_dictionary(keys):
    rng = np.random.default_rng(keys)
    for _ in range(20):
        lines = [b'%d' % rng.integers(keys) + rng.choice(np.array([b'', b'\t', b'\ta', b'\tb\tc'], object))
                 for _ in range(rng.integers(2 * keys))]
        text = b''.join(line + b'\n' for line in lines) + rng.choice(np.array([b'', b'7', b'7\tx'], object))
        found, known = Lines(text), expected(text)
        for key in [b'%d' % i for i in range(keys + 2)] + [b'', b'1\t', b'1\ta', b'1\n1']:
            assert found.get(key) == (known[key][0] if key in known else None)
            assert (key in found) == (key in known)
        assert list(found) == [line for _, line in known.values()]
        assert found.in_order() == b''.join(known[key][1] for key in sorted(known) if b'\t' in known[key][1])


def test_lines_in_order_are_the_text_itself():
    text = b''.join(b'%03d\t%d\n' % (i, i) for i in range(500))
    assert Lines(text).in_order() is text or Lines(text).in_order() == text
    assert Lines(text + b'000\tx\n').in_order() == b'000\tx\n' + text[6:]


def test_a_line_takes_little_more_than_its_bytes():
    text = b''.join(b'%05d\t%s\n' % (i, b'x' * 90) for i in range(2000))
    tracemalloc.start()
    kept = Lines(text)
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert b'00042' in kept and used < 40 * 2000 and peak < 50 * 2000


def test_a_line_or_several_are_no_key():
    """However keys are hashed, which is another way in every process."""
    for i in range(200):
        found = Lines(b'%d\tx\n7\ty\n' % i)
        assert b'%d\tx' % i not in found and b'%d\tx\n7' % i not in found and b'%d' % i in found
