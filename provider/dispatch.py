"""What authors of dispatch modules may import.

The rule of this file: it is the whole promise to them, and imports nothing that their environment
does not have. The worker makes the package importable; nothing has to be installed for it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, overload

from provider.errors import HandlerError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from provider.wire.route import Route

__all__ = [
    "Context",
    "OperationError",
    "adopt",
    "context",
    "health",
    "operation",
    "shutdown",
    "startup",
]

F = TypeVar("F", bound="Callable[..., Any]")

MOST_IN_BATCH = 256
"""Calls a worker is handed ahead; a batch has no more."""
MARK = "__provider_operation__"
"""The attribute in which `operation` notes what a function is declared as."""
HOOK_MARK = "__provider_hook__"
"""The attribute in which `startup` and its like note when a function is called."""
ROUTED = "__provider_routed__"
"""The name under which a module keeps what `operation` said of its functions where one of them has
a route: a second function of the same name would take the first one's place unseen."""
RESERVED_NAMES = frozenset({"reload"})
"""What no operation can be called, because the provider answers it itself."""


class Declaration(NamedTuple):
    """What `operation` says of a function.

    Attributes:
        name: without its interface.
        interface: what stands before the last dot; None when that is up to the caller.
        batch: most calls given to the function at once, as a list; 0 for one at a time.
        wait: seconds a batch may wait for more calls.
        cache: seconds a result answers the same argument again; 0 for never.
        http: under which it is reached over HTTP, beside POST /call/ and its name.
    """

    name: str
    interface: str | None = None
    batch: int = 0
    wait: float = 0.0
    cache: float = 0.0
    http: tuple[Route, ...] = ()

    @property
    def full_name(self) -> str:
        """The name with the interface, where that is fixed."""
        return self.name if self.interface is None else f"{self.interface}.{self.name}"


@overload
def operation(function: F, /) -> F: ...


@overload
def operation(
    *,
    name: str | None = None,
    interface: str | None = None,
    batch: int | None = None,
    wait: float = 0.0,
    cache: float | None = None,
    http: str | Sequence[str] = (),
    status: int = 200,
    http_raw: bool = False,
) -> Callable[[F], F]: ...


def operation(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    interface: str | None = None,
    batch: int | None = None,
    wait: float = 0.0,
    cache: float | None = None,
    http: str | Sequence[str] = (),
    status: int = 200,
    http_raw: bool = False,
) -> Any:
    """Declare that a function, or a method of a class, can be called by its name.

    Args:
        function: when used without brackets.
        name: instead of the function's own; with a dot in it, what stands before the last one is
            its interface.
        interface: what callers must write before the last dot; left out, they may write anything.
        batch: give the function lists of up to this many arguments; it returns as many results.
        wait: seconds a batch may wait for more calls.
        cache: seconds a result may answer the same argument again without the function.
        http: method and path under which it is reached over HTTP, such as `PUT /tasks/{id}`, or
            several of them. Variables of the path are parameters of the function.
        status: of an HTTP answer that is no error, 200 to 299.
        http_raw: the function takes the whole HTTP request as a map and returns the whole answer as
            one.

    Raises:
        TypeError: this is no function.
        ValueError: the name makes no operation, a number is out of its range, or a route is none.
    """

    def declare(function: F) -> F:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"operation declares functions and methods, not {function!r:.100}")
        routes = _routes(http, status, http_raw)
        declared = _declaration(function, name, interface, batch, wait, cache, routes)
        setattr(function, MARK, declared)
        _note(function, declared)
        return function

    return declare if function is None else declare(function)


def _declaration(
    function: Any,
    name: str | None,
    interface: str | None,
    batch: int | None,
    wait: float,
    cache: float | None,
    routes: tuple[Route, ...],
) -> Declaration:
    full = name or function.__name__
    before, dot, last = full.rpartition(".")
    if dot:
        if interface is not None:
            raise ValueError(
                f"{full!r} has an interface already; leave out interface={interface!r}"
            )
        interface = before
    declared = Declaration(last, interface, batch or 0, float(wait), float(cache or 0), routes)
    whole = declared.full_name
    if not last or interface == "" or len(whole.encode()) > 256 or not whole.isprintable():
        raise ValueError(f"{whole!r:.100} makes no name of an operation: 1 to 256 printable bytes")
    if whole in RESERVED_NAMES:
        raise ValueError(f"{whole!r} is answered by the provider itself; choose another name")
    if batch is not None and not 1 <= batch <= MOST_IN_BATCH:
        raise ValueError(f"batch={batch} is not between 1 and {MOST_IN_BATCH}")
    if not 0 <= declared.wait <= 60:
        raise ValueError(f"wait={wait} is not between 0 and 60 seconds")
    if wait and not batch:
        raise ValueError("wait is of use only with batch")
    if cache is not None and not cache > 0:
        raise ValueError(f"cache={cache} is no number of seconds above 0")
    return declared


def _routes(http: str | Sequence[str], status: int, raw: bool) -> tuple[Route, ...]:
    if not http:
        if raw or status != 200:
            raise ValueError("status and http_raw are of use only with http")
        return ()
    if type(status) is not int or not 200 <= status <= 299:
        raise ValueError(
            f"status={status!r:.100} is not between 200 and 299; for another one, raise "
            "OperationError"
        )
    if raw and status != 200:
        raise ValueError("with http_raw=True the function returns the status; leave out status")
    from provider.wire.route import read_route

    written = [http] if isinstance(http, str) else list(http)
    return tuple(read_route(text, status=status, raw=raw) for text in written)


def _note(function: Any, declared: Declaration) -> None:
    names: dict[str, Any] = getattr(function, "__globals__", {})
    place = str(getattr(function, "__qualname__", "<>"))
    # What is made inside a function, or by lambda, has no name of its own in the module.
    if "<" not in place:
        names.setdefault(ROUTED, []).append((place, declared))


def startup(function: F, /) -> F:
    """Have this called without arguments when the module was executed, before it serves.

    What it raises ends the load: a provider does not start, after a save the old code serves on.
    It has PROVIDER_START_TIMEOUT, together with the load. It may be `async`.

    Raises:
        TypeError: this is no function.
    """
    return _hook(function, "startup")


def shutdown(function: F, /) -> F:
    """Have this called without arguments when the module has served its last call.

    That is when the provider leaves, and after a reload, when the new module has taken over. It is
    not called when the process dies or is killed; after 5 s it is killed. It may be `async`.

    Raises:
        TypeError: this is no function.
    """
    return _hook(function, "shutdown")


def health(function: F, /) -> F:
    """Have this called without arguments, between calls, when somebody asks for the health.

    False, or an exception, says that the module is not well. It may be `async`.

    Raises:
        TypeError: this is no function.
    """
    return _hook(function, "health")


def adopt(function: F, /) -> F:
    """Have this called with the previous module after a reload in place, before `startup`.

    So a new text can keep what was expensive to make. Should the load fail afterwards, the previous
    module serves on: take from it, do not break it. And its `shutdown` is still called. It may be
    `async`.

    Raises:
        TypeError: this is no function.
    """
    return _hook(function, "adopt")


def _hook(function: F, kind: str) -> F:
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{kind} declares functions and methods, not {function!r:.100}")
    setattr(function, HOOK_MARK, kind)
    return function


class Context:
    """What a call knows of itself beside its argument.

    Attributes:
        operation: its name.
        deadline: when its caller stops waiting, in seconds of `time.monotonic`; infinity for never.
        caller: public key of the actor a host vouched for, empty where nobody did.
        traceparent: of the W3C trace it belongs to, empty for none; pass it on with the calls you
            make (https://www.w3.org/TR/trace-context/).
        tracestate: of that trace.
        id: that the caller gave the call, or the one the log knows it by.
        headers: of the caller's message; at most 64, with 8192 characters. A module is given them
            where `Context` or `context` is among the names of the module.
    """

    # No dataclass: to make one takes a worker 2 ms of each start, with what it imports.
    def __init__(
        self,
        operation: str,
        deadline: float = math.inf,
        caller: str = "",
        traceparent: str = "",
        tracestate: str = "",
        id: str = "",  # noqa: A002  the name of the attribute
        headers: Mapping[str, str] | None = None,
        _line: Any = None,
    ) -> None:
        self.operation: Final = operation
        self.deadline: Final = deadline
        self.caller: Final = caller
        self.traceparent: Final = traceparent
        self.tracestate: Final = tracestate
        self.id: Final = id
        self.headers: Final[Mapping[str, str]] = {} if headers is None else headers
        self._line = _line

    def __repr__(self) -> str:
        known = (f"{name}={value!r}" for name, value in vars(self).items() if name != "_line")
        return f"Context({', '.join(known)})"

    @property
    def remaining(self) -> float:
        """Seconds left until the deadline, never below 0."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the caller has stopped waiting.

        Because the deadline has passed: a handler that looks has a moment to give up by itself;
        then its process is ended. Or because the caller has left, as far as that is known: of a
        stream, and of a call over HTTP or gRPC whose connection has gone.
        """
        return time.monotonic() >= self.deadline or (self._line is not None and self._line.left())

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the call is; it never waits, and may be said as often as you like.

        Callers of a stream who ask for it are told, about ten times a second and of the newest; for
        other calls it stands in the provider's status.

        Args:
            done: how much is done, in any unit.
            total: how much there is to do, None where that is not known.
            note: what is being done, for a person; the first 200 characters are told.

        Raises:
            TypeError: something is no number, or no text.
            ValueError: a number is not finite, or beyond 2**63.
        """
        from provider.wire.advance import advance

        told = advance(done, total, note)
        if self._line is not None:
            self._line.report(told)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Writes lines that name the operation and the id, also from threads of the handler.

        Where the module has not set up logging, lines from level INFO on go to standard error.
        """
        import logging

        logger = logging.getLogger("provider.calls")
        if not logger.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
            # Whoever sets up the root logger later on has the lines once all the same.
            handler.addFilter(lambda _record: not logging.getLogger().handlers)
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        known = {"operation": self.operation, "request_id": self.id}
        # A format of its own, so that a percent sign in a name is none.
        named = f"[{self.operation} {self.id}] ".replace("%", "%%")

        class Named(logging.LoggerAdapter):  # type: ignore[type-arg]  # not at run time in 3.10
            def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
                given: dict[str, Any] = kwargs.get("extra") or {}
                return f"{named}{msg}", dict(kwargs, extra={**known, **given})

        return Named(logger, known)


def context() -> Context:
    """The context of the call that runs in this thread.

    Raises:
        LookupError: none does: not in a handler, or in a thread of its own.
    """
    return find_context()


def _no_worker() -> Context:
    raise LookupError("no call runs here; only a provider's worker has calls")


find_context: Callable[[], Context] = _no_worker
"""Where the worker puts its answer."""


class OperationError(HandlerError):
    """Raise this in a handler to choose what the caller is told.

    Args:
        message: what was wrong and what to do, for a person.
        code: number in the answer, 400 to 599 like HTTP's; 500 when left out.
        details: any value that can travel, for the caller's program.

    Raises:
        ValueError: `code` is outside 400 to 599.
    """

    def __init__(self, message: str, *, code: int = 500, details: Any = None) -> None:
        if not 400 <= code <= 599:
            raise ValueError(f"code {code} is not between 400 and 599")
        super().__init__(message, code=code, details=details)
