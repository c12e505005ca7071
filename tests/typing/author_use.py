"""What authors of dispatch modules import, as their type checkers see it. Checked, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_type

from provider.dispatch import (
    Context,
    OperationError,
    adopt,
    context,
    health,
    operation,
    shutdown,
    startup,
)
from provider.testing import in_process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType


@dataclass
class Line:
    """A value of the author's own."""

    item: str
    count: int = 1


@operation
def plain(line: Line, count: int = 1) -> int:
    """Declared without brackets."""
    return line.count * count


@operation(name="shop.price", cache=60)
def with_options(item: str) -> float:
    """Declared with what can be said of an operation."""
    return len(item) * 1.5


@operation(http="GET /lines/{number}")
def with_a_route(number: int) -> Line:
    """Reached over HTTP."""
    return Line("tea", number)


@operation(http=["POST /raw", "* /raw/{rest:path}"], http_raw=True)
def with_the_whole_request(request: dict[str, Any]) -> dict[str, Any]:
    """Answers itself."""
    return {"status": 200, "body": request["body"]}


@operation(batch=32, wait=0.005)
def batched(items: list[str]) -> list[int]:
    """Given many arguments at once."""
    return [len(item) for item in items]


@operation
async def waiting(item: str) -> str:
    """May wait for others."""
    return item


@operation
def counting(to: int) -> Iterator[int]:
    """Gives one result after the other."""
    yield from range(to)


@operation(interface="shop")
async def counting_slowly(to: int) -> AsyncIterator[int]:
    """As above, and waits in between."""
    for number in range(to):
        yield number


class Till:
    """Methods are operations, too."""

    @operation
    def take(self, cents: int) -> int:
        """Of an object."""
        return cents

    @staticmethod
    @operation
    def double(cents: int) -> int:
        """Of none."""
        return 2 * cents


@startup
async def begin() -> None:
    """Called before the first call."""


@shutdown
def end() -> None:
    """Called after the last one."""


@health
def well() -> bool:
    """Called when somebody asks."""
    return True


@adopt
def keep(previous: ModuleType) -> None:
    """Called with what served before."""
    assert_type(previous.__name__, str)


async def declared_functions_keep_their_types() -> None:
    """They can be called like any other."""
    assert_type(plain(Line("tea"), count=2), int)
    assert_type(with_options("tea"), float)
    assert_type(batched(["tea"]), list[int])
    assert_type(await waiting("tea"), str)
    assert_type(counting(3), "Iterator[int]")
    assert_type([number async for number in counting_slowly(3)], list[int])
    assert_type(Till().take(5), int)
    assert_type(Till.double(5), int)
    await begin()
    assert_type(well(), bool)


@operation
def about(call: Context) -> str:
    """Everything a call knows of itself."""
    assert_type(context(), Context)
    call.progress(1)
    call.progress(0.5, total=10, note="half")
    assert_type(call.operation, str)
    assert_type(call.deadline, float)
    assert_type(call.remaining, float)
    assert_type(call.caller, str)
    assert_type(call.traceparent, str)
    assert_type(call.tracestate, str)
    if call.remaining < 1:
        raise OperationError("too late", code=504, details={"left": call.remaining})
    return call.operation


def tests_of_an_author(provider_dispatch: in_process.InProcess) -> None:
    """The fixtures, and what they are made of."""
    assert_type(provider_dispatch.call("about", timeout=5, caller="M"), Any)
    assert_type(provider_dispatch.operations, list[str])
    with in_process.load("dispatch.py") as dispatch:
        assert_type(dispatch, in_process.InProcess)
    with running.run("dispatch.py", PROVIDER_CONCURRENCY="4") as provider:
        assert_type(provider, running.Running)
        assert_type(provider.call("about", timeout=5), Any)
        assert_type(provider.log, list[str])


def mistakes(call: Context) -> None:
    call.progress("1")  # type: ignore[arg-type]
    """What a type checker must refuse; an ignore that is not needed is an error."""
    plain("tea")  # type: ignore[arg-type]  # no Line
    with_options(item=5)  # type: ignore[arg-type]  # no text
    startup("load")  # type: ignore[type-var]  # no function
    call.operation = "other"  # type: ignore[misc]  # it is told, not asked
    call.argument  # type: ignore[attr-defined]  # noqa: B018  it has none
    operation(cache="long")  # type: ignore[call-overload]  # seconds
    operation(http=5)  # type: ignore[call-overload]  # text, or several
    operation(every=5)  # type: ignore[call-overload]  # no such thing
    operation("price")  # type: ignore[call-overload]  # a name needs its keyword
    raise OperationError("no", 404)  # type: ignore[call-arg]  # which number is it?
