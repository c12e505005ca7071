"""The command that makes keys: keygen.

The rule of this file: a seed goes into a file and nowhere else; what is printed is the public half.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from provider.cli.form import app, fail
from provider.errors import ExitCode


class KeyKind(StrEnum):
    """What a key can be for, with the words of both generations of wasmCloud."""

    ACCOUNT = "account"
    CLUSTER = "cluster"
    PROVIDER = "provider"
    SERVICE = "service"
    ACTOR = "actor"
    MODULE = "module"
    HOST = "host"
    SERVER = "server"
    OPERATOR = "operator"
    USER = "user"
    CURVE = "curve"


_SAME = {"PROVIDER": "SERVICE", "ACTOR": "MODULE", "HOST": "SERVER"}


@app.command()
def keygen(
    kind: Annotated[
        KeyKind | None,
        typer.Argument(help="What the key is for.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file for the seed.", show_default="KIND.nk in this folder"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file. The old key is lost.")
    ] = False,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public",
            help="Make nothing: print the public key of the seed in this file.",
            show_default=False,
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Make a key: its seed goes into a file only you can read, its public half is printed.

    A lattice without a wasmCloud host needs one of the kind `cluster`: its seed signs calls, its
    public key is the provider's PROVIDER_CLUSTER_ISSUERS.

    ```
    provider keygen cluster
    provider keygen account --output keys/account.nk
    provider keygen --public cluster.nk
    ```
    """
    from provider.lattice import seed_file
    from provider.lattice.nkeys import KeyPair, Kind
    from provider.lattice.seed_file import SeedFileError

    if (kind is None) == (public is None):
        fail("say what the key is for, or give --public FILE", ExitCode.USAGE)
    try:
        if public is not None:
            if output or force:
                fail("--public makes nothing; leave out --output and --force", ExitCode.USAGE)
            typer.echo(seed_file.read(public).public)
            return
        assert kind is not None
        path = output or Path(f"{kind.value}.nk")
        pair = KeyPair.generate(Kind[_SAME.get(kind.name, kind.name)])
        if os.path.lexists(path) and not force:
            fail(
                f"{path} is there already; --force replaces it, and its key is lost",
                ExitCode.FAILED,
            )
        seed_file.write(path, pair, replace=force)
    except SeedFileError as error:
        fail(str(error), ExitCode.FAILED)
    typer.echo(f"the seed is in {path}: keep it secret", err=True)
    typer.echo(pair.public)
