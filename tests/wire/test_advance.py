"""How far a call says it is: small and plain, whoever wrote it."""

from __future__ import annotations

import decimal
import fractions
import math

import cbor2
import pytest

from provider.wire.advance import (
    LARGEST,
    MOST_BODY,
    MOST_NOTE,
    advance,
    read_advance,
    write_advance,
)
from provider.wire.frames import FrameError


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((3,), {"done": 3, "total": None, "note": ""}),
        ((3, 10, "reading"), {"done": 3, "total": 10, "note": "reading"}),
        ((11, 10), {"done": 11, "total": 10, "note": ""}),
        ((-0.5, 1e300 * 0), {"done": -0.5, "total": 0.0, "note": ""}),
        ((fractions.Fraction(1, 4),), {"done": 0.25, "total": None, "note": ""}),
        ((LARGEST - 1, -LARGEST + 1), {"done": LARGEST - 1, "total": -LARGEST + 1, "note": ""}),
        ((1, None, "\ud800"), {"done": 1, "total": None, "note": "?"}),
        ((1, None, "x" * 1000), {"done": 1, "total": None, "note": "x" * MOST_NOTE}),
    ],
)
def test_what_is_said_travels(given, told):
    assert advance(*given) == told
    assert read_advance(write_advance(told)) == told


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    told = advance(numpy.int64(3), numpy.float32(0.5))
    assert told == {"done": 3, "total": 0.5, "note": ""}
    assert [type(told[name]) for name in ("done", "total")] == [int, float]


def test_the_longest_note_fits():
    assert len(write_advance(advance(0.1, LARGEST - 1, "\U0001f600" * MOST_NOTE))) <= MOST_BODY


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (("3",), TypeError, "done is str"),
        ((None,), TypeError, "done is NoneType"),
        ((True,), TypeError, "done is a boolean"),
        ((1j,), TypeError, "done is complex"),
        ((decimal.Decimal(1),), TypeError, "done is Decimal"),
        ((1, []), TypeError, "total is list"),
        ((1, 2, b"x"), TypeError, "note is bytes"),
        ((math.nan,), ValueError, "done is nan"),
        ((1, math.inf), ValueError, "total is inf"),
        ((LARGEST,), ValueError, "below"),
        ((1e300,), ValueError, "below"),
    ],
)
def test_what_is_no_progress_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        advance(*given)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        cbor2.dumps(3),
        cbor2.dumps({"done": 3}),
        cbor2.dumps({"done": "3", "total": None, "note": ""}),
        cbor2.dumps({"done": math.nan, "total": None, "note": ""}),
        cbor2.dumps({"done": 2**70, "total": None, "note": ""}),
        cbor2.dumps({"done": 3, "total": None, "note": "", "more": "x" * MOST_BODY}),
        b"\x81" * 1000,
    ],
)
def test_a_body_that_says_nothing_of_the_kind_is_no_frame(body):
    with pytest.raises(FrameError, match="no progress"):
        read_advance(body)


def test_what_a_body_says_beside_it_is_left_out():
    body = cbor2.dumps({"done": 3, "total": None, "note": "", "more": 1})
    assert read_advance(body) == {"done": 3, "total": None, "note": ""}
