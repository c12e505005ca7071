"""The command that begins a project: new.

The rule of this file: what it writes runs at once, with nothing edited; and nothing that is there
is ever written over. The files are those of `provider/templates`, with the name put in.
"""

from __future__ import annotations

import re
import string
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provider.cli.form import app, fail
from provider.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

MOST = 64
"""Longest name, in characters."""

_SUFFIX = ".template"
_NAMES = {"env": ".env", "gitignore": ".gitignore"}
"""What is called otherwise in the package, because tools look at such files wherever they are."""


class Template(StrEnum):
    """What a project can begin as."""

    OPERATIONS = "operations"
    HANDLE = "handle"


_FIRST_CALL = {
    Template.OPERATIONS: ("""{name}.price '{{"item": "tea", "count": 2}}'""", "900"),
    Template.HANDLE: ("""{name}.price '"tea"'""", "450"),
}
"""The call the README shows, and what it prints."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the project and of its folder.")],
    template: Annotated[
        Template,
        typer.Option(
            "--template",
            help="Declared operations with types, or one function handle(command, arg).",
        ),
    ] = Template.OPERATIONS,
) -> None:
    """Make a folder with a dispatch module, its test and its settings, ready to run.

    ```
    provider new shop
    provider new shop --template handle
    ```
    """
    if not re.fullmatch(rf"[A-Za-z][A-Za-z0-9_-]{{0,{MOST - 1}}}", name):
        fail(
            f"{name!r:.100} makes no name of a project: a letter, then letters, digits, _ and -, "
            f"at most {MOST} in all",
            ExitCode.USAGE,
        )
    folder = Path(name)
    call, result = _FIRST_CALL[template]
    call = call.format(name=name)
    try:
        # It fails when anything of that name is there, whatever it is.
        folder.mkdir()
        for file, text in _files(template):
            written = string.Template(text).substitute(name=name, call=call, result=result)
            (folder / file).write_text(written, encoding="utf-8")
    except FileExistsError:
        fail(f"{name} is there already; choose another name", ExitCode.FAILED)
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}", ExitCode.FAILED)
    typer.echo(
        f"{name} is there. Serve it:\n\n"
        f"    cd {name}\n"
        "    provider run\n\n"
        "and call it from a second terminal in that folder:\n\n"
        f"    provider call {call}\n",
        err=True,
    )


def _files(template: Template) -> Iterator[tuple[str, str]]:
    """Names and texts of the files of a template."""
    root = resources.files("provider") / "templates"
    for place in (root / "common", root / template.value):
        for file in sorted(place.iterdir(), key=_name_of):
            name = _name_of(file)
            yield _NAMES.get(name, name), file.read_text(encoding="utf-8")


def _name_of(file: Traversable) -> str:
    return file.name.removesuffix(_SUFFIX)
