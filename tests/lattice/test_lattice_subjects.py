"""Where a host reaches a provider, and the names in the object store."""

from __future__ import annotations

from typing import Any

import pytest

from provider.errors import StartError, TooLarge
from provider.lattice import subjects
from provider.lattice.host_data import HostData
from provider.wire.address import Address

ADDRESS = Address(lattice="prod.eu", key="VPROV", link_name="default")


@pytest.mark.parametrize(
    ("subject", "end"),
    [
        (subjects.linkdefs_put, "linkdefs.put"),
        (subjects.linkdefs_del, "linkdefs.del"),
        (subjects.health, "health"),
        (subjects.shutdown, "shutdown"),
    ],
)
def test_what_a_host_says_stands_under_the_subject_of_calls(subject: Any, end: str) -> None:
    assert subject(ADDRESS) == f"wasmbus.rpc.prod.eu.VPROV.default.{end}"


def test_an_actor_has_no_link() -> None:
    assert subjects.actor("default", "MACTOR") == "wasmbus.rpc.default.MACTOR"


@pytest.mark.parametrize("lattice", ["default", "a_B-9"])
def test_the_bucket_is_the_lattice(lattice: str) -> None:
    assert subjects.bucket(lattice) == lattice


@pytest.mark.parametrize("lattice", ["prod.eu", "", "a b", "é", "default\n", "*"])
def test_some_lattices_cannot_have_a_bucket(lattice: str) -> None:
    with pytest.raises(TooLarge, match="cannot travel on the lattice"):
        subjects.bucket(lattice)


def test_the_objects_of_a_call() -> None:
    assert subjects.request_object("id1") == "id1"
    assert subjects.response_object("id1") == "id1-r"


NAMES = {"lattice_rpc_prefix": "prod.eu", "provider_key": "VPROV", "link_name": "default"}


def test_host_data_that_makes_subjects() -> None:
    subjects.check_host_data(HostData(**NAMES))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", "a b", "*", ">", "a\n", "\x00", "a..b", ".a"])
def test_host_data_that_makes_none(name: str, text: str) -> None:
    with pytest.raises(StartError, match=f"^{name} of the host data makes no NATS subject"):
        subjects.check_host_data(HostData(**{**NAMES, name: text}))


@pytest.mark.parametrize("name", ["provider_key", "link_name"])
def test_only_a_lattice_may_have_dots(name: str) -> None:
    with pytest.raises(StartError, match=name):
        subjects.check_host_data(HostData(**{**NAMES, name: "a.b"}))
