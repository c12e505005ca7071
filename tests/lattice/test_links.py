"""The table of links: one for each actor, the first one stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.lattice.links import Links, matches
from provider.wire.wasmbus import LinkDefinition, WasmCloudEntity


def link(actor: str = "M1", **values: str) -> LinkDefinition:
    return LinkDefinition(
        actor_id=actor, provider_id="V", link_name="default", contract_id="c:d", values=values
    )


def test_a_link_lets_an_actor_call_until_it_is_deleted() -> None:
    links = Links()
    assert "M1" not in links
    assert links.put(link()) == (True, "")
    assert "M1" in links
    assert links.get("M1") == link()
    assert list(links) == [link()]
    assert links.delete("M1")
    assert "M1" not in links
    assert links.get("M1") is None
    assert len(links) == 0


def test_a_second_link_is_ignored_even_when_it_says_something_else() -> None:
    links = Links([link(a="1")])
    assert links.put(link(a="2")) == (False, "Ignoring duplicate link put")
    assert links.get("M1") == link(a="1")
    links.delete("M1")
    assert links.put(link(a="2")).stored
    assert links.get("M1") == link(a="2")


def test_deleting_what_is_not_there_is_harmless() -> None:
    assert not Links().delete("M1")


def test_a_link_may_be_denied() -> None:
    links = Links()
    assert links.put(link("")) == (False, "put_link denied: it names no actor")
    assert len(links) == 0


def test_of_the_initial_links_of_an_actor_the_last_one_counts() -> None:
    links = Links([link(a="1"), link("M2"), link(a="2")])
    assert links.get("M1") == link(a="2")
    assert len(links) == 2


def test_links_are_counted() -> None:
    links = Links([link("M1")], most=2)
    assert links.put(link("M2")).stored
    assert links.put(link("M3")) == (False, "put_link denied: there are 2 links already")
    links.delete("M1")
    assert links.put(link("M3")).stored


def test_what_links_take_is_bounded_and_given_back() -> None:
    size = len("M1Vdefaultc:d") + len("a") + 2 * 40
    links = Links([link(a="é" * 40)], most_bytes=2 * size)
    assert links.put(link("M2", a="é" * 40)).stored
    assert links.put(link("M3")) == (
        False,
        f"put_link denied: links would take over {2 * size} bytes",
    )
    links.delete("M2")
    assert links.put(link("M3")).stored


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.text(max_size=3))))
def test_the_table_is_a_dict_that_keeps_the_first(steps: list[tuple[bool, str, str]]) -> None:
    links = Links()
    expected: dict[str, LinkDefinition] = {}
    for put, actor, value in steps:
        if put:
            assert links.put(link(actor, k=value)).stored is (actor not in expected)
            expected.setdefault(actor, link(actor, k=value))
        else:
            assert links.delete(actor) is (expected.pop(actor, None) is not None)
        assert {one.actor_id: one for one in links} == expected
    for one in links:
        links.delete(one.actor_id)
    assert links._bytes == 0


@pytest.mark.parametrize(
    ("entity", "fits"),
    [
        (("V", "default", "c:d"), True),
        (("V", "default", ""), True),
        (("W", "default", "c:d"), False),
        (("V", "other", "c:d"), False),
        (("V", "default", "c:e"), False),
    ],
)
def test_a_strict_provider_compares_the_target(entity: tuple[str, str, str], fits: bool) -> None:
    key, name, contract = entity
    target = WasmCloudEntity(public_key=key, link_name=name, contract_id=contract)
    assert matches(link(), target) is fits
