"""The commands that let an actor call, or no more: link put, link del.

The rule of this file: the protocol answers no link, so what was published is said, and nothing
beyond it is claimed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from provider.cli.form import ADDRESS, NATS, app, fail, fail_call, with_settings
from provider.cli.signed import CALLER, cluster_key, with_wasmbus
from provider.errors import CallError, ExitCode
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation

if TYPE_CHECKING:
    from provider.wasmbus_client import Wasmbus

_LOGGED = {"put": "link_put", "del": "link_deleted"}
"""What a provider of ours logs."""

link = typer.Typer(
    name="link",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Let an actor call the provider, as a wasmCloud host does.

    Signed calls (`provider call --wasmbus`) are answered for linked actors only. The actor is
    `--actor`, or one that follows from the cluster's key, the same one in every command.

    Hosts link the actors they run; these commands are for a lattice without one. Links are not
    signed and not stored: whoever reaches the subject can publish one, and a provider that starts
    again knows none of them.

    ```
    provider keygen cluster
    provider run --example factorial --cluster-issuers "$(provider keygen --public cluster.nk)"
    provider link put --cluster-seed cluster.nk
    provider call py.factorial 10 --wasmbus --cluster-seed cluster.nk
    ```
    """,
)
app.add_typer(link)


@link.command()
@with_settings(NATS, ADDRESS, *CALLER)
def put(
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            help="A setting of the link; may be repeated.",
            show_default=False,
            metavar="NAME=VALUE",
        ),
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Let an actor call. The first link of an actor counts until it is deleted.

    ```
    provider link put --cluster-seed cluster.nk
    provider link put --actor MDWU...JZ --value locale=en --value currency=EUR
    ```
    """
    values: dict[str, str] = {}
    for text in value or ():
        name, equals, given = text.partition("=")
        if not name or not equals:
            fail(f"--value {text}: expected NAME=VALUE", ExitCode.USAGE)
        values[name] = given
    _publish("put", settings, values)


@link.command("del")
@with_settings(NATS, ADDRESS, *CALLER)
def delete(
    *,
    settings: Settings,
) -> None:
    """Let an actor call no more.

    ```
    provider link del --cluster-seed cluster.nk
    ```
    """
    _publish("del", settings, {})


def _publish(what: str, settings: Settings, values: dict[str, str]) -> None:
    from provider.lattice.nkeys import KeyPair, Kind

    cluster = cluster_key(settings)
    if cluster is None:
        if settings.actor is None:
            fail(
                "which actor? Name it with --actor (PROVIDER_ACTOR), or name the cluster's key, "
                "from which one follows, with --cluster-seed (PROVIDER_CLUSTER_SEED)",
                ExitCode.USAGE,
            )
        cluster = KeyPair.generate(Kind.CLUSTER)  # links are not signed

    async def work(wasmbus: Wasmbus) -> str:
        await (wasmbus.link(values) if what == "put" else wasmbus.unlink())
        return wasmbus.actor

    try:
        actor = with_wasmbus(settings, cluster, work)
    except CallError as error:
        fail_call(error)
    named = f" with {', '.join(values)}" if values else ""
    typer.echo(
        f"published: link {what} of {actor} to {settings.key} ({settings.link_name}) in lattice "
        f"{settings.lattice}{named}; no provider answers this, its log has {_LOGGED[what]}",
        err=True,
    )
