"""All commands.

The rule of this file: importing it adds them to `form.app`. `provider run`, which has to be quick,
does without the others.
"""

from __future__ import annotations

from provider.cli import (  # noqa: F401  they add their commands
    archive,
    bench,
    call,
    check,
    gateway,
    keys,
    link,
    new,
    operations,
    run,
)
from provider.cli.form import app

__all__ = ["app"]
