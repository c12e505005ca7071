"""What requests carry and answers may be."""

from __future__ import annotations

import cbor2
import pytest

from provider.doors.http import bodies
from provider.doors.http.bodies import CBOR, EVENTS, FORM, JSON, LINES
from provider.errors import BadRequest, BadResult
from provider.wire.frames import Encoding
from provider.wire.values import Values

VALUES = Values()


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        (None, JSON),
        (b"application/json", JSON),
        (b"Application/JSON; charset=utf-8", JSON),
        (b"application/merge-patch+json", JSON),
        (b"application/cbor", CBOR),
        (b"application/octet-stream", CBOR),
        (b"multipart/form-data; boundary=x", FORM),
    ],
)
def test_content_types_that_are_read(content_type, read):
    assert bodies.form_read(content_type) == read


@pytest.mark.parametrize(
    "content_type", [b"text/plain", b"application/x-www-form-urlencoded", b"", b"json", b"a\xff"]
)
def test_other_content_types_are_415(content_type):
    with pytest.raises(BadRequest, match="application/json") as raised:
        bodies.form_read(content_type)
    assert raised.value.code == 415


@pytest.mark.parametrize(
    ("accept", "read", "written"),
    [
        (None, JSON, JSON),
        (None, CBOR, CBOR),
        (None, FORM, JSON),
        (b"*/*", CBOR, CBOR),
        (b"application/*", JSON, JSON),
        (b"application/cbor", JSON, CBOR),
        (b"application/json", CBOR, JSON),
        (b"text/event-stream", JSON, EVENTS),
        (b"application/x-ndjson", JSON, LINES),
        (b"application/json;q=0.5, application/cbor", JSON, CBOR),
        (b"application/json;q=0, application/cbor;q=0.1", JSON, CBOR),
        (b"application/json;q=x, application/cbor;q=0.1", JSON, CBOR),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON, JSON),
    ],
)
def test_what_callers_accept(accept, read, written):
    assert bodies.form_written(accept, read) == written


@pytest.mark.parametrize("accept", [b"text/html", b"", b"application/json;q=0", b"\xff"])
def test_who_accepts_nothing_of_ours_is_told_406(accept):
    with pytest.raises(BadRequest) as raised:
        bodies.form_written(accept, JSON)
    assert raised.value.code == 406


def test_made_up_accepts_fill_no_memory():
    for number in range(1000):
        bodies.form_written(b"application/json, x/%d" % number, JSON)
    assert len(bodies._accepted) <= bodies.MOST_REMEMBERED


def test_arguments_pass_untouched_where_both_sides_speak_the_same():
    assert bodies.argument(b" 1", None, JSON, JSON, VALUES) == (b" 1", Encoding.JSON)
    assert bodies.argument(b"\x01", None, CBOR, JSON, VALUES) == (b"\x01", Encoding.CBOR)
    assert bodies.argument(b"[1]", None, JSON, CBOR, VALUES) == (b"\x81\x01", Encoding.CBOR)
    assert bodies.argument(b"", None, JSON, JSON, VALUES) == (b"", Encoding.JSON_ABSENT)
    assert bodies.argument(b"", None, JSON, CBOR, VALUES) == (b"", Encoding.ABSENT)


def test_results_become_json_once():
    assert bodies.to_json(b" 1", Encoding.JSON, VALUES) == b" 1"
    assert bodies.to_json(b"null", Encoding.JSON_ABSENT, VALUES) == b"null"
    result = cbor2.dumps({"b": b"\1", "i": 2**70})
    assert bodies.to_json(result, Encoding.CBOR, VALUES) == b'{"b":"AQ==","i":%d}' % 2**70


@pytest.mark.parametrize("result", [b"", b"\x01\x02", b"\xf7", b"\x81"])
def test_a_result_that_is_none_is_not_the_fault_of_who_called(result):
    with pytest.raises(BadResult, match="the result cannot be read: "):
        bodies.to_json(result, Encoding.CBOR, VALUES)


# --- Forms ----------------------------------------------------------------------------------------


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


def part(head: bytes, content: bytes) -> bytes:
    return b"Content-Disposition: form-data; " + head + b"\r\n\r\n" + content


def members(data: bytes, content_type: bytes = b"multipart/form-data; boundary=x"):
    return bodies.form_members(data, content_type, VALUES)


def test_files_are_bytes_and_fields_text():
    data = form(
        part(b'name="a"', b"b"),
        part(b'name="f"; filename="x.bin"', b"\xff\r\n--\0"),
        part(b'name="f"; filename="y.txt"\r\nContent-Type: text/plain', b"text"),
        part(b'name="n"\r\nContent-Type: application/json', b'{"x": 2}'),
        part('name="ä"'.encode(), "ö".encode()),
    )
    assert members(data) == {
        "a": "b",
        "f": [b"\xff\r\n--\0", b"text"],
        "n": {"x": 2},
        "ä": "ö",
    }


def test_three_of_one_name_are_one_list_even_of_lists():
    one = part(b'name="a"\r\nContent-Type: application/json', b"[1]")
    assert members(form(one)) == {"a": [1]}
    assert members(form(one, one, one)) == {"a": [[1], [1], [1]]}


@pytest.mark.parametrize(
    ("data", "content_type", "told"),
    [
        (form(), b"multipart/form-data", "boundary"),
        (b"nothing of it", b"multipart/form-data; boundary=x", "cannot be read"),
        (form(part(b'name="a"', b"b"), end=b""), b"multipart/form-data; boundary=x", "end is"),
        (form(part(b"no", b"b")), b"multipart/form-data; boundary=x", "no name"),
        (form(part(b'name="a"', b"\xff")), b"multipart/form-data; boundary=x", "'a'"),
        (form(part(b'name="\xff"', b"")), b"multipart/form-data; boundary=x", "UTF-8"),
        (form(*[part(b'name="a"', b"")] * 1001), b"multipart/form-data; boundary=x", "1000"),
        (form(b"A: " + b"x" * 9000 + b"\r\n\r\n"), b"multipart/form-data; boundary=x", "read"),
        (form(part(b'name="a"', b"")), b"multipart/form-data; boundary=" + b"x" * 999, "read"),
        (
            form(part(b'name="a"\r\nContent-Type: application/json', b"NaN")),
            b"multipart/form-data; boundary=x",
            "NaN",
        ),
    ],
    ids=range(10),
)
def test_what_is_no_form_is_told_so(data, content_type, told, caplog):
    with pytest.raises(BadRequest, match=told):
        members(data, content_type)
    assert not caplog.records
