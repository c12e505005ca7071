"""Results that answer again, and when they do not."""

from __future__ import annotations

import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import HandlerError
from provider.host.cache import ENTRY, MOST_SORTED, ResultCache
from provider.host.call import Call
from provider.host.catalogue import Catalogue
from provider.wire.about import write_about
from provider.wire.frames import Encoding
from provider.wire.values import Values

OPERATION = {
    "name": "x",
    "free": True,
    "signature": "()",
    "doc": "",
    "batch": 0,
    "cache": 10.0,
    "streams": False,
    "http": [],
}


class Kept:
    """A cache with a clock of the test's own."""

    def __init__(self, size=1 << 20, **declared):
        self.now = 1000.0
        self.catalogue = Catalogue()
        self.catalogue.take({"operations": [{**OPERATION, **declared}]})
        self.cache = ResultCache(size, self.catalogue, Values(), clock=lambda: self.now)

    def call(self, payload=b"\x01", operation="x", encoding=Encoding.CBOR, **more):
        return Call(operation, payload, encoding, 0.0, **more)

    def answer(self, result=b"\x07", error=None, **call):
        """A call that is not answered by the cache, and its answer."""
        asked = self.call(**call)
        assert self.cache.find(asked) is None
        asked.answer(asked, result, error)

    def again(self, **call):
        return self.cache.find(self.call(**call))


def test_a_result_answers_the_same_argument_until_its_time_is_over():
    kept = Kept()
    kept.answer()
    kept.now += 9.9
    assert kept.again() == b"\x07"
    assert kept.again(payload=b"\x02") is None
    kept.now += 0.2
    assert kept.again() is None
    assert kept.cache.as_map() == {"entries": 0, "bytes": 0, "hits": 1, "misses": 3}


def test_the_answer_goes_to_the_caller_first_of_all():
    kept, answers = Kept(), []
    asked = Call("x", b"\x01", Encoding.CBOR, 0.0, lambda *told: answers.append(told))
    assert kept.cache.find(asked) is None
    asked.answer(asked, b"\x07", None)
    assert answers == [(asked, b"\x07", None)]


@pytest.mark.parametrize(
    "other",
    [
        {"payload": b"\x02"},
        {"payload": b""},
        {"operation": "py.x"},
        {"encoding": Encoding.JSON, "payload": b"1"},
        {"about": write_about({}, "MCALLER")},
    ],
)
def test_what_is_another_question(other):
    kept = Kept()
    kept.answer()
    assert kept.again(**other) is None


def test_the_trace_of_a_call_makes_no_other_question():
    kept = Kept()
    kept.answer(about=write_about({"traceparent": "00-a"}, "MCALLER"))
    assert kept.again(about=write_about({"traceparent": "00-b"}, "MCALLER")) == b"\x07"
    assert kept.again(about=write_about({"traceparent": "00-b"}, "MOTHER")) is None


def test_headers_the_function_may_go_by_make_another_question():
    def about(name, **headers):
        return write_about({}, id=name, headers=headers)

    kept = Kept()
    kept.answer(about=about("1", Lang="de", **{"Provider-Timeout-Ms": "5", "Accept": "x"}))
    same = about("2", Accept="x", Lang="de", Traceparent="00-b")
    assert kept.again(about=same) == b"\x07"
    assert kept.again(about=about("1", Lang="en", Accept="x")) is None


def test_null_and_nothing_are_two_questions():
    kept = Kept()
    kept.answer(payload=b"", encoding=Encoding.ABSENT)
    assert kept.again(payload=b"\xf6") is None
    assert kept.again(payload=b"", encoding=Encoding.ABSENT) == b"\x07"


@given(
    st.recursive(st.integers() | st.text(), lambda s: st.dictionaries(st.text(), s) | st.lists(s))
)
def test_the_order_of_keys_makes_no_other_question(value):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(member) for member in value] if isinstance(value, list) else value

    kept = Kept()
    kept.answer(payload=cbor2.dumps(value))
    assert kept.again(payload=cbor2.dumps(turned(value))) == b"\x07"
    kept.answer(payload=json.dumps(value).encode(), encoding=Encoding.JSON)
    assert kept.again(payload=json.dumps(turned(value), indent=1).encode(), encoding=Encoding.JSON)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), ("1", 1), (b"1", "1"), (0.0, -0.0)]
)
def test_values_that_are_equal_to_python_alone_are_two_questions(one, other):
    kept = Kept()
    kept.answer(payload=cbor2.dumps([one]))
    assert kept.again(payload=cbor2.dumps([other])) is None


@pytest.mark.parametrize("payload", [b"\xff", b"\x01\x02", b"\xa2\x61a\x01\x61a\x02"])
def test_an_argument_that_cannot_be_read_is_the_workers_to_refuse(payload):
    kept = Kept()
    kept.answer(None, HandlerError("no"), payload=payload)
    assert kept.again(payload=payload) is None


def test_a_large_argument_has_to_come_as_it_came_before():
    kept = Kept()
    large = {"a": "x" * MOST_SORTED, "b": 1}
    kept.answer(payload=cbor2.dumps(large))
    assert kept.again(payload=cbor2.dumps(large)) == b"\x07"
    assert kept.again(payload=cbor2.dumps(dict(reversed(large.items())))) is None


def test_errors_are_not_kept():
    kept = Kept()
    kept.answer(None, HandlerError("no"))
    assert kept.again() is None


def test_results_of_other_code_are_not_kept():
    kept = Kept()
    kept.answer()
    late = kept.call(payload=b"\x02")
    assert kept.cache.find(late) is None
    kept.cache.clear()
    late.answer(late, b"\x07", None)
    assert kept.again() is kept.again(payload=b"\x02") is None


@pytest.mark.parametrize("declared", [{"cache": 0.0}, {"streams": True}, {"name": "y"}])
def test_what_is_never_kept(declared):
    kept = Kept(**declared)
    asked = kept.call()
    before = asked.answer
    assert kept.cache.find(asked) is None
    assert asked.answer is before
    assert kept.cache.misses == 0


def test_the_bytes_have_an_end_and_the_least_used_goes_first():
    kept = Kept(size=3 * ENTRY + 30)
    for number in range(3):
        kept.answer(b"x" * 10, payload=bytes([number]))
    assert kept.again(payload=b"\x00")
    kept.answer(b"x" * 10, payload=b"\x05")
    assert kept.cache.as_map()["bytes"] == 3 * ENTRY + 30
    assert kept.again(payload=b"\x00")
    assert kept.again(payload=b"\x01") is None
    kept.answer(b"x" * 10_000, payload=b"\x06")
    assert kept.again(payload=b"\x06") is None
    assert kept.cache.as_map()["entries"] == 3


# --- on the path ---------------------------------------------------------------------------------

PROGRAM = """
    import os
    from provider.dispatch import operation
    count = 0

    def counted():
        global count
        count += 1
        return count

    @operation(cache=3600)
    def kept(a=None, b=None):
        return counted()

    @operation(cache=3600)
    def fails():
        raise ValueError(counted())

    @operation(cache=3600)
    def parts():
        yield counted()

    @operation
    def fresh():
        return counted()

    @operation
    def die():
        os._exit(1)
"""


@pytest.fixture
def cached(house):
    async def start(source=PROGRAM, **options):
        await house.start(source, **options)
        cache = ResultCache(1 << 20, house.fleet.catalogue, Values())
        house.path._cache = cache
        house.fleet.on_renewed = cache.clear
        house.cache = cache
        return house

    return start


async def test_calls_are_answered_without_the_function(cached):
    house = await cached()
    assert await house.call("kept", {"a": 1, "b": 2}) == 1
    assert await house.call("kept", {"b": 2, "a": 1}) == 1
    assert await house.call("kept", {"b": 2}) == 2
    assert await house.call("fresh") == 3
    assert await house.call("fresh") == 4
    for count in (5, 6):
        with pytest.raises(HandlerError, match=str(count)):
            await house.call("fails")
    assert await house.call("parts") == [7]
    assert await house.call("parts") == [8]
    assert (house.cache.hits, house.admission.accepted) == (1, 8)
    assert house.fleet.catalogue.find("kept").numbers.requests == 3


async def test_a_save_ends_what_the_old_code_said(cached):
    house = await cached()
    assert await house.call("kept") == 1
    assert await house.call("kept") == 1
    house.save(PROGRAM.replace("count = 0", "count = 100"))
    # No call was handed over since, so nothing but the file tells.
    assert await house.call("kept") == 101
    assert await house.call("kept") == 102
    assert await house.call("kept") == 102


async def test_a_reload_and_the_end_of_the_worker_empty_it(cached):
    house = await cached()
    assert await house.call("kept") == 1
    assert await house.call("reload") is True
    assert await house.call("kept") == 1
    assert house.cache.hits == 0
    with pytest.raises(Exception, match="exit code 1"):
        await house.call("die")
    await house.events.until("worker_ready", 2)
    assert await house.call("kept") == 1
    assert house.cache.hits == 0


async def test_a_house_that_drains_answers_no_more_from_it(cached):
    house = await cached()
    assert await house.call("kept") == 1
    house.path.draining = True
    with pytest.raises(Exception, match="stopping"):
        await house.call("kept")


async def test_without_a_cache_all_calls_run(house):
    await house.start(PROGRAM)
    assert [await house.call("kept") for _ in range(2)] == [1, 2]
