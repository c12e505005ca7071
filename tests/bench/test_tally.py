"""Every call that was sent is in exactly one place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provider.bench.tally import Tally

ENDS = st.lists(st.sampled_from(["result", "overloaded", "no_answer", ""]))


def of(ends):
    tally = Tally()
    for end in ends:
        tally.sent += 1
        if end == "result":
            tally.results += 1
        elif end:
            tally.failed(end)
    return tally


@given(ENDS)
def test_the_numbers_add_up(ends):
    told = of(ends).counts()
    assert told["open"] == ends.count("")
    assert told["errors"] == {kind: ends.count(kind) for kind in sorted({*ends} - {"", "result"})}
    assert told["calls"] == told["results"] + sum(told["errors"].values()) + told["open"]


@given(ENDS, ENDS)
def test_both_parts_together_are_one(before, after):
    assert of(before).plus(of(after)) == of(before + after).counts()
