"""A caller that sends so many calls in one write, and waits for all answers.

The rule of this file: plain sockets in one thread, so that it can run beside a host that is being
counted, and every answer is compared with the right one.
"""

from __future__ import annotations

import socket
from typing import Self

from benchmarks.measuring.processes import PATIENCE
from benchmarks.measuring.said import Failed

INBOX = "_INBOX.burst"


class BurstCaller:
    """A connection to a NATS server. A context manager.

    Args:
        port: of the NATS server, on this machine.
        subject: that is asked.
    """

    def __init__(self, port: int, subject: str) -> None:
        self._subject = subject.encode()
        self._link = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._link.makefile("rb")
        self._send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self._send(b"SUB %b 1\r\nPING\r\n" % INBOX.encode())
        while self._line() != b"PONG":
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._link.close()

    def call(self, request: bytes, count: int = 1) -> list[bytes]:
        """The answers to so many calls, sent in one write."""
        one = b"PUB %b %b %d\r\n%b\r\n" % (self._subject, INBOX.encode(), len(request), request)
        self._send(one * count)
        return [self._answer() for _ in range(count)]

    def _answer(self) -> bytes:
        while True:
            line = self._line()
            if line == b"PING":
                self._send(b"PONG\r\n")
            elif line.startswith(b"HMSG "):
                raise Failed(f"nobody answers on {self._subject.decode()}, or with an error")
            elif line.startswith(b"MSG "):
                size = int(line.split(b" ")[-1])
                return self._file.read(size + 2)[:size]

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise Failed("the NATS server closed the connection")
        return line.rstrip(b"\r\n")

    def _send(self, data: bytes) -> None:
        self._link.sendall(data)
