"""Our place in a lattice: who we are to it, and whose calls count.

The rule of this file: it is plain values, settled before the first message; what changes while we
run (links) only begins here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
