"""URLs of NATS servers: read, and shown without their secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.servers import MASK, mask_url, parse_servers, with_scheme, without_secrets

SECRET = "hunter2-correct-horse"


def test_servers_get_the_scheme_they_left_out() -> None:
    given_ = "localhost, nats://b:4223 ,tls://u:p@c, nats://[::1]:4222"
    assert parse_servers(given_) == (
        "nats://localhost",
        "nats://b:4223",
        "tls://u:p@c",
        "nats://[::1]:4222",
    )
    assert parse_servers("ws://a/path, WSS://B") == ("ws://a/path", "wss://B")
    assert parse_servers("nats://a/") == ("nats://a/",)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host:4222", "the schemes are nats, tls, ws, wss"),
        ("nats://", "a host, perhaps a port"),
        ("nats://:4222", "a host, perhaps a port"),
        ("nats://host:0", "a host, perhaps a port"),
        ("nats://host:65536", "a host, perhaps a port"),
        ("nats://host:port", "a host, perhaps a port"),
        ("nats://[::1", "a host, perhaps a port"),
        ("a,,b", "empty places"),
        ("nats://ho st", "without spaces"),
        ("nats://ho\r\nst", "without spaces"),
        ("nats://host/path", "a host, perhaps a port"),
        ("nats://user:pa/ss@host", "special characters of a password"),
        ("nats://a,ws://b", "cannot be mixed"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_servers(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host", "nats://host"),
        ("nats://u:p@host", f"nats://u:{MASK}@host"),
        ("nats://token@host", f"nats://{MASK}@host"),
        ("token@host", f"{MASK}@host"),
        ("nats://a,nats://u:p@b,nats://c", f"nats://a,nats://u:{MASK}@b,nats://c"),
        ("nats://u:p@a,tls://v:q@b", f"nats://u:{MASK}@a,tls://v:{MASK}@b"),
        ("nats://u:p,nats://x@host", f"nats://u:{MASK}@host"),
        ("a:1,[::1]:2,nats://u:p@host", f"a:1,[::1]:2,nats://u:{MASK}@host"),
        ("http://u:p@host", f"http://u:{MASK}@host"),
        ("nats://u:with@at@host", f"nats://u:{MASK}@{MASK}@host"),
    ],
)
def test_credentials_in_urls_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def complaint(url: str) -> str:
    """What is said of a wrong URL, nothing of a right one."""
    try:
        parse_servers(url)
    except ValueError as error:
        return str(error)
    return ""


@given(st.text("abc:,/@%#? ", min_size=1).map(lambda junk: f"{junk}{SECRET}{junk}"))
def test_a_password_in_a_url_is_never_shown(password: str) -> None:
    url = f"nats://user:{password}@host"
    assert SECRET not in mask_url(url)
    assert SECRET not in without_secrets(url)
    assert SECRET not in complaint(url)


def test_a_url_without_a_scheme_is_a_plain_one() -> None:
    assert with_scheme("host:4222") == "nats://host:4222"
    assert with_scheme("tls://host") == "tls://host"
    assert without_secrets("nats://user:p@ss@host:4222") == "nats://host:4222"
