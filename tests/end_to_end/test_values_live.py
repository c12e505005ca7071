"""Every value that may travel arrives as it was, and what may not is refused by name and place."""

from __future__ import annotations

import json
import math
import struct
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provider.client import connect_sync
from provider.errors import BadRequest, BadResult, TooLarge
from provider.wire.envelope import read_answer, write_request
from provider.wire.values import Limits, Values
from tests.conftest import PATIENCE

ECHO = """
    import collections
    import datetime
    import decimal
    import enum
    import threading

    class Colour(enum.IntEnum):
        RED = 3

    class Text(str):
        pass

    class Sly:
        def __repr__(self):
            raise RuntimeError("no looking")

    def cycle():
        knot = []
        knot.append(knot)
        return knot

    def braid():
        one, two = {}, {}
        one["two"], two["one"] = two, one
        return one

    def sets():
        yield 1
        yield {2}

    async def later():
        return 1

    RESULTS = {
        "set": lambda: {1},
        "object": object,
        "class": lambda: int,
        "function": lambda: len,
        "lock": threading.Lock,
        "sly": Sly,
        "cycle": cycle,
        "braid": braid,
        "sets": sets,
        "later": later,
        "inside": lambda: {"rows": [1, 2, {"deep": (0, {"tags": {"a"}})}]},
        "keys": lambda: {"ok": {1: 2}},
        "nokey": lambda: {None: 1},
        "naive": lambda: [datetime.datetime(2024, 1, 1)],
        "date": lambda: datetime.date(2024, 1, 1),
        "complex": lambda: 1j,
        "half": lambda: ["fine", "\\ud800"],
        "wide": lambda: 1 << 65536,
        "inner_wide": lambda: {"n": [0, -(1 << 70000)]},
        "steep": lambda: decimal.Decimal("1e7000"),
        "numbers": lambda: (n for n in range(3)),
        "tuple": lambda: (1, (2, ())),
        "subclasses": lambda: [Colour.RED, Text("t"), collections.OrderedDict(b=1, a=2)],
        "bytearray": lambda: bytearray(b"ab"),
        "view": lambda: memoryview(b"ab"),
        "nothing": lambda: None,
    }

    def nested(levels):
        value = 0
        for _ in range(levels):
            value = [value]
        return value

    def handle(command, arg):
        if command == "echo":
            return arg
        if command == "type":
            return f"{type(arg).__module__}.{type(arg).__name__}"
        if command == "text":
            return "x" * arg
        if command == "nested":
            return nested(arg)
        if command == "array":
            import numpy
            return getattr(numpy, arg[0])(*arg[1:])
        if command == "fractions":
            import numpy
            return {
                "sliced": numpy.arange(12).reshape(3, 4)[:, ::2],
                "scalar": numpy.float32(0.5),
                "whole": numpy.int8(-1),
                "truth": numpy.bool_(True),
                "objects": numpy.array([1, 2], dtype=object),
            }[arg]
        return RESULTS[command]()
"""


@pytest.fixture(scope="module")
def echo(serve):
    provider = serve(ECHO)
    yield provider
    # Nothing in this module is a reason for a worker to die.
    assert len(provider.events("worker_ready")) == 1
    assert not provider.events("worker_lost")


@pytest.fixture(scope="module")
def python(echo):
    with connect_sync(echo.url, timeout=PATIENCE, **echo.address) as python:
        yield python


def same(one: object, other: object) -> bool:
    """Equal in value and type, bit by bit for floats."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        nan = math.isnan(one) and math.isnan(other)
        return nan or struct.pack(">d", one) == struct.pack(">d", other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return one == other


# --- RFC 8949 appendix A --------------------------------------------------------------------------

APPENDIX_A = json.loads(
    (Path(__file__).parents[1] / "wire" / "rfc8949_appendix_a.json").read_text()
)["examples"]


def meant(example: dict) -> object:
    readings = {
        None: lambda value: value,
        "float": float,
        "bytes": bytes.fromhex,
        "date-time": datetime.fromisoformat,
    }
    return readings[example.get("as")](example["value"])


def raw_echo(python, example: dict, operation: str = "echo") -> bytes:
    return python.call_bytes(operation, bytes.fromhex(example["hex"]))


@pytest.mark.parametrize(
    "example", [e for e in APPENDIX_A if e["accepted"]], ids=lambda e: e["diagnostic"]
)
def test_an_example_of_the_standard_comes_back_as_it_was(python, example):
    assert same(cbor2.loads(raw_echo(python, example)), meant(example))


@pytest.mark.parametrize(
    "example", [e for e in APPENDIX_A if not e["accepted"]], ids=lambda e: e["diagnostic"]
)
def test_an_example_of_the_standard_that_we_do_not_take_is_refused_by_name(python, example):
    with pytest.raises(BadRequest, match=example["reason"]):
        raw_echo(python, example)


async def test_all_examples_of_the_standard_pass_a_native_request_too(echo, wire):
    values = Values()
    async with wire(echo) as w:
        for example in APPENDIX_A:
            payload = bytes.fromhex(example["hex"])
            answer = cbor2.loads(await w.ask(write_request("echo", payload)))
            if example["accepted"]:
                assert same(answer["result"], meant(example)), example
                assert same(values.decode(cbor2.dumps(answer["result"])), meant(example)), example
            else:
                assert answer["error"]["kind"] == "bad_request", example
                assert example["reason"] in answer["error"]["message"]


# --- values a Python author has -------------------------------------------------------------------

PLAIN = {
    "huge": 2**65536 - 1,
    "huge below zero": -(2**65536) + 1,
    "just over 64 bits": [2**64, -(2**64) - 1],
    "not a number": math.nan,
    "infinities": [math.inf, -math.inf],
    "minus zero": -0.0,
    "smallest float": 5e-324,
    "text": "\x00 é 漢字 🐍 \u202e",
    "bytes": bytes(range(256)),
    "empty": ["", b"", [], {}],
    "keys": {"": 1, " ": 2, "ключ": 3, "b": 4, "a": 5},
    "null": None,
    "booleans and numbers": [True, 1, 1.0, False, 0],
    "uuid": uuid.UUID("c9fd2c2e-3b1e-4d3a-8a0e-0d3b8f6f7b11"),
    "decimal": Decimal("-123456789012345678901234567890.000000001"),
    "decimal zeros": [Decimal("0.00"), Decimal("1E+3"), Decimal("-0")],
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_comes_back_as_it_was(python, name):
    assert same(python.call("echo", PLAIN[name]), PLAIN[name])


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    ],
)
def test_a_moment_comes_back_as_it_was_with_its_offset(python, moment):
    back = python.call("echo", moment)
    assert (back, back.utcoffset()) == (moment, moment.utcoffset())
    assert python.call("type", moment) == "datetime.datetime"


def test_the_handler_sees_python_types(python):
    assert python.call("type", uuid.uuid4()) == "uuid.UUID"
    assert python.call("type", Decimal("1.5")) == "decimal.Decimal"
    assert python.call("type", 2**200) == "builtins.int"
    assert python.call("type", np.zeros(2)) == "numpy.ndarray"
    assert python.call("type", (1, 2)) == "builtins.list"
    assert python.call("type", b"x") == "builtins.bytes"
    assert python.call("type", {}) == "builtins.dict"
    assert python.call("type") == "builtins.NoneType"


values_that_travel = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**300), 2**300)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=values_that_travel)
def test_any_value_comes_back_as_it_was(python, value):
    assert same(python.call("echo", value), value)


# --- numpy ----------------------------------------------------------------------------------------

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", [order + kind for kind in DTYPES for order in "<>"])
def test_an_array_comes_back_with_its_type_and_shape(python, dtype):
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    back = python.call("echo", array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert (back == array).all()
    assert same(python.call("echo", [array[0, 0]])[0].tolist(), array[0, 0].tolist())


def test_arrays_of_every_form_travel(python):
    assert python.call("array", ["zeros", [0]]).shape == (0,)
    assert python.call("array", ["zeros", [0, 3]]).shape == (0, 3)
    assert python.call("array", ["zeros", []]).shape == ()
    assert python.call("array", ["full", [2, 2], True]).tolist() == [[True, True], [True, True]]
    assert python.call("fractions", "sliced").tolist() == [[0, 2], [4, 6], [8, 10]]
    assert same(python.call("fractions", "scalar"), 0.5)
    assert same(python.call("fractions", "whole"), -1)
    assert python.call("fractions", "truth") is True
    inner = {"a": [np.array([1.5, math.nan]), np.array([[True]])]}
    back = python.call("echo", inner)
    assert math.isnan(back["a"][0][1])
    assert back["a"][1].dtype == bool


def test_an_array_without_a_typed_array_tag_is_refused_by_name(python):
    with pytest.raises(BadResult, match="numpy array of object"):
        python.call("fractions", "objects")
    with pytest.raises(BadResult, match="numpy array of complex128"):
        python.call("array", ["zeros", [2], "complex128"])


# --- deep, wide, large ----------------------------------------------------------------------------


def nested(levels: int, inner: object = 0) -> object:
    for _ in range(levels):
        inner = [inner]
    return inner


def test_sixty_four_levels_travel_and_one_more_is_refused_both_ways(python):
    assert python.call("echo", nested(64)) == nested(64)
    assert python.call("nested", 64) == nested(64)
    with pytest.raises(BadRequest, match=r"deeper|depth|nest"):
        python.call_bytes("echo", b"\x81" * 65 + b"\x00")
    with pytest.raises(BadResult, match="deeper than 64 levels"):
        python.call("nested", 65)
    with pytest.raises(TypeError, match="deeper than 64 levels"):
        python.call("echo", nested(65))


def test_a_wide_value_travels(python):
    wide = list(range(200_000))
    assert python.call("echo", wide) == wide
    keys = {f"key{number}": number for number in range(30_000)}
    assert python.call("echo", keys) == keys


def test_a_result_the_server_does_not_carry_is_too_large_with_both_sizes(echo, python):
    assert len(python.call("text", 1_048_000)) == 1_048_000
    with pytest.raises(TooLarge, match=r"20000\d\d bytes.* 1048576 \(max_payload\)"):
        python.call("text", 2_000_000)
    assert len(python.call("text", 10)) == 10
    assert echo.process.poll() is None


# --- results that cannot travel -------------------------------------------------------------------

UNFIT = {
    "set": r"type set is not accepted; return a list instead",
    "object": r"type object is not accepted",
    "class": r"type type is not accepted",
    "function": r"type builtin_function_or_method is not accepted",
    "lock": r"type lock is not accepted",
    "sly": r"type Sly is not accepted",
    "cycle": r"contains itself, at value\[0\]\[0\].*\.\.\.",
    "braid": r"contains itself, at value\['two'\]\['one'\]",
    "sets": r"type set .*, at value\[1\]",
    "inside": r"type set .*, at value\['rows'\]\[2\]\['deep'\]\[1\]\['tags'\]",
    "keys": r"map keys must be text, not int \(1\), at value\['ok'\]",
    "nokey": r"map keys must be text, not NoneType",
    "naive": r"datetime without a time zone; .*, at value\[0\]",
    "date": r"type date is not accepted; return a datetime with a time zone, or text",
    "complex": r"type complex is not accepted",
    "half": r"at value\[1\]",
    "wide": r"an integer of 65537 bits, over the limit of 65536",
    "inner_wide": r"an integer of 70001 bits, .*, at value\['n'\]\[1\]",
    "steep": r"decimal with exponent 7000",
    "view": r"type memoryview is not accepted; return bytes instead",
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_result_that_cannot_travel_is_refused_with_its_path(echo, python, name):
    told = len(echo.events("call_failed", kind="bad_result", operation=name))
    with pytest.raises(BadResult, match=UNFIT[name]) as caught:
        python.call(name)
    assert caught.value.code == 500
    assert caught.value.message.startswith("the result cannot travel: ")
    line = echo.wait_for("call_failed", told + 1, kind="bad_result", operation=name)
    assert line["message"] == caught.value.message
    with pytest.raises(BadResult, match=UNFIT[name].split(",", maxsplit=1)[0]):
        python.call_bytes(name, b"", content_type="application/json")
    assert python.call("echo", 1) == 1


def test_results_of_kindred_types_travel_as_what_they_stand_for(python):
    assert python.call("numbers") == [0, 1, 2]
    assert python.call("tuple") == [1, [2, []]]
    back = python.call("subclasses")
    assert back == [3, "t", {"b": 1, "a": 2}]
    assert list(back[2]) == ["b", "a"]
    assert same(python.call("bytearray"), b"ab")
    assert python.call("nothing") is None


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        ("10", "10"),
        ("null", "null"),
        ("", "null"),
        (" [1, 2.5, true, {} ] ", "[1,2.5,true,{}]"),
        ('{"é": "\\u00e9"}', '{"é":"é"}'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-0.0", "-0.0"),
        ("1e3", "1000.0"),
    ],
)
def test_json_comes_back_as_it_was(python, sent, back):
    said = python.call_bytes("echo", sent.encode(), content_type="application/json")
    assert said.decode() == back


def test_both_encodings_carry_the_same_values(echo, python):
    assert json.loads(python.call_bytes("numbers", content_type="application/json")) == [0, 1, 2]
    answer = b"\xa1\x66result" + python.call_bytes("numbers")
    assert read_answer(answer, Values(Limits())) == [0, 1, 2]
