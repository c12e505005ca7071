"""The provider's command in processes that have imported it before they begin.

The rule of this file: what is started here is `python -m provider` with arguments, environment,
working directory, streams and session of its own. What costs most of a start and of an end is
left out: imports, and the flags of all commands, were made once, in the process these are forked
from, and an exit waits for threads, runs what was registered for it and flushes, but takes nothing
apart. That process has a single thread, which is what makes forking it safe. How the command starts
and ends without all this is for the tests of the installation, the archive and the launcher.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO, NoReturn

import typer

IMPORTED = (
    *("provider.cli.every", "provider.client", "provider.host.run", "provider.wasmbus_client"),
    *("provider.gateway", "provider.doors.http.server", "provider.lattice.joining"),
    *("provider.host.contract", "provider.host.worker_user", "provider.doors.http.options"),
    *("provider.doors.admin", "provider.doors.describe", "provider.doors.discovery"),
    *("provider.doors.nats", "provider.light", "uvloop"),
)
"""What commands import sooner or later."""
LONGEST = 1 << 20
"""Bytes of a request; its arguments and environment."""


class Process:
    """A process of the provider's command, to be used as a `subprocess.Popen`.

    Args:
        arguments: of the command.
        environment: all of it.
        folder: working directory.
        stdin: a descriptor or a constant of `subprocess`.
        stdout: a descriptor or a constant of `subprocess`.
        stderr: a descriptor or a constant of `subprocess`.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        folder: os.PathLike[str] | str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> None:
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        with contextlib.ExitStack() as theirs:
            (given_in, self.stdin), (given_out, self.stdout), (given_error, self.stderr) = (
                _stream(wanted, number, theirs)
                for number, wanted in enumerate((stdin, stdout, stderr))
            )
            self._ended, end = os.pipe()
            theirs.callback(os.close, end)
            request = {"arguments": arguments, "environment": environment, "folder": str(folder)}
            descriptors = [given_in, given_out, given_error, end]
            self.pid = _origin().fork(json.dumps(request).encode(), descriptors)

    def poll(self) -> int | None:
        """The exit code, minus the number of the signal that ended it, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; as `poll`."""
        with self._waiting:
            if self.returncode is None:
                poll = select.poll()
                poll.register(self._ended, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired("provider", timeout or 0.0)
                status = os.read(self._ended, 100)
                os.close(self._ended)
                if not status:
                    raise ChildProcessError("the process it was forked from has ended")
                self.returncode = os.waitstatus_to_exitcode(int(status))
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: list[str],
    environment: dict[str, str],
    folder: os.PathLike[str] | str,
    stdin: bytes = b"",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; what it printed and its exit code."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        process = Process(arguments, environment, folder, *(file.fileno() for file in files))
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out, error = ((file.seek(0), file.read())[1] for file in files[1:])
        return subprocess.CompletedProcess(["provider", *arguments], code, out, error)


def _stream(wanted: int, number: int, theirs: contextlib.ExitStack) -> tuple[int, IO[bytes] | None]:
    """The descriptor the process gets, and our end of it where that is a pipe."""
    if wanted == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, null)
        return null, None
    if wanted != subprocess.PIPE:
        return wanted, None
    reading, writing = os.pipe()
    given, kept = (reading, writing) if number == 0 else (writing, reading)
    theirs.callback(os.close, given)
    return given, os.fdopen(kept, "wb" if number == 0 else "rb", 0 if number == 0 else -1)


# --- where they come from ------------------------------------------------------------------------


class _Origin:
    """The process that the others are forked from, as long as this one lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.close)

    def fork(self, request: bytes, descriptors: list[int]) -> int:
        with self._lock:
            try:
                socket.send_fds(self._link, [request], descriptors)
                return int(self._link.recv(100))
            except OSError as error:
                code = self._process.wait()
                raise RuntimeError(
                    f"nothing to fork from: importing {', '.join(IMPORTED)} ended with {code}"
                ) from error

    def close(self) -> None:
        self._link.close()
        self._process.wait()


_origins: list[_Origin] = []


def _origin() -> _Origin:
    if not _origins:
        _origins.append(_Origin())
    return _origins[0]


def _serve(link: socket.socket) -> dict[str, object] | None:
    """Fork processes until the link is closed.

    Returns:
        In a process that was forked, what it is to do; None in the end.
    """
    waking, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends: dict[int, int] = {}
    while True:
        readable, _, _ = select.select([link, waking], [], [])
        if waking in readable:
            os.read(waking, 1000)
            for pid in list(ends):
                gone, status = os.waitpid(pid, os.WNOHANG)
                if gone:
                    end = ends.pop(pid)
                    with contextlib.suppress(BrokenPipeError):
                        os.write(end, b"%d" % status)
                    os.close(end)
        if link in readable:
            data, descriptors, _, _ = socket.recv_fds(link, LONGEST, 4)
            if not data:
                return None
            *streams, end = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.setsid()
                for number, descriptor in enumerate(streams):
                    os.dup2(descriptor, number)
                link.detach()
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                return json.loads(data)
            for descriptor in streams:
                os.close(descriptor)
            ends[pid] = end
            link.send(b"%d" % pid)


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> NoReturn:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = ["provider", *arguments]
    code: object = None
    try:
        runpy.run_module("provider", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        # gRPC has threads that we did not start: what they make of an end is seen as it is.
        if not isinstance(end.code, int | None) or "grpc" in sys.modules:
            raise
        code = end.code
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        sys.exit(code)  # what Python makes of that is its business
    os._exit(code or 0)


if __name__ == "__main__":
    del sys.path[0]
    for name in IMPORTED:
        importlib.import_module(name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    command = typer.main.get_command(importlib.import_module("provider.cli").app)
    command.commands["run"].make_context("run", [])  # types of flags are made when first read
    gc.freeze()  # so that no collection in the processes to come looks at what is here
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        _become(**asked)
