"""What doors for other protocols need of whoever runs the calls: their host, or a NATS network.

The rule of this file: it names what is asked and answers nothing. `in_host` and `over_nats` answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


@dataclass(slots=True)
class HttpCall:
    """One call that came through a door other than NATS, such as HTTP or gRPC.

    Attributes:
        operation: its name, 1..256 bytes of UTF-8.
        payload: the argument as it was written, empty for none.
        encoding: an `Encoding`: how the payload is and the result will be written.
        timeout: seconds the caller waits; None leaves it to the provider.
        id: of the request.
        headers: of the request, names in lower case.
    """

    operation: str
    payload: bytes = b""
    encoding: int = Encoding.JSON_ABSENT
    timeout: float | None = None
    id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Described:
    """What the program declares.

    Attributes:
        generation: equal to that of another one only if both describe the same load of the program.
        operations: each as `host.catalogue.Declared.as_map` has it.
    """

    generation: object
    operations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How the provider is, for whoever sends it traffic or ends it.

    Attributes:
        live: whether it is worth letting it run on.
        ready: whether calls are answered now.
        started: whether calls were ever answered.
        reasons: why not, one text each.
    """

    live: bool
    ready: bool
    started: bool
    reasons: tuple[str, ...] = ()


class Backend(Protocol):
    """Runs the calls."""

    @property
    def wants_headers(self) -> bool:
        """Whether calls should carry the headers of their requests."""
        ...

    @property
    def outdated(self) -> bool:
        """Whether it is known that what `described` says has changed since."""
        ...

    async def call(self, call: HttpCall) -> bytes:
        """The result, written in the encoding of the call.

        To cancel it is to wait no longer; a call that has not begun is not run then.

        Raises:
            CallError: what went wrong.
        """
        ...

    def stream(self, call: HttpCall) -> AsyncGenerator[bytes, None]:
        """The chunks of the result as they come; `aclose` stops the function.

        Raises:
            CallError: what went wrong; chunks may have come before.
        """
        ...

    def described(self) -> Described:
        """What is declared, as far as is known without asking anybody."""
        ...

    async def refresh(self) -> Described:
        """What is declared now."""
        ...

    async def schemas(self) -> dict[str, Any]:
        """JSON Schema of `argument` and `result` of every operation, by its name.

        Raises:
            CallError: nobody could say.
        """
        ...

    async def health(self) -> Health:
        """How it is."""
        ...

    async def status(self) -> dict[str, Any]:
        """The numbers of the house, as `Discovery.status` has them, the worker not asked.

        Beside them `operations`: for each, by its name, `requests`, `errors` and `seconds`.

        Raises:
            CallError: nobody could say.
        """
        ...
