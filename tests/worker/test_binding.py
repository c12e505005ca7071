"""From the argument of a call to the parameters of a function."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Unpack

from provider import dispatch
from provider.dispatch import Context
from provider.errors import InvalidArgument
from provider.worker.binding import Binding, BindingError


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Keys(TypedDict):
    a: int


def nothing(): ...
def one(a): ...
def one_typed(a: int): ...
def one_or_none(a: int | None = 5): ...
def named(*, a: int): ...
def positional(a: int, /): ...
def several(a: int, b: str = "x", *, c: Point | None = None): ...
def open_end(a: int, **more: int): ...
def typed_end(a: int, **more: Point): ...
def unpacked(**more: Unpack[Keys]): ...
def only_more(**more): ...
def unresolved(a: Nowhere, b: int): ...  # noqa: F821  the point


def bound(function, *argument, **options):
    args, kwargs = Binding(function, **options).bind(
        argument[0] if argument else None, bool(argument)
    )
    return [*args, kwargs] if kwargs else args


@pytest.mark.parametrize(
    ("function", "argument", "becomes"),
    [
        (nothing, (), []),
        (nothing, (None,), []),
        (one, (5,), [5]),
        (one, (None,), [None]),
        (one, ({"a": 1},), [{"a": 1}]),
        (one_typed, (5,), [5]),
        (one_or_none, (), []),
        (one_or_none, (None,), [None]),
        (named, (5,), [{"a": 5}]),
        (positional, (5,), [5]),
        (several, ({"a": 1},), [{"a": 1}]),
        (several, ({"a": 1, "c": {"x": 2}},), [{"a": 1, "c": Point(2)}]),
        (open_end, ({"a": 1, "b": 2},), [{"a": 1, "b": 2}]),
        (only_more, (), []),
        (only_more, ({"z": 1},), [{"z": 1}]),
        (unresolved, ({"a": 1, "b": 2},), [{"a": 1, "b": 2}]),
        (typed_end, ({"a": 1, "p": {"x": 1}},), [{"a": 1, "p": Point(1)}]),
        (unpacked, ({"a": "x"},), [{"a": "x"}]),
    ],
)
def test_what_fits(function, argument, becomes):
    assert bound(function, *argument) == becomes


@pytest.mark.parametrize(
    ("function", "argument", "told"),
    [
        (nothing, (5,), "takes no argument; send none"),
        (one, (), "an argument is missing: a"),
        (one_typed, ("5",), "^Input should be a valid integer$"),
        (several, (), "the argument lacks a"),
        (several, (None,), "the argument lacks a"),
        (several, ([1],), "the argument is a list; expected a map with a, b, c"),
        (several, (True,), "the argument is a boolean"),
        (several, ({"a": 1, "z": 2},), "the argument has 'z'; expected only a, b, c"),
        (several, ({"a": "1"},), "^a: Input should be a valid integer$"),
        (several, ({"a": 1, "c": {"x": "1"}},), "c.x: Input should be a valid integer"),
        (several, ({"a": "1", "b": 2},), "^a: Input .* integer; b: Input .* string$"),
        (open_end, ({"b": 1},), "the argument lacks a"),
        (unresolved, ({"a": 1, "b": "2"},), "^b: Input should be a valid integer$"),
        (open_end, ({"a": 1, "b": "x"},), "^b: Input should be a valid integer$"),
        (typed_end, ({"a": 1, "p": {"x": "1"}},), "^p.x: Input should be a valid integer"),
        (typed_end, ({"a": 1, "k" * 999: 1},), "^k{100}: Input should be"),
    ],
)
def test_what_does_not(function, argument, told):
    with pytest.raises(InvalidArgument, match=told):
        bound(function, *argument)


def test_three_misfits_at_most_are_told():
    def many(a: int, b: int, c: int, d: int): ...

    with pytest.raises(InvalidArgument) as caught:
        bound(many, dict.fromkeys("abcd", "x"))
    assert caught.value.message.count("valid integer") == 3


def test_hostile_keys_make_no_long_sentence():
    with pytest.raises(InvalidArgument) as caught:
        bound(several, {"a": 1, "k" * 10_000: 2})
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (lambda *args: args, {}, r"\*args can be given nothing"),
        (lambda a, b, /: a, {}, "none can be positional-only"),
        (several, {"batched": True}, "with batch, it needs one parameter"),
        (only_more, {"batched": True}, "with batch, it needs one parameter"),
        (nothing, {"batched": True}, "with batch, it needs one parameter"),
        (5, {}, "its signature cannot be read"),
    ],
)
def test_what_can_never_be_bound(function, options, told):
    with pytest.raises(BindingError, match=told):
        Binding(function, **options)


def test_a_positional_context_cannot_be_filled_in():
    def handler(context: Context, /): ...

    with pytest.raises(BindingError, match="the context context cannot be positional-only"):
        Binding(handler)


def test_the_context_is_filled_in_and_counts_for_nothing():
    def handler(ctx: Context, a: int): ...

    def positional(a, /, ctx: Context): ...

    def alone(*, ctx: Context): ...

    before = dispatch.find_context
    here = Context(operation="x")
    dispatch.find_context = lambda: here
    try:
        assert bound(handler, 5) == [{"a": 5, "ctx": here}]
        assert bound(positional, 5) == [5, {"ctx": here}]
        assert bound(alone) == [{"ctx": here}]
    finally:
        dispatch.find_context = before
    assert Binding(handler).signature == "(a: int)"


def test_the_signature_is_as_the_author_wrote_it():
    assert Binding(several).signature == ("(a: int, b: str = 'x', *, c: Point | None = None)")

    class Odd:
        def __repr__(self):
            raise RuntimeError

    def odd(a=Odd()): ...  # noqa: B008  the point

    assert Binding(odd).signature == "(...)"


def test_of_a_batch_each_argument_is_a_member_of_the_list():
    def batched(numbers: list[int]) -> list[int]: ...

    assert bound(batched, 5, batched=True) == [5]
    with pytest.raises(InvalidArgument, match="valid integer"):
        bound(batched, [5], batched=True)


def test_what_cannot_be_checked_is_left_alone_and_told():
    def handler(a: Nowhere, b: list[Missing]): ...  # noqa: F821  the point

    handler.__annotations__ = {"a": "nowhere.at.all", "b": list["Missing"]}  # noqa: F821
    binding = Binding(handler)
    assert list(binding.unchecked) == ["b"]
    assert binding.bind({"a": 1, "b": 2}, True) == ([], {"a": 1, "b": 2})


@given(st.dictionaries(st.sampled_from("abc"), st.integers()) | st.integers() | st.none())
def test_a_call_is_made_as_its_signature_allows_or_refused(argument: Any):
    def handler(a, b=0):
        return a + b

    binding = Binding(handler)
    try:
        args, kwargs = binding.bind(argument, True)
    except InvalidArgument:
        assert not isinstance(argument, dict) or "a" not in argument or "c" in argument
    else:
        assert handler(*args, **kwargs) == argument["a"] + argument.get("b", 0)
