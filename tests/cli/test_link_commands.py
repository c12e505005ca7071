"""Calling as an actor from the shell: link put, call --wasmbus, link del."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from provider.cli import app
from provider.lattice import seed_file
from provider.lattice.nkeys import KeyPair, Kind
from provider.wasmbus_client import default_actor
from tests.conftest import clean_environment

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\1" * 32)
ACTOR = default_actor(CLUSTER.public)
PROGRAM = """
    def handle(command, arg):
        if command == "fail":
            raise ValueError("no good")
        return arg
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public)


@pytest.fixture
def to_house(provider_command, house, tmp_path):
    """Runs a command that finds the provider by its environment, with cluster.nk beside it."""
    seed_file.write(tmp_path / "cluster.nk", CLUSTER)

    def run(*arguments, **more):
        found = {
            name: value
            for name, value in house.environment.items()
            if name in {"NATS_URL", "PROVIDER_LATTICE"}
        }
        done = provider_command(*arguments, **{**found, **more})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def test_an_actor_calls_from_link_to_unlink(to_house, house):
    seed = {"PROVIDER_CLUSTER_SEED": "cluster.nk"}
    hint = "provider link put, with the same --cluster-seed or --actor, lets it call\n"
    refused = (1, "", f"error: unlinked actor: '{ACTOR}'\n{hint}")
    assert to_house("call", "echo", "10", "--wasmbus", **seed) == refused
    lattice = house.address["lattice"]
    said = (
        f"published: link put of {ACTOR} to python (default) in lattice {lattice} with a, d; "
        "no provider answers this, its log has link_put\n"
    )
    assert to_house("link", "put", "--value", "a=b=c", "--value", "d=", **seed) == (0, "", said)
    house.wait_for("link_put", actor=ACTOR, stored=True)
    assert to_house("call", "echo", "[10]", "--wasmbus", **seed) == (0, "[10]\n", "")
    said = (
        f"published: link del of {ACTOR} to python (default) in lattice {lattice}; "
        "no provider answers this, its log has link_deleted\n"
    )
    assert to_house("link", "del", **seed) == (0, "", said)
    house.wait_for("link_deleted", actor=ACTOR, known=True)
    assert to_house("call", "echo", "10", "--wasmbus", **seed) == refused


def test_an_actor_may_be_named(to_house, house):
    actor = KeyPair.generate(Kind.MODULE).public
    code, _, said = to_house("link", "put", "--actor", actor)
    assert (code, actor in said) == (0, True)
    house.wait_for("link_put", actor=actor, stored=True)
    flags = ("--wasmbus", "--cluster-seed", "cluster.nk", "--actor", actor)
    assert to_house("call", "echo", *flags) == (0, "null\n", "")
    code, out, said = to_house("call", "fail", *flags)
    assert (code, out) == (1, "")
    assert said == "error: Exception raised ValueError: no good\n"
    code, out, said = to_house("call", "fail", "--json", *flags)
    assert (code, said) == (1, "")
    (error,) = json.loads(out).values()
    assert list(error) == ["message"]
    assert error["message"].startswith("Exception raised ValueError: no good\n")


def test_nobody_listens_for_links(to_house):
    code, _, said = to_house(
        "link", "put", "--cluster-seed", "cluster.nk", PROVIDER_LATTICE="nobodyslattice"
    )
    assert code == 4
    assert said == (
        "error: unavailable: no provider listens on "
        "wasmbus.rpc.nobodyslattice.python.default.linkdefs.put; is it running, and are signed "
        "calls on (PROVIDER_CLUSTER_ISSUERS)?\n"
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory and environment."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(code, said, *arguments):
    done = CliRunner().invoke(app, list(arguments))
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.split())


def test_what_makes_no_sense(here):
    refused(2, "error: --value x: expected NAME=VALUE", "link", "put", "--value", "x")
    refused(2, "error: --value =x: expected NAME=VALUE", "link", "put", "--value", "=x")
    refused(2, "error: which actor? Name it with --actor", "link", "put")
    refused(2, "error: which actor? Name it with --actor", "link", "del")
    refused(2, "error: --wasmbus signs with the cluster's key", "call", "x", "--wasmbus")
    refused(2, "is no public key: Bad key length: 1", "link", "put", "--actor", "M")
    user = KeyPair.generate(Kind.USER).public
    refused(2, "is a key of kind U; actors have M", "link", "put", "--actor", user)


def test_a_file_that_holds_no_cluster_key(here):
    account = KeyPair.generate(Kind.ACCOUNT)
    seed_file.write(here / "account.nk", account)
    said = "error: account.nk holds a seed of kind A; it must be C (cluster)"
    refused(1, said, "link", "put", "--cluster-seed", "account.nk")
    refused(1, said, "call", "x", "--wasmbus", "--cluster-seed", "account.nk")


def test_help_teaches_by_example():
    for words in (["link"], ["link", "put"], ["link", "del"]):
        shown = CliRunner().invoke(app, [*words, "--help"]).stdout
        assert "provider link" in shown
        assert "--cluster-seed cluster.nk" in shown
