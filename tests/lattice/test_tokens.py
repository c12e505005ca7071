"""Tokens of any kind: signed, and the base64 they are written in. How they are refused is in
test_claims.py, where there are some to refuse.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from provider.errors import Unauthorized
from provider.lattice import tokens
from tests.lattice.test_claims import CLUSTER, VECTORS


def test_the_token_of_the_vectors_is_made() -> None:
    assert tokens.sign(VECTORS["jwt"]["claims"], CLUSTER) == VECTORS["jwt"]["token"]


@given(st.binary(max_size=70))
def test_base64url_is_read_as_it_is_written(data: bytes) -> None:
    text = urlsafe_b64encode(data).rstrip(b"=").decode()
    assert tokens._from_base64(text) == data


@given(st.text("AQgwBb_-9", max_size=9))
def test_one_text_for_each_run_of_bytes(text: str) -> None:
    try:
        data = tokens._from_base64(text)
    except Unauthorized:
        return
    assert urlsafe_b64decode(text + "===") == data
    assert urlsafe_b64encode(data).rstrip(b"=").decode() == text
