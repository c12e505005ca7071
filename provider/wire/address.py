"""Where a provider is found on NATS: every subject, in one place.

The rule of this file: whoever builds a subject builds it here, so that provider, client and
documents cannot disagree. Sources: wasmbus (wasmCloud 0.x) for the lattice subject, ADR-32 for the
service subjects.
"""

from __future__ import annotations

from dataclasses import dataclass

RPC_QUEUE = "rpc"
"""Queue group of the lattice subject (wasmbus)."""
SERVICE_QUEUE = "q"
"""Queue group of the service endpoints (ADR-32's default)."""


def is_subject(operation: str) -> bool:
    """Whether an operation can stand in a subject: no spaces, no wildcards, nothing empty."""
    return all(operation.split(".")) and not any(
        char.isspace() or char in "*>" for char in operation
    )


def flow_subject(host: str) -> str:
    """Common start of the subjects on which callers steer the streams of one provider.

    Args:
        host: known to nobody who holds no chunk of them, one subject token.
    """
    return f"_PROVIDER.flow.{host}"


@dataclass(frozen=True)
class Address:
    """The names a provider answers to.

    Attributes:
        lattice: the lattice, one subject token, or several with dots between them.
        key: the provider's key on the lattice, one subject token.
        link_name: the link, one subject token.
        name: the service name, `[A-Za-z0-9_-]+`.
    """

    lattice: str = "default"
    key: str = "python"
    link_name: str = "default"
    name: str = "python"

    @property
    def rpc(self) -> str:
        """Subject of native requests and wasmbus invocations."""
        return f"wasmbus.rpc.{self.lattice}.{self.key}.{self.link_name}"

    @property
    def operations(self) -> str:
        """Common start of the by-subject endpoints, without the last dot."""
        return f"provider.{self.lattice}.{self.name}"

    def operation(self, name: str) -> str:
        """Subject of one operation's by-subject endpoint."""
        return f"{self.operations}.{name}"

    def describe(self, what: str) -> str:
        """Subject of `operations` or `schema`; one instance answers."""
        return f"provider.describe.{self.lattice}.{self.name}.{what}"

    def admin(self, command: str) -> str:
        """Subject of one admin command; every instance answers."""
        return f"provider.admin.{self.lattice}.{self.name}.{command}"
