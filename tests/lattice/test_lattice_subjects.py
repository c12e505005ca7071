"""Where a host reaches a provider, and the names in the object store."""

from __future__ import annotations

from typing import Any

import pytest

from provider.errors import TooLarge
from provider.lattice import subjects
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
