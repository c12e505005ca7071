"""Ids of requests: kept where they are fit, made where they are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provider.doors.request_id import LONGEST, request_id


def test_ids_are_made_where_none_is_given():
    made = {request_id(None), request_id(b""), request_id(b"\r\n \xff")}
    assert len(made) == 3


def test_ids_are_kept_where_they_are_fit():
    assert request_id(b"a-1_B.c/~!") == "a-1_B.c/~!"
    assert request_id(b"a b\tc\xe4d\x7f") == "abcd"
    assert request_id(b"x" * 1000) == "x" * LONGEST


@given(st.binary(max_size=300))
def test_any_bytes_make_an_id_that_is_fit(given_id):
    made = request_id(given_id)
    assert 0 < len(made) <= LONGEST
    assert made.isascii()
    assert made.isprintable()
    assert " " not in made
