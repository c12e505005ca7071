"""The command `provider`: parse, do one thing, print, exit.

The rule of this package: one file per subject, what they share in `form`. Exit codes: 0 ok,
1 failed, 2 usage, 3 could not start, 4 no answer.
"""

from __future__ import annotations

from provider.cli import early  # before all that takes time

# isort: split

import re
import sys
from typing import Annotated, Any

with early.importing():
    import typer

    from provider import __version__, inspection
    from provider.cli.form import app as _app
    from provider.cli.host_line import STANDARD_INPUT, launched

_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
SHELLS = ("bash", "zsh", "fish", "powershell")


@_app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"provider {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the command."""
    # First of all: whatever comes may read secrets, and start programs that want them.
    inspection.refuse()
    early.write_whole()
    if sys.argv[1:2] == ["--show-completion"] and sys.argv[2:] in [[shell] for shell in SHELLS]:
        _show_completion(sys.argv[2])
        return
    arguments = sys.argv[1:]
    if launched(arguments):
        arguments = ["run", "--host-data", STANDARD_INPUT]
    if arguments[:1] in (["call"], ["bench"]):
        # An argument, and no option: with a space before it, it is the same JSON.
        arguments = [f" {word}" if _NEGATIVE.fullmatch(word) else word for word in arguments]
    with early.importing():
        if arguments[:1] == ["run"]:
            from provider.cli import run  # noqa: F401  what others need would only take time
        else:
            from provider.cli import every  # noqa: F401
    _app(arguments, prog_name="provider")


def __getattr__(name: str) -> Any:
    if name == "app":
        from provider.cli.every import app

        return app
    raise AttributeError(name)


def _show_completion(shell: str) -> None:
    # typer goes by the shell it finds itself in, and would take no notice of the one named.
    from typer import completion

    script = completion.get_completion_script(  # type: ignore[attr-defined]  # typer uses it so, too
        prog_name="provider", complete_var="_PROVIDER_COMPLETE", shell=shell
    )
    typer.echo(script)
