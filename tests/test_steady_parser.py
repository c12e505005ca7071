"""Lines of messages that nats-py's own parser reads otherwise than a NATS server writes them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol import parser

from provider.steady_parser import _PATTERNS, SteadyParser


class Taker:
    """What a parser tells of."""

    def __init__(self) -> None:
        self.taken: list[tuple] = []

    async def _process_msg(self, *message):
        self.taken.append(message)

    async def _process_ping(self):
        self.taken.append(("PING",))


async def read(stream: bytes, cuts: list[int]) -> list[tuple]:
    taker = Taker()
    reader = SteadyParser(taker)
    places = sorted({0, *(cut % len(stream) for cut in cuts), len(stream)})
    for begin, end in itertools.pairwise(places):
        await reader.parse(stream[begin:end])
    return taker.taken


STREAM = (
    b"MSG a.b 1 _INBOX.\x0b\x0c 2\r\n\x0b\x0c\r\n"
    b"PING\r\n"
    b"HMSG a.\x0bb 12 in\x0cbox 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
    b"MSG a.b 1 7\r\n\x0b\r\n\x0bx\r\n\r\n"
)


@given(st.lists(st.integers(0, 10_000), max_size=8))
async def test_a_subject_may_have_what_nats_py_takes_for_spaces(cuts):
    assert await read(STREAM, cuts) == [
        (1, b"a.b", b"_INBOX.\x0b\x0c", b"\x0b\x0c", None),
        ("PING",),
        (12, b"a.\x0bb", b"in\x0cbox", b"x", b"NATS/1.0\r\n\r\n"),
        (1, b"a.b", b"", b"\x0b\r\n\x0bx\r\n", None),
    ]


async def test_no_subject_chooses_the_subscription():
    assert await read(b"MSG a.b\x0b7 1 0\r\n\r\nHMSG a\x0c7 1 0 0\r\n\r\n", []) == [
        (1, b"a.b\x0b7", b"", b"", None),
        (1, b"a\x0c7", b"", b"", None),
    ]


@pytest.mark.parametrize("line", [b"MSG a.b\r\n", b"nonsense\x0b\r\n", b"MSG a\x0b 1 x\r\n"])
async def test_what_is_no_message_is_refused_as_before(line):
    with pytest.raises(ProtocolError):
        await read(line, [])


def test_nats_py_has_patterns_of_these_names():
    for name, ours in _PATTERNS.items():
        assert getattr(parser, name).groups == ours.groups
        assert name in SteadyParser.parse.__code__.co_names
