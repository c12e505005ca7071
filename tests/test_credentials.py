"""Credentials: read again when they may be new, never shown, right for the server's nonce."""

from __future__ import annotations

import base64

import pytest

from provider.credentials import Credentials, GivenCredentials, key_pair
from provider.lattice.host_data import Login
from provider.lattice.nkeys import KeyPair, Kind
from tests.operator_mode import Operator, creds_file

SECRET = "hunter2-correct-horse"


def signature(credentials: Credentials | GivenCredentials) -> bytes:
    return base64.b64decode(credentials.sign("nonce"))


@pytest.fixture(scope="module")
def operator():
    return Operator()


def test_a_file_that_is_renewed_is_used_and_one_that_is_broken_is_not(operator, tmp_path):
    first, renewed = operator.user(), operator.user()
    file = tmp_path / "me.creds"
    file.write_text(creds_file(first))
    credentials = Credentials(file)
    assert credentials.jwt() == first.jwt.encode()
    assert signature(credentials) == first.key.sign(b"nonce")
    file.write_text(SECRET)
    assert signature(credentials) == first.key.sign(b"nonce")
    file.write_text(creds_file(renewed))
    assert signature(credentials) == renewed.key.sign(b"nonce")
    assert credentials.jwt() == renewed.jwt.encode()
    file.unlink()
    assert signature(credentials) == renewed.key.sign(b"nonce")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: SECRET, "it has no NATS USER JWT"),
        (lambda text: text.partition("-----BEGIN USER")[0], "it has no USER NKEY SEED"),
        (lambda text: text.replace("\nSU", "\nSUA"), "it holds no seed of an nkey"),
    ],
)
def test_a_file_that_lacks_something(operator, tmp_path, change, says):
    file = tmp_path / "me.creds"
    file.write_text(change(creds_file(operator.user())))
    with pytest.raises(ValueError, match=says) as raised:
        Credentials(file)
    assert SECRET not in str(raised.value)


def test_a_login_that_is_given():
    login = Login("a.b.c", KeyPair.generate(Kind.USER))
    credentials = GivenCredentials(login)
    assert credentials.jwt() == b"a.b.c"
    assert signature(credentials) == login.key.sign(b"nonce")
    for shown in (repr(credentials), repr(login), repr(vars(credentials))):
        assert "a.b.c" not in shown
        assert login.key.seed not in shown


@pytest.mark.parametrize("seed", ["", "SU", SECRET, "SUü"])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ValueError, match="it holds no seed of an nkey"):
        key_pair(seed)
