"""A reload on its way: asked of every worker that serves, and over when each has answered.

The rule of this file: it keeps who was asked and what they said; what follows from that is the
fleet's business. A worker that does not get on with a reload is ended, and the clock runs for the
reload itself, not for the calls ahead of it.
"""

from __future__ import annotations

import asyncio
import collections
import time
from typing import TYPE_CHECKING, Any

from provider.host.life import Cause
from provider.telemetry import logs
from provider.wire.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider.host.call import Call
    from provider.host.files import Look
    from provider.host.link import Link

_log = logs.get_logger(component="fleet")


class Reload:
    """One reload, of all workers.

    Args:
        look: what the files looked like when it was asked for.
        call: that asked for it; None for a change of the files.
    """

    __slots__ = (
        "asked",
        "call",
        "done",
        "error",
        "look",
        "lost",
        "modules",
        "seconds",
        "unfinished",
    )

    def __init__(self, look: Look, call: Call | None) -> None:
        self.look = look
        self.call = call
        self.asked = 0
        """Workers that have not answered yet."""
        self.done = 0
        """Workers that run the newest code now."""
        self.modules: list[str] = []
        """What was loaded again, by name."""
        self.seconds = 0.0
        """The longest that a worker says it took; 0 where fresh ones were started."""
        self.unfinished = False
        """Whether a worker wants to be asked again."""
        self.error: tuple[str, str] | None = None
        """Why the newest code does not load, and the traceback."""
        self.lost = ""
        """How a worker died of it."""

    @property
    def untouched(self) -> bool:
        """Whether nobody has done anything about it."""
        return not (self.asked or self.done or self.error or self.lost)

    def answered(self, told: dict[str, Any]) -> None:
        """Take what one worker says, as `worker.loader.Loaded.as_map` has it, or its error."""
        self.asked -= 1
        error = told.get("error")
        if error is None:
            self.done += 1
            self.modules = [str(name) for name in told.get("modules") or ()] or self.modules
            seconds = told.get("seconds")
            if isinstance(seconds, float):
                self.seconds = max(self.seconds, seconds)
            self.unfinished = self.unfinished or bool(told.get("unfinished"))
        elif isinstance(error, dict):
            self.failed(str(error.get("message")), str(error.get("traceback") or ""))
        else:
            self.failed(str(error), "")

    def failed(self, text: str, trace: str) -> None:
        """Note why the newest code does not load."""
        self.error = self.error or (text, trace)


class Reloads:
    """The reloads one worker was asked for, in order.

    Args:
        link: of the worker.
        longest: seconds one may take.
        program: what is served, for the log.
        over: called with each that was answered, and with what was said.
    """

    def __init__(
        self,
        link: Link,
        longest: float,
        program: str,
        over: Callable[[Reload, dict[str, Any]], None],
    ) -> None:
        self._link = link
        self._longest = longest
        self._program = program
        self._over = over
        self._timer: asyncio.TimerHandle | None = None
        self._alone = False
        """Whether no call was ahead of the oldest when it was looked at."""
        self.asked: collections.deque[tuple[int, Reload]] = collections.deque()
        """Those not answered yet, each with its number on the link, 0 for none."""
        self._settled = asyncio.Event()

    def ask(self, reload: Reload, out: list[bytes | memoryview]) -> None:
        """Add a RELOAD frame to `out`."""
        link, call = self._link, reload.call
        number = 0 if call is None else link.number()
        if call is not None and not call.number:
            call.number = number
        link.ask_reload(number, out, force=call is not None)
        reload.asked += 1
        self.asked.append((number, reload))
        if self._timer is None:
            self._watch(self._longest)

    def told(self, told: dict[str, Any]) -> None:
        """Take the worker's answer to the oldest.

        Raises:
            FrameError: nobody asked.
        """
        if not self.asked:
            raise FrameError("a reload ended that nobody asked for")
        _, reload = self.asked.popleft()
        self._rest()
        if self.asked:
            self._watch(self._longest)
        else:
            self._link.reload_ended()
            self._settled.set()
        reload.answered(told)
        self._over(reload, told)

    async def settled(self) -> None:
        """Wait until none is on its way."""
        while self.asked:
            self._settled.clear()
            await self._settled.wait()

    def gone(self) -> list[tuple[int, Reload]]:
        """Forget those that were not answered, because the worker is gone.

        Returns:
            Them, each with its number.
        """
        self._rest()
        left, self.asked = list(self.asked), collections.deque()
        self._settled.set()
        for _, reload in left:
            reload.asked -= 1
        return left

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._alone = False

    def _watch(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        link = self._link
        oldest = next(iter(link.calls), 0)
        if oldest and oldest <= link.begun():
            self._watch(self._longest)
            return
        left = link.heard + self._longest - time.monotonic()
        if left > 0 and not self._alone:
            # The last call ahead of it ended when the worker was last heard of.
            self._alone = True
            self._watch(left)
            return
        self._timer = None
        _log.error("reload_hangs", program=self._program, seconds=self._longest)
        link.give_up(f"reloading took longer than {self._longest:g} s", Cause.HANG)
