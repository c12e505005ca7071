"""What all methods have in common."""

from __future__ import annotations

import asyncio
import json

import grpc.aio
import pytest

from provider.doors.grpc.answering import Answering
from tests.conftest import PATIENCE
from tests.doors.grpc.conftest import TEXT, fails


def told(error) -> dict:
    return dict(error.trailing_metadata())


async def test_the_id_of_a_request_goes_both_ways(door):
    call = door.unary()(b"a", metadata=(("x-request-id", "mine-1"), ("x-other", "o")))
    assert await call == b"a"
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
    (seen,) = door.backend.calls
    assert seen.id == "mine-1"
    assert seen.headers["x-other"] == "o"
    assert "x-request-id" not in seen.headers


async def test_a_request_without_an_id_gets_one(door):
    first, second = door.unary()(b"a"), door.unary()(b"b", metadata=(("x-request-id", " "),))
    ids = [dict(await call.trailing_metadata())["x-request-id"] for call in (first, second)]
    assert sorted(ids) == sorted(call.id for call in door.backend.calls)
    assert len(set(ids)) == 2
    assert all(ids)


async def test_metadata_of_bytes_are_left_out(door):
    await door.unary()(b"a", metadata=(("x-raw-bin", b"\0\1"), ("x-text", "t")))
    headers = door.backend.calls[0].headers
    assert headers["x-text"] == "t"
    assert "x-raw-bin" not in headers


async def test_the_deadline_goes_along(door):
    await door.unary()(b"a")
    await door.unary()(b"a", timeout=PATIENCE)
    none, some = (call.timeout for call in door.backend.calls)
    assert none is None
    assert 0 < some < PATIENCE + 2  # it travels rounded up


async def test_a_deadline_that_has_passed_is_not_run():
    class Late:
        invocation_metadata = staticmethod(lambda: ())
        time_remaining = staticmethod(lambda: -0.1)
        set_trailing_metadata = staticmethod(lambda metadata: None)

        async def abort(self, code, text, metadata):
            raise AbortedError(code, text)

    async def run(message, asked):
        raise AssertionError

    handler = Answering(1).unary(run)
    with pytest.raises(AbortedError) as raised:
        await handler.unary_unary(b"", Late())
    assert raised.value.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED


class AbortedError(Exception):
    """What a context raises."""


async def test_a_deadline_that_passes_cancels(door):
    async with fails("DEADLINE_EXCEEDED"):
        await door.unary(f"/{TEXT}/Wait")(b"a", timeout=1.0)
    async with asyncio.timeout(PATIENCE):
        await door.backend.left.wait()


async def test_who_cancels_is_heard(door):
    call = door.unary(f"/{TEXT}/Wait")(b"a")
    async with asyncio.timeout(PATIENCE):
        await door.backend.begun.wait()
        call.cancel()
        await door.backend.left.wait()
    assert door.backend.cancelled == ["Wait"]


async def test_a_client_that_closes_its_channel_is_heard(door):
    async with asyncio.timeout(PATIENCE):
        async with grpc.aio.insecure_channel(door.server.address) as other:
            call = other.unary_unary(f"/{TEXT}/Wait")(b"a")
            await door.backend.begun.wait()
            await other.close()
        await door.backend.left.wait()
        assert call.done()


async def test_an_error_has_its_status_and_what_is_known(open_door):
    door = await open_door()
    async with fails("UNKNOWN") as caught:
        await door.unary()(b"fail", metadata=(("x-request-id", "mine"),))
    assert caught[0].details() == "no luck"
    fields = told(caught[0])
    assert fields["x-request-id"] == "mine"
    assert fields["provider-error-kind"] == "handler_error"
    assert fields["provider-error-type"] == "Luck"
    assert json.loads(fields["provider-error-details-bin"]) == {"a": 1}
    assert "provider-error-traceback-bin" not in fields


async def test_tracebacks_are_sent_where_that_is_wanted(open_door):
    door = await open_door(tracebacks=True)
    async with fails("UNKNOWN") as caught:
        await door.unary()(b"fail")
    assert told(caught[0])["provider-error-traceback-bin"] == b"line 1"


async def test_what_went_wrong_with_us_is_told_to_nobody(door, events):
    async with fails("INTERNAL") as caught:
        await door.unary()(b"crash")
    assert caught[0].details() == "the provider failed; its log says more"
    assert "secret" not in str(told(caught[0]))
    [line] = events.of("request_failed")
    assert line["exc_info"]
    assert await door.unary()(b"next") == b"next"


async def test_streams_go_both_ways(door):
    call = door.channel.stream_stream(f"/{TEXT}/Both")()
    async with asyncio.timeout(PATIENCE):
        for word in (b"a", b"b"):
            await call.write(word)
            assert await call.read() == word.upper()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_who_leaves_a_stream_ends_it(door):
    call = door.channel.unary_stream(f"/{TEXT}/Endless")(b"")
    async with asyncio.timeout(PATIENCE):
        assert len(await call.read()) == 10_000
        call.cancel()
        await door.backend.left.wait()


async def test_who_reads_slowly_slows_the_function_down(door):
    call = door.channel.unary_stream(f"/{TEXT}/Endless")(b"")
    async with asyncio.timeout(PATIENCE):
        await call.read()
        made = -1
        while made != door.backend.made:  # until it stands still
            made = door.backend.made
            await asyncio.sleep(0.2)  # nothing tells that nothing more comes
        for _ in range(made + 10):
            await call.read()
        assert door.backend.made >= made + 10
        call.cancel()
        await door.backend.left.wait()


async def test_who_says_nothing_when_the_door_closes_is_told_so(door):
    call = door.channel.stream_stream(f"/{TEXT}/Both")()
    async with asyncio.timeout(PATIENCE):
        await call.write(b"a")
        assert await call.read() == b"A"
        door.server.stop_listening()
        async with fails("UNAVAILABLE") as caught:
            await call.read()
        assert caught[0].details() == "the provider is stopping; call another instance"
        await door.server.settled()
