"""A call on its way."""

from __future__ import annotations

import math
import time

from provider.host.call import RELOAD, Call
from provider.wire.frames import Encoding


def test_a_new_call_is_open_and_waits_for_a_worker():
    before = time.monotonic()
    call = Call("py.echo", b"\x01", Encoding.CBOR, math.inf)
    assert call.open
    assert call.number == 0
    assert before <= call.received <= time.monotonic()
    assert call.deadline == math.inf
    assert call.context is None


def test_logs_name_it_by_the_callers_id_or_by_its_number():
    call = Call("py.echo", b"", Encoding.ABSENT, math.inf, id="order-7")
    assert call.request_id == "order-7"
    call = Call("py.echo", b"", Encoding.ABSENT, math.inf)
    call.number = 12
    assert call.request_id == "#12"


def test_a_call_nobody_waits_for_can_be_answered():
    call = Call(RELOAD, b"", Encoding.ABSENT, math.inf)
    assert call.answer(call, b"\xf5", None) is None
