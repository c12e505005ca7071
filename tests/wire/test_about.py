import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.wire.about import (
    MOST_HEADERS,
    MOST_OF_HEADERS,
    read_about,
    trace_of,
    write_about,
)

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_context_is_taken_whole():
    headers = {"traceparent": PARENT, "tracestate": "vendor=1,other=2", "else": "x"}
    assert trace_of(headers) == {"traceparent": PARENT, "tracestate": "vendor=1,other=2"}
    assert trace_of({"traceparent": PARENT}) == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + "-more",
        PARENT[:-1],
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT + "\n",
        5,
    ],
)
def test_what_is_no_trace_parent_is_left_out(parent):
    assert trace_of({"traceparent": parent, "tracestate": "a=1"}) == {}


def test_a_later_version_may_say_more():
    later = "01" + PARENT[2:] + "-more"
    assert trace_of({"traceparent": later}) == {"traceparent": later}
    assert trace_of({"traceparent": later + "x" * 200}) == {}


@pytest.mark.parametrize("state", ["", "x" * 513, "a=\n", "é", 7])
def test_a_state_that_is_none_is_left_out_and_the_parent_stays(state):
    assert trace_of({"traceparent": PARENT, "tracestate": state}) == {"traceparent": PARENT}


def test_header_names_have_one_case():
    assert trace_of({"Traceparent": PARENT}) == {}


def test_nothing_known_takes_no_bytes():
    assert write_about({}) == b""
    assert read_about(b"") == {}


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), st.text()), st.text())
def test_what_is_written_is_read(trace, caller):
    expected = {**trace, "caller": caller} if caller else trace
    assert read_about(write_about(trace, caller)) == expected


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), st.text()))
def test_whatever_headers_say_only_trace_context_comes_out(headers):
    assert all(headers[name] == value for name, value in trace_of(headers).items())


def test_id_and_headers_go_along():
    about = read_about(
        write_about({}, "Mcaller", id="a", headers={"X-One": "1", "traceparent": "no"})
    )
    assert about == {"caller": "Mcaller", "id": "a", "headers": {"X-One": "1", "traceparent": "no"}}
    assert write_about({}, id="", headers={}) == b""


def test_headers_are_bounded_and_can_travel():
    many = {f"h{n}": "x" for n in range(MOST_HEADERS + 5)}
    assert len(read_about(write_about({}, headers=many))["headers"]) == MOST_HEADERS
    large = {"a": "x" * MOST_OF_HEADERS, "b": "x" * (MOST_OF_HEADERS - 1), "c": "", "d": ""}
    assert list(read_about(write_about({}, headers=large))["headers"]) == ["b"]
    strange = {"a\udcff": "b\udcff"}
    assert read_about(write_about({}, headers=strange)) == {"headers": {"a?": "b?"}}


@given(st.dictionaries(st.text(), st.text()))
def test_whatever_headers_are_they_travel(headers):
    assert read_about(write_about({}, headers=headers)).get("headers", {}) == headers
