"""What a load is to be, and the most it may be.

The rule of this file: a plan ends by itself. There is no way to write one that does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

MOST_SECONDS = 600.0
"""Longest time that is counted."""
MOST_WARM_UP = 60.0
"""Longest time before it, in seconds."""
MOST_PATIENCE = 60.0
"""Longest time a call may take, in seconds."""
MOST_IN_FLIGHT = 50_000
"""Most calls under way at a time."""
MOST_RATE = 1_000_000.0
"""Most calls that may be due in a second."""
MOST_CONNECTIONS = 256
"""Most connections to NATS."""


@dataclass(frozen=True)
class Plan:
    """A load: either so many calls in a second, or so many under way.

    Attributes:
        rate: calls that are due in each second, whatever became of those before; None for
            `in_flight`.
        in_flight: calls under way at any time, each answer followed by the next call; None for
            `rate`.
        seconds: what is counted.
        warm_up: seconds of the same load before that.
        timeout: seconds a call may take, which the provider is told.
        connections: to NATS, over which calls are spread evenly.

    Raises:
        ValueError: it is no load, or too large a one; the text names the flag to change.
    """

    rate: float | None = None
    in_flight: int | None = None
    seconds: float = 10.0
    warm_up: float = 1.0
    timeout: float = 5.0
    connections: int = 1

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.in_flight is None):
            raise ValueError("--rate or --in-flight, one of them")
        if self.rate is not None and not 0 < self.rate <= MOST_RATE:
            raise ValueError(f"--rate: above 0, up to {MOST_RATE:.0f} calls per second")
        if self.in_flight is not None and not 0 < self.in_flight <= MOST_IN_FLIGHT:
            raise ValueError(f"--in-flight: from 1 to {MOST_IN_FLIGHT} calls")
        if not 0 < self.seconds <= MOST_SECONDS:
            raise ValueError(f"--duration: above 0, up to {MOST_SECONDS:.0f}s")
        if not 0 <= self.warm_up <= MOST_WARM_UP:
            raise ValueError(f"--warm-up: up to {MOST_WARM_UP:.0f}s")
        if not 0 < self.timeout <= MOST_PATIENCE:
            raise ValueError(f"--timeout: above 0, up to {MOST_PATIENCE:.0f}s")
        if not 0 < self.connections <= MOST_CONNECTIONS:
            raise ValueError(f"--connections: from 1 to {MOST_CONNECTIONS}")
        if self.in_flight is not None and self.in_flight < self.connections:
            raise ValueError("--connections: not more than calls in flight")

    @property
    def words(self) -> str:
        """The load in words, such as `64 calls in flight for 10 s`."""
        load = (
            f"{self.in_flight} calls in flight" if self.rate is None else f"{self.rate:g} calls/s"
        )
        return f"{load} for {self.seconds:g} s"

    def as_map(self) -> dict[str, float | int | None]:
        """For a report."""
        return {
            "rate": self.rate,
            "in_flight": self.in_flight,
            "duration_s": self.seconds,
            "warm_up_s": self.warm_up,
            "timeout_s": self.timeout,
            "connections": self.connections,
        }


def is_here(server: str) -> bool:
    """Whether the server at this URL is certainly on this machine."""
    host = urlsplit(server if "://" in server else f"nats://{server}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
