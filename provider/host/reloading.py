"""What reloads of the whole fleet come to: counted, told, and answered to whoever asked.

The rule of this file: a reload that is not over is here, and one that is over was told once. What
is wrong with the newest text stands here until another text serves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provider.errors import HandlerError, WorkerLost
from provider.host.reload import Reload
from provider.telemetry import logs
from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.errors import CallError
    from provider.host.call import Call
    from provider.host.files import Look
    from provider.host.owner import Owner

_log = logs.get_logger(component="fleet")


class Reloading:
    """The reloads of one program.

    Args:
        program: what is served, for the log.
        owner: of the slots; answers calls that asked for one.
        fresh: whether each is done by fresh workers.
    """

    def __init__(self, program: str, owner: Owner, *, fresh: bool) -> None:
        self._program = program
        self._owner = owner
        self._fresh = fresh
        self.error: str | None = None
        """Why the newest text of the program does not serve, None when it does."""
        self.done = 0
        """Reloads after which something else served."""
        self.failed = 0
        """Reloads that found something wrong."""
        self.under_way: set[Reload] = set()
        """Those that are not over."""
        self.settled = asyncio.Event()
        """Something was loaded, or was not."""
        self._failed_look: Look = []
        """What the files looked like when the one was asked for that last failed."""

    def begin(self, look: Look, call: Call | None) -> Reload:
        """One more; the arguments are those of `Reload`."""
        reload = Reload(look, call)
        self.under_way.add(reload)
        return reload

    def calls(self) -> Iterator[Call]:
        """Those that asked for one that is not over."""
        return (reload.call for reload in self.under_way if reload.call is not None)

    def forget_untouched(self) -> None:
        """Let go of those nobody has done anything about, as their worker is gone."""
        self.under_way = {reload for reload in self.under_way if not reload.untouched}

    def serves(self) -> None:
        """Note that a worker serves that was just started."""
        self.error = None
        self.settled.set()

    def over(self, reload: Reload) -> None:
        """Tell what became of one, and answer who asked."""
        self.under_way.discard(reload)
        self.settled.set()
        if reload.error is not None:
            self._over_in_vain(reload, *reload.error)
        elif reload.done:
            if reload.modules or self._fresh:
                self.done += 1
                took = {"seconds": round(reload.seconds, 6)} if reload.seconds else {}
                _log.info("reloaded", program=self._program, modules=reload.modules, **took)
            elif self.error is not None and not reload.unfinished:
                _log.info("reload_not_needed", program=self._program)
            if not reload.unfinished:
                self.error = None
            self._answer(reload, None)
        elif reload.lost:
            self._answer(reload, WorkerLost(reload.lost))

    def _over_in_vain(self, reload: Reload, text: str, trace: str) -> None:
        # After a save that was seen before a call, the watcher's word on the same save follows.
        forced = reload.call is not None
        is_new = forced or text != self.error or reload.look != self._failed_look
        self.failed += is_new
        self.error, self._failed_look = text, reload.look
        (_log.error if is_new else _log.debug)(
            "reload_failed",
            program=self._program,
            error=text,
            **({"exception": trace} if trace else {}),
        )
        failure = f"reload failed, the old code serves on: {text}"
        self._answer(reload, HandlerError(failure, traceback=trace or None))

    def _answer(self, reload: Reload, error: CallError | None) -> None:
        call = reload.call
        if call is None:
            return
        is_json = call.encoding in (Encoding.JSON, Encoding.JSON_ABSENT)
        result = None if error is not None else b"true" if is_json else b"\xf5"
        self._owner.finish(call, result, error)
