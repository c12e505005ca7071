"""The costly part of the checks, in threads."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from provider.lattice.claims import parse, sign_invocation
from provider.lattice.examiner import PIECE, Examined, Examiner
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.values import Limits, Values
from provider.wire.wasmbus import WasmCloudEntity

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)


def invocation(number=0, argument=b"\x7f\x0a"):
    return sign_invocation(
        key=CLUSTER,
        origin=WasmCloudEntity(public_key="M", contract_id=""),
        target=WasmCloudEntity(public_key="V", link_name="default", contract_id="a:b"),
        operation="py.echo",
        argument=argument,
        invocation_id=str(number),
        host_id="N",
        now=1_700_000_000,
    )


@pytest.fixture
def examiner():
    made = Examiner(Values(Limits(depth=8)))
    yield made
    made.close()


async def examined(examiner, invocations, arguments=None):
    """What came out, in the order it came out."""
    out, all_out = [], asyncio.Event()

    def then(item):
        out.append(item)
        if len(out) == len(invocations):
            all_out.set()

    for number, made in enumerate(invocations):
        argument = made.msg if arguments is None else arguments[number]
        examiner.add(Examined(made, parse(made.encoded_claims), argument, then))
    examiner.flush()
    await asyncio.wait_for(all_out.wait(), 40)
    return out


async def test_what_is_right_is_found_right(examiner):
    (item,) = await examined(examiner, [invocation()])
    assert item.evidence.signature_valid
    assert item.evidence.hash == item.token.claims.wascap.hash
    assert (item.payload, item.problem) == (b"\x0a", None)


@pytest.mark.parametrize("count", [1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE + 3])
async def test_all_come_out_once_and_in_order(examiner, count):
    made = [invocation(number) for number in range(count)]
    out = await examined(examiner, made)
    assert [item.invocation.id for item in out] == [str(number) for number in range(count)]


async def test_pieces_that_take_long_keep_the_order(examiner):
    # Megabytes are hashed longer than a few bytes are verified.
    large, small = b"\x7f" + b"a" * 2_000_000, b"\x7f\x0a"
    arguments = [large] * PIECE + [small] * PIECE
    made = [invocation(number, small) for number in range(2 * PIECE)]
    out = await examined(examiner, made, arguments)
    assert [int(item.invocation.id) for item in out] == list(range(2 * PIECE))
    assert [item.evidence.hash == item.token.claims.wascap.hash for item in out] == (
        [False] * PIECE + [True] * PIECE
    )


async def test_a_forged_one_spoils_no_other_and_its_argument_is_not_looked_at(examiner):
    forged = invocation(1, b"\x93\x01\x02\x03")
    head, body, _ = forged.encoded_claims.split(".")
    forged = msgspec.structs.replace(forged, encoded_claims=f"{head}.{body}.{'A' * 86}")
    first, second, third = await examined(
        examiner, [invocation(0), forged, invocation(2, b"\x93\x01\x02\x03")]
    )
    assert first.evidence.signature_valid
    assert not second.evidence.signature_valid
    assert (second.payload, second.problem) == (None, None)
    assert third.payload == b"\x83\x01\x02\x03"


async def test_an_argument_that_cannot_be_read_is_told_with_its_reason(examiner):
    reserved, deep = await examined(
        examiner, [invocation(0, b"\x00\x00"), invocation(1, b"\x91" * 100 + b"\x00")]
    )
    assert reserved.problem.message == "rpc: invalid message format"
    assert "depth" in deep.problem.message or "deep" in deep.problem.message


async def test_it_is_done_in_threads_of_its_own(examiner):
    names = set()
    (item,) = await examined(examiner, [invocation()])
    names.update(thread.name for thread in threading.enumerate())
    assert any(name.startswith("provider-examiner") for name in names)
    assert item.evidence.signature_valid


async def test_whoever_takes_one_and_fails_keeps_no_other_back(examiner):
    taken = asyncio.Event()

    def fail(_item):
        raise ValueError("no")

    first, second = invocation(0), invocation(1)
    examiner.add(Examined(first, parse(first.encoded_claims), first.msg, fail))
    examiner.add(Examined(second, parse(second.encoded_claims), second.msg, lambda _: taken.set()))
    examiner.flush()
    await asyncio.wait_for(taken.wait(), 40)
