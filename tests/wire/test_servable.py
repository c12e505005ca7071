"""The table of what can go wrong with a servable."""

from __future__ import annotations

import struct

import pytest

from provider.errors import BY_KIND, ERROR_CODES
from provider.wire.servable import FORMATS, STATUS, STATUSES, message, status_of


def test_every_row_is_a_kind_of_error_with_a_code():
    for row in STATUSES.values():
        assert row.kind in BY_KIND
        assert row.code in ERROR_CODES


@pytest.mark.parametrize("details", [None, 5, [], {}, {STATUS: 5}, {STATUS: "OTHER"}])
def test_details_that_name_no_row(details):
    assert status_of(details) is None


def test_details_that_name_one():
    assert status_of({STATUS: "INVALID_SHAPE", "more": 1}) is STATUSES["INVALID_SHAPE"]


def test_a_message_is_the_text_of_its_row_and_the_details():
    assert message("INVALID_UNEXPECTED_INPUT", "foo") == "Unexpected input - foo"
    assert message("UNKNOWN_ERROR") == "Unknown error"


def test_formats_have_their_sizes():
    for form, size in FORMATS.values():
        assert struct.calcsize(f"={form}") == size
