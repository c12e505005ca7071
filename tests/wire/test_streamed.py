"""The messages of a stream: as written, as read, and as nobody may send them."""

from __future__ import annotations

import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import BadRequest, BadResult, Overloaded
from provider.wire.envelope import error_answer, result_answer
from provider.wire.streamed import (
    MOST_SAID,
    Said,
    StreamReader,
    chunk_answer,
    chunk_answer_json,
    end_answer,
    end_answer_json,
    progress_answer,
    progress_answer_json,
    read_said,
    write_said,
)
from provider.wire.values import Values

VALUES = Values()
ITEM = cbor2.dumps({"a": [1]})


def test_chunks_and_ends_are_maps_with_the_id_first():
    assert cbor2.loads(chunk_answer(ITEM, 300)) == {"chunk": {"a": [1]}, "seq": 300}
    assert cbor2.loads(end_answer(0)) == {"end": 0}
    with_id = cbor2.loads(chunk_answer(ITEM, 0, cbor2.dumps("x")))
    assert list(with_id.items()) == [("id", "x"), ("chunk", {"a": [1]}), ("seq", 0)]
    assert cbor2.loads(end_answer(7, cbor2.dumps(b"y"))) == {"id": b"y", "end": 7}
    assert json.loads(chunk_answer_json(b'{"a":1}', 3)) == {"chunk": {"a": 1}, "seq": 3}
    assert json.loads(end_answer_json(3)) == {"end": 3}


def test_progress_is_a_map_with_the_id_first_or_null():
    told = {"done": 1, "total": None, "note": "\u00e9"}
    assert cbor2.loads(progress_answer(told)) == {"progress": told}
    with_id = cbor2.loads(progress_answer(None, cbor2.dumps("x")))
    assert list(with_id.items()) == [("id", "x"), ("progress", None)]
    assert json.loads(progress_answer_json(told)) == {"progress": told}
    assert json.loads(progress_answer_json(None)) == {"progress": None}


def test_progress_is_read_beside_the_chunks():
    reader, told = StreamReader(VALUES), {"done": 1, "total": 2.5, "note": ""}
    for message, said in (
        (progress_answer(None), None),
        (progress_answer(told), told),
        (cbor2.dumps({"progress": 5}), None),  # of a later version, perhaps
        (progress_answer(told), told),
        (chunk_answer(ITEM, 0), None),
    ):
        reader.read(message)
        assert reader.told == said
    assert (reader.count, reader.ended) == (1, False)


@given(st.lists(st.integers() | st.text() | st.none(), max_size=20))
def test_what_is_written_is_read(items):
    reader, read = StreamReader(VALUES), []
    for number, item in enumerate(items):
        read += reader.read(chunk_answer(VALUES.encode(item), number))
        assert not reader.ended
    assert reader.read(end_answer(len(items))) == []
    assert (read, reader.count, reader.ended) == (items, len(items), True)


def test_chunks_that_come_again_are_left_out():
    # What a broken connection may have taken along is sent again, from some chunk on.
    reader, read = StreamReader(VALUES), []
    for number in (0, 1, 2, 1, 2, 3, 0, 1, 2, 3, 4):
        read += reader.read(chunk_answer(VALUES.encode(number), number))
    assert reader.read(end_answer(5)) == []
    assert (read, reader.ended) == ([0, 1, 2, 3, 4], True)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([chunk_answer(ITEM, 1)], "chunk 0 of the stream is missing: 1 came instead"),
        ([chunk_answer(ITEM, 0), chunk_answer(ITEM, 2)], "chunk 1 of the stream is missing"),
        ([chunk_answer(ITEM, -1)], "chunk 0 of the stream is missing: -1 came"),
        ([chunk_answer(ITEM, 0), end_answer(2)], "chunk 1 of the stream is missing: 2 came"),
        ([cbor2.dumps({"chunk": 1})], "missing: None came instead"),
        ([b"\xff"], "cannot be read"),
        ([b"\x05"], "no part of a stream"),
        ([result_answer(ITEM)], "does not stream"),
    ],
)
def test_what_is_no_stream_or_has_gaps_is_refused(messages, reason):
    reader = StreamReader(VALUES)
    with pytest.raises(BadResult, match=reason):
        for message in messages:
            reader.read(message)


def test_an_error_ends_a_stream():
    reader = StreamReader(VALUES)
    reader.read(chunk_answer(ITEM, 0))
    with pytest.raises(Overloaded, match="full"):
        reader.read(error_answer(Overloaded("full")))
    assert reader.ended


@pytest.mark.parametrize("said", [Said(credit=1), Said(credit=2**40), Said(cancel=True)])
def test_what_a_caller_says_is_read_in_both_encodings(said):
    data = write_said(said)
    assert read_said(data) == said
    assert read_said(json.dumps(cbor2.loads(data)).encode()) == said


@pytest.mark.parametrize(
    "data",
    [
        *map(
            cbor2.dumps,
            (
                5,
                {},
                {"credit": 0},
                {"credit": -1},
                {"credit": True},
                {"credit": "1"},
                {"cancel": False},
                {"cancel": 1},
                {"credit": 1, "more": "x" * MOST_SAID},
            ),
        ),
        b"{",
        b"\xff",
        b"",
    ],
)
def test_what_says_nothing_is_refused(data):
    with pytest.raises(BadRequest):
        read_said(data)


@given(st.binary(max_size=40))
def test_whatever_is_said_is_read_or_refused(data):
    try:
        said = read_said(data)
    except BadRequest:
        return
    assert said.cancel or said.credit > 0
