"""Values: the same short list of types both ways, everything else refused by name."""

from __future__ import annotations

import collections
import enum
import fractions
import ipaddress
import json
import math
import re
import struct
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path

import cbor2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provider.errors import BadRequest, BadResult
from provider.wire.values import LONG, Limits, Misfit, Values, reason, shown

VALUES = Values()
APPENDIX_A = json.loads((Path(__file__).parent / "rfc8949_appendix_a.json").read_text())["examples"]

# --- what travels ---------------------------------------------------------------------------------

zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: timezone(timedelta(minutes=m)))
decimals = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.integers(-6144, 6144),
).filter(lambda number: number != 0 or not number.is_signed())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(timezones=zones),
    st.uuids(),
    decimals,
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=25,
)


def same(one, other):
    """Equal, of the same types all the way down, with NaN equal to itself and -0.0 not to 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other) or (one != one and other != other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, datetime):
        return one == other and one.utcoffset() == other.utcoffset()
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    return one == other


def refusal(data):
    """Why these bytes are refused."""
    with pytest.raises(BadRequest) as caught:
        VALUES.decode(data)
    return caught.value.message


def blame(value, values=VALUES):
    """Why this result cannot travel."""
    with pytest.raises(BadResult) as caught:
        values.encode(value)
    said = "the result cannot travel: "
    assert caught.value.message.startswith(said)
    return caught.value.message[len(said) :]


def item(text):
    return bytes.fromhex(text)


def test_a_result_that_is_none_is_the_fault_of_who_wrote_it():
    assert VALUES.decode_result(b"\x0a") == 10
    for data in (b"", b"\x01\x02", b"\xf7", b"\x81"):
        with pytest.raises(BadResult, match=r"^the result cannot be read: "):
            VALUES.decode_result(data)


@given(values)
@settings(max_examples=120)
def test_what_is_encoded_is_decoded_to_the_same(value):
    assert same(VALUES.decode(VALUES.encode(value)), value)


@pytest.mark.parametrize("case", APPENDIX_A, ids=lambda case: case["diagnostic"][:40])
def test_the_examples_of_rfc_8949_are_read_or_refused_as_written_down(case):
    data = item(case["hex"])
    if not case["accepted"]:
        assert case["reason"] in refusal(data)
        return
    as_type = {"float": float, "bytes": bytes.fromhex, "date-time": datetime.fromisoformat}
    wanted = as_type[case["as"]](case["value"]) if "as" in case else case["value"]
    assert same(VALUES.decode(data), wanted)
    assert same(VALUES.decode(VALUES.encode(wanted)), wanted)


def test_the_table_of_examples_is_whole():
    assert len(APPENDIX_A) == 81
    assert sum(not case["accepted"] for case in APPENDIX_A) == 7


class Color(enum.IntEnum):
    RED = 1


class Word(str, enum.Enum):  # noqa: UP042  what users of older Pythons write
    YES = "yes"


class Half(float, enum.Enum):
    IT = 0.5


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024  what users write


class Moment(datetime):
    pass


class Price(Decimal):
    pass


class Mark(uuid.UUID):
    pass


class Text(str):  # noqa: SLOT000  what users write
    """Fails in every method a codec might call."""

    def fail(self, *_args):
        raise RuntimeError("a method of the user's")

    __str__ = __repr__ = __len__ = encode = isascii = __getitem__ = fail


class Count(int):
    def fail(self, *_args):
        raise RuntimeError("a method of the user's")

    __str__ = __repr__ = bit_length = fail


NOW = datetime(2024, 2, 29, 23, 59, 59, 999999, UTC)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Color.RED, 1),
        (Word.YES, "yes"),
        (Half.IT, 0.5),
        (Point(1, [2]), [1, [2]]),
        ((), []),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({Word.YES: 1}, {"yes": 1}),
        (bytearray(b"xy"), b"xy"),
        (Moment(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)),
        ([Price("1.50")], [Decimal("1.50")]),
        ({"id": Mark(int=5)}, {"id": uuid.UUID(int=5)}),
        (Text("plain"), "plain"),
        (Count(7), 7),
        (math.nan, math.nan),
        ([math.inf, -math.inf, -0.0], [math.inf, -math.inf, -0.0]),
        (Decimal("NaN"), math.nan),
        (Decimal("-Infinity"), -math.inf),
        (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        (NOW.astimezone(timezone(timedelta(hours=5, minutes=30))), NOW),
    ],
    ids=lambda value: type(value).__name__,
)
def test_relatives_of_the_allowed_types_travel_as_what_they_are(value, arrives):
    arrived = VALUES.decode(VALUES.encode(value))
    assert arrived == arrives if isinstance(arrives, datetime) else same(arrived, arrives)


def test_one_codec_serves_many_threads():
    value = {"a": [1, {"b": "c"}] * 50}
    wrong = []

    def work():
        for _ in range(200):
            if VALUES.decode(VALUES.encode(value)) != value:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- bytes that are no value ----------------------------------------------------------------------


@given(values)
@settings(max_examples=50)
def test_a_message_cut_anywhere_is_a_bad_request(value):
    data = VALUES.encode(value)
    for cut in range(min(len(data), 300)):
        with pytest.raises(BadRequest):
            VALUES.decode(data[:cut])


@given(values, st.binary(min_size=1, max_size=20))
@settings(max_examples=50)
def test_bytes_after_the_item_are_counted_and_refused(value, rest):
    words = f"{len(rest)} bytes after the CBOR item"
    assert words in refusal(VALUES.encode(value) + rest)


@pytest.mark.parametrize(
    "second", ["d8454400000000", "d8454401000200", "f97e00", "c4820001", "80", "ff"]
)
def test_a_second_item_is_refused_whatever_it_would_be_compared_with(second):
    rest = item(second)
    assert f"{len(rest)} bytes after" in refusal(b"\x01" + rest)


@given(st.binary(max_size=60))
@settings(max_examples=200)
@example(b"\x01\xd8\x45\x44\0\0\0\0")
@example(b"\xa1\xc2\x59\x08\x00" + b"\xff" * 2048 + b"\x01")
def test_any_bytes_are_a_value_or_a_bad_request(data):
    try:
        value = VALUES.decode(data)
    except BadRequest:
        return
    VALUES.decode(VALUES.encode(value))


_HEADS = [bytes((head,)) for head in range(256)]
_PIECES = [
    b"\x61a", b"\x41a", b"\xa1\x61a", b"\xc4\x82", b"\xd8\x25\x50", b"\xd8\x28\x82\x81\x01",
    b"\xd8\x40\x41\x01", b"\xd9\x01\x02", b"\xf9\x7e\x00", b"\x9f", b"\xbf", b"\xff", b"\xc2\x49",
    b"\xc0\x74", b"2013-03-21T20:04:00Z", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
]  # fmt: skip


@given(st.lists(st.sampled_from(_HEADS + _PIECES * 8), max_size=25).map(b"".join))
@settings(max_examples=200)
def test_anything_that_looks_like_cbor_is_a_value_or_a_bad_request(data):
    try:
        value = VALUES.decode(data)
    except BadRequest:
        return
    VALUES.decode(VALUES.encode(value))


@given(values, st.data())
@settings(max_examples=80)
def test_a_flipped_bit_is_a_value_or_a_bad_request(value, data):
    sent = bytearray(VALUES.encode(value))
    position = data.draw(st.integers(0, len(sent) - 1))
    sent[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        VALUES.decode(bytes(sent))
    except BadRequest:
        return


def test_nothing_is_no_item():
    assert refusal(b"") == "empty where a CBOR item was expected"


TAGS = {
    5: ("820102", "bigfloat (tag 5)"),
    25: ("00", "string reference (tag 25)"),
    28: ("80", "shared value (tag 28)"),
    29: ("00", "reference to a shared value (tag 29)"),
    30: ("820102", "rational (tag 30)"),
    35: ("6161", "regular expression (tag 35)"),
    36: ("6161", "MIME message (tag 36)"),
    52: ("44c0000201", "IPv4 address (tag 52)"),
    54: ("50" + "00" * 16, "IPv6 address (tag 54)"),
    100: ("1903e8", "date (tag 100)"),
    256: ("6161", "string reference namespace (tag 256)"),
    258: ("80", "set (tag 258)"),
    260: ("44c0000201", "network address (tag 260)"),
    261: ("a144c000020018 18".replace(" ", ""), "network (tag 261)"),
    1004: ("6a323031332d30332d3231", "date (tag 1004)"),
    43000: ("820102", "complex number (tag 43000)"),
    55799: ("01", "self-described CBOR (tag 55799)"),
    6: ("01", "tag 6"),
    24: ("4100", "tag 24"),
    32: ("6161", "tag 32"),
    41: ("80", "tag 41"),
    76: ("40", "tag 76"),
    83: ("50" + "00" * 16, "tag 83"),
    87: ("50" + "00" * 16, "tag 87"),
    43001: ("820102", "tag 43001"),
    65535: ("01", "tag 65535"),
    2**64 - 1: ("01", "tag 18446744073709551615"),
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "around", ["", "81", "a16161", "d828 8281 01"], ids=["", "list", "map", "40"]
)
def test_other_tags_are_refused_by_name(tag, around):
    content, name = TAGS[tag]
    tagged = cbor2.dumps(cbor2.CBORTag(tag, None))[:-1] + item(content)
    assert f"{name} is not accepted" in refusal(item(around) + tagged)


def test_every_tag_that_the_codec_would_make_an_object_of_is_decided_on():
    allowed = {0, 1, 2, 3, 4, 37}
    for tag in range(70_000):
        if tag in allowed or tag in TAGS or 64 <= tag <= 86 or tag == 40:
            continue
        if tag > 1100 and tag % 500:  # a sample of what nobody uses
            continue
        head = cbor2.dumps(cbor2.CBORTag(tag, None))[:-1]
        assert f"tag {tag} is not accepted" in refusal(head + b"\x01")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("f7", "a value of type undefined is not accepted"),
        ("e0", "a value of type simple value is not accepted"),
        ("f820", "a value of type simple value is not accepted"),
        ("81f7", "undefined is not accepted, at value[0]"),
        ("a1616182f6f7", "undefined is not accepted, at value['a'][1]"),
        ("a10102", "map keys must be text, not int (1)"),
        ("a14001", "map keys must be text, not bytes (b'')"),
        ("a1f601", "map keys must be text, not NoneType (None)"),
        ("a18001", "map keys must be text, not tuple"),
        ("a1a001", "map keys must be text"),
        ("a1f701", "map keys must be text, not UndefinedType"),
        ("81a10102", "(1), at value[0]"),
        ("a26161016161 02".replace(" ", ""), "Duplicate map key: 'a'"),
        ("a2616101 7f6161ff 02".replace(" ", ""), "Duplicate map key: 'a'"),
        ("bf61610161610 2ff".replace(" ", ""), "Duplicate map key: 'a'"),
        ("62c328", "utf-8"),
        ("63eda080", "utf-8"),
        ("7f61c361a9ff", "utf-8"),
        ("f800", "simple value"),
        ("f818", "simple value"),
        ("1c", "0x1c"),
        ("ff", "break code"),
        ("bf01ff", "missing value"),
        ("5f5f4101ffff", "indefinite length not allowed"),
        ("5f6161ff", "non-byte string"),
        ("7f4161ff", "text string"),
        ("a1d8404001 01".replace(" ", ""), "unhashable"),
    ],
)
def test_what_is_wrong_with_the_bytes_is_said(data, words):
    assert words in refusal(item(data))


def test_a_key_too_large_to_print_is_named_by_its_size():
    data = b"\xa1\xc2\x59\x08\x00" + b"\xff" * 2048 + b"\x01"
    assert "not int (an integer of 16384 bits)" in refusal(data)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("c16000", None),
        ("c1f97e00", None),
        ("c1f97c00", None),
        ("c1f9fc00", None),
        ("c1fb7fefffffffffffff", None),
        ("c11bffffffffffffffff", None),
        ("c13bffffffffffffffff", None),
        ("c1c249010000000000000000", None),
        ("c11b0000003afff44180", None),
        ("c1f5", None),
        ("c1f6", None),
        ("c16161", None),
        ("c1c100", None),
        ("c1c4820001", None),
        ("c1d8404101", None),
        ("c100", datetime(1970, 1, 1, tzinfo=UTC)),
        ("c120", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("c11b0000003afff4417f", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("c1f93800", datetime(1970, 1, 1, 0, 0, 0, 500000, UTC)),
    ],
)
def test_tag_1_is_a_number_of_seconds_that_a_date_can_hold(data, wanted):
    if wanted is None:
        assert "tag 1" in refusal(item(data)) or "bytes after" in refusal(item(data))
    else:
        assert same(VALUES.decode(item(data)), wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2013-03-21T20:04:00Z", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("2013-03-21t20:04:00z", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("2013-03-21T20:04:00-00:00", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("2013-03-21T20:04:00.5Z", datetime(2013, 3, 21, 20, 4, 0, 500000, UTC)),
        ("2013-03-21T20:04:00.1234567890123Z", datetime(2013, 3, 21, 20, 4, 0, 123456, UTC)),
        (
            "2013-03-21T20:04:00.1+05:30",
            datetime(2013, 3, 21, 20, 4, 0, 100000, timezone(timedelta(hours=5, minutes=30))),
        ),
        ("2013-03-21T20:04:00", None),
        ("2013-03-21", None),
        ("2013-03-21 20:04:00Z", None),
        ("2013-03-21T20:04Z", None),
        ("2013-03-21T20:04:60Z", None),
        ("2013-03-21T24:00:00Z", None),
        ("2013-02-30T20:04:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("20130321T200400Z", None),
        ("2013-W12-4T20:04:00Z", None),
        ("2013-03-21T20:04:00+0000", None),
        ("2013-03-21T20:04:00+24:00", None),
        ("2013-03-21T20:04:00+01:60", None),
        ("2013-03-21T20:04:00+01:00:30", None),
        ("2013-03-21T20:04:00,5Z", None),
        ("2013-03-21T20:04:00.Z", None),
        ("2013-03-21T20:04:00Z ", None),
        ("\u0662013-03-21T20:04:00Z", None),
        ("", None),
    ],
)
def test_tag_0_is_rfc_3339_to_the_letter(text, wanted):
    data = b"\xc0" + cbor2.dumps(text)
    if wanted is None:
        assert "a date-time (tag 0)" in refusal(data)
    else:
        assert same(VALUES.decode(data), wanted)


@pytest.mark.parametrize("content", ["00", "f6", "4161", "80", "f97e00"])
def test_tag_0_holds_text(content):
    assert "a date-time (tag 0) holds RFC 3339 text" in refusal(b"\xc0" + item(content))


@pytest.mark.parametrize(
    "content", ["4f" + "00" * 15, "51" + "00" * 17, "70" + "61" * 16, "90" + "00" * 16, "01", "f6"]
)
def test_a_uuid_is_sixteen_bytes(content):
    assert "a UUID (tag 37) holds 16 bytes" in refusal(item("d825" + content))


@pytest.mark.parametrize("content", ["f5", "00", "60", "80", "f6"])
def test_a_big_integer_is_bytes(content):
    assert "a big integer (tag 2 or 3) holds bytes" in refusal(item("c2" + content))
    assert "a big integer (tag 2 or 3) holds bytes" in refusal(item("c3" + content))


def test_a_big_integer_need_not_be_big():
    assert VALUES.decode(item("c240")) == 0
    assert VALUES.decode(item("c241ff")) == 255
    assert VALUES.decode(item("c340")) == -1
    assert VALUES.decode(item("c25f41014102ff")) == 258


@pytest.mark.parametrize(
    "content", ["00", "80", "8100", "83000101", "8200f5", "82f500", "8200f93c00", "826130 00", "a0"]
)
def test_a_decimal_is_two_integers(content):
    assert "a decimal (tag 4) holds [exponent, mantissa]" in refusal(item("c4" + content))


# --- limits ---------------------------------------------------------------------------------------


DEEP_LEAVES = {
    "integer": "01",
    "date-time": "c074323031332d30332d32315432303a30343a30305a",
    "decimal": "c48220c249010000000000000000",
    "uuid": "d82550" + "00" * 16,
    "array": "d8404101",
    "shaped array": "d8288282010 1d8404101".replace(" ", ""),
    "booleans": "d82882820101 81f5".replace(" ", ""),
}


@pytest.mark.parametrize("limit", [1, 2, 64, 400])
@pytest.mark.parametrize("leaf", DEEP_LEAVES)
@pytest.mark.parametrize("around", [b"\x81", b"\xa1\x61a"], ids=["lists", "maps"])
def test_depth_is_limited_alike_both_ways_and_tags_are_no_depth(limit, leaf, around):
    values = Values(Limits(depth=limit))
    data = around * limit + item(DEEP_LEAVES[leaf])
    value = values.decode(data)
    assert values.encode(value) == data
    assert values.end_of_item(data, 0) == len(data)
    for more in (1, 2, 3, 4, 5, 50):
        with pytest.raises(BadRequest, match=f"deeper than {limit} levels"):
            values.decode(around * more + data)
        assert f"deeper than {limit} levels, or it contains itself" in blame([value], values)


@pytest.mark.parametrize(
    "data", [b"\x81", b"\xa1\x61a", b"\x9f", b"\xbf\x61a", b"\xc1", b"\xd8\x28"]
)
def test_a_hundred_thousand_levels_are_refused_at_once(data):
    began = time.process_time()
    with pytest.raises(BadRequest):
        VALUES.decode(data * 100_000 + b"\x01")
    with pytest.raises(BadRequest):
        VALUES.end_of_item(data * 100_000 + b"\x01", 0)
    assert time.process_time() - began < 20


def test_more_depth_than_the_interpreter_has_is_refused_not_fallen_over():
    values = Values(Limits(depth=50_000))
    with pytest.raises(BadRequest, match="deeper than"):
        values.decode(b"\x81" * 20_000 + b"\x80")
    nested = []
    for _ in range(20_000):
        nested = [nested]
    assert "recursion" in blame(nested, values)


def test_members_are_counted():
    values = Values(Limits(items=3))
    assert values.decode(values.encode([1, 2, 3])) == [1, 2, 3]
    assert blame([1] * 4, values) == "4 members, over the limit of 3"
    assert blame([dict.fromkeys("abcd")], values) == "4 members, over the limit of 3, at value[0]"
    with pytest.raises(BadRequest, match="4 members, over the limit of 3"):
        values.decode(b"\x84\1\1\1\1")
    with pytest.raises(BadRequest, match="4 members, over the limit of 3"):
        values.decode(b"\xa4\x61a\1\x61b\1\x61c\1\x61d\1")


@pytest.mark.parametrize(
    "make",
    [lambda n: "a" * n, lambda n: b"a" * n, bytearray],
    ids=["str", "bytes", "bytearray"],
)
def test_strings_are_measured_wherever_they_are(make):
    values = Values(Limits(string=10))
    assert values.decode(values.encode(make(10))) == (
        make(10) if make(1) != bytearray(1) else bytes(10)
    )
    for value, at in [
        (make(11), ""),
        ([1, make(11)], ", at value[1]"),
        ({"k": make(11)}, ", at value['k']"),
    ]:
        assert blame(value, values) == f"a string of 11 bytes, over the limit of 10{at}"
    data = cbor2.dumps([{"k": bytes(make(11)) if not isinstance(make(1), str) else make(11)}])
    with pytest.raises(BadRequest, match="a string of 11 bytes, over the limit of 10, at value"):
        values.decode(data)


def test_texts_are_measured_in_bytes_and_keys_too():
    values = Values(Limits(string=10))
    assert values.decode(values.encode("\u00e9" * 5)) == "\u00e9" * 5
    assert "12 bytes" in blame("\u00e9" * 6, values)
    assert "11 bytes" in blame({"k" * 11: 1}, values)
    with pytest.raises(BadRequest, match="11 bytes"):
        values.decode(cbor2.dumps({"k" * 11: 1}))


@pytest.mark.parametrize("bits", [1, 8, 31, 64, 65, 66, 200, 2047, 2048, 4096, 65_536])
def test_integers_are_measured_exactly_and_alike_both_ways(bits):
    values = Values(Limits(integer_bits=bits))
    most = 2**bits - 1
    for number in (most, -most):
        assert values.decode(values.encode(number)) == number
        assert values.decode(values.encode([{"a": number}])) == [{"a": number}]
    for number in (most + 1, -most - 1):
        words = f"an integer of {bits + 1} bits, over the limit of {bits}"
        assert blame(number, values) == words
        assert blame({"a": [1, number]}, values) == f"{words}, at value['a'][1]"
        for data in (cbor2.dumps(number), cbor2.dumps([{"a": number}])):
            with pytest.raises(BadRequest, match=f"over the limit of {bits}"):
                values.decode(data)


def test_an_integer_of_a_megabyte_is_refused_before_it_is_made():
    began = time.process_time()
    assert "8388608 bits" in refusal(
        b"\xc2\x5a" + (1 << 20).to_bytes(4, "big") + b"\xff" * (1 << 20)
    )
    assert time.process_time() - began < 20


@pytest.mark.parametrize("number", ["1E+6144", "1E-6144", "-9.99E-6142", "0E+6144", "9" * 4300])
def test_decimals_travel_up_to_the_limits(number):
    assert same(VALUES.decode(VALUES.encode(Decimal(number))), Decimal(number))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("1E+6145", "a decimal with exponent 6145, over the limit of 6144"),
        ("1E-6145", "a decimal with exponent -6145, over the limit of 6144"),
        ("1" * 4301, "a decimal of 4301 digits, over the limit of 4300"),
    ],
)
def test_decimals_over_the_limits_are_refused_both_ways(number, words):
    assert blame([Decimal(number)]) == f"{words}, at value[0]"
    assert words.split(" ")[-1] in refusal(cbor2.dumps(Decimal(number))) or "14285" in refusal(
        cbor2.dumps(Decimal(number))
    )


@pytest.mark.parametrize(
    ("exponent", "mantissa"),
    [(2**63, 1), (-(2**64), 1), (2**40_000, 1), (10**9, 1), (0, 2**14_285), (0, 10**4300)],
    ids=["2**63", "-2**64", "unprintable", "a billion", "bits", "digits"],
)
def test_decimals_that_would_fill_the_memory_are_refused_at_once(exponent, mantissa):
    began = time.process_time()
    assert "over the limit of" in refusal(cbor2.dumps(cbor2.CBORTag(4, [exponent, mantissa])))
    assert time.process_time() - began < 20


def test_declared_lengths_cost_nothing_until_the_bytes_come():
    program = """if True:
        import resource, time
        from provider.wire.values import Values
        from provider.errors import BadRequest
        values = Values()
        def refused(data):
            for read in (values.decode, lambda data: values.end_of_item(data, 0)):
                try:
                    read(data)
                except BadRequest:
                    continue
                raise SystemExit(f"accepted: {data[:20].hex()}")
        refused(b"\\x5b")
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        for major in (0x40, 0x60, 0x80, 0xA0):
            for head in (b"\\x1a\\x7f\\xff\\xff\\xff", b"\\x1a\\xff\\xff\\xff\\xff",
                         b"\\x1b\\x00\\x00\\x01" + bytes(5), b"\\x1b\\x7f" + b"\\xff" * 7,
                         b"\\x1b" + b"\\xff" * 8):
                for around in (b"", b"\\x81", b"\\xa1\\x61a", b"\\xc2", b"\\xd8\\x40", b"\\x5f"):
                    for rest in (b"", b"\\x61a", b"\\x61a\\x01"):
                        refused(around + bytes((head[0] | major,)) + head[1:] + rest)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown, time.process_time() - began)
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    kilobytes, seconds = map(float, ended.stdout.split())
    assert kilobytes < 64 * 1024
    assert seconds < 5


def test_large_plain_values_are_checked_at_the_speed_of_the_codec():
    value = [{"id": number, "name": f"n{number}", "tags": ["a", "b"]} for number in range(20_000)]
    data = VALUES.encode(value)
    began = time.process_time()
    assert VALUES.decode(data) == value
    assert time.process_time() - began < 20


# --- results that cannot travel -------------------------------------------------------------------


def cycle():
    inner = {}
    inner["again"] = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1}, "a value of type set is not accepted; return a list instead"),
        (frozenset(), "a value of type frozenset is not accepted; return a list instead"),
        (object(), "a value of type object is not accepted"),
        (
            date(2020, 1, 1),
            "a value of type date is not accepted; return a datetime with a time zone",
        ),
        (timedelta(1), "a value of type timedelta is not accepted; return a number of seconds"),
        (1j, "a value of type complex is not accepted; return a list of two numbers"),
        (range(3), "a value of type range is not accepted; return a list"),
        (iter([]), "a value of type list_iterator is not accepted"),
        (memoryview(b""), "a value of type memoryview is not accepted; return bytes"),
        (fractions.Fraction(1, 2), "a value of type Fraction is not accepted"),
        (ipaddress.ip_address("::1"), "a value of type IPv6Address is not accepted"),
        (re.compile("a"), "a value of type Pattern is not accepted"),
        (enum.Enum("Shape", "ROUND").ROUND, "a value of type Shape is not accepted"),
        (cbor2.undefined, "a value of type undefined is not accepted"),
        (cbor2.CBORSimpleValue(99), "a value of type simple value is not accepted"),
        (cbor2.CBORTag(258, [1]), "a value of type tag is not accepted"),
        (int, "a value of type type is not accepted"),
        (print, "a value of type builtin_function_or_method is not accepted"),
        (NotImplemented, "a value of type NotImplementedType is not accepted"),
        (..., "a value of type ellipsis is not accepted"),
        ("\ud800", "text with a lone surrogate (character 0), which has no UTF-8"),
        (NOW.replace(tzinfo=None), "a datetime without a time zone; add one, such as timezone.utc"),
        (
            cycle(),
            "deeper than 64 levels, or it contains itself, at value['again'][0]['again'][0]...[",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_cannot_travel_is_named_with_its_place(value, words):
    assert blame(value).startswith(words)
    if "contains itself" not in words:
        where = blame({"rows": [0, (1, value)], "x": 1})
        assert where.startswith(words)
        assert where.endswith(", at value['rows'][1][1]")


def test_half_characters_are_found_deep_inside_and_in_keys():
    assert blame(["ok", {"k": "a\udc80"}]) == (
        "text with a lone surrogate (character 1), which has no UTF-8, at value[1]['k']"
    )
    assert blame([{"a\ud800": 1}]).endswith("(character 1), which has no UTF-8, at value[0]")


class Zone(tzinfo):
    def __init__(self, offset):
        self.offset = offset

    def utcoffset(self, _moment):
        if isinstance(self.offset, BaseException):
            raise self.offset
        return self.offset

    def dst(self, _moment):
        return None

    def tzname(self, _moment):
        return "user"


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (None, "a datetime without a time zone"),
        (timedelta(seconds=30), "a datetime 0:00:30 from UTC, which is no whole minute"),
        (timedelta(hours=-1, microseconds=1), "from UTC, which is no whole minute"),
        (ValueError("no such place"), "no such place"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_moment_whose_zone_says_nothing_usable_is_refused(offset, words):
    assert words in blame([datetime(2020, 1, 1, tzinfo=Zone(offset))])


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even that")

    __repr__ = __str__


class BadLength(list):
    def __len__(self):
        raise Unprintable


class BadValues(dict):
    def values(self):
        raise ZeroDivisionError("in values")


class TwoFacedMap(dict):
    """Shows an allowed member when asked for values, another when asked for items."""

    def values(self):
        return []

    def items(self):
        return [("x", object())]


class TwoFacedList(list):
    """Harmless the first time."""

    looks = 0

    def __iter__(self):
        self.looks += 1
        return iter([1] if self.looks % 2 else [object()])


class NoClass:
    @property
    def __class__(self):
        raise LookupError("classless")


class Nameless(type):
    @property
    def __name__(cls):
        raise LookupError("nameless")


class OfNameless(metaclass=Nameless):
    pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (BadLength, "Unprintable"),
        (lambda: [BadLength()], "Unprintable"),
        (lambda: BadValues(a=1), "in values"),
        (lambda: TwoFacedMap(a=1), "a value of type object is not accepted"),
        (lambda: TwoFacedList([1]), "a value of type object is not accepted"),
        (NoClass, "classless"),
        (lambda: [OfNameless()], "nameless"),
        (
            lambda: {Text("key"): object()},
            "a value of type object is not accepted, at value[a value of type Text]",
        ),
        (lambda: {Count(1): 1}, "map keys must be text, not Count (an integer of 1 bits)"),
    ],
)
def test_methods_of_user_types_cannot_get_past_the_answer(make, words):
    assert words in blame(make())


def test_a_map_that_changes_while_it_is_written_is_an_answer():
    class Restless(dict):
        def values(self):
            self["b"] = object()
            return [1]

    assert "object is not accepted" in blame(Restless(a=1))


def test_a_long_path_is_cut_in_the_middle_and_long_keys_at_the_end():
    value = {1}
    for step in range(20):
        value = {f"k{step}": value}
    where = blame(value).partition(", at ")[2]
    assert where == "value['k19']['k18']['k17']['k16']...['k3']['k2']['k1']['k0']"
    assert blame({"k" * 100_000: {1}}).endswith(f", at value['{'k' * 60}'...]")


@given(values)
@settings(max_examples=40)
def test_a_stranger_is_found_wherever_it_hides(value):
    assert "at value[1]['hidden'][0]" in blame(
        [value, {"a": value, "hidden": [object()], "z": value}]
    )


def test_arrays_and_numpy_numbers_travel_like_other_leaves():
    sent = {"a": np.arange(3), "b": [np.eye(2), np.float32(0.5), np.bool_(True)]}
    arrived = VALUES.decode(VALUES.encode(sent))
    assert np.array_equal(arrived["a"], sent["a"])
    assert np.array_equal(arrived["b"][0], sent["b"][0])
    assert same(arrived["b"][1:], [0.5, True])
    assert blame([np.array([1j])]).endswith("(RFC 8746), at value[0]")


def test_arrays_are_measured_in_bytes_and_booleans_as_members():
    values = Values(Limits(string=16, items=5))
    for good in (np.zeros(2), np.zeros((4, 4), "u1"), np.zeros(5, bool)):
        assert np.array_equal(values.decode(values.encode([good]))[0], good)
    bad = np.zeros(3)
    assert blame([bad], values) == "an array of 24 bytes, over the limit of 16, at value[0]"
    with pytest.raises(
        BadRequest, match=r"an array of 24 bytes, over the limit of 16, at value\[0\]"
    ):
        values.decode(VALUES.encode([bad]))
    bad = np.zeros((2, 3), bool)
    assert blame([bad], values) == "6 members, over the limit of 5, at value[0]"
    with pytest.raises(BadRequest, match="6 members, over the limit of 5"):
        values.decode(VALUES.encode([bad]))


# --- the rest of what this file offers ------------------------------------------------------------


@given(st.lists(values, min_size=1, max_size=4), st.binary(max_size=5))
@settings(max_examples=50)
def test_the_end_of_an_item_is_found_among_others(several, rest):
    items = [VALUES.encode(value) for value in several]
    data, position = b"".join(items) + rest, 0
    for one in items:
        end = VALUES.end_of_item(data, position)
        assert data[position:end] == one
        position = end


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 37, 40, 64, 82, *TAGS])
def test_an_item_that_is_passed_over_may_hold_what_is_refused(tag):
    content = TAGS.get(tag, ("6161", ""))[0]
    one = cbor2.dumps(cbor2.CBORTag(tag, None))[:-1] + item(content)
    assert VALUES.end_of_item(b"\x00" + one + b"\x00", 1) == 1 + len(one)
    assert VALUES.end_of_item(b"\xa1\x01" + one, 0) == 2 + len(one)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 50])
def test_an_item_that_is_passed_over_must_be_whole(start):
    with pytest.raises(BadRequest, match="not CBOR"):
        VALUES.end_of_item(b"\x83\x82\x61", start)


def test_limits_are_plain_values_with_defaults():
    assert Limits() == Limits(64, 1_000_000, 64 << 20, 65_536, 6_144)
    assert VALUES.limits == Limits()
    assert VALUES.smallest == 1_000_000
    assert Values(Limits(integer_bits=10)).smallest == 0


def test_check_says_yes_by_silence():
    assert VALUES.check({"a": [1, "b", None]}) is None
    assert VALUES.check("a" * 10) is None
    with pytest.raises(Misfit, match="set is not accepted"):
        VALUES.check({1})
    with pytest.raises(Misfit, match="surrogate"):
        VALUES.check("\ud800", thorough=True)


def test_shown_writes_anything_short():
    assert shown(12) == "12"
    assert shown("a'b") == '"a\'b"'
    assert shown("x" * 100, 5) == "'xxxxx'..."
    assert shown(b"x" * 100, 5) == "b'xxxxx'..."
    assert shown(list(range(100)), 6) == "[0, 1,..."
    assert shown(10**5000) == "an integer of 16610 bits"
    assert shown(Unprintable()) == "a value of type Unprintable"


def test_reason_finds_the_innermost_words():
    assert reason(ValueError("plain")) == "plain"
    assert reason(ValueError()) == "ValueError"
    assert reason(Unprintable()) == "Unprintable"
    outer = cbor2.CBORDecodeError("outer")
    outer.__cause__ = Misfit("inner")
    assert reason(outer) == "inner"
    outer.__cause__ = OverflowError("too far")
    assert reason(outer) == "outer: too far"
    outer.__cause__ = KeyboardInterrupt()
    assert reason(outer) == "outer"
    assert reason(BadRequest("ours")) == "ours"


@pytest.mark.parametrize("size", [LONG - 1, LONG, LONG + 1, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("make", [bytes, lambda size: "x" * size, lambda size: "é" * (size // 2)])
def test_long_strings_are_written_and_read_as_the_codec_does(make, size):
    value = make(size)
    written = cbor2.dumps(value)
    assert VALUES.encode(value) == written
    for data in (written, memoryview(bytearray(written))):
        again = VALUES.decode(data)
        assert again == value
        assert type(again) is type(value)
    parts = VALUES.long_string(value)
    assert parts is None or b"".join(parts) == written
    # Nothing of what came is needed any more.
    buffer = bytearray(written)
    again = VALUES.decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert again == value


@pytest.mark.parametrize("value", [bytes(LONG + 1), "x" * (LONG + 1)])
def test_long_strings_are_refused_in_the_words_of_all_others(value):
    written = cbor2.dumps(value)
    small = Values(Limits(string=LONG))
    with pytest.raises(BadRequest, match=f"a string of {LONG + 1} bytes, over the limit of {LONG}"):
        small.decode(written)
    with pytest.raises(BadResult, match=f"a string of {LONG + 1} bytes, over the limit of {LONG}"):
        small.encode(value)
    for data in (written, memoryview(written)):
        with pytest.raises(BadRequest, match="not CBOR"):
            VALUES.decode(data[:-1])
    with pytest.raises(BadRequest, match="1 bytes after the CBOR item"):
        VALUES.decode(written + b"\0")


def test_long_texts_are_utf_8_or_refused():
    with pytest.raises(BadResult, match="lone surrogate"):
        VALUES.encode("x" * LONG + "\udc80")
    with pytest.raises(BadRequest, match="not CBOR"):
        VALUES.decode(cbor2.dumps("x" * LONG + "é").replace("é".encode(), b"\xff\xff"))


@given(st.integers(-(2**66), 2**66) | st.sampled_from([None, True, False, "", b""]))
@example(255)
@example(256)
@example(65_535)
@example(65_536)
@example(2**32 - 1)
@example(2**32)
def test_small_values_are_written_and_read_as_the_codec_does(value):
    written = VALUES.encode(value)
    assert written == cbor2.dumps(value)
    again = VALUES.decode(written)
    assert again == value
    assert type(again) is type(value)
