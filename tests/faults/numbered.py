"""Calls that are known by a number: what is asked, what is right, and the bytes of both.

The rule of this file: the number is the argument of the call, and requests and right answers are of
one length each. The dispatch programs of `scenario.py` agree with `right`.
"""

from __future__ import annotations

import struct

import cbor2

FIRST = 1 << 33
"""Added to every result, which gives all of them the same length."""
ASKED = b"\xa2" + cbor2.dumps("operation") + cbor2.dumps("work") + cbor2.dumps("payload")
"""What a request begins with; `NUMBER` and the number follow."""
NUMBER = 0x1A
"""The byte of CBOR before an integer of four bytes."""
REQUEST = struct.Struct(f">{len(ASKED)}sBI")
HEAD = b"\xa1\x66result\x1b"
"""What a right answer begins with; the result follows."""
RESULT = struct.Struct(">Q")
SIZE = len(HEAD) + RESULT.size
"""Bytes of a right answer."""


def right(number: int) -> int:
    """The right result of the call with this number."""
    return FIRST + 7 * number


def request(subject: str, reply: str, number: int) -> bytes:
    """The command of NATS that makes the call with this number."""
    body = REQUEST.pack(ASKED, NUMBER, number)
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body)
