"""Addresses: every subject of the protocol is built in one place."""

from __future__ import annotations

import dataclasses

import pytest

from provider.wire.address import RPC_QUEUE, SERVICE_QUEUE, Address


def test_the_default_subjects_are_those_of_the_protocol():
    address = Address()
    assert address.rpc == "wasmbus.rpc.default.python.default"
    assert address.operations == "provider.default.python"
    assert address.operation("py.factorial") == "provider.default.python.py.factorial"
    assert address.admin("reload") == "provider.admin.default.python.reload"
    assert (RPC_QUEUE, SERVICE_QUEUE) == ("rpc", "q")


def test_each_name_has_its_place_in_the_subjects():
    address = Address(lattice="prod", key="MKEY", link_name="fast", name="math")
    assert address == Address("prod", "MKEY", "fast", "math")
    assert address.rpc == "wasmbus.rpc.prod.MKEY.fast"
    assert address.operation("add") == "provider.prod.math.add"
    assert address.admin("status") == "provider.admin.prod.math.status"


def test_an_operation_is_what_follows_the_start_and_a_dot():
    address = Address()
    subject = address.operation("a.b.c")
    assert subject.removeprefix(address.operations + ".") == "a.b.c"


def test_an_address_is_a_value():
    assert len({Address(), Address(), Address(name="other")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Address().lattice = "other"
