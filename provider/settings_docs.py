"""The documents made from the settings: `.env.example` and docs/configuration.md.

The rule of this file: it knows no setting. All it says of one comes from the table, and a test
holds the two files to what is written here.

    python -m provider.settings_docs .env.example docs/configuration.md

writes both; `make docs` does that.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider.errors import ExitCode
from provider.settings import GROUPS, KNOBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider.settings import Knob

_COMMENT: Any = {"initial_indent": "# ", "subsequent_indent": "# "}


def env_example() -> str:
    """The text of `.env.example`: every knob, commented out, at its default."""
    lines = [
        "# Every setting of the provider, at its default. Copy this file to .env and take the #",
        "# off what you change. Flags and the environment go before it; see docs/configuration.md.",
        "# Written by `make docs` from provider/settings/table.py.",
    ]
    for group, about in GROUPS.items():
        lines += ["", f"# --- {group} ---", *textwrap.wrap(about, 94, **_COMMENT)]
        for knob in _members(group):
            lines += ["", *textwrap.wrap(knob.help, 94, **_COMMENT)]
            if knob.file_variable:
                lines.append(f"# {knob.file_variable} names a file that holds it instead.")
            lines.append(f"#{knob.variable}={knob.default}")
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from provider/settings/table.py. -->

Every setting has a default. `provider config` shows each value and where it came from.

A value is taken from the first of these that has one:

1. the flag of the command,
2. the environment,
3. `.env` in the working directory, or the file of `--env-file PATH`; `--no-env-file` reads none,
4. the context of the `nats` command, if `NATS_CONTEXT` chooses one,
5. the default.

A wasmCloud host that launches the provider has a say of its own:
[wasmcloud.md](wasmcloud.md#launched-by-a-host).

`.env` configures the provider, and nothing else: the settings below are read from it, its other
lines are left alone, and none of it becomes part of your code's environment. Lines are
`NAME=value`; quotes around a value are taken off, `${...}` stays as it is.
[.env.example](../.env.example) lists every setting.

A variable that is empty counts as not given. A wrong value stops the start with a text that names
it, says where it stands and what is expected. A variable that begins with `PROVIDER_` and is not
in this list is a warning.

**Durations** are written `500ms`, `60s`, `2m`, `1h30m` or `1d`; a bare number is seconds.
**Sizes** are written `64KiB`, `1MiB`, `2GiB` (powers of 1024) or `64KB`, `10MB`, `2GB` (powers of
1000); a bare number is bytes. **On or off** may also be `true` and `false`, `yes` and `no`, `1` and
`0`. A path that begins with `~/` begins at the home directory.

**Secrets** have no flag, because everybody on a machine can read the flags of its processes. They
are shown as `********`, as are passwords inside a URL. `NATS_PASSWORD_FILE`, and the like for each
of them, names a file that holds the secret; white space around it is taken off. To give one both
ways in one place is an error. Credentials may be given as a file or as what is in it; as a flag
only as a file.
"""


def configuration() -> str:
    """The text of docs/configuration.md."""
    lines = [_INTRODUCTION]
    for group, about in GROUPS.items():
        lines += [
            f"## {group}",
            "",
            about,
            "",
            "| Variable | Flag | Value | Default | Meaning |",
            "|---|---|---|---|---|",
        ]
        for knob in _members(group):
            variable = f"`{knob.variable}`"
            if knob.file_variable:
                variable += f" or `{knob.file_variable}`"
            flag = f"`{knob.flag}`" if knob.flag else ""
            value = ", ".join(word for word in (knob.kind.name, knob.bounds) if word)
            default = f"`{knob.default}`" if knob.default else ""
            lines.append(f"| {variable} | {flag} | {value} | {default} | {knob.help} |")
        lines.append("")
    return "\n".join(lines)


def _members(group: str) -> list[Knob]:
    return [knob for knob in KNOBS.values() if knob.group == group]


def main(arguments: Sequence[str]) -> int:
    """Write the generated files to two paths, that of `.env.example` first. The exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m provider.settings_docs ENV_EXAMPLE CONFIGURATION_MD\n")
        return ExitCode.USAGE
    for path, text in zip(arguments, (env_example(), configuration()), strict=True):
        Path(path).write_text(text, encoding="utf-8")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
