"""Keys at the command line: the public half is printed, the seed lies in a file only."""

from __future__ import annotations

import stat

import pytest
from typer.testing import CliRunner

from provider.cli import app
from provider.lattice import nkeys, seed_file
from provider.lattice.nkeys import KeyPair, Kind

KINDS = {
    "account": Kind.ACCOUNT,
    "cluster": Kind.CLUSTER,
    "provider": Kind.SERVICE,
    "service": Kind.SERVICE,
    "actor": Kind.MODULE,
    "module": Kind.MODULE,
    "host": Kind.SERVER,
    "server": Kind.SERVER,
    "operator": Kind.OPERATOR,
    "user": Kind.USER,
    "curve": Kind.CURVE,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keygen(*arguments: object):
    done = CliRunner(env={"COLUMNS": "120"}).invoke(
        app, ["keygen", *map(str, arguments)], prog_name="provider"
    )
    assert "Traceback" not in done.stderr
    return done


def refused(code: int, reason: str, *arguments: object) -> None:
    done = keygen(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert reason in done.stderr


@pytest.mark.parametrize(("word", "kind"), KINDS.items())
def test_a_key_of_each_kind(here, word, kind):
    done = keygen(word)
    assert done.exit_code == 0
    file = here / f"{word}.nk"
    pair = seed_file.read(file, kind)
    assert done.stdout == f"{pair.public}\n"
    assert nkeys.decode_public(done.stdout.strip())[0] is kind
    assert done.stderr == f"the seed is in {word}.nk: keep it secret\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_public_key_of_a_seed(here):
    made = keygen("cluster", "--output", here / "x.nk")
    assert keygen("--public", "x.nk").stdout == made.stdout
    assert keygen("--public", "x.nk").stderr == ""


def test_a_key_is_not_lost_by_accident(here):
    first = keygen("cluster").stdout
    refused(1, "cluster.nk is there already; --force replaces it", "cluster")
    assert keygen("--public", "cluster.nk").stdout == first
    (here / "link").symlink_to("absent")
    refused(1, "link is there already; --force replaces it", "user", "-o", "link")
    second = keygen("cluster", "--force").stdout
    assert second != first
    assert keygen("--public", "cluster.nk").stdout == second


def test_what_makes_no_sense(here):
    refused(2, "say what the key is for, or give --public FILE")
    refused(2, "say what the key is for, or give --public FILE", "user", "--public", "x.nk")
    refused(2, "--public makes nothing", "--public", "x.nk", "--force")
    refused(2, "--public makes nothing", "--public", "x.nk", "--output", "y.nk")
    refused(2, "'queen' is not one of 'account', 'cluster'", "queen")
    assert list(here.iterdir()) == []


def test_what_cannot_be_read_or_written(here):
    seed = KeyPair.generate(Kind.USER).seed
    (here / "bad.nk").write_text(seed[:-1])
    refused(1, "bad.nk holds no seed: Bad seed length: 57", "--public", "bad.nk")
    assert seed[2:10] not in keygen("--public", "bad.nk").stderr
    refused(1, "cannot read absent.nk: No such file", "--public", "absent.nk")
    refused(1, "cannot write absent/x.nk: No such file", "user", "-o", "absent/x.nk")


def test_help_teaches_by_example():
    assert "provider keygen cluster" in keygen("--help").stdout
