"""How far a stream may run ahead of its reader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provider.wire.window import BYTES, CHUNKS, Window


def test_it_is_full_of_chunks_and_opens_when_one_is_taken():
    window = Window()
    for _ in range(CHUNKS):
        assert window.open
        window.sent(1)
    assert not window.open
    assert window.taken(1) == 1
    assert window.open


def test_it_is_full_of_bytes_and_a_large_chunk_may_pass_the_bound():
    window = Window()
    window.sent(BYTES - 1)
    assert window.open
    window.sent(2 * BYTES)
    assert not window.open
    assert window.taken(1) == 1
    assert not window.open  # the large one is still there
    assert window.taken(1) == 1
    assert window.open


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 200)), max_size=100))
def test_nothing_is_taken_that_was_not_sent(steps):
    window, there = Window(), 0
    for sends, number in steps:
        if sends:
            window.sent(abs(number))
            there += 1
        else:
            really = window.taken(number)
            assert really == min(max(0, number), there)
            there -= really
        assert window.chunks == there
        assert window.open == (there < CHUNKS)
