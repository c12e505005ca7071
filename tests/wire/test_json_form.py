"""The JSON form: the same values under the same limits, in what RFC 8259 allows."""

from __future__ import annotations

import base64
import collections
import enum
import json
import math
import struct
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provider.errors import BadRequest, BadResult
from provider.wire import json_form
from provider.wire.values import Limits, Values

VALUES = Values()

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=25,
)
anything = st.recursive(
    plain
    | st.floats()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.uuids()
    | st.decimals(allow_nan=True, places=3, min_value=-1000, max_value=1000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def decode(data, values=VALUES):
    return json_form.decode(data, values)


def encode(value, values=VALUES):
    return json_form.encode(value, values)


def refusal(data, values=VALUES):
    with pytest.raises(BadRequest) as caught:
        decode(data, values)
    return caught.value.message


def blame(value, values=VALUES):
    with pytest.raises(BadResult) as caught:
        encode(value, values)
    return caught.value.message


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


# --- both ways ------------------------------------------------------------------------------------


@given(plain)
@settings(max_examples=80)
def test_what_json_has_types_for_arrives_as_it_left(value):
    assert same(decode(encode(value)), value)


@given(anything)
@settings(max_examples=60)
def test_every_value_has_a_form_that_any_json_reader_reads(value):
    def no_constants(name):
        raise AssertionError(name)

    json.loads(encode(value).decode("utf-8"), parse_constant=no_constants)


def test_the_text_is_short_and_utf_8():
    assert encode({"name": "\u00e9\U0001f600", "a": [1, None, True, 0.5]}) == (
        '{"name":"\u00e9\U0001f600","a":[1,null,true,0.5]}'.encode()
    )


class Color(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024  what users write


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00\xff", f'"{base64.b64encode(bytes((0, 255))).decode()}"'),
        (bytearray(b"abc"), '"YWJj"'),
        (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), '"2020-01-02T03:04:05+00:00"'),
        (
            datetime(2020, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=-3, minutes=-30))),
            '"2020-01-02T03:04:05.000006-03:30"',
        ),
        (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        (Decimal("1.50"), '"1.50"'),
        (Decimal("1E+6144"), '"1E+6144"'),
        (Decimal("NaN"), '"NaN"'),
        (Decimal("sNaN"), '"NaN"'),
        (Decimal("-Infinity"), '"-Infinity"'),
        (math.nan, '"NaN"'),
        ([math.inf, {"low": -math.inf}], '["Infinity",{"low":"-Infinity"}]'),
        ((math.nan, b"a"), '["NaN","YQ=="]'),
        (2**64, "18446744073709551616"),
        (-0.0, "-0.0"),
        (Color.RED, "1"),
        (Point(1, math.nan), '[1,"NaN"]'),
        (collections.OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (np.array([[1, 2], [3, 4]], dtype=">u2"), "[[1,2],[3,4]]"),
        (np.array([True, False]), "[true,false]"),
        (np.array(1.5), "1.5"),
        (np.array([[0.5, math.nan], [math.inf, 1]]), '[[0.5,"NaN"],["Infinity",1.0]]'),
        ([np.float32(0.5), np.int8(-3), np.bool_(True)], "[0.5,-3,true]"),
        (np.float32("inf"), '"Infinity"'),
        (np.float64("nan"), '"NaN"'),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_json_has_no_type_for_takes_its_form(value, text):
    assert encode(value) == text.encode()
    assert encode({"k": [value]}) == f'{{"k":[{text}]}}'.encode()


# --- texts that are refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON: Expecting value"),
        (b" ", "not JSON: Expecting value"),
        (b"{", "not JSON: "),
        (b"1 2", "not JSON: Extra data"),
        (b"[1,]", "not JSON: "),
        (b"{'a':1}", "not JSON: "),
        (b"{1:2}", "not JSON: "),
        (b"// a\n1", "not JSON: "),
        (b"01", "not JSON: "),
        (b"+1", "not JSON: "),
        (b".5", "not JSON: "),
        (b'"\n"', "not JSON: Invalid control character"),
        (b"tru", "not JSON: "),
        (b"NaN", "not JSON: NaN is no JSON number"),
        (b"[Infinity]", "not JSON: Infinity is no JSON number"),
        (b'{"a":-Infinity}', "not JSON: -Infinity is no JSON number"),
        (b'{"a":1,"b":2,"a":1}', "not JSON: duplicate key 'a'"),
        (b'[{"x":{"a":1,"\\u0061":2}}]', "not JSON: duplicate key 'a'"),
        (b'"a\xff"', "not JSON: not UTF-8 at byte 2"),
        (b'"\xed\xa0\x80"', "not JSON: not UTF-8 at byte 1"),
        ('"a"'.encode("utf-16"), "not JSON: not UTF-8 at byte 0"),
        ('"a"'.encode("utf-16-le"), "not JSON: "),
        (b"\xef\xbb\xbf1", "not JSON: "),
        (b"\x00", "not JSON: "),
        (b'"\\ud800"', "text with a lone surrogate (character 0)"),
        (b'["ok",{"k":"\\udc00"}]', "text with a lone surrogate (character 0), which has no UTF-8"),
        (b'{"\\ud800":1}', "text with a lone surrogate (character 0)"),
        (b"1" * 4301, "not JSON: Exceeds the limit (4300"),
        (b"[" * 65 + b"]" * 65, "deeper than 64 levels"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_wrong_with_the_text_is_said(data, words):
    assert words in refusal(data)


def test_pairs_of_surrogates_are_one_character():
    assert decode(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_a_number_past_the_range_of_floats_is_infinite():
    assert decode(b"[1e999,-1e999,1e-999]") == [math.inf, -math.inf, 0.0]


def test_the_longest_integer_that_python_reads_arrives():
    assert decode(b"9" * 4300) == 10**4300 - 1


@given(plain)
@settings(max_examples=40)
def test_a_text_cut_anywhere_is_a_bad_request_or_another_number(value):
    data = encode([value])
    for cut in range(min(len(data), 200)):
        with pytest.raises(BadRequest, match="not JSON"):
            decode(data[:cut])


@given(
    st.binary(max_size=40)
    | st.text('[]{}",:0123456789eE+-.\\u trfalsn', max_size=40).map(str.encode)
)
@settings(max_examples=160)
@example(b'"\\ud800"')
def test_any_bytes_are_a_value_or_a_bad_request(data):
    try:
        value = decode(data)
    except BadRequest:
        return
    encode(value)


@pytest.mark.parametrize("data", [b"[", b'{"a":', b'[{"a":'])
def test_a_hundred_thousand_levels_are_refused_at_once(data):
    began = time.process_time()
    refusal(data * 100_000)
    whole = data * 100_000 + b"1" + (b"}" if data[:1] == b"{" else b"]") * 100_000
    refusal(whole)
    assert time.process_time() - began < 20


def test_depth_is_limited_alike_both_ways():
    for limit in (1, 2, 64, 400):
        values = Values(Limits(depth=limit))
        data = b"[" * limit + b"]" * limit
        value = decode(data, values)
        assert encode(value, values) == data
        assert f"deeper than {limit} levels" in refusal(b"[" + data + b"]", values)
        assert f"deeper than {limit} levels" in blame([value], values)


def test_more_depth_than_the_interpreter_has_is_refused_not_fallen_over():
    values = Values(Limits(depth=50_000))
    assert "deeper than" in refusal(b"[" * 20_000 + b"]" * 20_000, values)


def test_sizes_are_limited_as_in_cbor():
    values = Values(Limits(items=3, string=10, integer_bits=20))
    assert decode(b'["0123456789",1048575,{"a":1}]', values) == ["0123456789", 1048575, {"a": 1}]
    assert "4 members, over the limit of 3" in refusal(b"[1,2,3,4]", values)
    assert "a string of 11 bytes, over the limit of 10, at value[0]" in refusal(
        b'["01234567890"]', values
    )
    assert "12 bytes" in refusal('"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"'.encode(), values)
    assert "an integer of 21 bits, over the limit of 20, at value['a']" in refusal(
        b'{"a":1048576}', values
    )


@pytest.mark.parametrize("bits", [64, 65, 66, 100, 1000, 14_000])
def test_integers_are_measured_exactly(bits):
    values = Values(Limits(integer_bits=bits))
    most = 2**bits - 1
    for number in (most, -most):
        assert decode(encode([number], values), values) == [number]
    for number in (most + 1, -most - 1):
        assert f"an integer of {bits + 1} bits" in refusal(b'{"a":%d}' % number, values)
        assert f"an integer of {bits + 1} bits" in blame(number, values)


def test_digits_in_a_text_are_no_integer():
    values = Values(Limits(integer_bits=100))
    assert decode(b'"%s"' % (b"1" * 1000), values) == "1" * 1000


# --- results that cannot travel -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            {"a": [{1}]},
            "a value of type set is not accepted; return a list instead, at value['a'][0]",
        ),
        ({1: 2}, "map keys must be text, not int (1)"),
        ({b"a": 2}, "map keys must be text, not bytes (b'a')"),
        ("\ud800", "text with a lone surrogate"),
        (
            {"a": datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
            "a datetime without a time zone",
        ),
        (np.array([1j]), "a numpy array of complex128"),
        ([object()], "a value of type object is not accepted, at value[0]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_travel_as_cbor_cannot_as_json(value, words):
    assert blame(value).startswith("the result cannot travel: ")
    assert words in blame(value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (10**5000, ""),
        ([1, {"n": -(10**5000)}], ", at value[1]['n']"),
        ({"a": (math.nan, 10**5000)}, ", at value['a'][1]"),
    ],
    ids=["bare", "inside", "beside NaN"],
)
def test_an_integer_with_more_digits_than_python_writes_is_named_with_its_place(value, where):
    assert VALUES.encode(value)
    said = blame(value)
    assert said.startswith("the result cannot travel as JSON: Exceeds the limit (4300")
    assert said.endswith(where)


class Restless(dict):
    """Gives JSON's encoder another look than CBOR's."""

    looks = 0

    def items(self):
        Restless.looks += 1
        return [("a", object())] if Restless.looks > 1 else [("a", 1)]


class Failing(uuid.UUID):
    def __str__(self):
        raise LookupError("no words")


def test_methods_of_user_types_cannot_get_past_the_answer():
    assert "a value of type object has no JSON form" in blame(Restless(a=1))
    assert "no words" in blame([Failing(int=1)])
