"""Loading a dispatch program without serving it: `provider check`.

The rule of this file: it is the same worker, started the same way. What passes here starts there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.host.link import Link

if TYPE_CHECKING:
    from provider.errors import CallError
    from provider.host.call import Call
    from provider.host.contract import WorkerSetup


@dataclass(frozen=True)
class Rehearsed:
    """How it went.

    Attributes:
        python: version of the worker's interpreter.
        seconds: from start to loaded.
        hidden: user files that a library of the same name hides.
        operations: names of what is declared, and what is said of it.
        files: that were read, and are watched where it serves.
    """

    python: str
    seconds: float
    hidden: tuple[str, ...]
    operations: dict[str, str]
    files: tuple[str, ...]


async def rehearse(setup: WorkerSetup, start_timeout: float) -> Rehearsed:
    """Start a worker, let it load, let it go.

    Raises:
        StartError: what is wrong with the program.
    """
    link = Link(
        setup,
        on_answer=_no_call,
        on_reloaded=_ignore,
        on_files=_ignore,
        on_gone=_ignore,
    )
    loaded = await link.start(start_timeout)
    rehearsed = Rehearsed(
        python=str(link.hello.get("python")),
        seconds=link.ready_since - link.started,
        hidden=tuple(map(str, loaded.get("hidden", ()))),
        operations={str(told["name"]): str(told["doc"]) for told in loaded.get("operations", ())},
        files=tuple(sorted(str(told[0]) for told in loaded.get("files", ()))),
    )
    await link.leave()
    return rehearsed


def _no_call(_call: Call, _result: bytes | None, _error: CallError | None) -> None:
    raise AssertionError("a rehearsal makes no calls")


def _ignore(*_told: Any) -> None:
    """Nothing here depends on it."""
