"""A caller who publishes and does not read.

The rule of this file: what is counted is that the server cut it off. What else may end a connection
ends the thread, so that the scenario misses what it waits for.
"""

from __future__ import annotations

import socket
import threading

from tests.faults.numbered import request
from tests.faults.scenario import OTHERS


class Greedy:
    """Publishes five hundred requests a second, and reads none of the answers.

    Args:
        port: of nats-server, on 127.0.0.1.
        subject: of the provider's native requests.

    Attributes:
        cut: how often the server has cut it off.
    """

    def __init__(self, port: int, subject: str) -> None:
        self._port, self._subject = port, subject
        self.cut = 0
        self._sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, for good."""
        self._over.set()
        self._thread.join(20)

    def _work(self) -> None:
        while not self._over.wait(0.05):  # so that it does not come back faster than it goes
            with socket.create_connection(("127.0.0.1", self._port), timeout=20) as link:
                try:
                    self._publish(link)
                except (ConnectionResetError, BrokenPipeError):
                    self.cut += not self._over.is_set()
                except TimeoutError:
                    return  # neither read from nor cut off

    def _publish(self, link: socket.socket) -> None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.sendall(b'CONNECT {"verbose":false}\r\nSUB greedy.* 1\r\n')
        while not self._over.is_set():
            numbers = range(OTHERS + self._sent, OTHERS + self._sent + 10)
            link.sendall(
                b"".join(request(self._subject, f"greedy.{number}", number) for number in numbers)
            )
            self._sent += len(numbers)
            self._over.wait(0.02)  # or the queue would be full of its calls
