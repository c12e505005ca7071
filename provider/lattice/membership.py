"""Our place in a lattice: who we are to it, and whose calls count.

The rule of this file: it is plain values, settled before the first message; what changes while we
run (links) only begins here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider.errors import StartError

if TYPE_CHECKING:
    from provider.lattice.joining import Joining
    from provider.settings import Settings
    from provider.wire.wasmbus import LinkDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What the wasmbus door has to know.

    Attributes:
        cluster_issuers: public keys whose signatures count.
        host_id: public key of the host that launched us, `_TEST_` for the test harness; empty
            when nobody did, and then no shutdown is obeyed.
        links: known at the start.
        test_mode: links and health are spoken in JSON.
        strict: what the protocol lets through is refused (docs/security.md).
    """

    cluster_issuers: frozenset[str]
    host_id: str = ""
    links: tuple[LinkDefinition, ...] = ()
    test_mode: bool = False
    strict: bool = False


def membership(settings: Settings, joining: Joining | None) -> Membership | None:
    """Our place in the lattice; None when there is no host, and nobody's signature would count.

    Args:
        settings: with what the host said, if there is one.
        joining: what it said, None when nobody launched us.

    Raises:
        StartError: calls have to be signed, and nobody's signature counts.
    """
    issuers = frozenset(settings.cluster_issuers)
    if settings.strict and not issuers:
        raise StartError(
            "PROVIDER_STRICT wants every call signed, and no key may sign one; name the keys that "
            "may in PROVIDER_CLUSTER_ISSUERS"
        )
    if joining is None:
        return Membership(cluster_issuers=issuers, strict=settings.strict) if issuers else None
    data = joining.data
    return Membership(
        cluster_issuers=issuers,
        host_id=data.host_id,
        links=data.link_definitions,
        test_mode=data.test_mode,
        strict=settings.strict,
    )
