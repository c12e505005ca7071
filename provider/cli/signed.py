"""Commands that speak as a wasmCloud host does: whose key signs, and in whose name.

The rule of this file: `call --wasmbus` and `link` take the same settings and come to the same
actor, so that what one lets in is what the other calls as.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.cli.form import fail, nats_options, with_connection
from provider.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from provider.lattice.nkeys import KeyPair
    from provider.settings import Settings
    from provider.wasmbus_client import Wasmbus

CALLER = ("cluster_seed", "actor", "contract_id")
"""The settings that say so."""


def cluster_key(settings: Settings) -> KeyPair | None:
    """The key that signs, None when no file is named; a file that holds none ends the command."""
    from provider.lattice import seed_file
    from provider.lattice.nkeys import Kind

    if settings.cluster_seed is None:
        return None
    try:
        return seed_file.read(settings.cluster_seed, Kind.CLUSTER)
    except seed_file.SeedFileError as error:
        fail(str(error), ExitCode.FAILED)


def with_wasmbus(
    settings: Settings, cluster: KeyPair, work: Callable[[Wasmbus], Coroutine[Any, Any, Any]]
) -> Any:
    """Do this with a connection to the provider; without NATS the command ends with 4."""
    from provider import client
    from provider.lattice import nkeys

    if settings.actor is not None:
        try:
            kind, _ = nkeys.decode_public(settings.actor)
        except nkeys.BadKey as error:
            fail(f"--actor (PROVIDER_ACTOR) is no public key: {error}", ExitCode.USAGE)
        if kind is not nkeys.Kind.MODULE:
            fail(
                f"--actor (PROVIDER_ACTOR) is a key of kind {kind.letter}; actors have M",
                ExitCode.USAGE,
            )
    connecting = client.connect_wasmbus(
        nats_options(settings),
        cluster=cluster,
        lattice=settings.lattice,
        key=settings.key,
        link_name=settings.link_name,
        contract_id=settings.contract_id or "",
        actor=settings.actor,
    )
    return with_connection(settings, connecting, work)
