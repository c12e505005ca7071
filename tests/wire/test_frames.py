"""Frames: bytes in, frames out, wherever the bytes were split; anything else ends the link."""

from __future__ import annotations

import math
import struct
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provider.wire.frames import (
    LARGE,
    MAX_FRAME,
    VERSION,
    Encoding,
    FrameError,
    FrameReader,
    FrameType,
    call_frame,
    frame,
    read_call,
)

NUMBERS = st.integers(0, 2**64 - 1)
frames = st.lists(
    st.tuples(st.sampled_from(FrameType), NUMBERS, st.binary(max_size=60)), max_size=8
)


def stream_of(parts):
    return b"".join(frame(kind, number, body) for kind, number, body in parts)


def fed(pieces, most=MAX_FRAME):
    reader = FrameReader(most)
    return [one for piece in pieces for one in reader.feed(piece)]


# --- whole frames ---------------------------------------------------------------------------------


def test_a_frame_is_length_type_number_and_body():
    assert frame(FrameType.RESULT, 7, b"ab") == (
        b"\x0b\x00\x00\x00" + b"\x13" + b"\x07" + bytes(7) + b"ab"
    )
    assert frame(FrameType.BYE, 0) == b"\x09\x00\x00\x00\x04" + bytes(8)
    assert fed([frame(FrameType.RESULT, 7, b"ab")]) == [(19, 7, b"ab")]


def test_the_numbers_of_the_types_are_those_of_both_ends():
    assert VERSION == 1
    assert {kind.name: int(kind) for kind in FrameType} == {
        "SETUP": 1,
        "CALL": 2,
        "RELOAD": 3,
        "BYE": 4,
        "ABOUT": 5,
        "STREAM": 6,
        "CREDIT": 7,
        "CANCEL": 8,
        "HEALTH": 10,
        "SCHEMA": 12,
        "HELLO": 16,
        "READY": 17,
        "FAILED": 18,
        "RESULT": 19,
        "ERROR": 20,
        "RELOADED": 21,
        "FILES": 22,
        "CHUNK": 23,
        "END": 24,
        "PROGRESS": 25,
        "TROUBLE": 30,
        "SCHEMAS": 31,
    }
    assert [int(encoding) for encoding in Encoding] == [0, 1, 2, 3]


@given(frames, st.data())
@settings(max_examples=80)
def test_frames_come_out_as_they_went_in_wherever_they_were_split(parts, data):
    stream = stream_of(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert fed(pieces) == parts


def test_every_split_of_a_small_stream_gives_the_same_frames():
    parts = [(2, 1, b"abc"), (4, 0, b""), (19, 2**64 - 1, b"\x00" * 13), (16, 0, b"x")]
    stream = stream_of(parts)
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert fed([stream[:first], stream[first:second], stream[second:]]) == parts
    for size in range(1, len(stream) + 1):
        assert fed([stream[at : at + size] for at in range(0, len(stream), size)]) == parts


def test_frames_are_given_as_soon_as_they_are_whole():
    reader = FrameReader()
    one, two = frame(FrameType.CALL, 1, b"a"), frame(FrameType.CALL, 2, b"b")
    assert reader.feed(one + two[:-1]) == [(2, 1, b"a")]
    assert reader.feed(b"") == []
    assert reader.feed(two[-1:]) == [(2, 2, b"b")]
    assert reader.feed(b"") == []
    assert reader.feed(one) == [(2, 1, b"a")]


def test_a_large_frame_in_many_pieces_is_joined_once():
    body = bytes(range(256)) * 64 * 1024
    stream = frame(FrameType.RESULT, 5, body)
    began = time.process_time()
    pieces = [stream[at : at + 4096] for at in range(0, len(stream), 4096)]
    assert fed(pieces) == [(19, 5, body)]
    assert time.process_time() - began < 20


LARGE_FRAMES = st.lists(
    st.tuples(
        st.sampled_from([FrameType.CALL, FrameType.STREAM, FrameType.RESULT, FrameType.SETUP]),
        NUMBERS,
        st.sampled_from([0, 5, LARGE - 10, LARGE - 9, LARGE + 1, 3 * LARGE]),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(LARGE_FRAMES, st.data())
def test_large_frames_are_the_same_wherever_they_were_split_and_however_read(parts, data):
    expected = [
        (kind, number, bytes(index % 251 for index in range(size))) for kind, number, size in parts
    ]
    stream = stream_of(expected)
    ends = [0]
    for _, _, body in expected:
        ends.append(ends[-1] + 13 + len(body))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6), label="cuts")
    near = data.draw(
        st.lists(st.tuples(st.sampled_from(ends), st.integers(-14, 14)), max_size=6), label="near"
    )
    places = sorted({0, len(stream), *cuts, *(end + more for end, more in near)})
    places = [place for place in places if 0 <= place <= len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert fed(pieces) == expected
    # By the worker: a piece ends where the socket has no more, or the room.
    reader, read = FrameReader(), []
    for piece in pieces:
        left = piece
        while left:
            room = reader.room()
            if room is None:
                taken, left = left[:LARGE], left[LARGE:]
                read += reader.feed(taken)
            else:
                size = min(len(room), len(left))
                room[:size] = left[:size]
                read += reader.filled(size)
                left = left[size:]
    assert read == expected


def test_only_the_rest_of_a_large_call_is_given_room():
    large = frame(FrameType.CALL, 1, bytes(3 * LARGE))
    for other in (
        b"",
        large[:12],
        large[:-LARGE],
        frame(FrameType.RESULT, 1, bytes(3 * LARGE))[:99],
    ):
        reader = FrameReader()
        assert reader.feed(other) == []
        assert reader.room() is None
    reader = FrameReader()
    assert reader.feed(large[:13]) == []
    assert len(reader.room()) == 3 * LARGE
    assert reader.filled(5) == []
    assert len(reader.room()) == 3 * LARGE - 5
    ((kind, number, body),) = reader.filled(3 * LARGE - 5)
    assert (kind, number, len(body), reader.room()) == (FrameType.CALL, 1, 3 * LARGE, None)
    assert reader.feed(frame(FrameType.BYE, 0)) == [(FrameType.BYE, 0, b"")]


def test_many_small_frames_in_one_piece_come_out_at_once():
    stream = frame(FrameType.CALL, 3, b"x" * 20) * 50_000
    began = time.process_time()
    assert len(fed([stream])) == 50_000
    assert time.process_time() - began < 20


def test_bytes_one_by_one_are_not_joined_one_by_one():
    stream = frame(FrameType.RESULT, 1, bytes(300_000))
    began = time.process_time()
    assert len(fed([stream[at : at + 1] for at in range(len(stream))])) == 1
    assert time.process_time() - began < 20


# --- what is no frame -----------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(9))
@pytest.mark.parametrize("split", [0, 4, 12])
def test_a_length_without_room_for_type_and_number_is_an_error(length, split):
    data = struct.pack("<IBQ", length, FrameType.CALL, 1)
    reader = FrameReader()
    reader.feed(data[:split])
    with pytest.raises(FrameError, match=f"type 2 with {length} bytes is no frame"):
        reader.feed(data[split:])


@pytest.mark.parametrize("kind", sorted(set(range(256)) - set(map(int, FrameType))))
def test_an_unknown_type_is_an_error(kind):
    with pytest.raises(FrameError, match=f"type {kind} with 9 bytes is no frame"):
        FrameReader().feed(struct.pack("<IBQ", 9, kind, 0))


def test_a_frame_over_the_limit_is_an_error_before_its_body_comes():
    head = struct.Struct("<IBQ")
    assert FrameReader(100).feed(head.pack(100, 2, 1)) == []
    for reader, length in ((FrameReader(100), 101), (FrameReader(), MAX_FRAME + 1)):
        with pytest.raises(FrameError, match=f"type 2 with {length} bytes is no frame"):
            reader.feed(head.pack(length, 2, 1))
    assert FrameReader().feed(head.pack(MAX_FRAME, 2, 1)) == []


def test_what_follows_a_good_frame_is_looked_at_too():
    with pytest.raises(FrameError):
        FrameReader().feed(frame(FrameType.BYE, 0) + b"GET / HTTP/1.1\r\n")


@given(st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=120)
@example([b"\x09\x00\x00\x00\x04" + bytes(8)])
def test_any_bytes_are_frames_or_a_frame_error(pieces):
    try:
        given_out = fed(pieces)
    except FrameError:
        return
    assert all(kind in set(FrameType) for kind, _, _ in given_out)


def test_what_does_not_fit_the_head_is_not_written():
    for kind, number in ((256, 0), (-1, 0), (2, -1), (2, 2**64)):
        with pytest.raises(struct.error):
            frame(kind, number)
    with pytest.raises(struct.error):
        call_frame(1, b"a" * 65_536, b"", 0, 0.0)


# --- calls ----------------------------------------------------------------------------------------


@given(
    NUMBERS,
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.sampled_from(Encoding),
    st.floats(allow_nan=False),
)
@settings(max_examples=60)
@example(1, b"a" * 65_535, b"", 0, math.inf)
def test_a_call_is_read_as_it_was_written(number, operation, payload, encoding, deadline):
    data = call_frame(number, operation, payload, encoding, deadline)
    ((kind, read_number, body),) = fed([data])
    assert (kind, read_number) == (FrameType.CALL, number)
    assert read_call(body) == (encoding, deadline, operation, payload)
    assert frame(FrameType.CALL, number, body) == data


def test_a_call_body_cut_in_its_head_or_operation_is_an_error():
    ((_, _, body),) = fed([call_frame(1, b"py.add", b"\x83\x01\x02\x03", 0, 1.5)])
    for cut in range(11 + len(b"py.add")):
        with pytest.raises(FrameError, match=r"call frame of|does not fit its frame"):
            read_call(body[:cut])
    for cut in range(17, len(body) + 1):
        assert read_call(body[:cut]) == (0, 1.5, b"py.add", body[17:cut])


@given(st.binary(max_size=40))
def test_any_body_is_a_call_or_a_frame_error(body):
    try:
        _, _, operation, payload = read_call(body)
    except FrameError:
        return
    assert body.endswith(operation + payload)
