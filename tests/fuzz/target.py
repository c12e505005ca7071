"""What a target is: one way bytes from outside take into the provider, and what may come out of it.

The rule of this file: a target is a plain function of bytes. It raises nothing, whatever the bytes
are: what the docstrings of our functions name is caught in it, all else is a bug that somebody
wants to know of. So is an input that takes too long, or too much memory.
"""

from __future__ import annotations

import atexit
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider.doors.http.problems import document
from provider.errors import BadRequest
from provider.wire.envelope import error_answer, error_answer_json, error_headers
from tests.fuzz import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.errors import CallError

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that are always tried: a folder for each target."""
MODULES = (
    "wire",
    "worker",
    "lattice",
    "stored",
    "doors",
    "http",
    "kserve",
    "grpc",
    "settings",
    "files",
)
"""Where targets are; the first part of their names."""
SECONDS = 2.0
"""Seconds of processor time one input may take. Usual ones take a hundredth of a millisecond."""
MEMORY = 256 << 20
"""Bytes by which one input may raise the most memory this process ever had."""
MOST_TEXT = 16 * 1024
"""Characters an error may have."""


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        name: module and function, as `wire.envelope`.
        run: takes any bytes.
        words: what inputs are likely to have in them.
        longest: bytes of an input that is made up.
    """

    name: str
    run: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    longest: int = 4096

    @property
    def corpus(self) -> Path:
        """The folder of its inputs."""
        return CORPUS / self.name


class TooMuch(Exception):
    """An input took more time or memory than it may."""


_found: dict[str, Target] = {}


def target(
    *words: bytes, longest: int = 4096
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Declare a target."""

    def declare(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"
        _found[name] = Target(name, run, words, longest)
        return run

    return declare


def named(name: str) -> Target:
    """The target of this name.

    Raises:
        KeyError: there is none.
    """
    try:
        import_module(f"tests.fuzz.targets.{name.partition('.')[0]}")
    except ImportError as error:
        raise KeyError(f"{name}: {error}") from None
    return _found[name]


def every() -> list[Target]:
    """All targets, in their order."""
    for module in MODULES:
        import_module(f"tests.fuzz.targets.{module}")
    return [each for each in _found.values() if each.name.partition(".")[0] in MODULES]


def bounded(each: Target, data: bytes) -> float:
    """Run a target on an input.

    Returns:
        Seconds of processor time it took.

    Raises:
        TooMuch: it took too long, or too much memory.
        ErrorLogged: an error was logged.
        Exception: whatever came out of it.
    """
    before, begun = _most_memory(), time.thread_time()
    each.run(data)
    quiet.check()
    took, grown = time.thread_time() - begun, _most_memory() - before
    if took > SECONDS:
        raise TooMuch(f"{took:.1f} s for {len(data)} bytes")
    if grown > MEMORY:
        raise TooMuch(f"{grown >> 20} MiB for {len(data)} bytes")
    return took


def scratch() -> Path:
    """A folder for files a target reads, which is there as long as this process."""
    made = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _most_memory() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def refused(read: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """What is read, None where the sender is told that it cannot be."""
    try:
        return read(*arguments, **more)
    except BadRequest as error:
        told(error)
        return None


def told(error: CallError) -> None:
    """See that whoever sent what is wrong can be told so, in every way he may have asked."""
    text = error.message
    assert len(text) < MOST_TEXT, len(text)
    if text.isascii() and text.isprintable() and error.details is None:
        return  # what follows takes longer than reading what was wrong
    error_answer(error)
    error_answer_json(error)
    document(error, "", tracebacks=False)
    for value in error_headers(error).values():
        assert value.isprintable()
        value.encode()
